"""Votes, checked by hand and against brute force."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1.evaluation.metrics import answer_classes
from trl_r1.routing.votes import Tally, confidence, is_decided


def same(a, b):
    return float(a) == float(b)


@given(st.lists(st.sampled_from([None, "1", "1.0", "2", "2.00", "3"]), max_size=12))
def test_counting_one_by_one_groups_as_counting_at_once(answers):
    tally = Tally(same)
    for answer in answers:
        tally.add(answer)
    assert tally.classes == answer_classes(answers, same)


@pytest.mark.parametrize(("first", "second", "left"), [(a, b, c) for a, b, c in product(range(6), repeat=3) if a >= b])
def test_decided_means_that_no_continuation_ties_or_overtakes(first, second, left):
    # the remaining paths may all go to the second, or all to an answer not seen so far
    worst = max(second + left, left)
    assert is_decided(first, second, left) == (first > worst)


def test_confidence_is_the_beta_posterior():
    assert confidence(0, 0) == 0.5
    assert confidence(4, 0) == 1 - 1 / 32  # P(Beta(5, 1) > 1/2) = 1 - (1/2)^5
    # Beta(3, 2): density 12 q^2 (1 - q); its integral over [1/2, 1] is 12 (7/24 - 15/64) = 11/16
    assert confidence(2, 1) == pytest.approx(11 / 16)


@given(st.integers(0, 40), st.integers(0, 40))
def test_confidence_is_symmetric_and_rises_with_the_lead(first, second):
    assert confidence(first, second) + confidence(second, first) == pytest.approx(1.0)
    assert confidence(first + 1, second) > confidence(first, second)


def test_agreement_counts_paths_without_an_answer():
    tally = Tally(same)
    for answer in ("15", None, "15.0", "14"):
        tally.add(answer)
    assert tally.agreement() == 0.5
    assert Tally(same).agreement() == 0.0
