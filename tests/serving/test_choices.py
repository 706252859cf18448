"""What a client gets of a text: reasoning beside the content or in it, streamed as it is sent whole."""

import pytest

from trl_r1.models.rendering import TemplateFacts
from trl_r1.models.rendering.stream import ReplyRule
from trl_r1.routing.paths import Candidate
from trl_r1.serving.choices import Choice, Deltas, choice_of, with_reasoning


TEXTS = ["Four.", "<think>hm</think>\n\nFour.", "<think>\nhm", "hm</think> Four. ", " <think> a  b </think>c<think>"]


def of_text(text, rule=None, chat=True, separate=True):
    return choice_of(Candidate(text, 3), rule or ReplyRule(), chat, separate, {})


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("opened", [True, False])
def test_deltas_add_up_to_the_whole_message(separate, opened):
    """Characters play the tokens."""
    for text in TEXTS:
        for stop in ((), ("ur",)):
            rule, told = ReplyRule(opened=opened, stop=stop), {"reasoning": "", "content": ""}

            def tell(number, kind, piece, told=told):
                told[kind] += piece

            deltas = Deltas(lambda ids: "".join(map(chr, ids)), rule, tell, separate)
            for letter in text:
                deltas.add(0, ord(letter))
            cut, _ = rule.cut(text)
            deltas.finish(0, cut)
            whole = of_text(cut, rule, separate=separate)
            assert told == {"reasoning": whole.reasoning or "", "content": whole.content}


def test_a_message_carries_its_reasoning_under_both_names():
    assert of_text(TEXTS[1]).message() == {
        "role": "assistant",
        "content": "Four.",
        "refusal": None,
        "reasoning_content": "hm",
        "reasoning": "hm",
    }
    assert of_text(TEXTS[0]).message() == {"role": "assistant", "content": "Four.", "refusal": None}


def test_tags_stay_in_the_content_where_that_is_wanted_and_in_plain_completions():
    assert of_text(TEXTS[1], separate=False).content == TEXTS[1]
    assert of_text("hm</think>Four.", ReplyRule(opened=True), separate=False).content == "<think>hm</think>Four."
    assert of_text("hm</think>Four.", ReplyRule(opened=True), chat=False).content == "hm</think>Four."


def test_what_a_server_has_taken_apart_is_passed_through():
    call = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    sent = {"message": {"content": None, "reasoning": " hm ", "tool_calls": call}, "finish_reason": "tool_calls"}
    found = choice_of(Candidate("<think> hm </think>", 3, choice=sent), ReplyRule(), True, True, {})
    assert found == Choice("", "tool_calls", " hm ", call)
    assert (found.message()["content"], found.message()["tool_calls"]) == (None, call)
    scored = {"message": {"content": "4"}, "logprobs": {"content": []}, "finish_reason": "length"}
    path = Candidate("4", 1, choice=scored)
    assert choice_of(path, ReplyRule(), True, True, {}).logprobs is None  # asked for by us, not by the client
    assert choice_of(path, ReplyRule(), True, True, {"logprobs": True}).logprobs == {"content": []}
    assert choice_of(path, ReplyRule(), True, True, {}).finish_reason == "length"


@pytest.mark.parametrize(
    "said",
    [
        {"content": "Four.", "reasoning_content": "hm"},
        {"content": "Four.", "reasoning": "hm"},
        {"content": "<think>hm</think>\n\nFour."},
        {"content": "hm</think>Four."},
    ],
)
def test_a_history_is_read_with_either_form(said):
    turns = [{"role": "user", "content": "2 + 2?", "name": "me"}, {"role": "assistant", **said}]
    read = with_reasoning(turns, TemplateFacts(reasoning_key="reasoning_content"))
    assert read == [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "Four.", "reasoning_content": "hm"},
    ]
    assert with_reasoning(turns, TemplateFacts())[1] == {"role": "assistant", "content": said["content"]}
