"""Expressions as trees.

A tree is a tuple: ("num", Fraction) or ("num", Fraction, digits behind the point), ("sym", name), ("const", "pi" | "e" |
"i" | "inf"), ("add" | "mul" | "div" | "pow" | "choose", tree, tree), ("root", radicand, degree), ("neg" | "pm" | "mp" |
"fact", tree), ("fn", name, tree).
"""

from __future__ import annotations

from fractions import Fraction


Tree = tuple  # see above; recursive, so no closer type


class Unread(ValueError):
    """Not an expression that is understood here in one way."""


def number(value: int | Fraction) -> Tree:
    return ("num", Fraction(value))


def symbols(tree: Tree) -> set[str]:
    """The names of the unknowns in a tree."""
    if tree[0] == "sym":
        return {tree[1]}
    return {name for part in tree[1:] if isinstance(part, tuple) for name in symbols(part)}


def contains(tree: Tree, *heads: str) -> bool:
    """Whether a node of one of these kinds (or a function or constant of this name) is in the tree."""
    if tree[0] in heads or (tree[0] in ("fn", "const") and tree[1] in heads):
        return True
    return any(contains(part, *heads) for part in tree[1:] if isinstance(part, tuple))
