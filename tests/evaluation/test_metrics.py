"""Numbers that can be checked on paper, and what must hold for all numbers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.evaluation.metrics import (
    answer_classes,
    bootstrap_interval,
    consensus,
    paired_difference,
    pass_at_k,
)


def same_number(a: str, b: str) -> bool:
    return float(a) == float(b)


def vote_for(gold: str, answers: list[str | None]) -> float:
    """Whether these answers agree on the gold one."""
    return consensus(answers, [answer is not None and same_number(answer, gold) for answer in answers], same_number)


def test_pass_at_k_by_hand():
    # 4 samples, 1 right: 2 of them hold the right one in 3 of 6 pairs; C(3,2)/C(4,2) = 3/6
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5, abs=1e-12)
    # 5 samples, 2 right, 3 drawn: 1 - C(3,3)/C(5,3) = 1 - 1/10
    assert pass_at_k(5, 2, 3) == pytest.approx(0.9, abs=1e-12)
    assert pass_at_k(16, 0, 16) == 0.0
    assert pass_at_k(16, 1, 16) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_pass_at_k_refuses_impossible_counts(n, c, k):
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
@settings(max_examples=60, deadline=None)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(correct, data):
    k = data.draw(st.integers(1, len(correct)))
    subsets = list(itertools.combinations(correct, k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    assert pass_at_k(len(correct), sum(correct), k) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 300), st.data())
@settings(max_examples=60, deadline=None)
def test_pass_at_k_grows_with_k_and_starts_at_pass_at_1(n, data):
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, max(1, n - 1)))
    assert pass_at_k(n, c, 1) == pytest.approx(c / n, abs=1e-9)
    assert 0.0 <= pass_at_k(n, c, k) <= pass_at_k(n, c, min(n, k + 1)) + 1e-12 <= 1.0 + 1e-12


def test_the_majority_is_counted_by_meaning_not_by_string():
    answers = ["7", "0.5", None, "1/2", "7", ".5", None, None]

    def same(a, b):
        value = {"1/2": 0.5}
        return value.get(a, a) == value.get(b, b) or float(value.get(a, a)) == float(value.get(b, b))

    assert answer_classes(answers, same) == [[0, 4], [1, 3, 5]]
    # three votes against two; None does not vote, though it has three
    assert consensus(answers, [a in ("0.5", "1/2", ".5") for a in answers], same) == 1.0


def test_a_tie_counts_the_share_of_tied_answers_that_are_right():
    # 4: two votes, 5.0 and 5: two votes, 6: one vote -> one of the two tied answers is right
    assert vote_for("5", ["4", "5.0", "5", "4", "6"]) == 0.5
    # of the first three, 4, 5.0 and 5, the answer 5 wins
    assert vote_for("5", ["4", "5.0", "5"]) == 1.0


def test_nobody_votes():
    assert vote_for("1", [None, None]) == 0.0
    assert vote_for("1", ["1", None]) == 1.0


@given(st.lists(st.sampled_from(["1", "1.0", "2", "2.00", "3", "3.0", None]), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_shortcuts_of_the_vote_agree_with_counting_every_class(answers):
    classes = answer_classes(answers, same_number)
    top = [members for members in classes if len(members) == max(map(len, classes))]
    expected = np.mean([same_number(answers[members[0]], "2") for members in top]) if top else 0.0
    assert vote_for("2", answers) == pytest.approx(expected, abs=1e-12)


def test_the_vote_compares_only_where_it_matters():
    def never(a, b):
        pytest.fail(f"compared {a} with {b}")

    assert consensus(["a", "b", "c"], [False] * 3, never) == 0.0  # nothing right: nothing to win
    assert consensus(["a", "a", "b", "c"], [True, True, True, False], never) == 1.0
    assert consensus(["a", "b", "b", "c"], [True, False, False, False], never) == 0.0


@given(st.lists(st.sampled_from(["1", "1.0", "2", "2.00", "3", None]), min_size=1, max_size=10), st.randoms())
@settings(max_examples=80, deadline=None)
def test_the_vote_does_not_depend_on_the_order_of_the_samples(answers, random):
    shuffled = random.sample(answers, len(answers))
    assert vote_for("2", answers) == pytest.approx(vote_for("2", shuffled))


def test_the_interval_of_a_coin_is_the_binomial_one():
    # 400 problems, half right: standard error sqrt(.25/400) = 0.025, 95 % interval 0.5 -+ 1.96 * 0.025 = 0.049
    interval = bootstrap_interval([0.0, 1.0] * 200)
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.451, abs=0.004)
    assert interval.high == pytest.approx(0.549, abs=0.004)
    narrower = bootstrap_interval([0.0, 1.0] * 200, level=0.68)  # one standard error
    assert narrower.high - narrower.low == pytest.approx(2 * 0.025, abs=0.006)


def test_the_interval_is_repeatable_and_touches_no_global_randomness():
    state = np.random.get_state()[1].copy()
    values = np.linspace(0, 1, 37)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    assert (np.random.get_state()[1] == state).all()


def test_the_interval_leaves_out_what_cannot_be_judged():
    assert bootstrap_interval([1.0, float("nan"), 0.0]) == bootstrap_interval([1.0, 0.0])
    assert all(map(math.isnan, bootstrap_interval([float("nan")])))
    assert all(map(math.isnan, bootstrap_interval([])))
    for wrong in ({"level": 95}, {"level": 0.0}, {"resamples": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            bootstrap_interval([1.0], **wrong)


def test_many_problems_are_resampled_in_blocks_without_changing_the_result(monkeypatch):
    values = np.linspace(0, 1, 101)
    whole = bootstrap_interval(values, resamples=500)
    monkeypatch.setattr("trl_r1.evaluation.metrics.BLOCK", 1000)  # 9 resamples at a time
    assert bootstrap_interval(values, resamples=500) == whole


def test_the_paired_difference_takes_out_the_difficulty_of_the_problems():
    easy_and_hard = np.array([0.0, 1.0] * 50)
    better = easy_and_hard * 0.9 + 0.1  # hard problems gain 0.1, easy ones nothing
    difference = paired_difference(easy_and_hard, better)
    assert difference.mean == pytest.approx(0.05, abs=1e-9)
    assert difference.low > 0.03  # paired: surely better
    assert bootstrap_interval(better).low < bootstrap_interval(easy_and_hard).high  # unpaired: they overlap
    with pytest.raises(ValueError, match="same problems twice"):
        paired_difference([1.0], [1.0, 0.0])
    assert paired_difference([1.0, float("nan")], [0.5, 1.0]).mean == -0.5
