"""The value of an expression at a point: a fraction where every step is rational, else mpmath's number with the digits it
works with now. Powers and roots as the reals have them: an odd root of a negative number is negative, an even one and a
power that is no integer take the principal complex value, and ``Evaluation.real`` tells."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from mpmath import mp, mpc, mpf

from trl_r1.answers.tree import Tree, Unread


LARGEST = 300_000  # bits of a fraction that is computed exactly
HIGHEST = 100_000  # bits before the point of a number that a function is applied to


class Undefined(ArithmeticError):
    """No value at this point."""


class TooLarge(ArithmeticError):
    """Not decided with ``MOST_DIGITS``."""


class Evaluation:
    """One tree at one point: its value, whether every step was real, and the sizes of the steps."""

    def __init__(self, point: dict[str, Fraction]) -> None:
        self.point = point
        self.real = True
        self.size = 0.0  # sum of |log10| of every step
        self.degree = 1  # product of the degrees of the roots

    def of(self, tree: Tree) -> Any:
        value = self._of(tree)
        if isinstance(value, Fraction):
            self.size += (value.numerator.bit_length() + value.denominator.bit_length()) * 0.30103
        else:
            if isinstance(value, mpc):
                if value.imag == 0:
                    value = value.real
                else:
                    self.real = False
            if not mp.isfinite(value):
                raise Undefined("infinite")
            if value != 0:
                self.size += min(abs(int(mp.mag(value))), 10**12) * 0.30103 + 1
        return value

    def _of(self, tree: Tree) -> Any:
        head = tree[0]
        if head == "num":
            return tree[1]
        if head == "sym":
            return self.point[tree[1]]
        if head == "const":
            if tree[1] == "inf":
                raise Undefined("infinity")
            return mp.pi + 0 if tree[1] == "pi" else mp.e + 0 if tree[1] == "e" else mpc(0, 1)
        if head == "neg":
            return -self.of(tree[1])
        if head == "fn":
            return self._function(tree[1], self.of(tree[2]))
        if head == "fact":
            return self._factorial(self.of(tree[1]))
        left, right = self.of(tree[1]), self.of(tree[2])
        if head == "pow":
            return self._power(left, right)
        if head == "root":
            return self._root(left, right)
        if head == "choose":
            return self._choose(left, right)
        exact = isinstance(left, Fraction) and isinstance(right, Fraction)
        if not exact or _bits(left) + _bits(right) > LARGEST:
            left, right = floating(left), floating(right)
        if head == "add":
            return left + right
        if head == "mul":
            return left * right
        if head == "div":
            if right == 0:
                raise Undefined("division by zero")
            return left / right
        raise Unread(head)

    def _power(self, base: Any, exponent: Any) -> Any:
        if isinstance(exponent, Fraction):
            if exponent.denominator == 1:
                power = exponent.numerator
                if base == 0 and power <= 0:
                    raise Undefined("a power of zero")
                if isinstance(base, Fraction) and _bits(base) * abs(power) <= LARGEST:
                    return base**power
                if power.bit_length() > 64:
                    raise TooLarge("a tower of powers")
                return floating(base) ** power
            if isinstance(base, Fraction):
                if base < 0:
                    self.real = False
                root = self._exact_root(abs(base), exponent.denominator)
                if root is not None and base >= 0:
                    return self._power(root, Fraction(exponent.numerator))
            self.degree *= min(exponent.denominator, 16)
        if base == 0:
            if real_part(exponent) > 0:
                return Fraction(0)
            raise Undefined("a power of zero")
        base, exponent = floating(base), floating(exponent)
        if not isinstance(base, mpc) and base < 0:
            base = mpc(base)
            self.real = False
        return base**exponent

    def _root(self, radicand: Any, degree: Any) -> Any:
        if not isinstance(degree, Fraction) or degree.denominator != 1 or degree < 1 or degree > 1000:
            if degree == 0:
                raise Undefined("the zeroth root")
            return self._power(radicand, Fraction(1) / degree if isinstance(degree, Fraction) else 1 / degree)
        n = int(degree)
        if isinstance(radicand, Fraction):
            exact = self._exact_root(abs(radicand), n)
            if exact is not None and (radicand >= 0 or n % 2):
                return exact if radicand >= 0 else -exact
        self.degree *= min(n, 16)
        value = floating(radicand)
        if not isinstance(value, mpc) and value < 0:
            if n % 2:
                return -mp.root(-value, n)
            self.real = False
            value = mpc(value)
        return mp.sqrt(value) if n == 2 else mp.root(value, n)

    def _exact_root(self, value: Fraction, n: int) -> Fraction | None:
        """The root of a fraction that is one; it may not be more than 64 bits long or so to be worth a look."""
        if _bits(value) > 20_000 or n > 1000:
            return None
        top, below = _integer_root(value.numerator, n), _integer_root(value.denominator, n)
        return None if top is None or below is None else Fraction(top, below)

    def _factorial(self, value: Any) -> Any:
        if isinstance(value, Fraction) and value.denominator == 1:
            if value < 0:
                raise Undefined("the factorial of a negative number")
            if value <= 5000:
                return Fraction(_product(1, int(value)))
            return mp.factorial(mpf(int(value)))
        raise Undefined("a factorial between two integers")

    def _choose(self, above: Any, below: Any) -> Any:
        if not all(isinstance(x, Fraction) and x.denominator == 1 and 0 <= x <= 5000 for x in (above, below)):
            raise Undefined("a binomial of large numbers")
        n, k = int(above), int(below)
        if k > n:
            return Fraction(0)
        return Fraction(_product(n - k + 1, n) // _product(1, k))

    def _function(self, name: str, value: Any) -> Any:
        if name == "abs":
            return abs(value)
        if name in ("floor", "ceil"):
            if isinstance(value, mpc):
                raise Undefined("rounding a complex number")
            value = value if isinstance(value, Fraction) else floating(value)
            whole = value.__floor__() if isinstance(value, Fraction) else int(mp.floor(value))
            return Fraction(whole if name == "floor" or whole == value else whole + 1)
        if isinstance(value, Fraction):
            known = _KNOWN.get((name, int(value))) if value.denominator == 1 else None
            if known is not None:
                return Fraction(known)
        value = floating(value)
        if name in ("ln", "log"):
            if value == 0:
                raise Undefined("the logarithm of zero")
            if not isinstance(value, mpc) and value < 0:
                self.real = False
                value = mpc(value)
            return mp.log(value)
        function = _FUNCTIONS.get(name)
        if function is None:
            raise Unread(name)
        try:
            return function(value)
        except ZeroDivisionError:
            raise Undefined("a pole") from None


_FUNCTIONS = {
    "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "cot": mp.cot, "sec": mp.sec, "csc": mp.csc,
    "arcsin": mp.asin, "arccos": mp.acos, "arctan": mp.atan, "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh,
    "arcsinh": mp.asinh, "arccosh": mp.acosh, "arctanh": mp.atanh,
}  # fmt: skip
_KNOWN = {
    ("ln", 1): 0,
    ("sin", 0): 0,
    ("cos", 0): 1,
    ("tan", 0): 0,
    ("arcsin", 0): 0,
    ("arctan", 0): 0,
    ("arccos", 1): 0,
}


def floating(value: Any) -> Any:
    """A value with as many digits as mpmath works with now."""
    if not isinstance(value, Fraction) and value != 0 and mp.isfinite(value) and mp.mag(value) > HIGHEST:
        raise TooLarge("a tower of powers")
    return mpf(value.numerator) / mpf(value.denominator) if isinstance(value, Fraction) else value


def real_part(value: Any) -> Any:
    return value.real if isinstance(value, mpc) else value


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _product(first: int, last: int) -> int:
    if last - first < 8:
        result = 1
        for factor in range(first, last + 1):
            result *= factor
        return result
    middle = (first + last) // 2
    return _product(first, middle) * _product(middle + 1, last)


def _integer_root(value: int, n: int) -> int | None:
    if value < 2:
        return value
    if n > value.bit_length():
        return None
    low, high = 1, 1 << (value.bit_length() // n + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**n <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**n == value else None
