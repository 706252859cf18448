r"""Inequalities in one unknown, solved: ``2x+1>5`` is ``x>2``, ``|x-1|<2`` is ``-1<x<3``; what is not linear is left."""

from __future__ import annotations

from fractions import Fraction

from trl_r1.answers.exact import degree, difference_sign, substituted
from trl_r1.answers.sets import INFINITY, Shape
from trl_r1.answers.tree import Tree, Unread, symbols


TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
BELOW: Tree = ("neg", INFINITY)


def solved(trees: list[Tree], signs: list[str]) -> Shape | None:
    """The set of real numbers that a chain of inequalities in one unknown describes; None if it is not of these forms:
    one side linear in the unknown, or the absolute value of such a side, the others numbers; or both sides linear.

    Args:
        trees: the sides. signs: what stands between them: "<", "<=", ">", ">=", "!=".
    """
    names = set().union(*map(symbols, trees))
    if len(names) != 1 or len(trees) > 3:
        return None
    name = names.pop()
    if len(trees) == 2:
        return _of_two(trees, signs[0], name)
    if symbols(trees[0]) or symbols(trees[2]) or "!=" in signs or signs[0][0] != signs[1][0]:
        return None
    line = _line(trees[1], name)
    if line is None:
        return None
    ends, closed = [_where(line, trees[0]), _where(line, trees[2])], [len(sign) == 2 for sign in signs]
    if (signs[0][0] == "<") != (line[2] > 0):
        ends, closed = ends[::-1], closed[::-1]
    return ("reals", [(ends[0], closed[0], ends[1], closed[1])], name)


def _of_two(trees: list[Tree], sign: str, name: str) -> Shape | None:
    if not symbols(trees[0]):
        trees, sign = trees[::-1], TURNED[sign]
    left, right = trees
    if left[:2] == ("fn", "abs") and not symbols(right):
        return _absolute(left[2], sign, right, name)
    if symbols(right):
        left, right = ("add", left, ("neg", right)), ("num", Fraction(0))
    line = _line(left, name)
    if line is None:
        return None
    end = _where(line, right)
    if sign == "!=":
        return ("reals", [(BELOW, False, end, False), (end, False, INFINITY, False)], name)
    sign = sign if line[2] > 0 else TURNED[sign]
    piece = (BELOW, False, end, sign == "<=") if sign[0] == "<" else (end, sign == ">=", INFINITY, False)
    return ("reals", [piece], name)


def _absolute(inner: Tree, sign: str, size: Tree, name: str) -> Shape | None:
    line = _line(inner, name)
    if line is None or sign == "!=" or difference_sign(size, ("num", Fraction(0))) <= 0:
        return None
    ends = [_where(line, ("neg", size)), _where(line, size)]
    low, high = ends if line[2] > 0 else ends[::-1]
    closed = len(sign) == 2
    if sign[0] == "<":
        return ("reals", [(low, closed, high, closed)], name)
    return ("reals", [(BELOW, False, low, closed), (high, closed, INFINITY, False)], name)


Line = tuple[Tree, Tree, int]  # value at 0, slope, sign of the slope; of the unknown itself the first is None


def _line(tree: Tree, name: str) -> Line | None:
    if degree(tree, name) != 1:
        return None
    zero, one = (substituted(tree, {name: Fraction(value)}) for value in (0, 1))
    slope = ("add", one, ("neg", zero))
    try:
        sign = difference_sign(slope, ("num", Fraction(0)))
    except (Unread, ArithmeticError):
        return None
    return (("sym", ""), slope, sign) if tree[0] == "sym" else (zero, slope, sign) if sign else None


def _where(line: Line, value: Tree) -> Tree:
    """The unknown, where the line has a value."""
    zero, slope, _ = line
    if zero == ("sym", ""):
        return value
    if value in (INFINITY, BELOW):
        raise Unread("an infinite side")
    return ("div", ("add", value, ("neg", zero)), slope)
