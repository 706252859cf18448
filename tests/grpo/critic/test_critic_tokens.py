"""Scores and their spans, laid out over tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.grpo.critic.token_rewards import TokenPlaces, spans_of, token_rewards


def pieces(words):
    """A decoder over whole words as tokens."""
    return lambda ids: "".join(words[i] for i in ids)


WORDS = ["<think>", " 2", " + 2", " = 4", "</think>", " 4", ""]  # the last: an end token, skipped by the decoder
TEXT = "".join(WORDS)


def test_a_share_is_paid_at_the_token_that_completes_its_place():
    place = TokenPlaces(range(7), pieces(WORDS), TEXT)
    claim = TEXT.index("2 + 2 = 4")
    spans = [(0, len("<think>"), 0.25), (claim, claim + 9, 0.5)]
    # <think> ends with token 0, the claim with token 3; what is left of 1.0 is paid at the end token
    assert token_rewards(1.0, spans, 7, place).tolist() == [0.25, 0.0, 0.0, 0.5, 0.0, 0.0, 0.25]


def test_a_score_without_spans_is_paid_at_the_last_token():
    assert token_rewards(0.7, [], 3).tolist() == [0.0, 0.0, 0.7]
    assert token_rewards(0.7, [], 4, None, [0, 1]).tolist() == [0.0, 0.7, 0.0, 0.0]  # two tokens of padding
    assert token_rewards(0.7, [], 2, None, []).tolist() == [0.0, 0.0]


def test_a_span_that_ends_in_a_tools_result_is_paid_at_the_next_action():
    place = TokenPlaces(range(7), pieces(WORDS), TEXT)
    spans = [(0, TEXT.index(" = 4") + 4, 1.0)]
    assert token_rewards(1.0, spans, 7, place, [0, 1, 5]).tolist() == [0, 0, 0, 0, 0, 1.0, 0]
    assert token_rewards(1.0, spans, 7, place, [0, 1]).tolist() == [0, 1.0, 0, 0, 0, 0, 0]


def test_a_template_in_front_and_a_parser_that_cut_move_the_characters():
    prefilled = TokenPlaces(range(2), pieces([" 2", "</think>"]), "<think> 2</think>")
    assert (prefilled(7), prefilled(9), prefilled(17)) == (
        0,
        0,
        1,
    )  # the template's own tag counts for the first token
    cut = TokenPlaces(range(3), pieces(["  ", "ab", "c"]), "abc")
    assert (cut(1), cut(2), cut(3)) == (1, 1, 2)
    other = TokenPlaces(range(2), pieces(["x", "y"]), "something else")
    assert other(3) is None
    assert token_rewards(1.0, [(0, 3, 1.0)], 2, other).tolist() == [0.0, 1.0]


def test_half_a_character_does_not_count_as_one(tiny):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)  # one token per byte
    text = "a€b"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) == 5
    place = TokenPlaces(ids, lambda some: tokenizer.decode(some, skip_special_tokens=True), text)
    assert [place(end) for end in (1, 2, 3)] == [0, 3, 4]


@settings(max_examples=60, deadline=None)
@given(st.floats(-5, 5), st.lists(st.tuples(st.integers(0, 28), st.integers(0, 28), st.floats(-1, 1)), max_size=6))
def test_tokens_always_add_up_to_the_score(score, spans):
    place = TokenPlaces(range(7), pieces(WORDS), TEXT)
    for actions in (None, [1, 4], [6]):
        rewards = token_rewards(score, spans, 7, place, actions)
        assert rewards.sum().item() == pytest.approx(score, abs=1e-9)
        if actions is not None:
            assert set(rewards.nonzero().flatten().tolist()) <= set(actions)


def test_spans_are_asked_of_the_rewards_that_have_them():
    from trl_r1 import load_reward

    reply = "<think>2 + 2 = 4</think><answer>4</answer>"
    assert spans_of(len, reply, "", {}) == []
    assert sum(share for *_, share in spans_of(load_reward("format"), reply, "", {})) == pytest.approx(1.0)
    language = load_reward("language_consistency")
    thought = "<think>so we can see that this is right</think>"
    assert spans_of(language, thought, "", {}) == []  # no target is known: all of it goes to the last token
    assert sum(s for *_, s in spans_of(language, thought, "", {"language": "en"})) == pytest.approx(1.0)
    logic = spans_of(load_reward("logic"), "2 + 2 = 4 and 3 + 3 = 6", "sum", {})
    assert [share for *_, share in logic] == [0.5, 0.5]
