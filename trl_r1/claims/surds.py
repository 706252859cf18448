"""Exact numbers with square roots: sums of rationals times square roots of whole numbers, compared without floats.

Values are ``Fraction`` or ``Surd`` (never a ``Surd`` that is rational). Sums, products, quotients and comparisons are
exact: the square roots of different square-free numbers are linearly independent over the rationals, so a sum is zero
only if all its coefficients are; if it is not zero, its sign follows from enough digits.

Every operation is bounded: beyond ``MOST_BITS`` bits or ``MOST_TERMS`` roots it raises ``TooLarge``.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import gcd, isqrt
from typing import Union


MOST_BITS = 4096
MOST_TERMS = 16
MOST_RADICAND = 10**12  # what is square-free is found by trial division


class TooLarge(ValueError):
    """A number that would cost more than its claim is worth."""


Exact = Union[Fraction, "Surd"]


class Surd:
    """``sum(coefficient * sqrt(radicand))`` over square-free radicands, at least one of them above 1."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[int, Fraction]) -> None:
        self.terms = terms

    def __add__(self, other: Exact | int) -> Exact:
        if not isinstance(other, _NUMBERS):
            return NotImplemented  # a symbolic operand decides for itself
        terms = dict(self.terms)
        for radicand, coefficient in _terms(other).items():
            terms[radicand] = terms.get(radicand, Fraction(0)) + coefficient
        return _without_zeros(terms)

    __radd__ = __add__

    def __neg__(self) -> Surd:
        return Surd({radicand: -coefficient for radicand, coefficient in self.terms.items()})

    def __sub__(self, other: Exact | int) -> Exact:
        return self + (-other)

    def __rsub__(self, other: Exact | int) -> Exact:
        return -self + other

    def __mul__(self, other: Exact | int) -> Exact:
        if not isinstance(other, _NUMBERS):
            return NotImplemented
        terms: dict[int, Fraction] = {}
        for first, one in self.terms.items():
            for second, two in _terms(other).items():
                shared = gcd(first, second)
                radicand = (first // shared) * (second // shared)
                terms[radicand] = terms.get(radicand, Fraction(0)) + one * two * shared
        return _without_zeros(terms)

    __rmul__ = __mul__

    def __truediv__(self, other: Exact | int) -> Exact:
        if not isinstance(other, _NUMBERS):
            return NotImplemented
        return self * _inverse(other)

    def __rtruediv__(self, other: Exact | int) -> Exact:
        return _inverse(self) * other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Surd) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __repr__(self) -> str:
        return " + ".join(f"{c}*sqrt({r})" for r, c in sorted(self.terms.items()))


_NUMBERS = (int, Fraction, Surd)


def sign(value: Exact) -> int:
    """-1, 0 or 1, exactly."""
    if isinstance(value, Fraction):
        return (value > 0) - (value < 0)
    bits = 64
    while True:
        low, high = bounds(value, bits)
        if low > 0:
            return 1
        if high < 0:
            return -1
        bits *= 2  # ends, because a Surd is not zero
        if bits > 64 * MOST_BITS:
            raise TooLarge("the sign needs too many digits")


def bounds(value: Exact, bits: int = 200) -> tuple[Fraction, Fraction]:
    """Rationals below and above the value, about ``2**-bits`` apart per unit of its coefficients."""
    if isinstance(value, Fraction):
        return value, value
    low = high = Fraction(0)
    for radicand, coefficient in value.terms.items():
        root = isqrt(radicand << (2 * bits))
        ends = (coefficient * Fraction(root, 1 << bits), coefficient * Fraction(root + 1, 1 << bits))
        if radicand == 1:
            ends = (coefficient, coefficient)
        low, high = low + min(ends), high + max(ends)
    return low, high


