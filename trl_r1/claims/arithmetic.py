"""Arithmetic claims in free text, judged exactly: ``12 * 4 = 48``, ``3/4 > 0.7``, ``2 + 3 = 5 = 10/2``, ``10/3 ≈ 3.33``.

Nothing is evaluated as code and nothing is a float: numbers are rationals and square roots (``surds``), expressions
come from our own reader (``tokens``). Every step is bounded, so hostile text costs linear time.

When is a claim right?

    =, <, <=, !=   exactly. A decimal that cannot be exact may be rounded: ``10/3 = 3.33`` is right, ``10/3 = 3.35`` wrong
    ≈              within one unit of the last stated decimal (rounded up or down); a whole number stated with zeros at
                   its end, such as 1200, within half a unit of its last other digit
    readings       where a text has several usual readings, one that holds suffices: ``20%`` as 0.2, as 20, or (after
                   + and -) as a share of what stands before it; ``1 hour + 30 minutes = 90 minutes`` in one unit

No claim, and neither right nor wrong: anything with a variable or a word in an operand's place, questions, suppositions,
what is called wrong at once, equalities of two plain numbers under a label (``Option 1 = 5``), division by zero, numbers
beyond ``surds.MOST_BITS``, and what units may explain (``6 * 10 = 1 hour``). Trivial: ``5 = 5``, ``3 + 2 = 2 + 3``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

from trl_r1.answers.quantities import CONVERSIONS, FACTORS, never_ends
from trl_r1.claims.surds import MOST_BITS, Exact, Surd, TooLarge, bounds, root, sign, size_checked
from trl_r1.claims.trees import Tree, Unreadable


MOST_FACTORIAL = 200


class Reading(NamedTuple):
    """One way to understand a text. ``percent``: "share", "number" or "change"; ``units``: convert measures."""

    percent: str = "share"
    units: bool = False
    tall: bool = False  # 2 / 1/5 as 2 / (1/5)
    mixed: bool = False  # 3\frac{1}{2} as 3 + 1/2


PLAIN = Reading()


def evaluate(tree: Tree, reading: Reading = PLAIN, names: dict[str, Any] | None = None) -> Any:
    """The value of a tree: a Fraction, a Surd, or what ``names`` make of its symbols.

    Raises:
        Unreadable: a symbol without a value, division by zero, or an operation outside its bounds.
        TooLarge: too many digits.
    """
    kind = tree[0]
    if kind == "number":
        return tree[1]
    if kind == "symbol":
        if names is None or tree[1] not in names:
            raise Unreadable(f"{tree[1]} has no value")
        return names[tree[1]]
    if reading.tall and kind == "/" and tree[1][0] == "/" and literal(tree[2]):
        tree = ("/", tree[1][1], ("/", tree[1][2], tree[2]))
    first = evaluate(tree[1], reading, names)
    if kind == "group":
        return first
    if kind == "negative":
        return -first
    if kind == "percent":
        return first if reading.percent == "number" else first * Fraction(1, 100)
    if kind == "unit":
        factor = FACTORS.get(tree[2], Fraction(1)) if reading.units else Fraction(1)
        return first * (factor if tree[3] > 0 else 1 / factor)
    if kind == "factorial":
        return _factorial(first)
    if kind == "sqrt":
        return root(_exact(first))
    second = evaluate(tree[2], reading, names)
    if kind in "+-":
        if reading.percent == "change" and _is_percent(tree[2]) and not _is_percent(tree[1]):
            second = first * second
        return _bounded(first + second if kind == "+" else first - second)
    if kind == "mixed":
        return _bounded(first + second if reading.mixed else first * second)
    if kind == "*":
        return _bounded(first * second)
    if kind == "/":
        if second == 0:
            raise Unreadable("division by zero")
        return _bounded(first / second)
    if kind == "^":
        return _power(_exact(first), _exact(second))
    return _power(_exact(first), 1 / second) if kind == "root" and second else _unreadable("no root")


def _unreadable(why: str) -> Any:
    raise Unreadable(why)


def _exact(value: Any) -> Exact:
    return value if isinstance(value, (Fraction, Surd)) else _unreadable("no plain number")


def _bounded(value: Any) -> Any:
    return size_checked(value) if isinstance(value, Fraction) else value


def _factorial(value: Any) -> Fraction:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= MOST_FACTORIAL:
        raise Unreadable("no factorial")
    product = 1
    for number in range(2, int(value) + 1):
        product *= number
    return Fraction(product)


def _power(base: Exact, exponent: Exact) -> Exact:
    if not isinstance(exponent, Fraction) or exponent.denominator > 6 or abs(exponent.numerator) > MOST_BITS:
        raise Unreadable("no small exponent")
    if base == 0:
        return Fraction(0) if exponent > 0 else _unreadable("0 to the power of 0")
    if exponent.denominator == 2:
        base, exponent = root(base), exponent * 2
    elif exponent.denominator > 1:
        base, exponent = _whole_root(base, exponent.denominator), exponent * exponent.denominator
    if isinstance(base, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base not in (1, -1) and (bits - 1) * abs(exponent.numerator) > MOST_BITS:
            raise TooLarge("too many digits")
        return size_checked(base**exponent.numerator)
    if abs(exponent.numerator) > 64:
        raise TooLarge("too many digits")
    result: Exact = Fraction(1)
    for _ in range(abs(exponent.numerator)):
        result = result * base
    return result if exponent > 0 else 1 / result


def _whole_root(base: Exact, index: int) -> Fraction:
    if not isinstance(base, Fraction) or base < 0 or base.numerator.bit_length() + base.denominator.bit_length() > 256:
        raise Unreadable("no root")
    ends = []
    for number in (base.numerator, base.denominator):
        low = 0
        for bit in reversed(range(number.bit_length() // index + 1)):
            low += (low + (1 << bit)) ** index <= number and 1 << bit
        ends.append(low)
    if Fraction(*ends) ** index != base:
        raise Unreadable("no root")
    return Fraction(*ends)


def _is_percent(tree: Tree) -> bool:
    return tree[0] == "percent" or (tree[0] in ("unit", "group", "negative") and _is_percent(tree[1]))


# ---------------------------------------------------------------- relations


def literal(tree: Tree) -> Tree | None:
    """The number a tree consists of, if it is one plain number with or without sign, percent and unit."""
    while tree[0] in ("negative", "percent", "unit", "group"):
        tree = tree[1]
    return tree if tree[0] == "number" else None


def _with(tree: Tree, number: Fraction) -> Tree:
    if tree[0] == "number":
        return ("number", number, None)
    return (tree[0], _with(tree[1], number), *tree[2:]) if tree[0] != "negative" else _with(tree[1], number)


def tolerance(tree: Tree, reading: Reading = PLAIN) -> tuple[Exact, bool] | None:
    """How exact a plain number claims to be: (width, whether the width itself is too far off). None: no plain number."""
    number = literal(tree)
    if number is None:
        return None
    decimals = number[2]
    if decimals is not None:
        return evaluate(_with(tree, Fraction(1, 10**decimals)), reading), True
    whole = number[1].numerator
    zeros = len(str(whole)) - len(str(whole).rstrip("0")) if whole and whole.bit_length() < 1000 else 0
    return evaluate(_with(tree, Fraction(10**zeros, 2) if zeros else Fraction(1)), reading), not zeros


def compare(relation: str, left: Tree, right: Tree, reading: Reading = PLAIN) -> bool | None:
    """Whether ``left relation right`` holds in one reading; None for an approximation between two expressions."""
    first, second = evaluate(left, reading), evaluate(right, reading)
    return related(relation, first, second, left, right, reading)


def related(
    relation: str, first: Exact, second: Exact, left: Tree | None, right: Tree | None, reading: Reading = PLAIN
) -> bool | None:
    """The same for values that are known; the trees (if any) say how many digits were stated."""
    difference = first - second
    if relation == "~":
        stated = [tolerance(tree, reading) for tree in (left, right) if tree is not None]
        widths = [known_width for known_width in stated if known_width is not None]
        if not widths:
            return True if difference == 0 else None
        width, strict = max(widths, key=lambda known_width: bounds(known_width[0])[0])
        side = sign(abs_exact(difference) - width)
        return side < 0 or (side == 0 and not strict)
    if relation == "=":
        return difference == 0 or any(
            tree is not None and rounded(other, tree, reading) for tree, other in ((left, second), (right, first))
        )
    side = sign(difference)
    return {"<": side < 0, ">": side > 0, "<=": side <= 0, ">=": side >= 0, "!=": side != 0}[relation]


def rounded(value: Exact, tree: Tree, reading: Reading = PLAIN) -> bool:
    """Whether a decimal with digits after its point states a value that has more digits than it, correctly rounded
    (to the nearest, or cut off when the value never ends)."""
    number = literal(tree)
    if number is None or not number[2]:
        return False
    width, _ = tolerance(tree, reading) or (Fraction(0), True)
    off = abs_exact(value - evaluate(tree, reading))
    endless = isinstance(value, Surd) or never_ends(value.denominator)
    if number[2] > 12:  # a float was printed: 2000/75 = 26.666666666666668
        return sign(off - Fraction(1, 10**12)) < 0
    if endless or number[2] >= 2:
        return sign(off * 2 - width) <= 0 or (endless and sign(off - width) < 0)
    return False


def abs_exact(value: Exact) -> Exact:
    """The absolute value, exactly."""
    return -value if sign(value) < 0 else value


def verdict(relation: str, left: Tree, right: Tree) -> tuple[bool | None, str]:
    """Right in any usual reading: True; wrong in all: False; units may explain it, or it has no value: None."""
    marks = kinds(left) | kinds(right)
    percents = ("share", "number", "change") if "percent" in marks else ("share",)
    measured = any(mark in FACTORS for mark in marks)
    stacked = (False, True) if "tall" in marks else (False,)
    joined = (True, False) if "mixed" in marks else (False,)
    judged: bool | None = None
    unclear = False
    whole = literal(right)
    for reading in (
        Reading(p, u, t, m)
        for m in joined
        for t in stacked
        for u in ((False, True) if measured else (False,))
        for p in percents
    ):
        try:
            holds = compare(relation, left, right, reading)
            first, second = evaluate(left, reading), evaluate(right, reading)
        except (Unreadable, TooLarge) as error:
            return None, str(error)
        if holds:
            return True, ""
        judged = judged if holds is None else False
        plain_values = isinstance(first, Fraction) and isinstance(second, Fraction)
        if measured and plain_values and first and second and max(first / second, second / first) in CONVERSIONS:
            unclear = True
        if (
            whole
            and whole[2] is None
            and plain_values
            and isinstance(first, Fraction)
            and never_ends(first.denominator)
        ):
            unclear = unclear or abs(first - second) < 1  # 100/6 = 16
    if unclear:
        return None, "units or rounding"
    return judged, "" if judged is not None else "no stated digits"


_TWO_SIDED = frozenset({"+", "-", "*", "/", "^", "root", "mixed"})


def kinds(tree: Tree) -> set[str]:
    """Which of percent, unit words and towers of division ("tall") occur in a tree."""
    if tree[0] in ("number", "symbol"):
        return set()
    operand_kinds = kinds(tree[1])
    if tree[0] == "/" and tree[1][0] == "/":
        operand_kinds.add("tall")
    if tree[0] in _TWO_SIDED:
        operand_kinds |= kinds(tree[2]) | ({"mixed"} if tree[0] == "mixed" else set())
    return operand_kinds | ({tree[2]} if tree[0] == "unit" else {"percent"} if tree[0] == "percent" else set())


def leaves_of(tree: Tree) -> list[str]:
    """The numbers and postfixes of a tree, without 0 and 1, sorted: equal for sums in another order."""
    if tree[0] == "number":
        return [] if tree[1] in (0, 1) else [str(tree[1])]
    if tree[0] == "symbol":
        return [tree[1]]
    rest = leaves_of(tree[2]) if tree[0] in _TWO_SIDED else []
    mark = [tree[0]] if tree[0] in ("percent", "factorial", "sqrt", "root", "^") else []
    return sorted(leaves_of(tree[1]) + rest + mark)


def plain(tree: Tree) -> bool:
    """Whether a tree is one number, nothing computed."""
    return literal(tree) is not None and "percent" not in kinds(tree)
