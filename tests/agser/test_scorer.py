import copy
import math

import pytest
import torch
from tiny_models import build

from trl_r1.agser import AGSERScorer, first_line
from trl_r1.agser.generation import by_engine
from trl_r1.models.engines import EngineError, SamplingServer


CHAT = [{"role": "user", "content": "Who wrote Medicine?"}]


@pytest.fixture(scope="module")
def scorer(llama, byte_tokenizer):
    return AGSERScorer(llama, byte_tokenizer, max_new_tokens=12, consistency="tokens")


def test_a_result_holds_what_led_to_it(scorer):
    found = scorer.score([CHAT])[0]
    assert found.score == found.r_att - found.r_non
    assert len(found.contributions.scores) == len(found.kept) == 19
    assert sum(found.kept) == 13  # two thirds of 19 are 12.67
    kept = "".join(c for c, yes in zip("Who wrote Medicine?", found.kept) if yes)
    assert found.attentive == kept.strip()
    lowest = min(s for s, yes in zip(found.contributions.scores, found.kept) if yes)
    assert lowest >= max(s for s, yes in zip(found.contributions.scores, found.kept) if not yes)


def test_its_answers_are_the_models_own_greedy_ones(scorer, llama, byte_tokenizer):
    found = scorer.score([CHAT])[0]
    ids = torch.tensor([byte_tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]])
    wanted = llama.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[
        0, ids.shape[1] :
    ]
    assert found.answer == byte_tokenizer.decode(wanted, skip_special_tokens=True)


def test_a_batch_scores_each_as_alone(scorer):
    prompts = [CHAT, "鲁迅写了什么？", "A much longer question, so that the others are padded on the left."]
    alone = [scorer.score([prompt])[0] for prompt in prompts]
    for one, other in zip(alone, scorer.score(prompts)):
        assert (one.answer, one.attentive, one.score) == (other.answer, other.attentive, other.score)
        assert one.contributions.scores == pytest.approx(other.contributions.scores, rel=1e-4)


def test_given_answers_are_judged_and_lam_weighs(llama, byte_tokenizer, scorer):
    echo = scorer.score([CHAT])[0].attentive_answer
    twice = AGSERScorer(llama, byte_tokenizer, max_new_tokens=12, consistency="tokens", lam=2.0)
    found = twice.score([CHAT], [echo])[0]
    assert found.r_att == 1.0
    assert found.score == 2.0 - found.r_non


def test_equal_prompts_are_asked_once(scorer, monkeypatch):
    seen = []
    texts = type(scorer.greedy)._continue
    monkeypatch.setattr(
        type(scorer.greedy), "_continue", lambda self, rows, step: seen.append(len(rows)) or texts(self, rows, step)
    )
    found = scorer.score([CHAT] * 8, [f"answer {i}" for i in range(8)])
    assert seen == [1, 2]  # one prefill, two sub-queries
    assert len({r.attentive for r in found}) == 1
    assert found[0].r_att != found[5].answer


def test_rows_of_the_answer_depend_on_it(llama, byte_tokenizer):
    scorer = AGSERScorer(llama, byte_tokenizer, max_new_tokens=4, rows="answer")
    one, other, empty = scorer.contributions([CHAT] * 3, ["abc", "xyzw", ""])
    assert one.scores != other.scores
    assert empty.scores == pytest.approx(AGSERScorer(llama, byte_tokenizer).contributions([CHAT])[0].scores, rel=1e-4)


def test_pooling_over_layers(llama, byte_tokenizer):
    found = {name: AGSERScorer(llama, byte_tokenizer, layers=name).contributions(["abcd"])[0].scores
             for name in ("first", "middle", "last", "mean", "max")}  # fmt: skip
    columns = list(zip(found["first"], found["middle"], found["last"]))  # three layers
    assert found["mean"] == pytest.approx([sum(c) / 3 for c in columns], rel=1e-5)
    assert found["max"] == pytest.approx([max(c) for c in columns], rel=1e-5)


@pytest.mark.parametrize("prompt", ["a", "鲁", [{"role": "user", "content": ""}]])
def test_what_cannot_be_split_says_so(scorer, prompt):
    found = scorer.score([prompt, "two words"])
    assert math.isnan(found[0].score)
    assert "so it needs two" in found[0].refused
    assert not math.isnan(found[1].score)


