r"""What mathematics says of two answers of ``judge_pairs``: float64 arithmetic and sympy, on trees; no text is read.

A tree is ("n", Fraction), ("s", name), ("c", "pi" | "e" | "i"), ("+" | "*", tree, ...), ("/" | "^" | "r", tree, tree) or
("f", name, tree); "r" is the root of the first to the degree of the second.
"""

from __future__ import annotations

import cmath
import random
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


Tree = tuple


@dataclass
class Answer:
    """``shape`` is "value", or one of the last five kinds; ``marks`` are brackets or the sign of a relation."""

    shape: str
    items: list[Tree]
    marks: str = ""
    columns: int = 1


def n(value: Any) -> Tree:
    return ("n", Fraction(value))


NAMES = "xyztabnkw"
POINTS = [{name: Fraction(random.Random(f"{name}{k}").randint(30, 400), 97) for name in NAMES} for k in range(4)]


def in_floats(tree: Tree, point: dict[str, Fraction]) -> complex:
    head = tree[0]
    if head == "n":
        return complex(float(tree[1]))
    if head == "s":
        return complex(float(point[tree[1]]))
    if head == "c":
        return {"pi": complex(cmath.pi), "e": complex(cmath.e), "i": 1j}[tree[1]]
    if head == "f":
        return {"ln": cmath.log, "arctan": cmath.atan}.get(tree[1], getattr(cmath, tree[1], cmath.exp))(
            in_floats(tree[2], point)
        )
    parts = [in_floats(part, point) for part in tree[1:]]
    if head == "+":
        return sum(parts)
    if head == "*":
        result = 1 + 0j
        for part in parts:
            result *= part
        return result
    if head == "/":
        return 0j if cmath.isinf(parts[1]) else parts[0] / parts[1]
    try:
        return parts[0] ** (parts[1] if head == "^" else 1 / parts[1])
    except OverflowError:
        return complex("inf")


def in_sympy(tree: Tree, point: dict[str, Fraction]) -> Any:
    import sympy

    head = tree[0]
    if head in "ns":
        value = tree[1] if head == "n" else point[tree[1]]
        return sympy.Rational(value.numerator, value.denominator)
    if head == "c":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}[tree[1]]
    if head == "f":
        return {"ln": sympy.log, "arctan": sympy.atan}.get(tree[1], getattr(sympy, tree[1], None))(
            in_sympy(tree[2], point)
        )
    parts = [in_sympy(part, point) for part in tree[1:]]
    if head in "+*":
        return (sympy.Add if head == "+" else sympy.Mul)(*parts)
    return parts[0] / parts[1] if head == "/" else parts[0] ** (parts[1] if head == "^" else 1 / parts[1])


@dataclass
class Truth:
    """The evaluators' verdicts, and how often they could not decide."""

    counts: Counter[str] = field(default_factory=Counter)

    def same(self, a: Tree, b: Tree) -> bool | None:
        verdicts = {self._at(a, b, point) for point in POINTS}
        return None if None in verdicts else verdicts == {True}

    def _at(self, a: Tree, b: Tree, point: dict[str, Fraction]) -> bool | None:
        import sympy

        difference = in_sympy(a, point) - in_sympy(b, point)
        if difference.is_Rational:
            exact = difference == 0
        else:
            held = sympy.expand(difference)
            exact = held == 0 or abs(held.evalf(50, maxn=2500, chop=False)) < sympy.Float("1e-1500", 20)
        try:
            first, second = in_floats(a, point), in_floats(b, point)
        except (ZeroDivisionError, OverflowError, ValueError):
            return None
        close = abs(first - second) <= 1e-9 * max(abs(first), abs(second), 1e-300)
        if close and not exact:
            self.counts["too close for float64"] += 1
            return False
        return exact if close == exact else None

    def equal(self, a: Answer, b: Answer) -> bool | None:
        if a.shape == "relations":
            return self._relations(a, b)
        if len(a.items) != len(b.items) or (a.shape == "intervals" and a.marks != b.marks):
            return False
        if a.shape != "sets":
            verdicts = [self.same(x, y) for x, y in zip(a.items, b.items, strict=True)]
            return None if None in verdicts else all(verdicts)
        left = list(b.items)
        for item in a.items:
            verdicts = [self.same(item, other) for other in left]
            if None in verdicts:
                return None
            if True not in verdicts:
                return False
            del left[verdicts.index(True)]
        return True

    def _relations(self, a: Answer, b: Answer) -> bool | None:
        """F < 0 and G < 0 are one if F = c G with a positive number c; -1 turns the sign."""
        turned = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
        first, second = (("+", r.items[0], ("*", n(-1), r.items[1])) for r in (a, b))
        ratios = [in_sympy(first, p) / in_sympy(second, p) if in_sympy(second, p) != 0 else None for p in POINTS]
        floats = [in_floats(first, p) / in_floats(second, p) if in_floats(second, p) != 0 else None for p in POINTS]
        if None in ratios or None in floats:
            return None
        constant = all(ratio == ratios[0] for ratio in ratios)
        if constant != all(abs(f - floats[0]) <= 1e-9 * abs(floats[0]) for f in floats):  # type: ignore[operator,arg-type]
            if constant:
                return None
            self.counts["too close for float64"] += 1
        if not constant or ratios[0] == 0:
            return False
        return (a.marks if ratios[0] > 0 else turned[a.marks]) == b.marks
