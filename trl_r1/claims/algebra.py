"""Geometric claims as formulas over real numbers, for Z3: what rationals and square roots do not decide.

Coordinates may have letters in them (``A(a, 0)``), and roots may be nested or cubic. A formula is plain data, nested
lists that JSON can carry; ``trl_r1.claims.solver:decide`` judges it, in a process that can be killed:

    number      ["number", "3/4"]  ["name", "a"]  [operation, x, y] with + - * /  ["negative", x]  ["absolute", x]
                ["power", x, 3]  ["root", x, 2]
    formula     [relation, x, y] with = != < > <= >=   ["and", f, g]   ["not", f]
                ["where", f, g, h]: f, wherever g and h hold

Nothing here needs Z3. Raises ``Unreadable`` for what cannot be said this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from trl_r1.claims.arithmetic import evaluate, literal, tolerance
from trl_r1.claims.find import asserted, links
from trl_r1.claims.surds import TooLarge
from trl_r1.claims.tokens import tokens
from trl_r1.claims.trees import Tree, Unreadable


MOST_POWER = 8
MOST_GIVENS = 16  # of one prompt
Term = list[Any]
Formula = list[Any]
Place = tuple[Term, Term]

_COSINES = {  # degrees -> (square of the cosine, sign)
    **{0: (Fraction(1), 1), 30: (Fraction(3, 4), 1), 45: (Fraction(1, 2), 1), 60: (Fraction(1, 4), 1)},
    **{90: (Fraction(0), 1), 120: (Fraction(1, 4), -1), 135: (Fraction(1, 2), -1), 150: (Fraction(3, 4), -1)},
    **{180: (Fraction(1), -1)},
}


def number(value: Fraction | int) -> Term:
    """A rational number as a term."""
    return ["number", str(Fraction(value))]


def term(tree: Tree) -> Term:
    """An expression as a term; its letters are names of unknown real numbers.

    Raises:
        Unreadable: a constant or function that has no term here, a capital letter (a point), a large power.
    """
    kind = tree[0]
    if kind == "number":
        return number(tree[1])
    if kind == "symbol":
        if not tree[1][0].isalpha() or not tree[1].isascii() or not tree[1].islower() or tree[1] in ("e", "i"):
            raise Unreadable(f"{tree[1]} is no unknown number")
        return ["name", tree[1]]
    if kind in ("group", "unit"):
        return term(tree[1])
    if kind == "negative":
        return ["negative", term(tree[1])]
    if kind == "percent":
        return ["/", term(tree[1]), number(100)]
    if kind == "sqrt":
        return ["root", term(tree[1]), 2]
    if kind in ("+", "-", "*", "/", "mixed"):
        return ["*" if kind == "mixed" else kind, term(tree[1]), term(tree[2])]
    if kind not in ("^", "root"):
        raise Unreadable("no term")
    try:
        exponent = evaluate(tree[2])
    except TooLarge:
        raise Unreadable("no small exponent") from None
    if not isinstance(exponent, Fraction) or exponent.denominator != 1 or not 1 <= exponent <= MOST_POWER:
        raise Unreadable("no small exponent")
    return ["power" if kind == "^" else "root", term(tree[1]), int(exponent)]


def names_in(expression: Any) -> set[str]:
    """The names in a term or formula."""
    if not isinstance(expression, list):
        return set()
    if expression[0] == "name":
        return {expression[1]}
    return set().union(*map(names_in, expression[1:]))


def givens(prompt: str) -> list[Formula]:
    """The equations and inequalities that a prompt states about lower-case letters; at most ``MOST_GIVENS``."""
    formulas: list[Formula] = []
    for link in links(tokens(prompt)):
        if link.left is None or link.right is None or link.relation == "~" or len(formulas) >= MOST_GIVENS:
            continue
        try:
            formula = [link.relation, term(link.left), term(link.right)]
        except Unreadable:
            continue
        if names_in(formula) and asserted(prompt, link.start, link.end):
            formulas.append(formula)
    return formulas


# ---------------------------------------------------------------- figures


def _vector(first: Place, second: Place) -> Place:
    return ["-", second[0], first[0]], ["-", second[1], first[1]]


def _dot(one: Place, two: Place) -> Term:
    return ["+", ["*", one[0], two[0]], ["*", one[1], two[1]]]


def _cross(one: Place, two: Place) -> Term:
    return ["-", ["*", one[0], two[1]], ["*", one[1], two[0]]]


def _some_length(vector: Place) -> Formula:
    return ["not", ["and", ["=", vector[0], number(0)], ["=", vector[1], number(0)]]]


def square_of_length(first: Place, second: Place) -> Term:
    """The square of the distance of two points."""
    across = _vector(first, second)
    return _dot(across, across)


def quantity(kind: str, places: Sequence[Place], square: bool = False) -> Term:
    """A length (or its ``square``), slope, area of a triangle, or perimeter.

    Raises:
        Unreadable: another kind, or the area of a figure that may cross itself.
    """
    if kind == "length":
        inside = square_of_length(*places[:2])
        return inside if square else ["root", inside, 2]
    if kind == "slope":
        across, up = _vector(*places)
        return ["/", up, across]
    if kind == "area" and len(places) == 3:
        return ["/", ["absolute", _cross(_vector(places[0], places[1]), _vector(places[0], places[2]))], number(2)]
    if kind == "perimeter":
        sides = [["root", square_of_length(a, b), 2] for a, b in zip(places, [*places[1:], places[0]], strict=True)]
        total: Term = sides[0]
        for side in sides[1:]:
            total = ["+", total, side]
        return total
    raise Unreadable("no quantity")


def compared(measured: Term, relation: str, stated: Tree) -> Formula:
    """``measured relation stated``; an equality with a decimal holds to the digits it states, as in ``figures.holds``."""
    value = term(stated)
    if relation == "~":
        raise Unreadable("an approximation")
    digits = literal(stated)
    if relation == "=" and digits is not None and digits[2]:
        try:
            width, _ = tolerance(stated) or (Fraction(0), True)
        except TooLarge:
            raise Unreadable("no width") from None
        if isinstance(width, Fraction):
            half = number(width / 2)
            return ["and", [">=", measured, ["-", value, half]], ["<=", measured, ["+", value, half]]]
    return [relation, measured, value]


def angle(places: Sequence[Place], stated: Tree) -> Formula:
    """The angle at the second of three points is so many degrees, one of 0, 30, 45, 60, 90, 120, 135, 150, 180."""
    degrees = evaluate(stated) if literal(stated) else None
    if not isinstance(degrees, Fraction) or degrees not in _COSINES:
        raise Unreadable("an angle without a short cosine")
    square, sign = _COSINES[int(degrees)]
    one, two = _vector(places[1], places[0]), _vector(places[1], places[2])
    lengths = ["*", ["*", _dot(one, one), _dot(two, two)], number(square)]
    side = [">=" if sign > 0 else "<=", _dot(one, two), number(0)]
    right = (
        ["=", _dot(one, two), number(0)] if not square else ["and", side, ["=", ["power", _dot(one, two), 2], lengths]]
    )
    return ["where", right, _some_length(one), _some_length(two)]


def lines(upright: bool, places: Sequence[Place]) -> Formula:
    """Two lines, each through two points, are perpendicular (``upright``) or parallel."""
    one, two = _vector(places[0], places[1]), _vector(places[2], places[3])
    relation = ["=", (_dot if upright else _cross)(one, two), number(0)]
    return ["where", relation, _some_length(one), _some_length(two)]


def place(kind: str, places: Sequence[Place], stated: Place) -> Formula:
    """The midpoint of two points, or the vector between them, is ``stated``."""
    first, second = places
    if kind == "vector":
        coordinates = _vector(first, second)
    else:
        coordinates = tuple(["/", ["+", a, b], number(2)] for a, b in zip(first, second, strict=True))  # type: ignore[assignment]
    return ["and", ["=", coordinates[0], stated[0]], ["=", coordinates[1], stated[1]]]
