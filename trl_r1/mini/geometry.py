"""Coordinate problems of the mini world: seeds in; questions, gold answers, right chains and wrong chains out.

    mini:geometry  mini:geometry-test            trl_r1.mini.store.load_split

Points have whole coordinates, so every gold answer follows from whole-number arithmetic done here; nothing is shared
with ``trl_r1.rewards.geometry``, which these problems examine. A chain is a list of steps, each of which claims
something about the points. The wrong chain is the same with one step changed by an error that people make (a forgotten
root or half, a sign, two numbers swapped, a slip); what follows from that step is not changed with it.

Splits   As in ``trl_r1.mini.world``: which side a problem is on depends on its kind and coordinates alone, on no seed
         and no language.
Source   Ours; it stands in for the geometry of competition mathematics, where a rule can check every step.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import NamedTuple

from trl_r1.mini.geometry_steps import (
    Pair,
    Step,
    area_step,
    difference,
    length_step,
    midpoint_step,
    others,
    pair,
    perimeter_step,
    root,
    slope_step,
    square_of,
    square_part,
    square_step,
    vector_step,
)
from trl_r1.mini.world import wrap


LANGUAGES = ("en", "zh")
SPLITS = ("train", "test")
TEST_PERCENT = 20
FAR = 9  # coordinates lie in -FAR..FAR
SIDES = ((3, 4, 5), (5, 12, 13), (8, 15, 17), (6, 8, 10))  # of right triangles


@dataclass(frozen=True)
class Problem:
    """One problem. ``slip`` is (the step that goes wrong in the wrong chain, what it claims instead)."""

    kind: str
    points: tuple[Pair, ...]
    language: str
    slip: tuple[int, int]

    @property
    def question(self) -> str:
        """The plain question, without any template."""
        names = [f"{name}({x}, {y})" for name, (x, y) in zip("ABCD", self.points)]
        template = KINDS[self.kind].asks[LANGUAGES.index(self.language)]
        if self.language == "en":
            return f"Given {', '.join(names[:-1])} and {names[-1]}. {template}"
        return f"已知{'、'.join(names)}。{template}"

    @property
    def steps(self) -> list[Step]:
        """The steps of the chain, all right."""
        return KINDS[self.kind].steps(self.points)

    @property
    def solution(self) -> str:
        """The gold answer: a number, a root, a pair, or yes or no."""
        return KINDS[self.kind].answer(self.points)

    @property
    def answer_type(self) -> str:
        """The gold's type, as ``trl_r1.answers.forms.TYPES`` names it."""
        if "sqrt" in self.solution:
            return "expression"
        return {"midpoint": "list", "right_angle": "yes_no", "parallel": "yes_no"}.get(self.kind, "number")

    @property
    def chain(self) -> str:
        """The right chain: one sentence per step."""
        return self._write(None)

    @property
    def wrong_step(self) -> int:
        """Which step of ``wrong_chain`` is wrong, counted from 0."""
        return self.slip[0]

    @property
    def wrong_chain(self) -> str:
        """The chain with one wrong step."""
        return self._write(self.slip)

    @property
    def id(self) -> str:
        """Language, kind and coordinates: ``en-length-(1,2)(4,6)``."""
        return f"{self.language}-{self.kind}-" + "".join(f"({x},{y})" for x, y in self.points)

    def _write(self, slip: tuple[int, int] | None) -> str:
        sentences = []
        for number, step in enumerate(self.steps):
            claim = step.wrong[slip[1]] if slip is not None and slip[0] == number else None
            sentences.append(step.write(self.language, claim))
        return (" " if self.language == "en" else "").join(sentences)


def gold_reply(problem: Problem) -> str:
    """The reply we would like: the right chain and the gold answer inside their tags."""
    return wrap(problem.chain, problem.solution)


# ---------------------------------------------------------------- kinds of problems


class Kind(NamedTuple):
    """A kind of problem. ``asks``: the question in English and Chinese; ``draw`` makes points, or None for bad luck."""

    asks: tuple[str, str]
    draw: Callable[[random.Random], tuple[Pair, ...] | None]
    steps: Callable[[tuple[Pair, ...]], list[Step]]
    answer: Callable[[tuple[Pair, ...]], str]


def _some_points(count: int) -> Callable[[random.Random], tuple[Pair, ...] | None]:
    def draw(rng: random.Random) -> tuple[Pair, ...] | None:
        points = tuple((rng.randint(-FAR, FAR), rng.randint(-FAR, FAR)) for _ in range(count))
        steep = any(p[0] == q[0] for p, q in zip(points, points[1:]))  # no vertical line, no point twice in a row
        return None if steep or len(set(points)) < count or (count == 3 and not _twice_area(points)) else points

    return draw


