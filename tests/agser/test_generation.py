"""Greedy answers with their tokens: what is left of them when they are cut, and where loops end."""

import pytest

from trl_r1.agser.generation import EndLoops, Generated
from trl_r1.agser.scorer import first_line


def drawn(tokenizer, text, end=()):
    return Generated(text, (*tokenizer(text)["input_ids"], *end), bool(end))


def test_a_cut_answer_loses_its_end_and_what_stood_behind(byte_tokenizer):
    whole = drawn(byte_tokenizer, "\n Paris. \nQuestion: more", [1])
    cut = whole.cut(first_line, byte_tokenizer)
    assert cut == Generated("Paris.", tuple(byte_tokenizer("\n Paris.")["input_ids"]), False)


def test_an_answer_of_one_line_keeps_its_end(byte_tokenizer):
    whole = drawn(byte_tokenizer, " Paris.\n", [1])
    assert whole.cut(first_line, byte_tokenizer) == Generated("Paris.", whole.ids, True)
    assert whole.cut(None, byte_tokenizer) == whole


def test_of_a_cut_answer_one_token_is_left_at_least(byte_tokenizer):
    cut = drawn(byte_tokenizer, "abc").cut(lambda text: "", byte_tokenizer)
    assert cut.ids == tuple(byte_tokenizer("a")["input_ids"])


def test_a_character_of_several_tokens_is_whole(byte_tokenizer):
    cut = drawn(byte_tokenizer, "鲁迅\n写").cut(first_line, byte_tokenizer)
    assert cut.ids == tuple(byte_tokenizer("鲁迅")["input_ids"])


def test_what_the_answer_does_not_hold_is_read_anew(byte_tokenizer):
    cut = drawn(byte_tokenizer, "abc", [1]).cut(str.upper, byte_tokenizer)
    assert cut == Generated("ABC", tuple(byte_tokenizer("ABC")["input_ids"]), False)


@pytest.mark.parametrize(
    ("ids", "count"),
    [([1, 2] * 6 + [9], 12), ([7, *[1, 2, 3] * 4, 0, 0], 13), ([1, 2] * 5, 10), (list(range(20)), 20)],
)
def test_a_loop_ends_where_it_has_repeated_itself(ids, count):
    assert EndLoops(0).first(ids) == count
