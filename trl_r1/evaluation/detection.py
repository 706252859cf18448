"""How well a score finds the bad answers: scores and labels in, one number with an interval out.

Units   scores: any, higher means more likely bad; labels: true for bad. Metrics are shares, PRR at most 1.
Ties    No metric here profits from the order of tied scores: AUROC counts a tied pair half, AUPRC takes a tie as one
        threshold, PRR takes the expectation over the orders of a tie.
Source  PRR: Malinin & Gales 2021, arXiv:2002.07650, as a ratio of areas under the prediction-rejection curve.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trl_r1.evaluation.metrics import Interval, auroc


Metric = Callable[[np.ndarray, np.ndarray], float]


def auprc(scores: Sequence[float] | np.ndarray, positive: Sequence[bool] | np.ndarray) -> float:
    """Average precision: ``sum_n (R_n - R_{n-1}) P_n`` over the distinct scores, highest first; NaN without positives.

    A score that knows nothing gets the share of positives.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if not labels.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    values, labels = values[order], labels[order]
    last = np.append(values[1:] != values[:-1], True)  # the last of each tie
    found = np.cumsum(labels)[last]
    taken = np.flatnonzero(last) + 1
    steps = np.diff(found, prepend=0) / labels.sum()
    return float((steps * found / taken).sum())


def prr(scores: Sequence[float] | np.ndarray, positive: Sequence[bool] | np.ndarray) -> float:
    """Prediction-rejection ratio: how much of what an oracle gains by rejecting answers, this score gains.

    ``(A - A_random) / (A_oracle - A_random)`` with A the mean, over all numbers of kept answers, of the share of good
    ones among the kept (lowest scores first). 1 is perfect, 0 is chance, negative is worse; NaN when all are alike.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if not labels.any() or labels.all():
        return float("nan")
    good = (~labels).astype(np.float64)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    expected = (np.bincount(inverse, weights=good) / counts)[inverse]  # of a tied answer, over the orders of the tie
    kept = np.arange(1, len(good) + 1)

    def area(ordered: np.ndarray) -> float:
        return float((np.cumsum(ordered) / kept).mean())

    chance, oracle = good.mean(), area(np.sort(good)[::-1])
    return float((area(expected[np.argsort(values, kind="stable")]) - chance) / (oracle - chance))


METRICS: dict[str, Metric] = {"auroc": auroc, "auprc": auprc, "prr": prr}


def interval(
    metric: Metric,
    scores: Sequence[float] | np.ndarray,
    positive: Sequence[bool] | np.ndarray,
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """A metric with its percentile bootstrap interval; positives and negatives are redrawn each for themselves.

    Speaks of the questions drawn, not of another training seed of the model.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    mean = metric(values, labels)
    if np.isnan(mean):
        return Interval(mean, mean, mean)
    draw, bad, fine = np.random.default_rng(0), np.flatnonzero(labels), np.flatnonzero(~labels)
    redrawn = []
    for _ in range(resamples):
        chosen = np.concatenate([draw.choice(group, len(group)) for group in (bad, fine) if len(group)])
        redrawn.append(metric(values[chosen], labels[chosen]))
    low, high = np.quantile(redrawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(mean, float(low), float(high))


def mean_ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """(N,) ranks in (0, 1], tied ones sharing their mean; the average of two such ranks combines two scores."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[inverse] / len(inverse)


def roc_points(scores: Sequence[float], positive: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates over the distinct thresholds, from (0, 0) to (1, 1)."""
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    order = np.argsort(-values, kind="stable")
    values, labels = values[order], labels[order]
    last = np.append(values[1:] != values[:-1], True)
    true, false = np.cumsum(labels)[last], np.cumsum(~labels)[last]
    return np.append(0.0, false / max(1, false[-1])), np.append(0.0, true / max(1, true[-1]))
