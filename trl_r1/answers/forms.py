r"""Forms of an answer: which kind it is, another way to write the same, and something near it that is wrong.

Shares with the code that compares answers how an answer is read (spelling, literals, items of a list), not how two are
compared, so that it can be used to examine it (``trl_r1.data.goldcheck``, ``trl_r1.audit.audit``).
"""

from __future__ import annotations

import re
from fractions import Fraction

from trl_r1.answers.equality import BASED, CHOICE_GOLD, COLON, TRUTH, parts, plain_words, sides_of
from trl_r1.answers.notation import canonical
from trl_r1.answers.quantities import quantity


TYPES: dict[str, str] = {  # the one table of answer types, for golds that are read and for answers that are asked for
    "integer": "a whole number without decimal point or slash: 72, 1,072, 72 apples",
    "fraction": r"a quotient of two whole numbers: 1/2, \frac{3}{4}, 1 1/2; lowest terms are not demanded",
    "decimal": "a number with a decimal point: 0.5, 3.14 cm; decimal:2 has exactly two digits behind it",
    "percent": r"a percentage: 12%, 12\%, 12 percent",
    "number": "any number literal: integer, fraction, decimal or percentage",
    "choice": "one letter A to J: B, (C); choice:ABCD names the letters there are",
    "yes_no": "yes or no, true or false, 是 or 否",
    "clock": "a time, a ratio or a number in a base: 12:30, 3:2, 1101_2",
    "interval": r"an interval, a union of them, or an inequality: (2, \infty), [0, 1), 0 \le x < 1",
    "list": r"several items, or items in brackets: (1, 2), \{1, 2\}, 2 and 3",
    "sequence": "several items whose order counts, as in sorting: 29, 51, 60; 29 < 51 < 60",
    "expression": r"a mathematical expression or equation: x^2 + 1, \sqrt{2}, y = 2x",
    "text": "words: Paris, a hyperbola",
    "fact": "words that a reply states: for Paris, 'The capital of France is Paris.' and 'It was Paris, in 1900.'",
}

_RELATION = re.compile(r"^([^<>=]+?)\s*(<=|>=|<|>|\\leq?(?![a-z])|\\geq?(?![a-z]))\s*([^<>=\\]+)$")
_TURNED = {
    "<": ">",
    ">": "<",
    "<=": ">=",
    ">=": "<=",
    "\\le": "\\ge",
    "\\ge": "\\le",
    "\\leq": "\\ge",
    "\\geq": "\\le",
}
_NO_ARITHMETIC = re.compile(
    r"[<>⦃⦄=;|]|\\(?:le|ge|leq|geq|ne|neq|in|cup|cap|pm|mp|text|begin|infty|to|setminus)(?![a-z])"
)


def answer_type(answer: str) -> str:
    r"""Which of ``TYPES`` an answer is; never "number", which says less than its neighbours.

    >>> answer_type("1,072"), answer_type(r"12\%"), answer_type("(B)"), answer_type(r"[0, \infty)")
    ('integer', 'percent', 'choice', 'interval')
    """
    text = canonical(answer)
    number = quantity(text)
    if number is not None:
        if re.search(r"%|\bper ?cent", text, re.IGNORECASE):
            return "percent"
        if number.decimals is not None and "/" not in text:
            return "decimal"
        return (
            "fraction"
            if re.search(r"\d\s*/\s*-?\d|\\frac|[^\d]\d+\(", text) or number.value.denominator != 1
            else "integer"
        )
    if text.lower() in TRUTH:
        return "yes_no"
    if CHOICE_GOLD.fullmatch(text):
        return "choice"
    if BASED.fullmatch(text) or COLON.fullmatch(text):
        return "clock"
    if plain_words(text) is not None and "," not in text:
        return "text"
    brackets, items = parts(text)
    if "\\cup" in text or brackets in ("(]", "[)") or (len(items) == 2 and brackets and "\\infty" in text):
        return "interval"
    if len(items) > 1 or brackets == "⦃⦄":
        return "list"
    return "expression"


