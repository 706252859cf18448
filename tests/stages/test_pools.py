"""Pools: what is asked and answered in each kind of row."""

import json

import pytest

from trl_r1.stages.rejection_sampling.pools import EvaluationSet, PromptPool, load_pool, read_pools
from trl_r1.storage.structured import read_entries


def pool_of(path, rows, **options):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return PromptPool("p", str(path), **{"domain": "writing", "template": "Q: {question} A:", **options})


TURNS = [
    {"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "and now?"}, {"role": "assistant", "content": "Bye!"},
]  # fmt: skip


def test_text_takes_the_first_turn_of_a_conversation_and_messages_take_it_whole(tmp_path):
    rows = [{"m": TURNS}, {"m": [{"role": "system", "content": "be rude"}, *TURNS]}]
    columns = {"question_column": "m", "answer_column": "m"}
    as_text = load_pool(pool_of(tmp_path / "a.jsonl", rows, **columns), seed=0)
    assert [(problem.prompt, problem.reference) for problem in as_text] == [("Q: hello A:", "Hi!")]
    whole = load_pool(pool_of(tmp_path / "b.jsonl", rows, template="chat", **columns), seed=0)
    assert whole[0].prompt == TURNS[:3]
    assert (whole[0].question, whole[0].reference) == ("and now?", "Bye!")
    assert whole[1].prompt[0]["role"] == "system"


def test_the_language_is_told_from_the_question_where_no_column_says_it(tmp_path):
    rows = [{"question": "写一首诗"}, {"question": "Write a poem"}, {"question": "2+2="}]
    found = load_pool(pool_of(tmp_path / "a.jsonl", rows), seed=0)
    assert [problem.language for problem in found] == ["zh", "en", None]
    assert [problem.solution for problem in found] == [None] * 3


def test_filters_fit_the_kind_of_pool():
    kinds = {
        domain: PromptPool("p", "d", domain, solution_column="s" if domain == "reasoning" else None).filters
        for domain in ("reasoning", "writing", "translation")
    }
    assert "right" in kinds["reasoning"]
    assert kinds["writing"] == ("answered", "truncated", "mixed_language", "repetition")
    assert kinds["translation"] == ("answered", "truncated", "repetition")  # the answer is in another language
    assert "right" in PromptPool("p", "d", "factual", solution_column="s").filters
    with pytest.raises(ValueError, match="no solution_column to judge by"):
        PromptPool("p", "d", "writing", filters=("right",))


def test_mistakes_are_one_sentence(tmp_path):
    for given, sentence in (("[1]", "list of mappings"), ("nonsense", "is not JSON"), ('[{"name": "x"}]', "dataset_name"),
                            ('[{"dataset_name": "d", "name": "reasoning"}]', "two of them are called 'reasoning'"),
                            ('[{"dataset_name": "d", "chain": "long"}]', "chain='long'"),
                            ('[{"dataset_name": "d", "domain": "poems"}]', "domain='poems'")):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            read_pools(given, "mini")
    with pytest.raises(ValueError, match="Row 1 .*has nothing in 'question'"):
        load_pool(pool_of(tmp_path / "a.jsonl", [{"question": "a"}, {"question": " "}]), seed=0)
    with pytest.raises(ValueError, match="unknown key 'columns'"):
        read_entries("decontaminate", [{"dataset_name": "mini:test-tiny", "columns": "q"}], EvaluationSet)
