"""Completions taken apart: every shape TRL hands over, every broken pair of tags, in linear time."""

import time

import pytest

from trl_r1.text.completions import after_reasoning, reasoning_of, reply, visible


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("plain", "plain"),
        (None, ""),
        ([], ""),
        ([{"role": "assistant", "content": "hello"}], "hello"),
        ([{"content": "no role"}], "no role"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}], ""),
        (
            [
                {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]},
                {"role": "tool", "name": "add", "content": "5"},
                {"role": "assistant", "content": "It is 5."},
            ],
            "It is 5.",
        ),
        ([{"role": "assistant", "content": "It is 5."}, {"role": "tool", "content": "trailing"}], "It is 5."),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"]}], "ab"),
        ([{"role": "assistant", "reasoning_content": "hm", "content": "5"}], "<think>hm</think>5"),
        ({"role": "assistant", "content": "one message"}, "one message"),
    ],
)
def test_reply_reads_every_shape_of_completion(completion, expected):
    assert reply(completion) == expected


def test_reply_refuses_what_is_no_completion():
    with pytest.raises(TypeError, match="not int"):
        reply(5)


@pytest.mark.parametrize(
    ("text", "inside", "after"),
    [
        ("<think>a</think>b", "a", "b"),
        ("a</think>b", "a", "b"),  # the template prefilled <think>
        ("<think>a", "a", ""),  # cut off: nothing follows an unfinished thought
        ("b", "", "b"),
        ("x<think>a</think>b", "a", "b"),
        ("<think>a</think>b</think>c", "a</think>b", "c"),  # the last closing tag ends the thought
        ("<think>a</think>b<think>c", "a", "b"),  # a thought opened again hides what follows it
        ("", "", ""),
    ],
)
def test_thought_and_what_follows_it(text, inside, after):
    assert reasoning_of(text) == inside
    assert after_reasoning(text) == after


def test_a_prefilled_thought_without_its_end_is_all_thought():
    assert reasoning_of("unfinished", prefilled=True) == "unfinished"
    assert after_reasoning("unfinished", prefilled=True) == ""


def test_visible_is_not_fooled_by_characters_that_draw_nothing():
    assert not visible(" \n\t\u200b\u200d\u2060\ufeff\u3164\u2800\u00ad")
    assert visible(" 5 ")


@pytest.mark.parametrize(
    "text", ["<think>" * 100_000, "</think>" * 100_000, "<think></think>" * 50_000, "<" * 700_000]
)
def test_tags_by_the_hundred_thousand_take_linear_time(text):
    start = time.process_time()
    reasoning_of(text)
    after_reasoning(text)
    assert time.process_time() - start < 1.0


def test_parts_without_text_say_nothing():
    parts = [
        {"type": "text"},
        None,
        {"type": "image", "url": None},
        {"type": "text", "text": None},
        "a",
        {"text": "b"},
    ]
    assert reply([{"role": "assistant", "content": parts}]) == "ab"


def test_a_thought_in_parts_is_put_back_into_the_text():
    said = [{"type": "thinking", "thinking": [{"type": "text", "text": "2 + 2"}]}, {"type": "text", "text": "4"}]
    assert reply([{"role": "assistant", "content": said}]) == "<think>2 + 2</think>4"
    assert (
        reply([{"role": "assistant", "content": [{"type": "thinking", "thinking": "2 + 2"}]}])
        == "<think>2 + 2</think>"
    )