def equal_form(answer: str) -> str | None:
    r"""The same answer as another writer might put it; None where there is no second way that is surely equal.

    >>> equal_form("72"), equal_form("12%"), equal_form("(1, 2)"), equal_form("2 and 3")
    ('\\frac{144}{2}', '0.12', '\\left(\\frac{2}{2}, \\frac{4}{2}\\right)', '\\frac{6}{2}, \\frac{4}{2}')
    """
    text, kind = canonical(answer), answer_type(answer)
    number = quantity(text)
    if number is not None:
        return _as_decimal(number.value) if kind == "percent" else _as_fraction(number.value)
    if kind == "yes_no":
        return f"{text[:1].swapcase()}{text[1:]}."
    if kind == "choice":
        return f"({text.strip('().: ')})"
    if kind == "text":
        return rf"\text{{{text.upper()}}}" if text.isascii() else f"$\\text{{{text}}}$"
    if kind == "clock":
        return re.sub(r"_\s*\{?(\w+)\}?$", r"_{\1}", text) if "_" in text else re.sub(r"\s*:\s*", " : ", text)
    if kind in ("interval", "list") and "\\cup" not in text:
        return _list_again(text)
    relation = _RELATION.match(text)
    if relation:
        left, sign, right = relation.groups()
        return f"{right} {_TURNED[sign]} {left}"
    sides = sides_of(text)
    if len(sides) == 2 and all(sides) and not _NO_ARITHMETIC.search("".join(sides)):
        again = equal_form(sides[1])
        return f"{sides[0]} = {again}" if again else None
    if _NO_ARITHMETIC.search(text) or "," in text:
        return None
    return rf"\frac{{2({text})}}{{2}}"


def wrong_form(answer: str) -> str:
    r"""A different answer of the same type: the next number, another letter, the opposite, one item changed.

    >>> wrong_form("72 apples"), wrong_form("B"), wrong_form("yes"), wrong_form("(1, 2)"), wrong_form("x^2")
    ('73', 'C', 'No', '(1, 3)', 'x^2+1')
    """
    text, kind = canonical(answer), answer_type(answer)
    number = quantity(text)
    if number is not None:
        if kind == "percent":
            return f"{_as_decimal(number.value * 100 + 1) or _as_fraction(number.value * 100 + 1)}%"
        value = number.value + 1
        return str(value) if kind != "decimal" else _as_decimal(value) or str(value)
    if kind == "yes_no":
        return "No" if TRUTH[text.lower()] else "Yes"
    if kind == "choice":
        letter = text.strip("().: ")
        return chr(ord(letter) + 1) if letter < "D" else "A"
    if kind == "text":
        return "neither of these" if text.casefold() != "neither of these" else "Paris"
    if kind == "clock":
        return re.sub(r"\d", lambda m: "1" if m.group() == "0" else "0", text, count=1)
    brackets, items = parts(text)
    if kind == "list" and all(items):
        return _bracketed(brackets, [*items[:-1], wrong_form(items[-1])])
    if kind == "interval" and brackets and len(items) == 2:
        spot = 1 if "\\infty" not in items[1] else 0
        return _bracketed(brackets, [wrong_form(x) if index == spot else x for index, x in enumerate(items)])
    if _NO_ARITHMETIC.search(text) and "=" not in text:
        return "123456789"
    return f"{text.replace('⦃', '{').replace('⦄', '}')}+1"


def _as_fraction(value: Fraction) -> str:
    return rf"\frac{{{2 * value.numerator}}}{{{2 * value.denominator}}}"


def _as_decimal(value: Fraction) -> str | None:
    """The exact decimal; None where there is none of at most 12 places."""
    for places in range(1, 13):
        if (value * 10**places).denominator == 1:
            digits = str(abs(value * 10**places)).rjust(places + 1, "0")
            return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    return None


def _list_again(text: str) -> str | None:
    brackets, items = parts(text)
    if not all(items):
        return None
    again = [item if item.lstrip("+-") in ("\\infty", "infinity") else equal_form(item) or item for item in items]
    if brackets in ("", "⦃⦄"):
        again.reverse()  # order does not count
    if not brackets:
        return ", ".join(again)
    opening, closing = (f"\\{b}" if b in "{}" else b for b in brackets.replace("⦃", "{").replace("⦄", "}"))
    return rf"\left{opening}{', '.join(again)}\right{closing}"


def _bracketed(brackets: str, items: list[str]) -> str:
    opening, closing = (brackets[0], brackets[1]) if brackets else ("", "")
    return f"{opening}{', '.join(items)}{closing}".replace("⦃", "\\{").replace("⦄", "\\}")
