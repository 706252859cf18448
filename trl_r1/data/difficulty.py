"""Difficulty: what is known about a problem in, one of six levels out. One pure function, ``grade``.

Three kinds of evidence, each turned into a share of difficulty d in [0, 1]:

    pass rate    d = 1 - (k' / n'), Wilson's centre k' = k + z^2/2, n' = n + z^2, corrected for guessing by the domain's
                 chance c: p -> max(0, (p - c) / (1 - c)). Weight: 1 less the width of the Wilson interval, so 4 samples
                 count less than 64.
    steps        d = (steps - few) / (many - few), cut to [0, 1]; few and many are 5 and 20 unless said otherwise.
                 Weight 0.25.
    stated       what the dataset says itself: ``level`` 1-5, ``difficulty`` 1-10, easy/medium/hard, a published solve rate.
                 Weight 0.5.

    score = sum(weight * d) / sum(weight);    level = 1 + floor(6 * score), at most 6

So level 1 is solved nearly always and short, level 6 (nearly) never solved and long.

Source  Wilson interval: E. B. Wilson 1927, J. Am. Stat. Assoc. 22. Grading by pass rate: Kimi k1.5, arXiv:2501.12599;
        Light-R1, arXiv:2503.10460. The six levels, the weights and the step range are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


LEVELS = (1, 2, 3, 4, 5, 6)
Z = 1.959963984540054  # 95 %
STEP_WEIGHT = 0.25
STATED_WEIGHT = 0.5
FEW_STEPS, MANY_STEPS = 5.0, 20.0


@dataclass(frozen=True)
class Domain:
    """How evidence of a domain is read: the share of right answers that guessing gets, and the range of steps."""

    chance: float = 0.0
    few: float = FEW_STEPS
    many: float = MANY_STEPS


DOMAINS: dict[str, Domain] = {
    "maths": Domain(),
    "code": Domain(),
    "logic": Domain(chance=0.5),  # yes or no; for puzzles with many answers say chance=0
    "general": Domain(chance=0.25),  # law, science, ...: graded by questions with four options
}
DOMAIN_NAMES = {"math": "maths", "mathematics": "maths", "coding": "code", "programming": "code", "law": "general"}


class Pass(NamedTuple):
    """A share of right answers with its Wilson interval, all in [0, 1]."""

    rate: float  # the interval's centre
    low: float
    high: float


class Grade(NamedTuple):
    """A level from 1 to 6, the score in [0, 1] it comes from, and the levels that the pass rate's interval allows."""

    level: int
    score: float
    lowest: int
    highest: int


def wilson(right: int, tried: int, z: float = Z) -> Pass:
    """Wilson's interval for a share. Nothing tried: centre 0.5, from 0 to 1.

    Raises:
        ValueError: not 0 <= right <= tried.

    >>> wilson(0, 10)  # doctest: +ELLIPSIS
    Pass(rate=0.138..., low=0.0, high=0.277...)
    """
    if not 0 <= right <= tried:
        raise ValueError(f"right={right} of tried={tried} is no count of right answers; give 0 <= right <= tried.")
    if tried == 0:
        return Pass(0.5, 0.0, 1.0)
    total = tried + z * z
    centre = (right + z * z / 2) / total
    half = z / total * math.sqrt(right * (tried - right) / tried + z * z / 4)
    # at the ends one bound is exactly 0 or 1; rounding must not put it beside
    return Pass(centre, 0.0 if right == 0 else centre - half, 1.0 if right == tried else centre + half)


