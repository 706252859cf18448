import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1.evaluation.detection import METRICS, auprc, interval, mean_ranks, prr, roc_points
from trl_r1.evaluation.metrics import auroc


def test_average_precision_by_hand():
    # thresholds 3: 1 of 1, 2: 1 of 2, 1: 2 of 3 -> 1/2 * 1 + 0 + 1/2 * 2/3
    assert auprc([3, 2, 1, 0], [True, False, True, False]) == pytest.approx(0.5 + 1 / 3)
    assert auprc([1, 1, 1, 1], [True, False, True, False]) == 0.5  # one threshold: the share of positives


def test_rejection_ratio_by_hand():
    # good ones kept first: 1, 1, 2/3, 1/2 -> 19/24; chance 1/2; oracle the same
    assert prr([0, 1, 2, 3], [False, False, True, True]) == pytest.approx(1.0)
    # kept first: bad, bad, good, good: 0, 0, 1/3, 1/2 -> 5/24; (5/24 - 1/2) / (19/24 - 1/2) = -1
    assert prr([3, 2, 1, 0], [False, False, True, True]) == pytest.approx(-1.0)
    assert prr([1, 1, 1, 1], [False, True, False, True]) == pytest.approx(0.0)


scored = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=30).filter(
    lambda rows: len({bad for _, bad in rows}) == 2
)


@given(scored, st.randoms())
def test_no_metric_depends_on_the_order_of_rows_or_ties(rows, draw):
    mixed = list(rows)
    draw.shuffle(mixed)
    for metric in METRICS.values():
        assert metric(*zip(*rows)) == pytest.approx(metric(*zip(*mixed)))


@given(scored)
def test_the_area_under_the_points_is_the_auroc(rows):
    scores, bad = zip(*rows)
    false, true = roc_points(scores, bad)
    assert np.trapezoid(true, false) == pytest.approx(auroc(scores, bad))


def test_intervals_hold_the_metric_and_repeat():
    draw = np.random.default_rng(1)
    bad = draw.random(80) < 0.5
    scores = bad + draw.normal(size=80)
    for metric in METRICS.values():
        found = interval(metric, scores, bad, resamples=200)
        assert found.low < found.mean < found.high
        assert found == interval(metric, scores, bad, resamples=200)
    assert np.isnan(interval(auprc, [1.0], [False]).mean)


def test_ranks_share_ties():
    assert mean_ranks([5, 1, 5]).tolist() == [2.5 / 3, 1 / 3, 2.5 / 3]
