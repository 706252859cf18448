"""Entropy coefficient as a function of the optimizer step: no state, so a resumed run agrees with an uninterrupted one."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(step: int, total: int, start: float, end: float, every: int, decrement: float) -> float:
    """`start`, always."""
    return start


def staircase(step: int, total: int, start: float, end: float, every: int, decrement: float) -> float:
    """`start`, minus `decrement` after every `every` steps, never below `end`.

    >>> [round(staircase(s, 0, 0.1, 0.0, 10_000, 0.01), 2) for s in (0, 9_999, 10_000, 95_000, 200_000)]
    [0.1, 0.1, 0.09, 0.01, 0.0]
    """
    return max(end, start - decrement * (step // every))


def linear(step: int, total: int, start: float, end: float, every: int, decrement: float) -> float:
    """Straight from `start` at step 0 to `end` at the last step."""
    share = min(1.0, step / max(1, total))
    return start + (end - start) * share


def cosine(step: int, total: int, start: float, end: float, every: int, decrement: float) -> float:
    """Half a cosine from `start` at step 0 to `end` at the last step."""
    share = min(1.0, step / max(1, total))
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


ENTROPY_SCHEDULES: dict[str, Callable[[int, int, float, float, int, float], float]] = {
    "constant": constant,  # TRL's
    "step": staircase,  # 0.1 minus 0.01 every 10,000 steps
    "linear": linear,
    "cosine": cosine,
}
