"""Plane geometry of points with exact coordinates: lengths, slopes, angles, areas, as comparisons without floats.

A quantity is known by the side of a number it lies on: ``quantity(number)`` is the sign of quantity minus number, in
{-1, 0, 1}. So a length needs no root, and an angle no arc cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

from trl_r1.claims.arithmetic import abs_exact, evaluate, literal, tolerance
from trl_r1.claims.surds import Exact, bounds, root, sign
from trl_r1.claims.trees import Tree, Unreadable


Point = tuple[Exact, Exact]
Quantity = Callable[[Exact], int]


def vector(first: Point, second: Point) -> Point:
    """From the first point to the second."""
    return second[0] - first[0], second[1] - first[1]


def dot(first: Point, second: Point) -> Exact:
    """The scalar product: 0 for perpendicular vectors."""
    return first[0] * second[0] + first[1] * second[1]


def cross(first: Point, second: Point) -> Exact:
    """The signed area of the parallelogram: 0 for parallel vectors."""
    return first[0] * second[1] - first[1] * second[0]


def number(value: Exact) -> Quantity:
    """A quantity whose value is known."""
    return lambda other: sign(value - other)


def length(first: Point, second: Point) -> Quantity:
    """The distance of two points."""
    square = dot(vector(first, second), vector(first, second))
    return lambda other: 1 if sign(other) < 0 else sign(square - other * other)


def slope(first: Point, second: Point) -> Quantity:
    """The slope of the line through two points.

    Raises:
        Unreadable: the line is vertical, or no line.
    """
    across, up = vector(first, second)
    if across == 0:
        raise Unreadable("a vertical line has no slope")
    return number(up / across)


def midpoint(first: Point, second: Point) -> Point:
    """The point halfway."""
    return (first[0] + second[0]) / Fraction(2), (first[1] + second[1]) / Fraction(2)


def area(corners: Sequence[Point]) -> Quantity:
    """The area of a simple polygon, by the shoelace formula.

    Raises:
        Unreadable: sides cross each other, so there is no telling which area is meant.
    """
    sides = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    for index, one in enumerate(sides):
        for other in sides[index + 2 : len(sides) - (index == 0)]:
            if _cross_each_other(one, other):
                raise Unreadable("the sides cross")
    twice: Exact = Fraction(0)
    for first, second in sides:
        twice = twice + cross(first, second)
    return number(abs_exact(twice) / Fraction(2))


def _cross_each_other(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    def turn(first: Point, second: Point, third: Point) -> int:
        return sign(cross(vector(first, second), vector(first, third)))

    return turn(*one, other[0]) * turn(*one, other[1]) < 0 and turn(*other, one[0]) * turn(*other, one[1]) < 0


def perimeter(corners: Sequence[Point]) -> Quantity:
    """The sum of the sides.

    Raises:
        TooLarge: a side is a nested root.
    """
    total: Exact = Fraction(0)
    for first, second in zip(corners, [*corners[1:], corners[0]], strict=True):
        total = total + root(dot(vector(first, second), vector(first, second)))
    return number(total)


def angle(first: Point, corner: Point, second: Point) -> Quantity:
    """The angle at ``corner``, in degrees, in [0, 180].

    Against multiples of 15 degrees the comparison is exact; against others it is rigorous to 40 digits, and what
    agrees that far counts as equal.

    Raises:
        Unreadable: a side has no length.
    """
    one, two = vector(corner, first), vector(corner, second)
    if one == (0, 0) or two == (0, 0):
        raise Unreadable("an angle with a side of length 0")
    along, across = dot(one, two), abs_exact(cross(one, two))

    def side(degrees: Exact) -> int:
        if not isinstance(degrees, Fraction):
            raise Unreadable("an irrational angle")
        if degrees < 0:
            return 1
        if degrees > 180:
            return -1
        if degrees in (0, 180):  # sin(0) and sin(180) do not tell the ends apart
            ends = 0 if across == 0 else 1
            if degrees == 0:
                return ends or int(sign(along) < 0)
            return -ends or -int(sign(along) > 0)
        if degrees % 15 == 0:
            sine, cosine = _at_fifteens(int(degrees))
            return sign(across * cosine - along * sine)
        return _sign_of_turn(across, along, degrees)

    return side


@lru_cache(maxsize=32)
def _at_fifteens(degrees: int) -> tuple[Exact, Exact]:
    """(sine, cosine) of a multiple of 15 degrees in (0, 180)."""
    two, six = root(Fraction(2)), root(Fraction(6))
    sines: dict[int, Exact] = {
        **{0: Fraction(0), 30: Fraction(1, 2), 90: Fraction(1), 15: (six - two) / Fraction(4)},
        **{45: two / Fraction(2), 60: root(Fraction(3, 4)), 75: (six + two) / Fraction(4)},
    }
    sine = sines[min(degrees, 180 - degrees)]
    cosine = sines[abs(90 - degrees)]
    return sine, cosine if degrees <= 90 else -cosine


_DIGITS = 60
_PI = 3141592653589793238462643383279502884197169399375105820974944  # pi * 10**60, rounded down


def _sign_of_turn(across: Exact, along: Exact, degrees: Fraction) -> int:
    sine, cosine = _sine_and_cosine(degrees)
    low = high = Fraction(0)
    for value, factor in ((across, cosine), (-along, sine)):
        corners = [one * other for one in bounds(value) for other in factor]
        low, high = low + min(corners), high + max(corners)
    return 1 if low > 0 else -1 if high < 0 else 0


@lru_cache(maxsize=256)
def _sine_and_cosine(degrees: Fraction) -> tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]:
    """Bounds of sine and cosine, from the Taylor series in whole numbers of 10**-60; errors stay below 10**-55."""
    unit = 10**_DIGITS
    radians = _PI * degrees.numerator // (180 * degrees.denominator)
    sums, term, power = [0, 0], unit, 0
    while term:
        sums[power % 2] += -term if power % 4 >= 2 else term
        power += 1
        term = term * radians // (unit * power)
    margin = Fraction(1, 10**55)
    cosine, sine = (Fraction(total, unit) for total in sums)
    return (sine - margin, sine + margin), (cosine - margin, cosine + margin)


def holds(quantity: Quantity, relation: str, stated: Tree) -> bool:
    """Whether ``quantity relation stated`` is right.

    Equality is exact, or to the nearest of the digits that a decimal states; approximation is within one unit of the
    last stated digit, as in ``trl_r1.claims.arithmetic``.
    """
    value = evaluate(stated)
    side = quantity(value)
    if relation in ("=", "~"):
        if side == 0:
            return True
        stated_number = literal(stated)
        widths = tolerance(stated)
        if widths is None or stated_number is None or (relation == "=" and not stated_number[2]):
            return False
        width, strict = widths
        if relation == "=":
            width, strict = width / Fraction(2), False
        below, above = quantity(value - width), quantity(value + width)
        return (below > 0 and above < 0) or (not strict and below >= 0 and above <= 0)
    return {"<": side < 0, ">": side > 0, "<=": side <= 0, ">=": side >= 0, "!=": side != 0}[relation]
