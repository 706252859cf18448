r"""Whether two expressions are the same function of their unknowns: exactly, or with as many digits as they can need.

Rational values are compared as fractions. Others are computed twice, to p and to 2p digits: a difference that stays is a
difference; one that shrinks with the digits is tried again with more, up to a number of digits that the sizes of all
their parts and the degrees of their roots ask for (``_enough``), and is then none. Unknowns take several values, of both
signs, small and beyond every constant in sight; where both sides are real there, only real points count, so that
``\sqrt{x}\sqrt{y}`` is ``\sqrt{xy}``, but ``\sqrt{x^2}`` is not ``x``.

Runs in a process that can be killed: numbers may be as large as an answer writes them.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from mpmath import mp, mpc, mpf

from trl_r1.answers.evaluate import Evaluation, TooLarge, Undefined, floating, real_part
from trl_r1.answers.quantities import never_ends
from trl_r1.answers.tree import Tree, Unread, contains, symbols


MOST_DIGITS = 100_000
POINTS = 8
DECIMALS = 6  # an irrational number may be answered by a decimal with so many places, right to half a unit of the last


def _enough(*evaluations: Evaluation) -> int:
    """Digits with which two different values differ: a root bound in the manner of Burnikel et al. for the algebraic
    ones, whose sizes multiply with the degrees of the roots; for others a rule of thumb."""
    size = sum(evaluation.size for evaluation in evaluations)
    degree = min(32, max(evaluations[0].degree * evaluations[1].degree, 2))
    return int(60 + size * degree)


def _at(a: Tree, b: Tree, point: dict[str, Fraction], most: int = 10**12) -> tuple[str, bool, bool]:
    """("equal" | "different" | "undefined", whether ``a`` is real in every step, the same of ``b``); "equal" may rest on
    ``most`` digits."""
    digits = 30
    before: Any = None
    enough = 0
    while True:
        with mp.workdps(digits + 10):
            sides, values = [], []
            for tree in (a, b):
                side = Evaluation(point)
                sides.append(side)
                try:
                    values.append(side.of(tree))
                except (Undefined, OverflowError, ZeroDivisionError):
                    values.append(None)
                    side.real = False
            if None in values:
                return ("undefined", sides[0].real, sides[1].real)
            real = (sides[0].real, sides[1].real)
            if all(isinstance(value, Fraction) for value in values):
                return ("equal" if values[0] == values[1] else "different", *real)
            first, second = floating(values[0]), floating(values[1])
            difference = abs(first - second)
            scale = max(abs(first), abs(second))
            if before and abs(difference - before) < before * mpf("1e-6"):
                return ("different", *real)
            if digits == 30 and difference > scale * mpf("1e-3") and max(side.size for side in sides) < 25:
                return ("different", *real)
            if enough and digits >= enough and difference <= max(scale, 1) * mpf(10) ** (-digits // 2):
                return ("equal", *real)
            before = difference
            enough = enough or min(most, _enough(*sides))
            if digits >= MOST_DIGITS:
                raise TooLarge(f"{enough} digits")
            digits = min(max(2 * digits, min(enough, 8 * digits)) if digits < enough else 2 * digits, MOST_DIGITS)


def same(a: Tree, b: Tree) -> bool:
    """Whether two expressions are the same function.

    Raises:
        Unread: they have no common point at which both have a value. TooLarge: it takes too many digits.
    """
    if a == b:
        return True
    names = sorted(symbols(a) | symbols(b))
    if not names:
        verdict, _, _ = _at(a, b, {})
        if verdict == "undefined":
            if ("const", "inf") in (a, b) or contains(a, "inf") or contains(b, "inf"):
                return _infinite(a) is not None and _infinite(a) == _infinite(b)
            raise Unread("no value")
        return verdict == "equal" or _decimal_of(a, b) or _decimal_of(b, a)
    points = _points(a, b, names)
    found = [_at(a, b, point, 10**12 if index in (0, 1) else 120) for index, point in enumerate(points)]
    if (contains(a, "abs") != contains(b, "abs")) and any(x != y for _, x, y in found):
        return False  # ln x is not ln |x|
    real = [verdict for verdict, x, y in found if x and y]
    some = real or [verdict for verdict, x, y in found if verdict != "undefined"]
    if not some:
        raise Unread("no value")
    return "different" not in some


def difference_sign(a: Tree, b: Tree) -> int:
    """-1, 0 or 1: the sign of the real number ``a - b``. Raises ``Unread`` where they have no real values."""
    if same(a, b):
        return 0
    before: Any = None
    for digits in (30, 60, 300, 2000, MOST_DIGITS):
        with mp.workdps(digits):
            sides = [Evaluation({}), Evaluation({})]
            values = [side.of(tree) for side, tree in zip(sides, (a, b), strict=True)]
            if any(isinstance(value, mpc) and abs(value.imag) > mpf(10) ** (10 - digits) for value in values):
                raise Unread("a complex end")
            if all(isinstance(value, Fraction) for value in values):
                return 1 if values[0] > values[1] else -1
            gap = real_part(floating(values[0])) - real_part(floating(values[1]))
            if before is not None and gap and (gap > 0) == (before > 0) and abs(gap - before) < abs(before) * 1e-6:
                return 1 if gap > 0 else -1
            before = gap
    raise TooLarge("the sign of a difference")


def constant_quotient(a: Tree, b: Tree) -> int:
    """The sign of the number c with ``a = c b`` as functions; 0 if there is none, or if it is not real."""
    names = sorted(symbols(a) | symbols(b))
    for point in _points(a, b, names)[:4]:
        try:
            held = [substituted(tree, point) for tree in (a, b)]
            signs = [difference_sign(tree, ("num", Fraction(0))) for tree in held]
        except (Undefined, Unread):
            continue
        if 0 in signs:
            if signs != [0, 0]:
                return 0
            continue
        return signs[0] * signs[1] if same(("mul", a, held[1]), ("mul", b, held[0])) else 0
    return 0


def same_zeros(a: Tree, b: Tree) -> bool | None:
    """False if ``b`` is not zero somewhere where ``a`` is, found by solving for an unknown that ``a`` is linear in; None
    if there is none, or no difference shows."""
    names = sorted(symbols(a) | symbols(b))
    for name in sorted(symbols(a)):
        if degree(a, name) != 1:
            continue
        zero, one = (substituted(a, {name: Fraction(value)}) for value in (0, 1))
        root = ("div", ("neg", zero), ("add", one, ("neg", zero)))
        for point in _points(a, b, names)[:3]:
            others = {other: value for other, value in point.items() if other != name}
            there = substituted(_replaced(b, name, root), others)
            if _at(there, ("num", Fraction(0)), {})[0] == "different":
                return False
        return None
    return None


def degree(tree: Tree, *names: str) -> float:
    """Of an expression as a polynomial in some unknowns (all, if none is named); infinite if it is none."""
    inside = symbols(tree) & set(names) if names else symbols(tree)
    if not inside:
        return 0
    if tree[0] == "sym":
        return 1
    if tree[0] in ("add", "neg"):
        return max(degree(part, *names) for part in tree[1:])
    if tree[0] == "mul":
        return degree(tree[1], *names) + degree(tree[2], *names)
    if tree[0] == "div" and degree(tree[2], *names) == 0:
        return degree(tree[1], *names)
    if tree[0] == "pow" and tree[2][0] == "num" and tree[2][1].denominator == 1 and tree[2][1] >= 1:
        return degree(tree[1], *names) * int(min(tree[2][1], 1000))
    return float("inf")


def _replaced(tree: Tree, name: str, new: Tree) -> Tree:
    if tree[0] == "sym":
        return new if tree[1] == name else tree
    return tuple(_replaced(part, name, new) if isinstance(part, tuple) else part for part in tree)


def substituted(tree: Tree, point: dict[str, Fraction]) -> Tree:
    """An expression with numbers in the place of some unknowns."""
    if tree[0] == "sym":
        return ("num", point[tree[1]]) if tree[1] in point else tree
    return tuple(substituted(part, point) if isinstance(part, tuple) else part for part in tree)


def _infinite(tree: Tree) -> int | None:
    if tree[0] == "neg":
        inner = _infinite(tree[1])
        return None if inner is None else -inner
    return 1 if tree == ("const", "inf") else None


def _points(a: Tree, b: Tree, names: list[str]) -> list[dict[str, Fraction]]:
    """Where to compare: both signs, small values and some beyond every constant; integers for what counts something."""
    chance = random.Random(20250122)
    whole = _counting(a) | _counting(b)
    beyond = 2 + int(min(_largest(a) + _largest(b), 10**6))
    points = []
    for index in range(POINTS):
        point = {}
        for position, name in enumerate(names):
            if name in whole:
                point[name] = Fraction(chance.randint(1, 9) if index < POINTS - 2 else chance.randint(10, 15))
                continue
            value = Fraction(chance.randint(30, 300), 101)
            if index % 4 == 3:
                value += beyond
            negative = index % 2 if index < 4 else chance.random() < 0.5 if index < 7 else position % 2
            point[name] = -value if negative else value
        points.append(point)
    positive = {name: abs(value) if name not in whole else value for name, value in points[1].items()}
    small = {name: abs(value) / 7 if name not in whole else value for name, value in points[2].items()}
    return [*points, positive, small]


def _largest(tree: Tree) -> Any:
    if tree[0] == "num":
        return abs(tree[1])
    return max([Fraction(0), *(_largest(part) for part in tree[1:] if isinstance(part, tuple))])


def _counting(tree: Tree) -> set[str]:
    """Unknowns that stand in a factorial, a binomial, or an exponent of a negative number."""
    found = {name for part in tree[1:] if isinstance(part, tuple) for name in _counting(part)}
    if tree[0] in ("fact", "choose"):
        return found | symbols(tree)
    if tree[0] == "pow" and tree[1][0] == "neg" and not symbols(tree[1]):
        return found | symbols(tree[2])
    return found


def _decimal_of(a: Tree, b: Tree) -> bool:
    """Whether ``a`` is a decimal that rounds ``b``, which no decimal can write exactly."""
    sign, literal = (-1, a[1]) if a[0] == "neg" else (1, a)
    if literal[0] != "num" or len(literal) < 3 or literal[2] < DECIMALS or contains(b, "i"):
        return False
    with mp.workdps(literal[2] + 60):
        value = Evaluation({}).of(b)
        if isinstance(value, Fraction) and not never_ends(value.denominator):
            return False
        if isinstance(value, mpc) or literal[2] > 400:
            return False
        gap = abs(floating(value) - floating(sign * literal[1]))
        return bool(gap <= floating(Fraction(1, 2 * 10 ** literal[2])))
