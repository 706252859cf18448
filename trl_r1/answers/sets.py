r"""Sets of real numbers: intervals, their unions, single points."""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any

from trl_r1.answers.exact import difference_sign, same
from trl_r1.answers.tree import Tree, Unread, symbols


Shape = tuple  # see ``trl_r1.answers.shapes``
Piece = tuple[Tree, bool, Tree, bool]  # from where, itself included, to where, itself included

INFINITY: Tree = ("const", "inf")


def as_reals(item: Shape) -> list[tuple[Tree, bool, Tree, bool]]:
    """A shape as pieces of the real line. Raises ``Unread``."""
    if item[0] == "reals":
        return item[1]
    if item[0] == "list" and item[1] in ("()", "[]", "(]", "[)") and len(item[2]) == 2:
        ends = [one[1] if one[0] == "value" else None for one in item[2]]
        if None not in ends:
            return [(ends[0], item[1][0] == "[", ends[1], item[1][1] == "]")]  # type: ignore[list-item]
    if item[0] == "list" and item[1] in ("", "⦃⦄") and all(plain_value(one) is not None for one in item[2]):
        return [(plain_value(one), True, plain_value(one), True) for one in item[2]]  # type: ignore[misc]
    if item[0] == "named" and item[2][0] == "value":
        return [(item[2][1], True, item[2][1], True)]
    raise Unread("no set of real numbers")


def plain_value(item: Shape) -> Tree | None:
    item = item[2] if item[0] == "named" else item
    return item[1] if item[0] == "value" else None


def union(shapes: list[Shape]) -> Shape:
    if all(item[0] == "list" and item[1] == "⦃⦄" for item in shapes):
        return ("list", "⦃⦄", [one for item in shapes for one in item[2]])
    names = {item[2] if item[0] == "reals" else item[1] if item[0] == "named" else "" for item in shapes}
    if len(names - {""}) > 1:
        raise Unread("intervals of two unknowns")
    return ("reals", [piece for item in shapes for piece in as_reals(item)], max(names))


def meet(shapes: list[Shape]) -> Shape:
    """What belongs to all: ``x > 1 and x < 5`` is one interval. Raises ``Unread`` for anything but sets of one unknown."""
    names = {item[2] for item in shapes if item[0] == "reals"} - {""}
    if any(item[0] != "reals" for item in shapes) or len(names) > 1:
        raise Unread("what belongs to all?")
    points = _points([piece for item in shapes for piece in item[1]])
    cells = [all(column) for column in zip(*(_cells(item[1], points) for item in shapes), strict=True)]
    return ("reals", _pieces(cells, points), max(names, default=""))


def by_commas(shapes: list[Shape]) -> Shape:
    """Sets of one unknown that only commas part: what belongs to all, or to any, whichever is neither nothing nor all."""
    every, some = meet(shapes), union(shapes)
    points = _points(some[1])
    if not every[1]:
        return some
    if all(_cells(some[1], points)[1:-1]):
        return every
    raise Unread("and, or or?")


def without(whole: Shape, taken: Shape) -> Shape:
    holes = as_reals(taken)
    pieces = as_reals(whole)
    if (
        len(pieces) != 1
        or any(low is not high for low, _, high, _ in holes)
        or any(map(symbols, (h[0] for h in holes)))
    ):
        raise Unread("the difference of what?")
    low, closed, high, closes = pieces[0]
    for hole in sorted((low for low, _, _, _ in holes), key=cmp_to_key(difference_sign)):
        if order(hole, low) <= 0 or order(hole, high) >= 0:
            raise Unread("a hole outside")
        pieces = [*pieces[:-1], (low, closed, hole, False), (hole, False, high, closes)]
        low, closed = hole, False
    return ("reals", pieces, "")


def order(a: Tree, b: Tree) -> int:
    """-1, 0, 1 as the real number ``a`` is smaller than, equal to, greater than ``b``; infinities included."""
    ends = [1 if t == INFINITY else -1 if t == ("neg", INFINITY) else 0 for t in (a, b)]
    if ends[0] or ends[1]:
        return (ends[0] > ends[1]) - (ends[0] < ends[1])
    if symbols(a) or symbols(b):
        raise Unread("an end that is not known")
    return difference_sign(a, b)


def same_reals(a: list[Any], b: list[Any]) -> bool:
    """Whether two unions are one set: every end, and every gap between two ends, is in both or in neither."""
    ends: list[Tree] = [end for piece in (*a, *b) for end in (piece[0], piece[2])]
    if any(map(symbols, ends)):
        return len(a) == len(b) and matched(a, b, _same_piece)
    points = _points([*a, *b])
    return _cells(a, points) == _cells(b, points)


def _points(pieces: list[Any]) -> list[Tree]:
    """All ends, in order, each once, between the two infinities."""
    ends = sorted((end for piece in pieces for end in (piece[0], piece[2])), key=cmp_to_key(order))
    ends = [("neg", INFINITY), *ends, INFINITY]
    return [end for index, end in enumerate(ends) if index == 0 or order(ends[index - 1], end) != 0]


def _cells(pieces: list[Any], points: list[Tree]) -> list[bool]:
    """Whether each point, and each gap behind it, is in a union of pieces."""
    cells = [False] * (2 * len(points) - 1)  # point, gap behind it, point, ...
    for low, closed, high, closes in pieces:
        first = next(index for index, point in enumerate(points) if order(point, low) == 0)
        last = next(index for index, point in enumerate(points) if order(point, high) == 0)
        if first > last:
            raise Unread("an interval that ends before it begins")
        if first == last and not (closed and closes):
            continue
        cells[2 * first] |= closed
        cells[2 * last] |= closes
        for cell in range(2 * first + 1, 2 * last):
            cells[cell] = True
    return cells


def _pieces(cells: list[bool], points: list[Tree]) -> list[Any]:
    """The pieces that cover the cells which are in: the opposite of ``_cells``."""
    pieces, start = [], -1
    for cell, inside in enumerate([*cells, False]):
        if inside and start < 0:
            start = cell
        if not inside and start >= 0:  # an even cell is a point, an odd one the gap behind it
            pieces.append((points[start // 2], start % 2 == 0, points[cell // 2], cell % 2 == 1))
            start = -1
    return pieces


def _same_piece(a: Any, b: Any) -> bool:
    return (a[1], a[3]) == (b[1], b[3]) and same(a[0], b[0]) and same(a[2], b[2])


def matched(first: list[Any], second: list[Any], equal: Any) -> bool:
    left = list(second)
    for item in first:
        doubt: Unread | None = None
        for index, other in enumerate(left):
            try:
                if equal(item, other):
                    del left[index]
                    break
            except Unread as error:
                doubt = error
        else:
            if doubt is not None:
                raise doubt
            return False
    return True
