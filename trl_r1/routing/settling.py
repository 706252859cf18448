"""Settling: paths drawn so far in, the chance that the answer in front is right out.

    weight_of       how much a path's vote counts: likelier paths count more
    vote_features   what the paths so far show
    learn_settled   that chance as a logistic function of it, from problems with known answers

A vote that counts heads needs many of them where most paths are wrong. A model's own likelihood of a path says a good deal
about whether it is right, so with ``choose="weighted"`` a path's vote weighs ``exp(sharpness * mean log-probability)``, and
drawing ends when the fitted chance is high enough.

Source  votes weighted by confidence: Wang et al. 2022, arXiv:2203.11171, Table 1 (normalised probability; no gain there over
        counting), and Taubenfeld et al. 2025, arXiv:2502.06233 (CISC, a gain once confidences are sharpened). Stopping
        by a fitted chance of being right is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from trl_r1.routing.complexity import Complexity, fit
from trl_r1.routing.paths import Candidate
from trl_r1.routing.votes import Tally


def weight_of(path: Candidate, sharpness: float) -> float:
    """In (0, 1]; 1 where the log-probability is not known.

    >>> round(weight_of(Candidate("", 3, logprob=-0.5), 4.0), 4), weight_of(Candidate("", 3), 4.0)
    (0.1353, 1.0)
    """
    return 1.0 if path.logprob is None else math.exp(sharpness * min(0.0, path.logprob))


def vote_features(tally: Tally, paths: Sequence[Candidate]) -> dict[str, float]:
    """What is known of the answer in front; nothing while no path has an answer."""
    ranking = tally.ranking()
    if not ranking:
        return {}
    weights = [sum(tally.weights[i] for i in members) for members in ranking] + [0.0]
    counts = [len(members) for members in ranking]
    features = {
        "vote_share": weights[0] / sum(weights) if sum(weights) > 0 else 0.0,
        "vote_weight": math.log1p(weights[0]),
        "vote_second": math.log1p(weights[1]),
        "vote_count": float(counts[0]),
        "vote_rivals": float(max(counts[1:], default=0)),
        "vote_answered": float(sum(counts)),
        "vote_paths": float(len(paths)),
    }
    logprobs = [logprob for i in ranking[0] if (logprob := paths[i].logprob) is not None]
    if logprobs:
        features["vote_surprise"] = -max(logprobs)
    return features


def learn_settled(
    problems: Sequence[tuple[Sequence[Candidate], Sequence[bool]]],
    same: Callable[[str, str], bool],
    sharpness: float,
    ridge: float = 1.0,
) -> Complexity:
    """The chance that the weighted vote's leader is right, fitted on every beginning of every problem's paths.

    Args:
        problems: for each its paths, with answers, and whether each is right.

    Raises:
        ValueError: no path has an answer, so there is nothing to learn from.
    """
    rows, right = [], []
    for paths, truths in problems:
        tally = Tally(same)
        for number, path in enumerate(paths):
            tally.add(path.answer, weight_of(path, sharpness))
            features = vote_features(tally, paths[: number + 1])
            if features:
                rows.append(features)
                right.append(float(truths[tally.ranking()[0][0]]))
    if not rows:
        raise ValueError(
            "No path has an answer that can be read; the chance that an answer is right cannot be fitted."
        )
    return fit(rows, right, ridge)
