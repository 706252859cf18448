"""Series and trends: numbers from paper, and a float64 reference for the error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1.monitor.signals import History, Trend, trend
from trl_r1.monitor.texts import measure, spread_evenly


def test_a_straight_line_has_its_slope_and_no_error():
    assert trend([1.0, 3.0, 5.0, 7.0, 9.0]) == Trend(8.0, 0.0)
    assert trend([2.0] * 10) == Trend(0.0, 0.0)
    assert trend([1.0, 2.0, 3.0]) is None


def test_the_error_is_that_of_least_squares_where_neighbours_are_independent():
    values = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]  # residuals alternate, so nothing is added for autocorrelation
    x = np.arange(6) - 2.5
    (slope, _), covariance = np.polyfit(x, values, 1, cov="unscaled")
    residual = np.array(values) - np.polyval(np.polyfit(x, values, 1), x)
    error = math.sqrt(covariance[0, 0] * (residual**2).sum() / 4)
    found = trend(values)
    assert found.change == pytest.approx(5 * slope, abs=1e-9)
    assert found.error == pytest.approx(5 * error, abs=1e-9)


def test_neighbours_that_move_together_make_the_error_larger():
    slow = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    fast = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    assert trend(slow).error > 1.3 * trend(fast).error


def test_directions_say_flat_only_when_it_surely_is():
    assert Trend(0.5, 0.1).direction(0.02) == "rising"
    assert Trend(-0.5, 0.1).direction(0.02) == "falling"
    assert Trend(0.005, 0.001).direction(0.02) == "flat"
    assert Trend(0.005, 0.1).direction(0.02) == "unclear"  # it may have moved by 0.2


@given(st.lists(st.floats(-100, 100), min_size=4, max_size=40), st.floats(-10, 10))
def test_a_trend_does_not_depend_on_the_level_and_turns_with_the_sign(values, level):
    one, moved, turned = trend(values), trend([v + level for v in values]), trend([-v for v in values])
    assert moved.change == pytest.approx(one.change, abs=1e-6)
    assert turned.change == pytest.approx(-one.change, abs=1e-6)


def test_now_then_and_gain():
    history = History.of({"step": step, "loss": 0.0, "reward": float(step)} for step in range(1, 13))
    assert history.now("reward", 5) == 10.0  # mean of 8..12
    assert history.was("reward", 5, None) == (5, 3.0)  # mean of 1..5
    assert history.was("reward", 5, 6) == (6, 4.0)  # mean of 2..6
    assert history.was("reward", 5, 4) is None  # would overlap the last five
    assert history.gain("reward", 5, 5) == 7.0
    assert history.gain("nothing", 5, 5) is None


def test_one_dead_line_is_no_fall():
    """Mean 0.5 -> 0.4, median 0.5 -> 0.5; two lines of five in which nothing was right are none either, three are one."""
    for dead, gain in ((1, 0.0), (2, 0.0), (3, -0.3)):
        right = [0.5] * (10 - dead) + [0.0] * dead
        history = History.of({"step": step, "loss": 0.0, "reward": value} for step, value in enumerate(right, start=1))
        assert history.gain("reward", 5, 5) == pytest.approx(gain)


def test_a_sparse_metric_is_compared_value_by_value():
    rows = [{"step": step, "loss": 0.0} for step in range(1, 31)]
    for step, value in ((10, 0.2), (20, 0.3), (30, 0.7)):
        rows[step - 1]["heldout/pass@1"] = value
    history = History.of(rows)
    assert history.gain("heldout/pass@1", 20, 5) == pytest.approx(0.4)
    assert history.gain("heldout/pass@1", 5, 5) == pytest.approx(0.5)  # nothing before step 5: from the first look
    assert history.held_out() == "heldout/pass@1"


def test_lines_without_step_nan_and_text_are_left_out():
    history = History.of([{"reward": 1.0}, {"step": 1, "reward": math.nan, "kl": None, "note": "x", "on": True}])
    assert history.points == {}


def test_which_reward_says_right():
    history = History.of([{"step": 1, "rewards/format/mean": 1.0, "rewards/accuracy_reward/mean": 0.5}])
    assert history.rule() == "rewards/accuracy_reward/mean"
    assert History.of([{"step": 1, "rewards/helpfulness/mean": 1.0}]).rule() is None


def test_texts_are_measured_by_hand():
    completions = ["<think>2 + 3 = 5 = 10/2</think> 5", "<think>wait, 等等</think> 5", "plain words here"]
    found = measure(completions, ["Add these numbers"] * 3, count_tokens=lambda texts: [len(t.split()) for t in texts])
    assert found["steps/p50"] == 1.0  # 2, 1, 1
    assert found["steps/p90"] == pytest.approx(1.8)
    assert found["thought_tokens/p50"] == 3.0  # 7, 2, 3
    assert found["reflection"] == found["reflection/wait"] == pytest.approx(1 / 3)
    # nothing to judge in the first; 1 word of 1 + 2/1.6 in the second; 3 of 3 in the third
    assert found["language"] == pytest.approx((1 / (1 + 2 / 1.6) + 1) / 2)
    assert measure([]) == {}
    assert "language" not in measure(completions)
    assert "thought_tokens/p50" not in measure(completions)


@given(st.integers(0, 500), st.integers(1, 50))
def test_places_are_spread_evenly(count, most):
    places = spread_evenly(count, most)
    assert len(places) == len(set(places)) <= most
    assert places == sorted(places)
    assert len(places) == min(count, most)
