r"""Random spellings of an answer of ``judge_pairs``: LaTeX as models and data sets write it, and plain text."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from typing import Any


Tree = tuple  # see judge_pairs


def spell(answer: Any, chance: random.Random) -> str:
    """One spelling of a whole answer."""
    items = [Writer(chance).sum(item) for item in answer.items]
    comma = chance.choice((", ", ",", ",\\ ", " , "))
    if answer.shape == "value":
        text = items[0]
    elif answer.shape == "matrices":
        rows = [items[i : i + answer.columns] for i in range(0, len(items), answer.columns)]
        body = chance.choice((" \\\\ ", "\\\\")).join(" & ".join(row) for row in rows)
        text = f"\\begin{{{answer.marks}matrix}}{body}\\end{{{answer.marks}matrix}}"
    elif answer.shape == "relations":
        text = _relation(items, answer.marks, chance)
    elif answer.shape == "intervals" and chance.random() < 0.3:
        text = _inequality(items, answer.marks, chance)
    else:
        if answer.shape == "sets":
            chance.shuffle(items)
            if not answer.marks and len(items) == 2 and chance.random() < 0.3:
                comma = chance.choice((" \\text{ and } ", " \\text{ or } ", " and "))
        if re.fullmatch(r"\d{1,3}(?:,\d{3})+", comma.join(items)):
            comma = ", "  # 8,442 is one number
        text = _bracketed(items, answer.marks, comma, chance)
    return _wrapped(text, chance)


def _bracketed(items: list[str], marks: str, comma: str, chance: random.Random) -> str:
    inside = comma.join(items)
    if not marks:
        return inside
    opening, closing = ("\\" + m if m in "{}" else m for m in marks)
    if chance.random() < 0.5:
        opening, closing = f"\\left{opening}", f"\\right{closing}"
    return f"{opening}{chance.choice(('', ' '))}{inside}{chance.choice(('', ' '))}{closing}"


_SIGNS = {"=": ("=",), "<": ("<", "\\lt "), ">": (">", "\\gt "), "<=": ("\\le ", "\\leq ", "≤", "<=", "\\leqslant "),
          ">=": ("\\ge ", "\\geq ", "≥", ">="), "!=": ("\\ne ", "\\neq ", "!=", "≠")}  # fmt: skip
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def _relation(items: list[str], mark: str, chance: random.Random) -> str:
    left, right = items
    if chance.random() < 0.3:
        left, right, mark = right, left, _TURNED[mark]
    gap = chance.choice(("", " "))
    return f"{left}{gap}{chance.choice(_SIGNS[mark])}{gap}{right}"


def _inequality(items: list[str], marks: str, chance: random.Random) -> str:
    first, second = ("<" if marks[0] == "(" else "<="), ("<" if marks[1] == ")" else "<=")
    if chance.random() < 0.3:
        first, second, items = _TURNED[second], _TURNED[first], items[::-1]
    return f"{items[0]} {chance.choice(_SIGNS[first])} x {chance.choice(_SIGNS[second])} {items[1]}"


def _wrapped(text: str, chance: random.Random) -> str:
    form = chance.random()
    if form < 0.15:
        return f"${text}$"
    if form < 0.2:
        return f"\\({text}\\)"
    if form < 0.25:
        return f"\\displaystyle {text}"
    if form < 0.3:
        return f"{text}."
    return f" {text}\\," if form < 0.33 else text


class Writer:
    """One spelling of one tree. ``plain``: without LaTeX commands where that is possible."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.plain = chance.random() < 0.15
        self.by = chance.choice(("", "", " ", "\\cdot ", " \\times ", "\\,")) if not self.plain else "*"

    def choose(self, *options: str) -> str:
        return self.chance.choice(options)

    def sum(self, tree: Tree) -> str:
        """Where any operator may stand."""
        if tree[0] != "+":
            return self.term(tree)
        text = self.term(tree[1])
        gap = self.choose("", " ")
        for part in tree[2:]:
            term = self.term(part)
            if term.startswith("-"):
                text += f"{gap}-{gap}{term[1:].lstrip()}"
            else:
                text += f"{gap}+{gap}{term}"
        return text

    def term(self, tree: Tree) -> str:
        """A term of a sum: a sign may lead it."""
        if tree[0] == "+":
            return self.grouped(tree)
        if tree[0] == "n":
            return self.number(tree[1])
        if tree[0] == "*":
            return self.product(tree)
        if tree[0] == "/":
            return self.quotient(tree)
        return self.factor(tree)

    def number(self, value: Fraction) -> str:
        sign, value = ("-" if value < 0 else ""), abs(value)
        if value.denominator == 1:
            return sign + self.integer(value.numerator)
        decimal = _decimal(value)
        forms = [self.fraction(value), self.fraction(value)]
        if decimal:
            forms += [decimal] * (3 if value.denominator >= 10 else 1)
        else:
            forms += _repeating(value, self.chance)
        if value > 1 and not self.plain:
            whole, rest = divmod(value.numerator, value.denominator)
            forms.append(f"{whole}\\frac{{{rest}}}{{{value.denominator}}}")
        if sign and not self.plain and self.chance.random() < 0.2:
            return f"\\frac{{-{value.numerator}}}{{{value.denominator}}}"
        return sign + self.chance.choice(forms)

    def integer(self, value: int) -> str:
        if value >= 1000 and self.chance.random() < 0.4:
            return f"{value:,}".replace(",", "{,}" if self.plain else self.choose("{,}", "\\,", ",\\!"))
        if value % 10**3 == 0 and value and self.chance.random() < 0.1 and not self.plain:
            return f"{value // 1000} \\times 10^3" if self.by not in ("", " ") and value >= 10**4 else str(value)
        return str(value)

    def fraction(self, value: Fraction) -> str:
        top, below = value.numerator, value.denominator
        scale = self.chance.choice((1, 1, 1, 2, 3))
        top, below = top * scale, below * scale
        if self.plain:
            return f"({top}/{below})"
        options = [f"\\frac{{{top}}}{{{below}}}", f"\\dfrac{{{top}}}{{{below}}}", f"\\tfrac{{{top}}}{{{below}}}",
                   f"{{{top} \\over {below}}}", f"\\frac {{{top}}} {{{below}}}"]  # fmt: skip
        if top < 10 and below < 10:
            options += [f"\\frac{top}{below}", f"\\frac {top}{below}", f"\\frac{top}{{{below}}}"]
        if (top, below) in _SIGNS_OF_FRACTIONS:
            options.append(_SIGNS_OF_FRACTIONS[top, below])
        return self.chance.choice(options)

    def product(self, tree: Tree) -> str:
        parts = list(tree[1:])
        sign = ""
        if parts[0][0] == "n" and abs(parts[0][1]) == 1 and len(parts) > 1:
            sign, parts = ("-" if parts[0][1] < 0 else ""), parts[1:]
        texts = []
        for index, part in enumerate(parts):
            text = (
                self.number(part[1]) if part[0] == "n" and index == 0 else self.factor(part, index == len(parts) - 1)
            )
            if index and texts and not self.by.strip(" \\,"):
                if (
                    text[0].isdigit()
                    or texts[-1][-1:].isdigit()
                    and text[0] == "\\frac"[0]
                    and text.startswith("\\frac")
                ):
                    texts.append("\\cdot " + text)
                    continue
            texts.append(text)
        result = texts[0]
        for text in texts[1:]:
            by = "" if text.startswith("\\cdot") else self.by
            result += by + ("" if by or not (result[-1].isalpha() and text[0].isalpha()) else " ") + text
        return sign + result

    def quotient(self, tree: Tree) -> str:
        if self.plain:
            return f"{self.factor(tree[1])}/{self.factor(tree[2])}"
        above, below = Writer(self.chance), Writer(self.chance)
        above.plain = below.plain = False
        above.by = above.by.replace("*", "")
        return self.choose("\\frac", "\\dfrac") + f"{{{above.sum(tree[1])}}}{{{below.sum(tree[2])}}}"

    def factor(self, tree: Tree, last: bool = False) -> str:
        """Something that holds together beside a factor on either side."""
        head = tree[0]
        if head == "n":
            return str(tree[1]) if tree[1].denominator == 1 and tree[1] >= 0 else f"({self.number(tree[1])})"
        if head == "s":
            return tree[1]
        if head == "c":
            return self.constant(tree[1])
        if head == "r":
            return self.root(tree)
        if head == "^":
            return self.power(tree)
        if head == "f":
            text = self.function(tree)
            return text if last or text.endswith((")", "}")) else f"({text})"
        return self.grouped(tree)

    def grouped(self, tree: Tree) -> str:
        opening, closing = ("(", ")") if self.plain or self.chance.random() < 0.5 else ("\\left(", "\\right)")
        return f"{opening}{self.sum(tree)}{closing}"

    def constant(self, name: str) -> str:
        if name == "pi":
            return "pi" if self.plain else self.choose("\\pi", "π", "{\\pi}", "\\pi ")
        return name if self.plain else self.choose(name, name, f"\\mathrm{{{name}}}")

    def root(self, tree: Tree) -> str:
        inside, degree = self.sum(tree[1]), tree[2][1]
        if degree != 2:
            return f"({inside})^(1/{degree})" if self.plain else f"\\sqrt[{degree}]{{{inside}}}"
        if self.plain:
            return f"sqrt({inside})"
        options = [f"\\sqrt{{{inside}}}", f"\\sqrt {{{inside}}}"]
        if inside.isdigit():
            options += [f"√{inside}"] + ([f"\\sqrt{inside}"] if len(inside) == 1 else [])
        return self.chance.choice(options)

    def power(self, tree: Tree) -> str:
        base, exponent = tree[1], tree[2]
        inside = self.factor(base) if base[0] in "sn" else self.grouped(base)
        if exponent[0] == "n" and exponent[1].denominator == 1 and exponent[1] >= 0:
            digits = str(exponent[1])
            if not self.plain and self.chance.random() < 0.1:
                return inside + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in digits)
            return (
                f"{inside}^{digits}" if len(digits) == 1 and self.chance.random() < 0.5 else f"{inside}^{{{digits}}}"
            )
        return f"{inside}^({self.sum(exponent)})" if self.plain else f"{inside}^{{{self.sum(exponent)}}}"

    def function(self, tree: Tree) -> str:
        name, inside = tree[1], self.sum(tree[2])
        if name == "exp":
            return f"e^({inside})" if self.plain else self.choose(f"e^{{{inside}}}", f"\\mathrm{{e}}^{{{inside}}}")
        if self.plain:
            return f"{name}({inside})"
        options = [f"\\{name}({inside})", f"\\{name}\\left({inside}\\right)", f"\\operatorname{{{name}}}({inside})"]
        if tree[2][0] in "ns" and inside.isalnum():
            options += [f"\\{name} {inside}", f"\\{name}{{{inside}}}"]
        if name == "arctan":
            options.append(f"\\tan^{{-1}}({inside})")
        return self.chance.choice(options)


_SIGNS_OF_FRACTIONS = {(1, 2): "½", (1, 3): "⅓", (2, 3): "⅔", (1, 4): "¼", (3, 4): "¾", (1, 5): "⅕", (5, 8): "⅝"}


def _decimal(value: Fraction) -> str:
    """The exact decimal of a positive fraction; "" if it has more than five places."""
    for places in range(1, 6):
        if (value * 10**places).denominator == 1:
            digits = str(int(value * 10**places)).rjust(places + 1, "0")
            return f"{digits[:-places]}.{digits[-places:]}"
    return ""


def _repeating(value: Fraction, chance: random.Random) -> list[str]:
    """The repeating decimal of a positive fraction, if its period is short and begins at the point."""
    whole, rest = divmod(value.numerator, value.denominator)
    for period in (1, 2, 3, 6):
        digits = Fraction(rest, value.denominator) * (10**period - 1)
        if digits.denominator == 1:
            return [f"{whole}.\\overline{{{str(int(digits)).rjust(period, '0')}}}"]
    return []