def _twice_area(points: tuple[Pair, ...]) -> int:
    (x1, y1), (x2, y2) = difference(points[0], points[1]), difference(points[0], points[2])
    return x1 * y2 - x2 * y1


def _draw_right_triangle(rng: random.Random) -> tuple[Pair, ...]:
    across, up, _ = rng.choice(SIDES)
    if rng.random() < 0.5:
        across, up = up, across
    x, y = rng.randint(-FAR, FAR), rng.randint(-FAR, FAR)
    return (x, y), (x + across * rng.choice((1, -1)), y), (x, y + up * rng.choice((1, -1)))


def _draw_angle(rng: random.Random) -> tuple[Pair, ...] | None:
    """A triangle whose angle at A is a right one half of the time."""
    a = (rng.randint(-FAR, FAR), rng.randint(-FAR, FAR))
    x, y, times = rng.randint(-5, 5), rng.randint(-5, 5), rng.choice((-2, -1, 1, 2))
    across, up = (-y * times, x * times) if rng.random() < 0.5 else (rng.randint(-5, 5), rng.randint(-5, 5))
    if not x * up - y * across:
        return None
    return a, (a[0] + x, a[1] + y), (a[0] + across, a[1] + up)


def _draw_lines(rng: random.Random) -> tuple[Pair, ...] | None:
    """Two lines that are parallel half of the time."""
    points = _some_points(4)(rng)
    if points is None or rng.random() < 0.5:
        return points
    x, y = difference(points[0], points[1])
    times = rng.choice((-2, -1, 1, 2))
    far = (points[2][0] + times * x, points[2][1] + times * y)
    return (*points[:3], far)


def _is_right(points: tuple[Pair, ...]) -> bool:
    (x1, y1), (x2, y2) = difference(points[0], points[1]), difference(points[0], points[2])
    return x1 * x2 + y1 * y2 == 0


def _angle_steps(points: tuple[Pair, ...]) -> list[Step]:
    a, b, c = points
    last = (
        Step("So {}.", "所以{}。", "AB ⟂ AC", ("AB ∥ AC", "∠BAC = 60°", "∠BAC = 45°"))
        if _is_right(points)
        else Step("So {}.", "所以{}。", "∠BAC ≠ 90°", ("∠BAC = 90°", "AB ⟂ AC", "AB ∥ AC"))
    )
    return [vector_step("AB", a, b), vector_step("AC", a, c), last]


def _slope(first: Pair, second: Pair) -> Fraction:
    x, y = difference(first, second)
    return Fraction(y, x)


def _line_steps(points: tuple[Pair, ...]) -> list[Step]:
    a, b, c, d = points
    steps = [slope_step("AB", a, b), slope_step("CD", c, d)]
    if _slope(a, b) == _slope(c, d):
        steps.append(Step("So {}.", "所以{}。", "AB ∥ CD", ("AB ⟂ CD",)))
    return steps


def _median_steps(points: tuple[Pair, ...]) -> list[Step]:
    """The median from A in coordinates twice as large, where its foot is a whole point."""
    a, b, c = points
    doubled = (b[0] + c[0], b[1] + c[1])
    square = square_of(difference((2 * a[0], 2 * a[1]), doubled))
    value = _half_root(square)
    outside, inside = square_part(square)
    wrong = others(value, root(square), _half_root(square + 1), _half_root(9 * square), str(outside + inside + 40))
    middle = midpoint_step("BC", b, c)
    foot = pair(Fraction(doubled[0], 2), Fraction(doubled[1], 2))
    named = middle._replace(en=f"{middle.en[:-1]}. Let M = {foot}.", zh=f"{middle.zh[:-1]}。设M{foot}。")
    return [named, Step("So AM = {}.", "所以AM = {}。", value, wrong)]


def _half_root(square: int) -> str:
    """Half of the square root of a whole number above 0."""
    outside, inside = square_part(square)
    half = Fraction(outside, 2)
    if inside == 1:
        return str(half)
    over = f"{'' if half.numerator == 1 else half.numerator}\\sqrt{{{inside}}}"
    return over if half.denominator == 1 else f"\\frac{{{over}}}{{2}}"


