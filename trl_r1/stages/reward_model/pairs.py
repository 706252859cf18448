"""Preference pairs: two replies to a question and what judges said of them, in; pairs worth training on, out.

    orders -> judge (elsewhere) -> Judged -> preferred -> above the margin -> length-matched -> Pair

A difference is "first minus second" in points, whatever the order in which the judge saw them; None where a query
failed. Everything here is a pure function.

Source     DeepSeek-R1, arXiv:2501.12948v2, Sec. 3.1: each pair is judged four times, the replies randomly assigned as A
           and B against position bias; the scores are averaged; pairs whose difference exceeds 1 are kept; the lengths
           of chosen and rejected replies are kept comparable over the whole set.
Departures each order is asked equally often instead of at random (the same expectation, without its variance); what
           "comparable" means is not published: here a largest ratio within a pair, and no drift over the set.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


QUERIES = 4  # the paper's
MARGIN = 1.0  # points; the paper's
MOST_RATIO = 2.0  # ours: neither reply of a pair is longer than twice the other
DRIFT = 0.05  # ours: mean log length ratio over the set, about five percent
LEAST_SHARE = 0.5  # ours: what the drift may cost


@dataclass(frozen=True)
class Judged:
    """Two replies to one prompt with the differences the queries found."""

    prompt: Any  # text or messages
    first: str
    second: str
    differences: tuple[float | None, ...]  # points, first minus second


@dataclass(frozen=True)
class Pair:
    """A pair worth training on."""

    prompt: Any
    chosen: str
    rejected: str
    difference: float  # points, above 0

    @property
    def log_ratio(self) -> float:
        """Log of how many times longer the chosen reply is, in characters; 0.0 for equal lengths."""
        return math.log((len(self.chosen) + 1) / (len(self.rejected) + 1))


def orders(queries: int, key: str) -> list[bool]:
    """For every query whether the replies change places; half of them do, in an order drawn from ``key``.

    >>> sum(orders(4, "a pair")), sum(orders(5, "a pair")) in (2, 3)
    (2, True)

    Raises:
        ValueError: less than one query.
    """
    if queries < 1:
        raise ValueError(f"queries={queries}: a pair is judged at least once; the paper asks 4 times.")
    draw = random.Random(f"orders {key}")
    swapped = [index % 2 == 1 for index in range(queries)]
    if queries % 2:
        swapped[-1] = draw.random() < 0.5
    draw.shuffle(swapped)
    return swapped


def preferred(differences: Sequence[float | None], least: int = 2) -> float | None:
    """The mean of the differences that are there; None where fewer than ``least`` are.

    >>> preferred([3.0, 1.0, None, 2.0]), preferred([3.0, None, None, None])
    (2.0, None)
    """
    known = [value for value in differences if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if len(known) >= least else None


def select(judged: Sequence[Judged], margin: float = MARGIN, least: int = 2) -> list[Pair]:
    """The pairs whose mean difference is above the margin, better reply first; equal texts are no pair.

    Args:
        margin: points; a difference of exactly the margin is not above it.
        least: verdicts a pair needs; one verdict is one order, and an order can decide by itself.
    """
    if margin < 0:
        raise ValueError(f"margin={margin} must be 0 or more; the paper keeps differences above 1.")
    pairs = []
    for one in judged:
        difference = preferred(one.differences, min(least, len(one.differences)))
        if difference is None or abs(difference) <= margin or one.first == one.second:
            continue
        chosen, rejected = (one.first, one.second) if difference > 0 else (one.second, one.first)
        pairs.append(Pair(one.prompt, chosen, rejected, abs(difference)))
    return pairs


def length_matched(
    pairs: Sequence[Pair], most_ratio: float = MOST_RATIO, drift: float = DRIFT, least_share: float = LEAST_SHARE
) -> list[Pair]:
    """The pairs of similar lengths, so that "longer" teaches nothing: not within a pair, not over the set.

    Pairs in which one reply is more than ``most_ratio`` times as long as the other go first. Then, as long as the mean
    log ratio is further from 0 than ``drift``, the pair furthest out on that side goes, until ``least_share`` of them are
    left (where chosen replies are nearly always longer, no choice of pairs mends that). The order stays.

    Raises:
        ValueError: ``most_ratio`` below 1, or a negative drift.
    """
    if most_ratio < 1 or drift < 0:
        raise ValueError(f"most_ratio={most_ratio}, drift={drift}: a ratio of at least 1, and a drift of 0 or more.")
    matched = [pair for pair in pairs if abs(pair.log_ratio) <= math.log(most_ratio)]
    by_ratio = sorted(range(len(matched)), key=lambda index: (matched[index].log_ratio, index))
    low, high, total = 0, len(by_ratio), sum(pair.log_ratio for pair in matched)
    least = max(1, math.ceil(least_share * len(matched)))
    while high - low > least and abs(total / (high - low)) > drift:
        if total > 0:
            high -= 1
            total -= matched[by_ratio[high]].log_ratio
        else:
            total -= matched[by_ratio[low]].log_ratio
            low += 1
    return [matched[index] for index in sorted(by_ratio[low:high])]


def drift_of(pairs: Sequence[Pair]) -> float:
    """Mean log length ratio of chosen to rejected; 0.0 without pairs."""
    return sum(pair.log_ratio for pair in pairs) / len(pairs) if pairs else 0.0


def split_by_prompt(rows: Sequence[Any], prompt_of: Callable[[Any], Any], share: float) -> tuple[list[Any], list[Any]]:
    """Training and held-out rows; all rows of a prompt are on one side, which depends on the prompt alone.

    Args:
        share: of the prompts held out, in expectation, in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"held_out={share} is not a share in [0, 1).")
    train: list[Any] = []
    held_out: list[Any] = []
    for row in rows:
        text = json.dumps(prompt_of(row), ensure_ascii=True, sort_keys=True, default=str)
        position = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
        (held_out if position < share else train).append(row)
    return train, held_out


def all_pairs(prompt: Any, replies: Sequence[str], most: int, key: str) -> list[tuple[Any, str, str]]:
    """Up to ``most`` pairs of distinct replies to one prompt, drawn from ``key``."""
    distinct = list(dict.fromkeys(replies))
    pairs = [(prompt, a, b) for i, a in enumerate(distinct) for b in distinct[i + 1 :]]
    return pairs if len(pairs) <= most else random.Random(f"pairs {key}").sample(pairs, most)
