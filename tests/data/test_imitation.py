"""Rows to imitate as ids and labels: what a row says about its own rendering is honoured, and refusals name the row."""

import pytest
from datasets import Dataset
from fitting_tokenizers import fitting, template_text

from trl_r1.data.imitation import ids_and_mask, to_imitate, tokenized
from trl_r1.models.rendering import Renderer


ASKED = [{"role": "user", "content": "2+2?"}]


def renderer(name, **options):
    return Renderer(fitting(name), chat_template=template_text(name), **options)


def labels(made, row) -> str:
    """What a row trains on, as text."""
    ids = [token for token, label in zip(row["input_ids"], row["completion_mask"]) if label]
    return made.tokenizer.decode(ids)


def test_a_thought_in_a_column_of_its_own_is_trained_on():
    rows = Dataset.from_list([{"prompt": ASKED, "completion": "Four.", "why": "I add."}])
    made = renderer("qwen3")
    row = tokenized(to_imitate(rows, reasoning_column="why"), made)[0]
    assert labels(made, row) == "<think>\nI add.\n</think>\n\nFour.<|im_end|>"


def test_a_row_s_own_switch_and_tools_reach_the_template():
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    rows = [
        {"prompt": ASKED, "completion": "Four.", "chat_template_kwargs": {"enable_thinking": False}, "tools": [tool]},
        {"prompt": ASKED, "completion": "Four.", "chat_template_kwargs": {"enable_thinking": True}, "tools": None},
    ]
    made = renderer("qwen3")
    off, on = tokenized(to_imitate(Dataset.from_list(rows)), made)
    assert labels(made, off) == "Four.<|im_end|>"
    assert '"name": "add"' in made.tokenizer.decode(off["input_ids"])
    assert labels(made, on) == "<think>\n\n</think>\n\nFour.<|im_end|>"
    assert '"name": "add"' not in made.tokenizer.decode(on["input_ids"])


def test_a_row_that_cannot_be_trained_on_is_named():
    rows = [{"prompt": ASKED, "completion": "Four."}, {"prompt": ASKED, "completion": "<think>I add"}]
    with pytest.raises(ValueError, match=r"'mine': row 1 \(counted from 0\) cannot be trained on\. .* never closes"):
        tokenized(Dataset.from_list(rows), renderer("qwen3"), name="'mine'")


def test_every_assistant_s_turn_is_trained_on_when_asked():
    talk = [*ASKED, {"role": "assistant", "content": "Four."}, {"role": "user", "content": "3+3?"}]
    rows = Dataset.from_list([{"prompt": talk, "completion": "Six."}])
    made = renderer("qwen2_5")
    assert labels(made, tokenized(rows, made)[0]) == "Six.<|im_end|>"
    assert labels(made, tokenized(rows, made, all_assistant_turns=True)[0]) == "Four.<|im_end|>Six.<|im_end|>"


def test_rows_are_measured_as_they_are_trained():
    rows = Dataset.from_list([{"prompt": ASKED, "completion": text} for text in ("Four.", "Four, of course.")])
    made = renderer("llama3")
    lengths = [len(row["input_ids"]) for row in tokenized(rows, made)]
    assert len(tokenized(rows, made, max_length=lengths[0])) == 1
    with pytest.raises(ValueError, match=f"longer than max_length=3 tokens \\(the shortest has {lengths[0]}\\)"):
        tokenized(rows, made, max_length=3)


def test_the_miniature_s_rows_are_the_ids_that_one_text_gives():
    """Its tokens never cross from a prompt into a reply, so tokenizing apart changes none of its numbers."""
    from trl_r1.mini.model import SCALES, build_tokenizer, draw_corpus

    documents = draw_corpus(120, 0)
    tokenizer = build_tokenizer(documents, SCALES["tiny"].vocabulary)
    rows = Dataset.from_list([{"prompt": document.prompt, "completion": document.reply} for document in documents])
    made = tokenized(rows, Renderer(tokenizer))
    assert made["input_ids"][:] == [
        tokenizer(document.prompt + document.reply + tokenizer.eos_token)["input_ids"] for document in documents
    ]


def test_rows_that_have_only_messages_need_no_option():
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    made = to_imitate(Dataset.from_list([{"id": 1, "messages": turns}]))
    assert made.to_list() == [{"prompt": turns[:1], "completion": turns[1:]}]


def test_messages_are_not_taken_beside_a_prompt():
    rows = Dataset.from_list([{"prompt": "2+2?", "messages": [{"role": "user", "content": "a"}]}])
    with pytest.raises(ValueError, match="no column 'completion'"):
        to_imitate(rows)


def test_questions_with_answers_are_told_the_two_ways_to_go_on():
    rows = Dataset.from_list([{"question": "2+2?", "answer": "4"}])
    with pytest.raises(ValueError, match="set completion_column to it.*trl-r1 zero.*solution_column: answer"):
        to_imitate(rows)
    assert to_imitate(rows, completion_column="answer").to_list() == [{"prompt": "2+2?", "completion": "4"}]


ASKED_IN_PARTS = [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}]
REPLIES = {
    "content": {"content": "<think>\nI add.\n</think>\n\nFour."},
    "reasoning_content": {"content": "Four.", "reasoning_content": "I add."},
    "thinking": {"content": "Four.", "thinking": "I add."},
    "parts": {"content": [{"type": "thinking", "thinking": "I add."}, {"type": "text", "text": "Four."}]},
    "parts of parts": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "I add."}]},
            {"type": "text", "text": "Four."},
        ]
    },
}


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "deepseekv3", "gemma4", "muse_glimmer", "llama3_1"])
def test_a_thought_trains_the_same_labels_wherever_a_row_carries_it(name):
    made_by = renderer(name)
    trained = {}
    for form, reply in REPLIES.items():
        asked = ASKED_IN_PARTS if "parts" in form else ASKED
        rows = to_imitate(Dataset.from_list([{"messages": [*asked, {"role": "assistant", **reply}]}]))
        trained[form] = ids_and_mask(rows[0], 0, made_by, False, "rows")
    rows = Dataset.from_list([{"prompt": ASKED, "completion": "Four.", "why": "I add."}])
    trained["column"] = ids_and_mask(to_imitate(rows, reasoning_column="why")[0], 0, made_by, False, "rows")
    assert [form for form, made in trained.items() if made != trained["reasoning_content"]] == []
    assert "I add." in made_by.tokenizer.decode(trained["column"]["input_ids"])
