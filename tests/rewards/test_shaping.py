"""Shaping: length and repetition, alone and around another reward, where a wrong answer can never profit."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1.rewards.shaping import (
    CosineLength,
    Overlong,
    Repetition,
    cosine,
    cosine_length_reward,
    overlong,
    overlong_reward,
    repetition,
    repetition_reward,
)


SHAPES = [Overlong(longest=100, soft=50), CosineLength(longest=100), Repetition(tokens=3, characters=3)]


def inner(completions, score, **columns):
    """A reward whose scores are a column of the data."""
    return score


async def awaited(completions, **columns):
    return [1.0] * len(completions)


def around(shape, **options):
    import dataclasses

    return dataclasses.replace(shape, inner=inner, **options)


def test_overlong_is_dapos_equation_13():
    # margin from 80 to 100: (80 - 90)/20 = -1/2
    reward = Overlong(longest=100, soft=20)
    lengths = [0, 80, 85, 90, 100, 101, 10_000]
    assert reward(["x"] * 7, completion_ids=[[1] * n for n in lengths]) == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0, -1.0]
    assert [overlong(n, 100, 0) for n in (100, 101)] == [0.0, 1.0]


def test_overlong_agrees_with_trl():
    from trl.rewards import get_soft_overlong_punishment

    theirs = get_soft_overlong_punishment(max_completion_len=100, soft_punish_cache=20)
    ids = [[1] * n for n in range(130)]
    assert Overlong(longest=100, soft=20)(["x"] * 130, completion_ids=ids) == theirs(completion_ids=ids)


def test_cosine_falls_from_one_to_zero_and_stays_there():
    reward = CosineLength(longest=100)
    scores = reward(["x"] * 5, completion_ids=[[1] * n for n in (0, 50, 100, 150, 200)])
    # (1 + cos(pi * n / 100)) / 2; unclamped copies pay 1/2 at 150 and 1 at 200 again
    assert scores == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0], abs=1e-12)
    assert cosine(25, 100) == pytest.approx((1 - math.sqrt(0.5)) / 2)


def test_without_token_ids_lengths_are_characters_of_the_reply():
    conversation = [{"role": "assistant", "content": "y" * 90}]
    assert Overlong(longest=100, soft=20)(["y" * 90, conversation, None, ""]) == [-0.5, -0.5, 0.0, 0.0]


def test_repetition_is_the_share_of_ngrams_seen_before():
    # 5 5 5 5 5 has four 2-grams, one of them new
    reward = Repetition(tokens=2)
    assert reward(["x"] * 3, completion_ids=[[5] * 5, [1, 2, 3], [1]]) == [-0.75, 0.0, 0.0]
    assert repetition("abcabc", 3) == 0.25  # abc bca cab abc


def test_repetition_agrees_with_trl_on_token_ids():
    from trl.rewards import get_repetition_penalty_reward

    ids = [[n % 7 for n in range(length)] for length in range(40)]
    theirs = get_repetition_penalty_reward(ngram_size=3)(completion_ids=ids)
    assert Repetition(tokens=3)(["x"] * 40, completion_ids=ids) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(
    "unit", ["So we add the two numbers again. ", "所以我们再把两个数字相加一次。", "ดังนั้นเราจึงบวกตัวเลขทั้งสองอีกครั้ง"]
)
def test_repetition_is_found_in_every_script(unit):
    assert repetition_reward.score(unit * 40) < -0.9
    assert repetition_reward.score(unit) == 0.0


def test_spans_of_repetition_sum_to_the_score():
    text = "abcdef" * 2 + "xyz" + "abcdef"
    reward = Repetition(characters=4)
    spans = reward.spans(text)
    # 18 4-grams; abcd bcde cdef return twice: 6 repeated, each told at its last character
    assert reward.score(text) == -6 / 18
    assert [text[start:end] for start, end, _ in spans] == ["def", "def"]
    assert sum(share for *_, share in spans) == pytest.approx(-6 / 18)
    assert reward.spans("") == []


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_around_a_reward_only_what_is_right_moves(shape):
    completions, ids = ["x"] * 4, [[1] * 200, [1, 2], [1] * 200, [1, 2]]
    scores = around(shape, weight=0.2)(completions, completion_ids=ids, score=[0.0, 0.0, 1.0, 1.0])
    assert scores[:2] == [0.0, 0.0]
    assert 0.8 <= scores[2] < 0.81  # 1 - 0.2 * 1 (repetition: 197/198)
    assert 0.999 < scores[3] <= 1.0


def test_a_right_but_faulty_answer_is_never_below_an_almost_right_one():
    reward = around(Overlong(longest=100, soft=50), weight=0.2)
    scores = reward(["x"] * 4, completion_ids=[[1] * 200, [1], [1] * 200, [1] * 200], score=[1.0, 0.9, 0.5, 1.5])
    assert scores == [0.8, 0.8, 0.5, 1.5]  # 0.9 is cut to 1 - 0.2


def test_none_stays_none_and_nan_is_none():
    reward = around(Overlong(longest=10, soft=5))
    assert reward(["x"] * 2, completion_ids=[[1] * 9] * 2, score=[None, math.nan]) == [None, None]


finite = st.floats(-3, 3) | st.sampled_from([0.0, 0.5, 0.8, 0.9, 1.0, 1.5])


@given(
    st.sampled_from(SHAPES),
    st.tuples(finite, finite).filter(lambda pair: pair[0] != pair[1]).map(sorted),
    st.lists(st.integers(0, 3), max_size=150),
    st.lists(st.integers(0, 3), max_size=150),
    st.floats(0.01, 2.0),
)
def test_what_is_judged_worse_never_ends_above_what_is_judged_better(shape, scores, worse_ids, better_ids, weight):
    reward = around(shape, weight=weight)
    worse, better = reward(["x", "y"], completion_ids=[worse_ids, better_ids], score=scores)
    assert worse <= better
    assert reward(["x"], completion_ids=[better_ids], score=scores[:1]) in ([worse], [better]) or scores[0] == 1.0


@given(st.sampled_from(SHAPES), st.text(max_size=300))
def test_alone_every_score_is_in_its_range(shape, text):
    low, high = (0.0, 1.0) if isinstance(shape, CosineLength) else (-1.0, 0.0)
    assert low <= shape.score(text) <= high
    assert shape([text]) == [shape.score(text)]


def test_the_inner_reward_may_be_a_name_and_gets_every_column():
    reward = Overlong(inner={"name": "accuracy", "options": {"solution_column": "gold"}}, longest=10, soft=5)
    assert reward.__name__ == "accuracy_overlong"
    assert reward([r"\boxed{5}", r"\boxed{6}"], gold=["5", "5"], completion_ids=[[1] * 10, [1]]) == [0.8, 0.0]
    assert Repetition(inner="format").__name__ == "format_repetition"
    assert Repetition(inner="format", name="tidy").__name__ == "tidy"
    seen = {}
    Overlong(inner=inner)(["x"], score=[1.0], log_metric=seen.__setitem__, trainer_state=None)
    assert seen == {"inner_overlong/fault": 0.0}


def test_wrappers_nest():
    nested = Repetition(inner=around(Overlong(longest=100, soft=50), weight=0.2), tokens=3, weight=0.1)
    ids = [[1] * 200, list(range(20)), list(range(20))]
    assert nested.__name__ == "inner_overlong_repetition"
    assert nested(["x"] * 3, completion_ids=ids, score=[1.0, 1.0, 0.0]) == [0.8, 1.0, 0.0]


def test_catalogue_names_pickles_and_hashes():
    for reward, name in (
        (overlong_reward, "overlong"),
        (cosine_length_reward, "cosine_length"),
        (repetition_reward, "repetition"),
    ):
        assert reward.__name__ == name
        assert pickle.loads(pickle.dumps(reward)) == reward
        wrapped = around(reward)
        assert pickle.loads(pickle.dumps(wrapped)) == wrapped
        assert hash(wrapped) == hash(around(reward))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Overlong(inner=3), "inner=3 is no reward"),
        (lambda: Overlong(inner="acuracy"), "Did you mean 'accuracy'"),
        (lambda: Overlong(inner=awaited), "asynchronous"),
        (lambda: Overlong(inner={"name": "format", "weight": 2.0}), "no weight of its own"),
        (lambda: Overlong(weight=0.0), "weight=0.0"),
        (lambda: Overlong(right=math.nan), "right=nan"),
        (lambda: Overlong(longest=10, soft=20), "soft=20 is more than longest=10"),
        (lambda: CosineLength(longest=0), "longest=0"),
        (lambda: Repetition(tokens=1.5), "tokens=1.5"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_long_text_takes_linear_time():
    assert repetition_reward.score("ab" * 100_000) < -0.99
    assert repetition_reward(["x"], completion_ids=[[1, 2] * 50_000])[0] < -0.99