@pytest.mark.parametrize("prompt", ["作者是谁？", "Who 写了 Medicine?", "é"])
def test_any_script_is_split(llama, byte_tokenizer, prompt):
    found = AGSERScorer(llama, byte_tokenizer, max_new_tokens=4).score([prompt + "?"])[0]
    assert "\ufffd" not in found.attentive + found.non_attentive  # no character was torn apart
    assert sorted(found.attentive + found.non_attentive) == sorted((prompt + "?").replace(" ", "")) or " " in prompt


def test_a_query_of_8k_tokens(byte_tokenizer):
    model = build("Llama", dtype=torch.float32, max_position_embeddings=9000, num_hidden_layers=1)
    found = AGSERScorer(model, byte_tokenizer, max_new_tokens=2).score(["abcdefgh" * 1024])[0]
    assert len(found.kept) == 8192
    assert sum(found.kept) == 5461
    assert found.contributions.completeness < 1e-4


def test_a_query_longer_than_the_model_reads_is_refused(scorer):
    with pytest.raises(ValueError, match="Prompt 0 has 600 tokens, and the model reads 512"):
        scorer.score(["x" * 600])


def test_rows_of_a_table(scorer):
    import pandas

    table = pandas.DataFrame([found.to_dict() for found in scorer.score([CHAT, "other"])])
    assert list(table["score"]) == list(table["r_att"] - table["r_non"])


def test_a_function_may_answer(llama, byte_tokenizer):
    asked = []
    scorer = AGSERScorer(
        llama, byte_tokenizer, generate=lambda prompts: [asked.append(p) or "Lu Xun" for p in prompts]
    )
    found = scorer.score([CHAT])[0]
    assert found.answer == "Lu Xun"
    assert found.score == 0.0
    assert asked[0] == CHAT
    assert {p[0]["content"] for p in asked[1:]} == {found.attentive, found.non_attentive}


def test_an_endpoint_that_is_down_is_one_sentence(llama, byte_tokenizer):
    engine = SamplingServer("http://127.0.0.1:9/v1", "m", temperature=0.0, attempts=1, seconds=2.0)
    with pytest.raises(EngineError, match="gives no text .nobody listens there."):
        AGSERScorer(llama, byte_tokenizer, generate=engine).score([CHAT])
    with pytest.raises(ValueError, match="greedy answers, and the engine draws at temperature 1.0"):
        by_engine(SamplingServer("http://127.0.0.1:9/v1", "m"))


@pytest.mark.parametrize("options", [{"k": 1.0}, {"lam": -1}, {"layers": "all"}, {"rows": "first"}, {"batch_size": 0}])
def test_options_are_checked(llama, byte_tokenizer, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AGSERScorer(llama, byte_tokenizer, **options)


def test_few_shot_answers_are_cut():
    assert first_line("\n The author is X.\nQuestion: next") == "The author is X."
    assert first_line(" \n") == ""


def test_loops_are_ended_and_nothing_else_is():
    from trl_r1.agser.generation import EndLoops

    prompt = [7] * 20
    rows = torch.tensor(
        [prompt + [1] * 12, prompt + [1, 2, 3] * 4, prompt + [1, 2, 3, 4, 5, 6] * 2, prompt + [1] * 11 + [2]]
    )
    assert EndLoops(20)(rows).tolist() == [True, True, False, False]
    assert EndLoops(21)(rows).tolist() == [False] * 4  # only eleven new tokens


def test_an_ended_loop_is_the_beginning_of_the_whole_answer(llama, byte_tokenizer):
    looping = copy.deepcopy(llama)
    looping.model.embed_tokens.weight.data[:] = looping.model.embed_tokens.weight.data[50]  # it hears one token only
    rows = byte_tokenizer(["Who wrote it?", "Why?"])["input_ids"]
    whole, ended = (
        AGSERScorer(looping, byte_tokenizer, max_new_tokens=60, end_loops=end).greedy.texts(rows)
        for end in (False, True)
    )
    assert [len(text) for text in whole] == [60, 60]
    assert [len(text) for text in ended] == [12, 12]
    assert all(long.startswith(short) for long, short in zip(whole, ended))
