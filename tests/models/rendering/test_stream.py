"""A reply in pieces is the reply as a whole, whatever the cut; it ends at a stop string, and not inside its reasoning."""

import pytest
from fitting_tokenizers import fitting, template_text
from hypothesis import example, given
from hypothesis import strategies as st

from trl_r1.models.rendering import Renderer
from trl_r1.models.rendering.stream import ReplyRule, ReplyStream, TokenText, Trim, held_back


CHANNELS = ReplyRule((("<|a|>", "<|e|>"),), answer_open="<|f|>", stop=("ab",))


def in_pieces(rule, pieces):
    stream, trim = ReplyStream(rule), Trim()
    parts = [part for piece in pieces for part in stream.feed(piece)] + stream.finish()
    told = {"reasoning": "", "content": ""}
    for part in parts:
        for kind, text in trim.add(*part):
            told[kind] += text
    return "".join(text for _, text in parts), told["reasoning"], told["content"], stream.stopped


@example(["<think>", "</", "think>"], False, True, ("</",))  # a stop string that begins the closing mark
@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<", "a", "b", "ab", "abc", " ", "</thi", "<|a|>", "<|e|>", "<|f|>"])
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(), ("abc", "b"), ("</",), ("ab", "a ")]),
)
def test_the_cut_does_not_matter(pieces, opened, inside, stop):
    for rule in (ReplyRule(opened=opened, stop=stop, stop_in_reasoning=inside), CHANNELS):
        assert in_pieces(rule, "".join(pieces)) == in_pieces(rule, ["".join(pieces)])
        assert in_pieces(rule, pieces) == in_pieces(rule, ["".join(pieces)])


@pytest.mark.parametrize(
    ("rule", "text", "reasoning", "content"),
    [
        (ReplyRule(), "Hello.", None, "Hello."),
        (ReplyRule(), " Hello. ", None, " Hello. "),
        (ReplyRule(), "<think>\nhm\n</think>\n\nFour.", "hm", "Four."),
        (ReplyRule(), "<think>never ends", "never ends", ""),
        (ReplyRule(opened=True), "hm</think>Four.", "hm", "Four."),
        (ReplyRule(opened=True), "hm", "hm", ""),
        (ReplyRule(), "Use <think> as a tag.", None, "Use <think> as a tag."),
        (CHANNELS, "<|a|>hm<|e|>assistant<|f|>Four.", "hm", "Four."),
        (CHANNELS, "<|f|>Four.", None, "Four."),
    ],
)
def test_reasoning_and_content(rule, text, reasoning, content):
    assert rule.apart(text) == (reasoning, content)


def test_a_stop_string_ends_the_content_and_the_reasoning_only_if_asked():
    text = "<think>1\n\n2</think>3\n\n4"
    assert ReplyRule(stop=("\n\n",)).cut(text) == ("<think>1\n\n2</think>3", True)
    assert ReplyRule(stop=("\n\n",), stop_in_reasoning=True).cut(text) == ("<think>1", True)
    assert ReplyRule(stop=("5",)).cut(text) == (text, False)
    assert ReplyRule(stop=("b", "abc")).cut("xabcd") == ("x", True)  # the one that begins first


def test_what_may_become_a_stop_string_is_held_back():
    stream = ReplyStream(ReplyRule(stop=("END",)))
    assert stream.feed("one E") == [("content", "one ")]
    assert stream.feed("N") == []
    assert stream.feed("TER") == [("content", "ENTER")]
    assert (stream.feed("EN"), stream.feed("D two"), stream.stopped) == ([], [], True)
    assert held_back("aaa", ("aab",)) == 2


def test_marks_that_are_special_tokens_are_streamed_as_the_whole_text_has_them():
    tokenizer = fitting("qwen3", think_is_special=True)
    renderer = Renderer(tokenizer, chat_template=template_text("qwen3"))
    ids = tokenizer("<think>hm\u00e9</think>Four.<|im_end|>", add_special_tokens=False)["input_ids"]
    text = TokenText(renderer.decode)
    told = [text.add(token) for token in ids]
    assert told[0] == "<think>"
    assert "".join(told) == text.text == renderer.decode(ids) == "<think>hm\u00e9</think>Four."
    assert all("\ufffd" not in piece for piece in told)
