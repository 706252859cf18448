"""Z3 replays formal steps: premises and a claim in SMT-LIB in, a verdict and a counterexample out.

Importing this module imports Z3 (``pip install "trl-r1[logic]"``); only ``trl_r1.sandbox.pool``'s processes do, which
are killed when they take too long. The text may come from anybody's dataset, so it is read by ``commands`` first: nothing
but declarations of constants and assertions reaches Z3.
"""

from __future__ import annotations

import re
from typing import Any

import z3

from trl_r1.text.records import Json


QUERY_MILLISECONDS = 10_000  # by the clock, for what Z3 does not count as resources
QUERY_RESOURCES = 10_000_000  # Z3's own unit; deterministic, unlike time
LONGEST = 50_000  # characters of one step
MOST_NESTING = 200
_TOKEN = re.compile(r"\s+|[()]|[A-Za-z_][A-Za-z0-9_-]*|[0-9]+(?:\.[0-9]+)?|[-+*/<>=]+")
_WORDS = frozenset("declare-const assert Real Bool and or not ite true false".split()) | {"=>", "xor"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SIGNS = frozenset(["+", "-", "*", "/", "<", ">", "<=", ">=", "=", "=>"])


class Refused(ValueError):
    """Text that is no formal step of ours."""


def commands(text: str) -> list[str]:
    """The top-level expressions of a text.

    Raises:
        Refused: anything but brackets, plain names, numbers and the operators of ``_SIGNS``; too long or too deep.
    """
    if len(text) > LONGEST:
        raise Refused("too long")
    lines: list[str] = []
    place = depth = begin = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Refused(f"{text[place]!r} is no part of a formal step")
        token = match.group()
        if token == "(":
            begin = place if depth == 0 else begin
            depth += 1
            if depth > MOST_NESTING:
                raise Refused("nested too deeply")
        elif token == ")":
            depth -= 1
            if depth < 0:
                raise Refused("a bracket is closed that was not opened")
            if depth == 0:
                lines.append(text[begin : match.end()])
        elif not token.isspace():
            if depth == 0:
                raise Refused(f"{token!r} stands outside of brackets")
            allowed = token in _WORDS or token in _SIGNS or token[0].isdigit() or _NAME.fullmatch(token)
            if not allowed:
                raise Refused(f"{token!r} is no part of a formal step")
        place = match.end()
    if depth:
        raise Refused("a bracket is not closed")
    return lines


def replay(premises: str, claim: str) -> Json:
    """What a step is, and an example where it is wrong.

    Args:
        premises: declarations and assertions. claim: one Boolean term.

    Returns:
        ``verdict``: "right" (the claim holds wherever the premises do), "wrong" (it holds nowhere there), "open" (here
        and there, or not decided in time), "vacuous" (the premises contradict each other) or "refused" (with ``why``).
        ``counterexample`` of a wrong one: {name: value as text}, a state that the premises allow.
    """
    try:
        premise_commands = commands(premises)
        if any(not re.match(r"\(\s*(?:assert|declare-const)\s", one) for one in premise_commands):
            raise Refused("the premises hold a command other than assert and declare-const")
        if len(commands(claim)) != 1 or re.match(r"\(\s*(?:assert|declare-const)\b", claim.strip()):
            raise Refused("the claim is not one term")
        context = z3.Context()
        known = "\n".join(premise_commands)
        base = list(z3.parse_smt2_string(known, ctx=context))
        positive = list(z3.parse_smt2_string(f"{known}\n(assert {claim})", ctx=context))[-1]
    except (Refused, z3.Z3Exception) as error:
        why = error.value if isinstance(error, z3.Z3Exception) else str(error)
        return {"verdict": "refused", "why": " ".join(str(why).split())[:200]}
    fails, example = _check([*base, z3.Not(positive)], context)
    if fails == z3.unsat:
        return {"verdict": "right" if _check(base, context)[0] == z3.sat else "vacuous"}
    holds, _ = _check([*base, positive], context)
    if holds != z3.unsat:
        return {"verdict": "open"}
    if fails != z3.sat:
        return {"verdict": "vacuous" if _check(base, context)[0] == z3.unsat else "open"}
    return {"verdict": "wrong", "counterexample": _values(example)}


def _check(formulas: list[Any], context: Any) -> tuple[Any, Any]:
    solver = z3.Solver(ctx=context)
    solver.set("timeout", QUERY_MILLISECONDS)
    solver.set("rlimit", QUERY_RESOURCES)
    solver.add(*formulas)
    answer = solver.check()
    return answer, solver.model() if answer == z3.sat else None


def _values(model: Any) -> dict[str, str]:
    """The model's values as decimal or fraction text; helper names (t1, t2, ...) are left out."""
    values = {}
    for symbol in sorted(model.decls(), key=lambda one: one.name()):
        if re.fullmatch(r"t[0-9]+", symbol.name()):
            continue
        value = model[symbol]
        if z3.is_algebraic_value(value):
            values[symbol.name()] = value.as_decimal(6)
        else:
            values[symbol.name()] = str(value)
    return values