def grade(
    right: int | None = None,
    tried: int | None = None,
    steps: float | None = None,
    domain: str = "maths",
    stated: float | None = None,
    chance: float | None = None,
    step_range: tuple[float, float] | None = None,
) -> Grade:
    """The level of a problem.

    Args:
        right, tried: how often some model solved it, of how many samples; both or neither.
        steps: of a solution (``trl_r1.text.steps.reasoning_steps``).
        domain: a key of ``DOMAINS``.
        stated: difficulty that the dataset states, in [0, 1] (``stated_difficulty``).
        chance: share of right answers that guessing gets; None takes the domain's.
        step_range: (few, many), where the step scale begins and ends; None takes the domain's.

    Raises:
        ValueError: no evidence at all, an unknown domain, a value out of range.

    >>> grade(16, 16).level, grade(0, 16).level, grade(0, 16, steps=20).level
    (1, 6, 6)
    """
    known = _domain(domain)
    chance = known.chance if chance is None else chance
    few, many = (known.few, known.many) if step_range is None else step_range
    if not 0.0 <= chance < 1.0 or not few < many:
        raise ValueError(f"chance={chance} must be in [0, 1), and the step range {few}, {many} must rise.")
    if (right is None) != (tried is None):
        raise ValueError(f"right={right} and tried={tried} belong together; give both or neither.")
    if (steps is not None and not steps >= 0) or (stated is not None and not 0.0 <= stated <= 1.0):
        raise ValueError(f"steps={steps} must be 0 or more, stated={stated} in [0, 1].")
    fixed: list[tuple[float, float]] = []  # (weight, difficulty)
    if steps is not None:
        fixed.append((STEP_WEIGHT, min(1.0, max(0.0, (steps - few) / (many - few)))))
    if stated is not None:
        fixed.append((STATED_WEIGHT, stated))
    measured: tuple[float, ...] = ()
    if right is not None and tried:  # nothing tried is no evidence
        found = wilson(right, tried)
        weight = 1.0 - (found.high - found.low)
        measured = tuple(max(0.0, (share - chance) / (1.0 - chance)) for share in found)
    if not fixed and not measured:
        raise ValueError("Nothing is known about this problem: give right and tried, steps, or a stated difficulty.")
    total = sum(w for w, _ in fixed) + (weight if measured else 0.0)
    base = sum(w * d for w, d in fixed)
    if not measured:
        score = base / total
        return Grade(level_of(score), score, level_of(score), level_of(score))
    score, hardest, easiest = ((base + weight * (1.0 - share)) / total for share in measured)
    return Grade(level_of(score), score, level_of(easiest), level_of(hardest))


def level_of(score: float) -> int:
    """The level of a score in [0, 1].

    >>> [level_of(score) for score in (0.0, 0.16, 0.17, 0.5, 0.99, 1.0)]
    [1, 1, 2, 4, 6, 6]
    """
    return min(len(LEVELS), 1 + math.floor(len(LEVELS) * score + 1e-12))


def _domain(name: str) -> Domain:
    plain = str(name).strip().lower()
    plain = DOMAIN_NAMES.get(plain, plain)
    if plain not in DOMAINS:
        raise ValueError(f"domain={name!r} is unknown. Choose one of: {', '.join(DOMAINS)}.")
    return DOMAINS[plain]


# --- what datasets say themselves

STATED_COLUMNS = ("llama8b_solve_rate", "level", "difficulty")
WORDS = {
    "very easy": 0.05,
    "easy": 0.15,
    "introductory": 0.15,
    "medium": 0.5,
    "interview": 0.5,
    "intermediate": 0.5,
    "hard": 0.8,
    "difficult": 0.8,
    "competition": 0.9,
    "very hard": 0.95,
    "challenging": 0.8,
}


def stated_difficulty(row: Mapping[str, Any]) -> float | None:
    """What a row says about its difficulty, in [0, 1]; None when it says nothing we know.

    Read, in this order: ``llama8b_solve_rate`` (Big-Math: share solved, 1 - rate), ``level`` (MATH: 1-5, also written
    ``Level 3``), ``difficulty`` (DeepMath: 1-10; words such as easy or competition elsewhere).

    >>> stated_difficulty({"level": "Level 3"}), stated_difficulty({"difficulty": "easy"}), stated_difficulty({})
    (0.5, 0.15, None)
    """
    rate = _number(row.get("llama8b_solve_rate"))
    if rate is not None and 0.0 <= rate <= 1.0:
        return 1.0 - rate
    level = row.get("level")
    stated = _number(level.lower().removeprefix("level").strip() if isinstance(level, str) else level)
    if stated is not None and 1.0 <= stated <= 5.0:
        return (stated - 1.0) / 4.0
    for said in (row.get("difficulty"), level):
        if isinstance(said, str) and said.strip().lower() in WORDS:
            return WORDS[said.strip().lower()]
    stated = _number(row.get("difficulty"))
    return min(1.0, max(0.0, (stated - 1.0) / 9.0)) if stated is not None else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def histogram(levels: Sequence[int]) -> dict[int, int]:
    """How many problems there are of each level, all six named."""
    return {level: sum(one == level for one in levels) for level in LEVELS}