KINDS: dict[str, Kind] = {
    "length": Kind(
        ("Find AB.", "求AB的长。"),
        _some_points(2),
        lambda p: [square_step("AB", *p), length_step("AB", *p)],
        lambda p: root(square_of(difference(*p))),
    ),
    "midpoint": Kind(
        ("Find the midpoint of AB.", "求AB的中点。"),
        _some_points(2),
        lambda p: [vector_step("AB", *p), midpoint_step("AB", *p)],
        lambda p: pair(Fraction(p[0][0] + p[1][0], 2), Fraction(p[0][1] + p[1][1], 2)),
    ),
    "slope": Kind(
        ("Find the slope of AB.", "求AB的斜率。"),
        _some_points(2),
        lambda p: [vector_step("AB", *p), slope_step("AB", *p)],
        lambda p: str(_slope(*p)),
    ),
    "area": Kind(
        ("Find the area of triangle ABC.", "求三角形ABC的面积。"),
        _some_points(3),
        lambda p: [vector_step("AB", p[0], p[1]), vector_step("AC", p[0], p[2]), area_step(*p)],
        lambda p: str(Fraction(abs(_twice_area(p)), 2)),
    ),
    "perimeter": Kind(
        ("Find the perimeter of triangle ABC.", "求三角形ABC的周长。"),
        _draw_right_triangle,
        lambda p: [
            length_step("AB", p[0], p[1]),
            length_step("AC", p[0], p[2]),
            length_step("BC", p[1], p[2]),
            perimeter_step(*p),
        ],
        lambda p: str(sum(isqrt(square_of(difference(a, b))) for a, b in ((p[0], p[1]), (p[1], p[2]), (p[2], p[0])))),
    ),
    "median": Kind(
        ("M is the midpoint of BC. Find AM.", "M是BC的中点，求AM的长。"),
        lambda rng: _not_at_the_foot(_some_points(3)(rng)),
        _median_steps,
        lambda p: _half_root(
            square_of(difference((2 * p[0][0], 2 * p[0][1]), (p[1][0] + p[2][0], p[1][1] + p[2][1])))
        ),
    ),
    "right_angle": Kind(
        ("Is BAC a right angle?", "∠BAC是直角吗？"),
        _draw_angle,
        _angle_steps,
        lambda p: "yes" if _is_right(p) else "no",
    ),
    "parallel": Kind(
        ("Are the lines AB and CD parallel?", "直线AB与CD平行吗？"),
        lambda rng: _two_lines(_draw_lines(rng)),
        _line_steps,
        lambda p: "yes" if _slope(p[0], p[1]) == _slope(p[2], p[3]) else "no",
    ),
}


def _not_at_the_foot(points: tuple[Pair, ...] | None) -> tuple[Pair, ...] | None:
    if points is None:
        return None
    a, b, c = points
    return None if (2 * a[0], 2 * a[1]) == (b[0] + c[0], b[1] + c[1]) else points


def _two_lines(points: tuple[Pair, ...] | None) -> tuple[Pair, ...] | None:
    """The points if they make two lines: on one line, "parallel" would be a matter of taste."""
    if points is None or _twice_area(points[:3]) == 0 or points[2][0] == points[3][0]:
        return None
    return points


# ---------------------------------------------------------------- drawing


def split_of(kind: str, points: tuple[Pair, ...]) -> str:
    """The split that owns a problem: ``train`` or ``test``; its language does not matter."""
    digest = hashlib.sha256(repr((kind, sorted(points))).encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % 100 < TEST_PERCENT else "train"


def draw_problem(rng: random.Random, split: str) -> Problem:
    """One problem of a split: kind, language and wrong step uniform."""
    kind = rng.choice(list(KINDS))
    while True:
        points = KINDS[kind].draw(rng)
        if points is None or split_of(kind, points) != split:
            continue
        steps = KINDS[kind].steps(points)
        at = rng.randrange(len(steps))
        return Problem(kind, points, rng.choice(LANGUAGES), (at, rng.randrange(len(steps[at].wrong))))


def draw_problems(split: str, count: int, seed: int) -> list[Problem]:
    """``count`` problems of a split, no two of one kind with the same points.

    Args:
        split: ``train`` or ``test``.
        seed: of the drawing; equal arguments give equal problems.

    Raises:
        ValueError: there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"The geometry of the mini world has no split {split!r}. Choose one of: {', '.join(SPLITS)}.")
    rng = random.Random(f"geometry {split} {seed}")
    problems: dict[tuple[str, tuple[Pair, ...]], Problem] = {}
    while len(problems) < count:
        problem = draw_problem(rng, split)
        problems.setdefault((problem.kind, problem.points), problem)
    return list(problems.values())


def rows(split: str, count: int, seed: int) -> list[dict[str, str | int]]:
    """Problems as rows: question, solution, answer_type, language, id, chain, wrong_chain, wrong_step."""
    return [
        {
            "question": problem.question,
            "solution": problem.solution,
            "answer_type": problem.answer_type,
            "language": problem.language,
            "id": problem.id,
            "chain": problem.chain,
            "wrong_chain": problem.wrong_chain,
            "wrong_step": problem.wrong_step,
        }
        for problem in draw_problems(split, count, seed)
    ]
