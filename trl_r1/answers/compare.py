r"""Whole answers compared exactly, as far as they are read: a verdict, or "unread", for math-verify to try.

    compare(r"\frac{3\pi}{5}", r"\frac{3}{5}\pi")       "equal"

Runs in a process that can be killed (``trl_r1.rewards.accuracy`` asks it through the pool). Nothing here raises.
"""

from __future__ import annotations

from trl_r1.answers.evaluate import TooLarge, Undefined
from trl_r1.answers.exact import constant_quotient, degree, same, same_zeros
from trl_r1.answers.inequalities import TURNED
from trl_r1.answers.sets import Shape, as_reals, matched, plain_value, same_reals
from trl_r1.answers.shapes import shape
from trl_r1.answers.tree import Unread, symbols


def compare(answer: str, gold: str) -> str:
    r"""What two canonical answers are to each other.

    Returns:
        "equal", "different", "unread gold", "unread answer" (no shape here), or "gave up".

    >>> compare(r"\frac{3\pi}{5}", r"\frac{3}{5}\pi"), compare("r<q<p", "p>q>r"), compare("1/10^{20}", "1/10^{21}")
    ('equal', 'equal', 'different')
    """
    try:
        wanted = shape(gold)
    except (Unread, RecursionError):
        return "unread gold"
    try:
        found = shape(answer)
    except (Unread, RecursionError):
        return "unread answer"
    try:
        return "equal" if alike(found, wanted) else "different"
    except (TooLarge, MemoryError):
        return "gave up"
    except (Unread, Undefined, RecursionError, OverflowError, ZeroDivisionError):
        return "unread answer"


def alike(a: Shape, b: Shape) -> bool:
    """Whether two shapes say the same."""
    kinds = {a[0], b[0]}
    if "reals" in kinds:
        if "chain" in kinds:
            reals, chain = (a, b) if a[0] == "reals" else (b, a)
            if set().union(*map(symbols, chain[1])) != {reals[2]}:
                return False  # of other unknowns
        if kinds & {"value", "matrix", "chain", "ratio"}:
            return _refused(a, b)
        names = {item[2] if item[0] == "reals" else "" for item in (a, b)} - {""}
        return len(names) < 2 and same_reals(as_reals(a), as_reals(b))
    if kinds == {"value"}:
        return same(a[1], b[1])
    if "named" in kinds:
        if a[0] != b[0]:
            named, other = (a, b) if a[0] == "named" else (b, a)
            if other[0] == "chain":
                return _same_chain(("chain", [("sym", named[1]), plain_value(named)], ["="]), other)
            return (
                other[0] != "list"
                and alike(named[2], other)
                or (
                    other[0] == "list"
                    and other[1] in ("", "⦃⦄")
                    and len(other[2]) == 1
                    and alike(named[2], other[2][0])
                )
            )
        if a[1] != b[1]:
            values = [plain_value(item) for item in (a, b)]
            if any(value is None or not symbols(value) for value in values):
                return False
            return _same_chain(*(("chain", [("sym", s[1]), plain_value(s)], ["="]) for s in (a, b)))
        return alike(a[2], b[2])
    if kinds == {"list"}:
        return _same_list(a, b)
    if kinds == {"chain"}:
        return _same_chain(a, b)
    if kinds == {"matrix"}:
        rows, others = a[1], b[1]
        if [len(row) for row in rows] != [len(row) for row in others]:
            return False
        return all(
            same(x, y) for row, other in zip(rows, others, strict=True) for x, y in zip(row, other, strict=True)
        )
    if "ratio" in kinds:
        return _same_ratio(a, b)
    if kinds == {"list", "value"}:
        held, value = (a, b) if a[0] == "list" else (b, a)
        return held[1] in ("", "⦃⦄") and len(held[2]) == 1 and alike(held[2][0], value)
    return _refused(a, b)


def _refused(a: Shape, b: Shape) -> bool:
    if "chain" in (a[0], b[0]):
        raise Unread("a relation and another thing")
    return False


def _same_list(a: Shape, b: Shape) -> bool:
    ordered = [item[1] not in ("", "⦃⦄") for item in (a, b)]
    if ordered[0] != ordered[1]:
        return False
    if ordered[0]:
        return a[1] == b[1] and len(a[2]) == len(b[2]) and all(alike(x, y) for x, y in zip(a[2], b[2], strict=True))
    first, second = (_once(item[2]) if item[1] else item[2] for item in (a, b))
    return len(first) == len(second) and matched(first, second, alike)


def _once(items: list[Shape]) -> list[Shape]:
    """A set names every member once."""
    kept: list[Shape] = []
    for item in items:
        if not any(alike(item, other) for other in kept):
            kept.append(item)
    return kept


def _same_chain(a: Shape, b: Shape) -> bool:
    """Relations: side by side, read from either end; a single one also multiplied by a number."""
    for trees, signs in ((b[1], b[2]), (b[1][::-1], [TURNED[sign] for sign in b[2][::-1]])):
        if a[2] == signs and all(same(x, y) for x, y in zip(a[1], trees, strict=True)):
            return True
    if len(a[2]) != 1 or len(b[2]) != 1:
        if len(a[2]) == len(b[2]) and not {"=", "!="} & {*a[2], *b[2]}:
            return False
        raise Unread("two chains")
    first, second = (("add", item[1][0], ("neg", item[1][1])) for item in (a, b))
    sign = a[2][0]
    if sign not in (b[2][0], TURNED[b[2][0]]):
        return False
    factor = constant_quotient(first, second)
    if factor == 0 and (degree(first) <= 1 and degree(second) <= 1):
        return False
    if factor == 0 and sign in ("=", "!=") and False in (same_zeros(first, second), same_zeros(second, first)):
        return False
    if factor == 0:
        raise Unread("perhaps by another way")
    return True if sign in ("=", "!=") else (factor > 0) == (sign == b[2][0])


def _same_ratio(a: Shape, b: Shape) -> bool:
    if a[0] == b[0] == "ratio":
        if len(a[1]) != len(b[1]):
            return False
        return all(same(("mul", x, b[1][0]), ("mul", y, a[1][0])) for x, y in zip(a[1], b[1], strict=True))
    ratio, other = (a, b) if a[0] == "ratio" else (b, a)
    return other[0] == "value" and len(ratio[1]) == 2 and same(("div", *ratio[1]), other[1])
