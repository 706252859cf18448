"""Metrics: verdicts and answers in, one number with an interval out.

Shapes  P problems, K samples of each. Everything that leaves here per problem is a float64 vector (P,).
Units   shares in [0, 1]; ``paired_difference`` is in the units of what it compares.
NaN     "this problem cannot be judged" (its gold answer is unreadable, or nothing in it has the property asked for);
        it takes no part in a mean or an interval.
Source  pass@k: Chen et al. 2021, arXiv:2107.03374, Sec. 2.1. cons@k: DeepSeek-R1, arXiv:2501.12948, Sec. 3 (majority
        vote). The intervals are ours: the paper gives none.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


Same = Callable[[str, str], bool]

BLOCK = 4_000_000  # numbers drawn at a time by the bootstrap: 32 MB


class Interval(NamedTuple):
    """A mean with the ends of its interval; all three NaN when there was nothing to average."""

    mean: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of ``k`` samples is right, estimated without bias from ``c`` right ones among ``n``.

    ``1 - C(n-c, k) / C(n, k) = 1 - prod_{i<k} (n-c-i) / (n-i)``: the share of the size-k subsets of the samples that
    hold a right one.

    Raises:
        ValueError: unless ``0 <= c <= n`` and ``1 <= k <= n``.
    """
    if not 0 <= c <= n:
        raise ValueError(f"pass@k got {c} right samples of {n}; the number of right ones must lie between 0 and {n}.")
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} samples; draw more, or take k from 1 to {n}.")
    if n - c < k:  # fewer wrong samples than draws
        return 1.0
    steps = np.arange(k)
    return float(1.0 - np.prod((n - c - steps) / (n - steps)))


def answer_classes(answers: Sequence[str | None], same: Same) -> list[list[int]]:
    """Group the answers that mean the same; each class lists its sample indices, in order of first appearance.

    ``None`` (no answer found) is in no class. Equal strings never reach ``same``; other answers are compared with the
    first member of each class, so ``same`` should be an equivalence.
    """
    classes: list[list[int]] = []
    by_text: dict[str, int] = {}
    for index, answer in enumerate(answers):
        if answer is None:
            continue
        if answer not in by_text:
            found = (number for number, members in enumerate(classes) if same(answers[members[0]], answer))  # type: ignore[arg-type]
            by_text[answer] = next(found, len(classes))
            if by_text[answer] == len(classes):
                classes.append([])
        classes[by_text[answer]].append(index)
    return classes


def consensus(answers: Sequence[str | None], correct: Sequence[bool], same: Same) -> float:
    """Is the majority right? 1.0 or 0.0; in a tie with T wrong answers, the chance ``1 / (1 + T)`` of picking it.

    The right answers are one class, as all of them mean the gold answer; only wrong ones are compared with each other,
    and only where that can change the result (``same`` may ask a computer algebra system).

    Args:
        answers: (K,) extracted answers, None where there was none.
        correct: (K,) their verdicts.
        same: whether two answers mean the same.

    Returns:
        A share in [0, 1]; 0.0 when nobody voted.
    """
    votes = [(answer, right) for answer, right in zip(answers, correct, strict=True) if answer is not None]
    for_it = sum(bool(right) for _, right in votes)
    against = [answer for answer, right in votes if not right]
    if for_it == 0 or max(Counter(against).values(), default=0) > for_it:
        return 0.0
    if len(against) < for_it:
        return 1.0
    sizes = [len(members) for members in answer_classes(against, same)]
    return 0.0 if max(sizes) > for_it else 1.0 / (1 + sizes.count(for_it))


def bootstrap_interval(
    per_problem: Sequence[float] | np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean over problems with its percentile bootstrap interval: problems are redrawn, their samples stay as they are.

    Args:
        per_problem: (P,) one number per problem; NaN is left out.
        level: share of the redrawn means inside the interval, between 0 and 1.
        resamples: how many times P problems are redrawn.
        seed: the same seed gives the same interval; no global random state is read or moved.

    Returns:
        Interval(mean, low, high) in the units of the input.

    Limit: when all problems score alike the interval has no width, however few they are.
    Source: Efron & Tibshirani 1993, Ch. 13.

    Raises:
        ValueError: ``level`` outside (0, 1), or ``resamples`` below 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level} is not a share between 0 and 1; for a 95 % interval write level=0.95.")
    if resamples < 1:
        raise ValueError(f"resamples={resamples} is too few; 10000 is usual.")
    values = np.asarray(per_problem, dtype=np.float64)  # (P,)
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    draw = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(values))
    means = np.concatenate(
        [
            values[draw.integers(len(values), size=(min(rows, resamples - start), len(values)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )  # (resamples,)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(values.mean()), float(low), float(high))


def paired_difference(
    before: Sequence[float] | np.ndarray,
    after: Sequence[float] | np.ndarray,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean of ``after - before`` over the problems both could be judged on, with its bootstrap interval.

    Pairing takes the difficulty of the problems out of the comparison: the interval is about the change, and is
    narrower than the difference of two separate intervals. It speaks of the problems drawn, not of another training
    seed.

    Args:
        before, after: (P,) one number per problem, the same problems in the same order; NaN in either leaves the
            problem out.

    Raises:
        ValueError: the two differ in length.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"A paired difference needs the same problems twice; got {len(first)} and {len(second)}.")
    return bootstrap_interval(second - first, level, resamples, seed)


def auroc(scores: Sequence[float] | np.ndarray, positive: Sequence[bool] | np.ndarray) -> float:
    """Chance that a positive has a higher score than a negative; a tie counts half (area under the ROC curve).

    The Mann-Whitney statistic over its maximum, from mean ranks: ``(R_+ - n_+ (n_+ + 1) / 2) / (n_+ n_-)``.

    Args:
        scores: (N,) numbers without NaN.
        positive: (N,) which of them are positives.

    Returns:
        A share in [0, 1]; NaN when one of the classes is empty.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    up, down = int(labels.sum()), int((~labels).sum())
    if not up or not down:
        return float("nan")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]  # (N,) from 1, tied ones share their mean
    return float((ranks[labels].sum() - up * (up + 1) / 2.0) / (up * down))
