"""Formal steps: what a reasoning trace claims, as SMT-LIB that any solver can replay.

    arithmetic    ``12 * 4 = 48``: closed claims in free text, as ``trl_r1.claims.find`` finds them
    linear        ``3x + 2 = 14``, ``x = 4``: judged against the statements before it (``trl_r1.claims.statements``)
    sums          ``①2 add ②9=11``: the chains of the mini world, judged against the digits that the question names

A step has premises and a claim. It is right when the premises leave the claim no way to fail, wrong when they leave it no
way to hold; then any state of affairs that the premises allow is a counterexample. Nothing here needs Z3; the replay does
(``trl_r1.claims.replay``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from trl_r1.claims.algebra import term
from trl_r1.claims.arithmetic import abs_exact, evaluate, literal, plain, related, rounded, tolerance
from trl_r1.claims.find import arithmetic_claims, links, stated
from trl_r1.claims.statements import linear_statements
from trl_r1.claims.surds import TooLarge, sign
from trl_r1.claims.tokens import tokens
from trl_r1.claims.trees import Tree, Unreadable
from trl_r1.mini.world import NAMES


@dataclass(frozen=True)
class FormalStep:
    """``text[start:end]`` of a trace, with what it says in SMT-LIB 2.6."""

    start: int
    end: int
    premises: str  # declare-const and assert commands
    claim: str  # one Boolean term over the declared names


# --- numbers and terms as SMT-LIB


def decimal(number: Fraction) -> str:
    """A rational number as a term of sort Real.

    >>> decimal(Fraction(-3, 4)), decimal(Fraction(12))
    ('(- (/ 3.0 4.0))', '12.0')
    """
    size = abs(number)
    text = f"{size.numerator}.0" if size.denominator == 1 else f"(/ {size.numerator}.0 {size.denominator}.0)"
    return f"(- {text})" if number < 0 else text


class Writer:
    """Terms of ``trl_r1.claims.algebra`` as SMT-LIB; a quotient or root becomes a new name with its condition."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.made = 0

    def name(self) -> str:
        self.made += 1
        self.lines.append(f"(declare-const t{self.made} Real)")
        return f"t{self.made}"

    def write(self, data: Any) -> str:
        kind = data[0]
        if kind == "number":
            return decimal(Fraction(data[1]))
        if kind not in ("+", "-", "*", "/", "negative", "absolute", "power", "root"):
            raise Unreadable(f"{kind} is not written here")
        first = self.write(data[1])
        if kind == "negative":
            return f"(- {first})"
        if kind == "absolute":
            return f"(ite (>= {first} 0.0) {first} (- {first}))"
        if kind == "power":
            return first if data[2] == 1 else f"(* {' '.join([first] * data[2])})"
        if kind == "root":
            name = self.name()
            self.lines.append(f"(assert (= (* {' '.join([name] * data[2])}) {first}))")
            if data[2] % 2 == 0:
                self.lines.append(f"(assert (>= {name} 0.0))")
            return name
        second = self.write(data[2])
        if kind != "/":
            return f"({kind} {first} {second})"
        name = self.name()
        self.lines.append(f"(assert (and (not (= {second} 0.0)) (= (* {name} {second}) {first})))")
        return name


# --- the three kinds of step


def arithmetic_steps(text: str, question: str = "") -> list[FormalStep]:
    """The closed arithmetic claims of a text that have one plain meaning; rounding is allowed as far as the reward allows
    it. A claim whose verdict hangs on a special reading (percent, units) is left out."""
    text = stated(text)
    line = tokens(text)
    links_by_place = {(link.start, link.end): link for link in links(line)}
    steps = []
    for claim in arithmetic_claims(text, line):
        link = links_by_place.get((claim.start, claim.end))
        if claim.right is None or link is None or link.left is None or link.right is None:
            continue
        if plain(link.left) and plain(link.right) and link.relation in "=~":
            continue  # its left side is the start of the chain, which stands in another link
        try:
            step = _closed(link.relation, link.left, link.right, claim.start, claim.end, claim.right)
        except (Unreadable, TooLarge):
            continue
        if step is not None:
            steps.append(step)
    return steps


def _closed(relation: str, left: Tree, right: Tree, start: int, end: int, verdict: bool) -> FormalStep | None:
    writer = Writer()
    sides = [writer.write(term(tree)) for tree in (left, right)]
    lines = [*writer.lines, "(declare-const left Real)", "(declare-const right Real)"]
    lines += [f"(assert (= {name} {side}))" for name, side in zip(("left", "right"), sides)]
    first, second = evaluate(left), evaluate(right)
    width: Any = None
    if relation in "=~" and first - second != 0:
        near = [
            tolerance(tree)
            for tree, other in ((left, second), (right, first))
            if literal(tree) is not None and (relation == "~" or not verdict or rounded(other, tree))
        ]
        decimals = any((number := literal(tree)) is not None and number[2] for tree in (left, right))
        widths = [pair[0] for pair in near if pair is not None and isinstance(pair[0], Fraction)]
        if widths and (relation == "~" or decimals):
            width = max(widths)
    if relation in "=~":
        claim = "(= left right)"
        if width is not None:
            claim = f"(and (<= (- left right) {decimal(width)}) (<= (- right left) {decimal(width)}))"
        elif relation == "~" and first - second != 0:
            return None
        holds = first - second == 0 or (width is not None and sign(abs_exact(first - second) - width) <= 0)
    else:
        claim = {"!=": "(not (= left right))"}.get(relation, f"({relation} left right)")
        holds = bool(related(relation, first, second, left, right))
    if holds != verdict:
        return None  # right in another reading, such as 100 - 5 = 95%: what is written here would not say that
    return FormalStep(start, end, "\n".join(lines), claim)


