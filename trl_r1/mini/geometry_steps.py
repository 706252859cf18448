"""Steps of the coordinate problems: what can be claimed about points, rightly, and wrongly as people do."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import NamedTuple


Pair = tuple[int, int]


class Step(NamedTuple):
    """One step of a chain in both languages. ``{}`` stands for what is claimed; ``right`` and ``wrong`` fill it."""

    en: str
    zh: str
    right: str
    wrong: tuple[str, ...]  # what else might be claimed there, all of it wrong

    def write(self, language: str, claim: str | None = None) -> str:
        """The step as a sentence, with the right claim or another one."""
        text = self.en if language == "en" else self.zh
        return text.format(self.right if claim is None else claim)


# ---------------------------------------------------------------- numbers, as they are written


def square_part(number: int) -> tuple[int, int]:
    """(a, b) with number = a * a * b and b square-free."""
    outside = next(a for a in range(isqrt(number), 0, -1) if number % (a * a) == 0)
    return outside, number // (outside * outside)


def root(number: int) -> str:
    r"""The square root of a whole number above 0, in lowest terms.

    >>> root(25), root(13), root(20)
    ('5', '\\sqrt{13}', '2\\sqrt{5}')
    """
    outside, inside = square_part(number)
    if inside == 1:
        return str(outside)
    return f"{'' if outside == 1 else outside}\\sqrt{{{inside}}}"


def pair(x: Fraction | int, y: Fraction | int) -> str:
    """A point or vector: ``(3/2, -1)``."""
    return f"({Fraction(x)}, {Fraction(y)})"


def others(right: str, *wrong: str) -> tuple[str, ...]:
    """The wrong ones without repeats, and without what is right after all."""
    return tuple(dict.fromkeys(claim for claim in wrong if claim != right))


def difference(first: Pair, second: Pair) -> Pair:
    """The vector from the first point to the second."""
    return second[0] - first[0], second[1] - first[1]


def square_of(across: Pair) -> int:
    """The square of a vector's length."""
    return across[0] ** 2 + across[1] ** 2


# ---------------------------------------------------------------- steps


def vector_step(names: str, first: Pair, second: Pair) -> Step:
    """The vector between two points."""
    x, y = difference(first, second)
    wrong = others(
        pair(x, y), pair(-x, -y), pair(first[0] + second[0], first[1] + second[1]), pair(x + 1, y), pair(x, y - 2)
    )
    name = f"\\vec{{{{{names}}}}}"  # the braces are doubled, since the claim is filled in later
    return Step(f"{name} = {{}}.", f"{name} = {{}}。", pair(x, y), wrong)


def square_step(names: str, first: Pair, second: Pair) -> Step:
    """The square of a distance, as the sum it comes from."""
    x, y = difference(first, second)
    right, off = f"{x * x} + {y * y} = {x * x + y * y}", x * x + y * y
    wrong = others(right, f"{x * x} + {y * y} = {off + 1}", f"{x * x} + {y * y} = {off + 10}", f"{off - 1}")
    return Step(f"First, {names}^2 = {{}}.", f"先算{names}^2 = {{}}。", right, wrong)


def length_step(names: str, first: Pair, second: Pair) -> Step:
    """A distance."""
    square = square_of(difference(first, second))
    forgotten = str(square) if square > 1 else "2"
    wrong = others(root(square), forgotten, root(square + 1), root(4 * square), f"{isqrt(square) + 2}")
    return Step(f"So {names} = {{}}.", f"所以{names} = {{}}。", root(square), wrong)


def midpoint_step(names: str, first: Pair, second: Pair) -> Step:
    """The point halfway."""
    x, y = Fraction(first[0] + second[0], 2), Fraction(first[1] + second[1], 2)
    wrong = [pair(2 * x, 2 * y), pair(x + 1, y), pair(x, y - Fraction(1, 2)), pair(y, x)]
    wrong.append(pair(Fraction(second[0] - first[0], 2), Fraction(second[1] - first[1], 2)))
    return Step(f"The midpoint of {names} is {{}}.", f"{names}的中点是{{}}。", pair(x, y), others(pair(x, y), *wrong))


def slope_step(names: str, first: Pair, second: Pair) -> Step:
    """The slope of a line that is not vertical."""
    x, y = difference(first, second)
    slope = Fraction(y, x)
    wrong = [str(-slope), str(slope + 1), str(slope - Fraction(1, 2)), *([str(1 / slope)] if slope else [])]
    return Step(f"The slope of {names} is {{}}.", f"{names}的斜率为{{}}。", str(slope), others(str(slope), *wrong))


def area_step(a: Pair, b: Pair, c: Pair) -> Step:
    """The area of a triangle."""
    (x1, y1), (x2, y2) = difference(a, b), difference(a, c)
    twice = abs(x1 * y2 - x2 * y1)
    area = Fraction(twice, 2)
    wrong = others(
        str(area), str(twice), str(area + 1), str(area + Fraction(1, 2)), str(abs(x1 * y2 + x2 * y1) + 2 * twice)
    )
    return Step("The area of triangle ABC is {}.", "三角形ABC的面积是{}。", str(area), wrong)


def perimeter_step(a: Pair, b: Pair, c: Pair) -> Step:
    """The perimeter of a triangle whose sides are whole numbers."""
    sides = [isqrt(square_of(difference(p, q))) for p, q in ((a, b), (b, c), (c, a))]
    total = sum(sides)
    wrong = others(str(total), str(total + 1), str(total - 2), str(sides[0] + sides[2]), str(sides[0] * sides[2]))
    return Step("The perimeter of triangle ABC is {}.", "三角形ABC的周长是{}。", str(total), wrong)
