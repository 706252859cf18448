"""Levels by hand: Wilson's interval, the weights, the domains, and what datasets state."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.data.difficulty import DOMAINS, LEVELS, Z, grade, histogram, level_of, stated_difficulty, wilson


def test_wilson_by_hand():
    # 8 of 16, z^2 = 3.841459: centre (8 + 1.920729)/(16 + 3.841459) = 0.5; half = z/19.841459 * sqrt(4 + 0.960365)
    rate, low, high = wilson(8, 16)
    half = 1.959964 / 19.841459 * math.sqrt(4.960365)
    assert rate == pytest.approx(0.5, abs=1e-9)
    assert (low, high) == (pytest.approx(0.5 - half, abs=1e-5), pytest.approx(0.5 + half, abs=1e-5))
    assert wilson(0, 0) == (0.5, 0.0, 1.0)
    assert wilson(0, 7)[1] == 0.0
    assert wilson(7, 7)[2] == 1.0
    with pytest.raises(ValueError, match="right=3 of tried=2"):
        wilson(3, 2)


@given(st.integers(0, 200), st.integers(1, 200))
def test_wilson_bounds_solve_their_equation(right, extra):
    tried = right + extra
    share = right / tried
    rate, low, high = wilson(right, tried)
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):  # |p - k/n| = z sqrt(p (1 - p) / n)
        assert (bound - share) ** 2 == pytest.approx(Z * Z * bound * (1 - bound) / tried, abs=1e-9)


@pytest.mark.parametrize(
    ("evidence", "score", "level"),
    [
        # pass rate alone: 1 - (k + 1.920729)/(n + 3.841459)
        ({"right": 16, "tried": 16}, 1 - 17.920729 / 19.841459, 1),  # .0968
        ({"right": 12, "tried": 16}, 1 - 13.920729 / 19.841459, 2),  # .2984
        ({"right": 8, "tried": 16}, 0.5, 4),
        ({"right": 4, "tried": 16}, 1 - 5.920729 / 19.841459, 5),  # .7016
        ({"right": 0, "tried": 16}, 1 - 1.920729 / 19.841459, 6),  # .9032
        ({"right": 0, "tried": 4}, 1 - 1.920729 / 7.841459, 5),  # .7551: four samples are not enough for 6
        # steps alone: (steps - 5)/15
        ({"steps": 3}, 0.0, 1),
        ({"steps": 12.5}, 0.5, 4),
        ({"steps": 40}, 1.0, 6),
        ({"steps": 3, "step_range": (2, 6)}, 0.25, 2),
        # stated alone
        ({"stated": 0.75}, 0.75, 5),
        # steps weigh 0.25, a statement 0.5: (0.25 * 1 + 0.5 * 0.5)/0.75 = 2/3
        ({"steps": 20, "stated": 0.5}, 2 / 3, 5),
        # 0 of 16: interval from 0 to .1936, weight .8064; with 5 steps (.25 * 0 + .8064 * .9032)/1.0564 = .6895
        ({"right": 0, "tried": 16, "steps": 5}, 0.806392 * 0.903196 / 1.056392, 5),
        # logic: half of the answers can be guessed, so 8 of 16 is as hard as it gets
        ({"right": 8, "tried": 16, "domain": "logic"}, 1.0, 6),
        ({"right": 8, "tried": 16, "domain": "logic", "chance": 0.0}, 0.5, 4),
        # law, four options: (.5 - .25)/.75 = 1/3 known
        ({"right": 8, "tried": 16, "domain": "law"}, 2 / 3, 5),
    ],
)
def test_levels_by_hand(evidence, score, level):
    found = grade(**evidence)
    assert found.score == pytest.approx(score, abs=1e-5)
    assert found.level == level
    assert found.lowest <= found.level <= found.highest


def test_few_samples_allow_more_levels_than_many():
    few, many = grade(2, 4), grade(32, 64)
    assert few.level == many.level == 4
    assert (few.lowest, few.highest) == (1, 6)  # 15 % to 85 %
    assert (many.lowest, many.highest) == (3, 4)  # 38 % to 62 %: difficulty .38 to .62


@settings(max_examples=60)
@given(st.integers(1, 64), st.data(), st.sampled_from(sorted(DOMAINS)), st.floats(0, 30))
def test_solving_more_never_makes_a_problem_harder(tried, data, domain, steps):
    right = data.draw(st.integers(0, tried - 1))
    one, more = grade(right, tried, domain=domain), grade(right + 1, tried, domain=domain)
    assert one.score >= more.score - 1e-12
    assert one.level in LEVELS
    assert grade(right, tried, steps, domain).score <= grade(right, tried, steps + 1, domain).score + 1e-12


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "Nothing is known about this problem"),
        ({"right": 0, "tried": 0}, "Nothing is known"),
        ({"right": 1}, "belong together"),
        ({"steps": -1}, "steps=-1 must be 0 or more"),
        ({"stated": 1.5}, "stated=1.5"),
        ({"steps": 3, "domain": "cooking"}, "domain='cooking' is unknown"),
        ({"steps": 3, "step_range": (5, 5)}, "must rise"),
        ({"steps": 3, "chance": 1.0}, "chance=1.0"),
    ],
)
def test_mistakes_are_told(arguments, sentence):
    with pytest.raises(ValueError, match="^[A-Za-z]") as caught:
        grade(**arguments)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("row", "stated"),
    [
        ({"level": "Level 1"}, 0.0),
        ({"level": "Level 5"}, 1.0),
        ({"level": 3}, 0.5),
        ({"level": "Level ?"}, None),  # MATH has two such rows
        ({"difficulty": 10}, 1.0),
        ({"difficulty": 5.5}, 0.5),
        ({"difficulty": -1}, 0.0),  # DeepMath's "unknown"
        ({"difficulty": "competition"}, 0.9),
        ({"level": "hard"}, 0.8),
        ({"llama8b_solve_rate": 0.25, "level": 1}, 0.75),
        ({"llama8b_solve_rate": None, "difficulty": "Medium"}, 0.5),
        ({"llama8b_solve_rate": math.nan}, None),
        ({"question": "?"}, None),
    ],
)
def test_what_datasets_state(row, stated):
    assert stated_difficulty(row) == (None if stated is None else pytest.approx(stated))


def test_levels_share_the_score_evenly():
    assert [level_of(n / 6) for n in range(7)] == [1, 2, 3, 4, 5, 6, 6]
    assert histogram([1, 1, 6]) == {1: 2, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1}