def root(value: Exact) -> Exact:
    """The square root of a rational, or of a Surd that is a square of ``a + b*sqrt(r)``.

    Raises:
        TooLarge: the root cannot be written as a sum of square roots here (negative, nested, or too large).
    """
    if isinstance(value, Surd):
        return _denested(value)
    if value < 0:
        raise TooLarge("the square root of a negative number")
    outside, inside = _square_part(value.numerator * value.denominator)
    coefficient = Fraction(outside, value.denominator)
    return coefficient if inside == 1 else _without_zeros({inside: coefficient})


def _denested(value: Surd) -> Exact:
    """sqrt(a + b sqrt(r)) = sqrt((a+d)/2) +- sqrt((a-d)/2) when d = sqrt(a*a - b*b*r) is rational."""
    radicand, b = next((r, c) for r, c in value.terms.items() if r > 1)
    a = value.terms.get(1, Fraction(0))
    if value.terms.keys() - {1, radicand} or sign(value) < 0:
        raise TooLarge("a nested square root")
    d = root(a * a - b * b * radicand) if a * a >= b * b * radicand else None
    if not isinstance(d, Fraction):
        raise TooLarge("a nested square root")
    first, second = root((a + d) / 2), root((a - d) / 2)
    return first + second if b > 0 else first - second


def size_checked(value: Fraction) -> Fraction:
    """The value, if it is small enough to go on with.

    Raises:
        TooLarge: more than ``MOST_BITS`` bits.
    """
    if value.numerator.bit_length() + value.denominator.bit_length() > MOST_BITS:
        raise TooLarge("too many digits")
    return value


def _terms(value: Exact | int) -> dict[int, Fraction]:
    return value.terms if isinstance(value, Surd) else {1: Fraction(value)}


def _without_zeros(terms: dict[int, Fraction]) -> Exact:
    nonzero = {radicand: size_checked(coefficient) for radicand, coefficient in terms.items() if coefficient}
    if not nonzero:
        return Fraction(0)
    if len(nonzero) > MOST_TERMS or max(nonzero).bit_length() > MOST_BITS:
        raise TooLarge("too many square roots")
    return nonzero[1] if nonzero.keys() == {1} else Surd(nonzero)


def _inverse(value: Exact | int) -> Exact:
    """Rationalised: multiply by conjugates until the denominator has no root left."""
    if not isinstance(value, Surd):
        return 1 / Fraction(value)
    over: Exact = Fraction(1)
    under: Exact = value
    for _ in range(2 * MOST_TERMS):
        if isinstance(under, Fraction):
            return over * (1 / under)
        prime = _a_prime_of(max(under.terms))
        conjugate = Surd({r: -c if r % prime == 0 else c for r, c in under.terms.items()})
        over, under = conjugate * over, conjugate * under
    raise TooLarge("a denominator with too many square roots")


@lru_cache(maxsize=4096)
def _square_part(number: int) -> tuple[int, int]:
    """(a, b) with number = a*a*b and b square-free."""
    if number == 0:
        return 0, 1
    whole = isqrt(number)
    if whole * whole == number:
        return whole, 1
    outside, inside = 1, 1
    if number > MOST_RADICAND:
        raise TooLarge("too large to look for squares in")
    for prime in _primes():
        if prime * prime * prime > number:
            break
        while number % (prime * prime) == 0:
            number //= prime * prime
            outside *= prime
        if number % prime == 0:
            number //= prime
            inside *= prime
    whole = isqrt(number)  # what is left has at most two prime factors
    return (outside * whole, inside) if whole * whole == number else (outside, inside * number)


@lru_cache(maxsize=4096)
def _a_prime_of(number: int) -> int:
    for prime in _primes():
        if number % prime == 0:
            return prime
    return number  # square-free without small primes: as one block it conjugates just as well


@lru_cache(maxsize=1)
def _primes() -> list[int]:
    sieve = bytearray([1]) * 10001
    for number in range(2, 101):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, 10001, number)))
    return [number for number in range(2, 10001) if sieve[number]]