def linear_steps(text: str, question: str = "") -> list[FormalStep]:
    """Linear statements over named variables: those of the question, then those of the trace, each after the earlier ones.

    Only a text without cases, suppositions and corrections is read; what a branch says is not true throughout.
    """
    text = stated(text)
    premises_of_question = linear_statements(stated(question))
    statements = linear_statements(text)
    if any(statement.branch for statement in [*premises_of_question, *statements]):
        return []
    premises = [_linear(statement.content) for statement in premises_of_question]
    names = {name for statement in premises_of_question for name in statement.content["terms"]}
    steps = []
    for statement in statements:
        claim = _linear(statement.content)
        used = sorted(names | set(statement.content["terms"]))
        lines = [
            *(f"(declare-const {_safe(name)} Real)" for name in used),
            *(f"(assert {premise})" for premise in premises),
        ]
        if statement.content["terms"]:
            if not statement.given:
                steps.append(FormalStep(statement.start, statement.end, "\n".join(lines), claim))
            if claim not in premises:
                premises.append(claim)
            names |= set(statement.content["terms"])
    return steps


def _linear(content: dict[str, Any]) -> str:
    parts = [f"(* {decimal(Fraction(factor))} {_safe(name)})" for name, factor in content["terms"].items()]
    total = (
        f"(+ {decimal(Fraction(content['constant']))} {' '.join(parts)})"
        if parts
        else decimal(Fraction(content["constant"]))
    )
    width = Fraction(content["width"])
    relation = content["relation"]
    if relation == "=" and width:
        return f"(and (<= {total} {decimal(width)}) (>= {total} {decimal(-width)}))"
    return f"(not (= {total} 0.0))" if relation == "!=" else f"({relation} {total} 0.0)"


def _safe(name: str) -> str:
    """A name as an SMT-LIB symbol that is no word of the language: the letters of ``x_1`` after ``v``."""
    return "v" + "".join(letter if letter.isascii() and letter.isalnum() else f"u{ord(letter):x}" for letter in name)


_TOKEN = re.compile(rf"([{NAMES}])\s*([0-9]+)|=\s*(-?[0-9]{{1,9}})")


def sum_steps(text: str, question: str = "") -> list[FormalStep]:
    """The steps of a chain of the mini world: every stated total, from the total stated before it and the terms between.

    The digit of a term is the question's, whatever the chain says it is; where the chain names another one, the step says
    so too, and is wrong.
    """
    counts = {match[1]: int(match[2]) for match in _TOKEN.finditer(question) if match[1]}
    steps: list[FormalStep] = []
    before: int | None = None
    pending: list[tuple[str, int]] = []
    start = 0
    for match in _TOKEN.finditer(text):
        if match[1]:
            if not pending:
                start = match.start()
            if match[1] not in counts or len(match[2]) > 9:
                return []  # a term that nobody asked about: no chain of this question
            pending.append((match[1], int(match[2])))
            continue
        if not pending:
            return []
        lines = ["(declare-const total Real)"]
        parts = [] if before is None else [decimal(Fraction(before))]
        claim = [f"(= total {decimal(Fraction(int(match[3])))})"]
        for name, amount in pending:
            symbol = f"term{NAMES.index(name) + 1}"
            lines += [f"(declare-const {symbol} Real)", f"(assert (= {symbol} {decimal(Fraction(counts[name]))}))"]
            parts.append(symbol)
            claim.append(f"(= {symbol} {decimal(Fraction(amount))})")
        if len({name for name, _ in pending}) < len(pending):
            return []  # a term twice in one step
        lines.append(f"(assert (= total {f'(+ {chr(32).join(parts)})' if len(parts) > 1 else parts[0]}))")
        steps.append(FormalStep(start, match.end(), "\n".join(lines), f"(and {' '.join(claim)})"))
        before, pending = int(match[3]), []
    return steps


FORMALISERS: dict[str, Callable[[str, str], list[FormalStep]]] = {
    "arithmetic": arithmetic_steps,
    "linear": linear_steps,
    "sums": sum_steps,
}


def formal_steps(
    text: str, question: str = "", kinds: tuple[str, ...] = ("arithmetic", "linear", "sums")
) -> list[FormalStep]:
    """Every formal step of a trace, by place; of two kinds that read the same place the first named counts."""
    steps: list[FormalStep] = []
    for kind in kinds:
        for step in FORMALISERS[kind](text, question):
            if all(step.end <= other.start or step.start >= other.end for other in steps):
                steps.append(step)
    return sorted(steps, key=lambda step: step.start)
