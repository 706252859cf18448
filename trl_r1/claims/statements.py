"""Statements with names in them, as plain data: linear relations over variables, and propositional formulas.

Found here, judged by ``trl_r1.claims.solver``; nothing here needs Z3. A statement is judged against the statements
before it, so it knows its ``branch``: what a case, a supposition or a correction opens is weighed against the text
before the first of them, and against itself, not against the other cases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from trl_r1.claims.arithmetic import evaluate, kinds, literal, tolerance
from trl_r1.claims.find import asserted, links
from trl_r1.claims.surds import TooLarge
from trl_r1.claims.tokens import Token, tokens
from trl_r1.claims.trees import Tree, Unreadable


MOST_STATEMENTS = 200  # of a kind, in one text
MOST_NAMES = 12  # in one statement
_CONSTANTS = {"e", "i", r"\pi", "π", r"\infty", "∞"}


@dataclass(frozen=True)
class Statement:
    """``text[start:end]``. ``given``: a definition or supposition, never judged. ``strict``: it says that it follows
    from what was said, so it is wrong if it does not. ``content``: what JSON carries to the solver."""

    start: int
    end: int
    content: dict[str, Any]
    branch: int = 0
    given: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Linear:
    """``constant + sum(coefficient * name)``; anything that is not linear raises ``Unreadable``."""

    constant: Fraction = Fraction(0)
    terms: dict[str, Fraction] = field(default_factory=dict)

    def __add__(self, other: Any) -> Linear:
        other = _linear(other)
        terms = {name: self.terms.get(name, 0) + other.terms.get(name, 0) for name in {**self.terms, **other.terms}}
        return Linear(self.constant + other.constant, {name: Fraction(c) for name, c in terms.items() if c})

    __radd__ = __add__

    def __neg__(self) -> Linear:
        return self * Fraction(-1)

    def __sub__(self, other: Any) -> Linear:
        return self + _linear(other) * Fraction(-1)

    def __rsub__(self, other: Any) -> Linear:
        return -self + other

    def __mul__(self, other: Any) -> Linear:
        other = _linear(other)
        scalar, rest = (other, self) if not other.terms else (self, other)
        if scalar.terms:
            raise Unreadable("not linear")
        factor = scalar.constant
        return Linear(rest.constant * factor, {n: c * factor for n, c in rest.terms.items() if factor})

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Linear:
        other = _linear(other)
        if other.terms or not other.constant:
            raise Unreadable("not linear")
        return self * (1 / other.constant)

    def __rtruediv__(self, other: Any) -> Linear:
        raise Unreadable("not linear")


def _linear(value: Any) -> Linear:
    if isinstance(value, Linear):
        return value
    if not isinstance(value, (int, Fraction)):
        raise Unreadable("not rational")
    return Linear(Fraction(value))


_BRANCHES = re.compile(
    r"\b(?:case|suppose|assume|if|otherwise|alternatively|either|when|wait|actually|mistake|instead|try|let's say)\b"
    r"|情况|假设|假如|如果|若|或者|否则|不对|错了",
    re.IGNORECASE,
)
_GIVES = re.compile(
    r"(?:\b(?:let|set|define|suppose|assume|if|when|given)\b|设|令|假设|若|如果|已知)[^.\n。;；]{0,30}$", re.I
)


class _Branches:
    """Which branch a position of the text belongs to: one more at every cue."""

    def __init__(self, text: str) -> None:
        self.cues = [match.start() for match in _BRANCHES.finditer(text)]
        self.at = 0

    def of(self, end: int) -> int:
        while self.at < len(self.cues) and self.cues[self.at] < end:
            self.at += 1
        return self.at


def linear_statements(text: str, line: list[Token] | None = None) -> list[Statement]:
    """The linear equations and inequalities over named variables, in order; at most ``MOST_STATEMENTS``.

    ``content``: {"terms": {name: "1/2"}, "constant": "3", "relation": "=", "width": "0"}, for
    ``terms + constant relation 0``, within ``width`` where a rounded decimal is equated with a variable.
    """
    statements: list[Statement] = []
    branches = _Branches(text)
    for link in links(tokens(text) if line is None else line):
        if link.left is None or link.right is None or link.relation == "~" or len(statements) >= MOST_STATEMENTS:
            continue
        names = _names(link.left) | _names(link.right)
        if not names or len(names) > MOST_NAMES or names & _CONSTANTS or (kinds(link.left) | kinds(link.right)):
            continue
        known = {name: Linear(terms={name: Fraction(1)}) for name in names}
        try:
            difference = _linear(evaluate(link.left, names=known)) - evaluate(link.right, names=known)
        except (Unreadable, TooLarge):
            continue
        if not difference.terms and (difference.constant == 0 or link.relation != "="):
            continue
        content = {
            "terms": {name: str(coefficient) for name, coefficient in sorted(difference.terms.items())},
            "constant": str(difference.constant),
            "relation": link.relation,
            "width": str(_width(link.left, link.right)) if link.relation == "=" else "0",
        }
        is_given = not asserted(text, link.start, link.end) or _GIVES.search(
            text[max(0, link.start - 40) : link.start]
        )
        statements.append(Statement(link.start, link.end, content, branches.of(link.start), bool(is_given)))
    return statements


def _names(tree: Tree) -> set[str]:
    if tree[0] == "number":
        return set()
    if tree[0] == "symbol":
        return {tree[1]}
    return _names(tree[1]).union(*(_names(part) for part in tree[2:] if isinstance(part, tuple)))


def _width(left: Tree, right: Tree) -> Fraction:
    """How far a stated decimal may be off: ``x = 3.33`` may be 10/3."""
    for name, number in ((left, right), (right, left)):
        stated = literal(number)
        if name[0] == "symbol" and stated is not None and stated[2]:
            width, _ = tolerance(number) or (Fraction(0), True)
            return width if isinstance(width, Fraction) else Fraction(0)
    return Fraction(0)


# ---------------------------------------------------------------- propositional

_CONNECTIVES = {
    **dict.fromkeys(("∧", r"\land", r"\wedge", "&"), "and"),
    **dict.fromkeys(("∨", r"\lor", r"\vee"), "or"),
    **dict.fromkeys(("→", "⇒", "->", "=>", r"\to", r"\rightarrow", r"\Rightarrow", r"\implies"), "implies"),
    **dict.fromkeys(("↔", "⇔", "<->", "<=>", r"\leftrightarrow", r"\Leftrightarrow", r"\iff"), "iff"),
    **dict.fromkeys(("≡", r"\equiv"), "same"),
    **dict.fromkeys(("¬", "~", r"\neg", r"\lnot"), "not"),
}
_STRENGTH = {"same": 1, "iff": 2, "implies": 3, "or": 4, "and": 5}
_LOGICAL = re.compile(
    r"(?P<atom>(?<![A-Za-z])[A-Za-z](?:_?[0-9]{1,2})?(?![A-Za-z0-9]))|(?P<bracket>[()\[\]])|(?P<blank>[\s$]+)"
    r"|(?P<turnstile>⊢|⊨|\\vdash|\\models)|(?P<so>∴|\\therefore)"
    r"|(?P<connective><->|<=>|->|=>|[∧∨→⇒↔⇔≡¬~&]|\\(?:land|wedge|lor|vee|to|rightarrow|Rightarrow|implies"
    r"|leftrightarrow|Leftrightarrow|iff|equiv|neg|lnot)(?![A-Za-z]))"
)
_SIGN = re.compile(r"[∧∨→⇒↔⇔≡¬⊢⊨∴]|->|=>|\\(?:land|wedge|lor|vee|neg|lnot|iff|implies|vdash|models|therefore)")
_SEGMENT = re.compile(r"[^,.;:\n，。；：]+")
MOST_FORMULA_TOKENS = 60


def propositional_statements(text: str) -> list[Statement]:
    """The propositional formulas of a text, in order; at most ``MOST_STATEMENTS``.

    A formula is a whole clause (between punctuation marks) of letters and the signs ∧ ∨ ¬ → ↔ ≡ (or their LaTeX);
    words before it, such as "therefore", do not matter. ``P, P → Q ⊢ Q`` and ``∴ Q`` say that something follows;
    ``A ≡ B`` says that two formulas always agree. ``content``: {"formula": nested lists}, with "valid" for ≡.
    """
    statements: list[Statement] = []
    if not _SIGN.search(text):
        return statements
    branches = _Branches(text)
    known: set[str] = set()
    for match in _SEGMENT.finditer(text):
        start, end = match.span()
        if end - start > 400 or len(statements) >= MOST_STATEMENTS:
            continue
        so = re.search(r"[⊢⊨∴]|\\(?:vdash|models|therefore)(?![A-Za-z])", match.group())
        if so:
            _add(statements, text, start, start + so.start(), branches, known, strict=False)
            _add(statements, text, start + so.end(), end, branches, known, strict=True)
        else:
            _add(statements, text, start, end, branches, known, strict=False)
    return statements


def _add(
    statements: list[Statement], text: str, start: int, end: int, branches: _Branches, known: set[str], strict: bool
) -> None:
    formula = text[start:end]
    prose = re.match(r"(?:[\s$]*(?:[A-Za-z]{2,}|[\u4e00-\u9fff]+|I|a)(?=[\s$\\¬(]))*[\s$]*", formula)
    offset = prose.end() if prose else 0
    try:
        tree, atoms = _formula(formula[offset:])
    except Unreadable:
        return
    if tree[0] == "atom" and not atoms <= known:
        return  # a lone letter is a word, unless a formula has spoken of it
    known |= atoms
    begin = start + offset
    content: dict[str, Any] = {"formula": tree, "valid": tree[0] == "same"}
    is_given = not asserted(text, begin, end)
    statements.append(
        Statement(begin, begin + len(formula[offset:].rstrip(" $\n")), content, branches.of(begin), is_given, strict)
    )


def _formula(text: str) -> tuple[list[Any], set[str]]:
    parts: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _LOGICAL.match(text, position)
        if match is None or len(parts) > MOST_FORMULA_TOKENS:
            raise Unreadable("no formula")
        if match.lastgroup != "blank":
            parts.append((str(match.lastgroup), _CONNECTIVES.get(match.group(), match.group())))
        position = match.end()
    if not parts:
        raise Unreadable("no formula")
    tree, at = _read(parts, 0, 0)
    if at != len(parts):
        raise Unreadable("no formula")
    return tree, {name for kind, name in parts if kind == "atom"}


def _read(parts: list[tuple[str, str]], at: int, strength: int) -> tuple[list[Any], int]:
    if at >= len(parts):
        raise Unreadable("no formula")
    kind, name = parts[at]
    left: list[Any]
    if name == "not":
        inner, at = _read(parts, at + 1, 6)
        left = ["not", inner]
    elif kind == "bracket" and name in "([":
        left, at = _read(parts, at + 1, 0)
        if at >= len(parts) or parts[at][1] != {"(": ")", "[": "]"}[name]:
            raise Unreadable("no formula")
        at += 1
    elif kind == "atom":
        left, at = ["atom", name], at + 1
    else:
        raise Unreadable("no formula")
    while at < len(parts) and parts[at][0] == "connective" and _STRENGTH.get(parts[at][1], 0) > strength:
        operation = parts[at][1]
        rightward = operation == "implies"
        right, at = _read(parts, at + 1, _STRENGTH[operation] - rightward)
        left = [operation, left, right]
    return left, at
