"""Z3 as a judge: statements in, "follows", "contradicts" or "open" out. Runs in the killable pool, never in the trainer.

Importing this module imports Z3 (``pip install "trl-r1[logic]"``); only ``trl_r1.sandbox.pool``'s processes do. Each
text gets a fresh context; each query has a limit in Z3's resources, and the text as a whole one in processor time, so that
a busy machine changes no verdict. The clock's limit per query is only there for what Z3 does not count.
"""

from __future__ import annotations

import time
from typing import Any

import z3


QUERY_MILLISECONDS = 1000
QUERY_RESOURCES = 2_000_000  # Z3's own unit; deterministic, unlike time


def judge(statements: list[dict[str, Any]], seconds: float) -> list[str]:
    """What each statement is to the statements before it, in its own branch and in the trunk.

    Args:
        statements: {"content", "branch", "given", "strict"}, as ``trl_r1.claims.statements`` finds them.
        seconds: of processor time; what is not judged by then is "open".

    Returns:
        Per statement "follows", "contradicts", "open" (new, or undecided: a premise from now on), or "given".
    """
    deadline = time.process_time() + seconds
    context = z3.Context()
    trunk: list[tuple[set[str], Any]] = []
    branch: list[tuple[set[str], Any]] = []
    present = 0
    verdicts: list[str] = []
    for statement in statements:
        if time.process_time() > deadline:
            verdicts.append("open")
            continue
        claim, names, valid = _encoded(statement["content"], context)
        if statement["branch"] != present:
            branch, present = [], statement["branch"]
        shelf = branch if present else trunk
        premises = [] if valid else [premise for _, premise in (trunk + branch if present else trunk)]
        follows = _unsatisfiable([*premises, z3.Not(claim)], context)
        contradicts = not follows and _unsatisfiable([*premises, claim], context)
        if statement["given"]:
            if contradicts:  # a name is defined anew
                trunk[:] = [(used, premise) for used, premise in trunk if not used & names]
                branch[:] = [(used, premise) for used, premise in branch if not used & names]
            verdicts.append("given")
        elif follows:
            verdicts.append("follows")
        elif contradicts or valid or (statement["strict"] and _open(premises, claim, context)):
            verdicts.append("contradicts")
            continue
        else:
            verdicts.append("open")
        if not valid and not follows:
            shelf.append((names, claim))
    return verdicts


def _open(premises: list[Any], claim: Any, context: Any) -> bool:
    """Whether the claim certainly does not follow: a counterexample was found, not just no proof."""
    return bool(premises) and _check([*premises, z3.Not(claim)], context) == z3.sat


def _unsatisfiable(formulas: list[Any], context: Any) -> bool:
    return _check(formulas, context) == z3.unsat


def _check(formulas: list[Any], context: Any) -> Any:
    solver = z3.Solver(ctx=context)
    solver.set("timeout", QUERY_MILLISECONDS)
    solver.set("rlimit", QUERY_RESOURCES)
    solver.add(*formulas)
    return solver.check()


def _encoded(content: dict[str, Any], context: Any) -> tuple[Any, set[str], bool]:
    if "formula" in content:
        names: set[str] = set()
        return _proposition(content["formula"], context, names), names, content["valid"]
    total = z3.RealVal(content["constant"], context)
    for name, coefficient in content["terms"].items():
        total = total + z3.RealVal(coefficient, context) * z3.Real(name, context)
    width = z3.RealVal(content["width"], context)
    claim = {
        "=": lambda: z3.And(total <= width, total >= -width),
        "!=": lambda: total != 0,
        "<": lambda: total < 0,
        ">": lambda: total > 0,
        "<=": lambda: total <= 0,
        ">=": lambda: total >= 0,
    }[content["relation"]]()
    return claim, set(content["terms"]), False


def _proposition(tree: list[Any], context: Any, names: set[str]) -> Any:
    if tree[0] == "atom":
        names.add(tree[1])
        return z3.Bool(tree[1], context)
    parts = [_proposition(part, context, names) for part in tree[1:]]
    return {
        "not": lambda: z3.Not(parts[0]),
        "and": lambda: z3.And(*parts),
        "or": lambda: z3.Or(*parts),
        "implies": lambda: z3.Implies(*parts),
        "iff": lambda: parts[0] == parts[1],
        "same": lambda: parts[0] == parts[1],
    }[tree[0]]()


# ---------------------------------------------------------------- formulas over real numbers (trl_r1.claims.algebra)


def decide(claims: list[Any], givens: list[Any], seconds: float) -> list[str]:
    """Per claim "right" (it holds wherever the givens do and its roots and quotients exist), "wrong" (it holds nowhere
    there), or "open" (here and there, or not decided within the limits).

    Args:
        claims: formulas of ``trl_r1.claims.algebra``. givens: formulas that may be relied on.
        seconds: of processor time; what is not judged by then is "open".
    """
    deadline = time.process_time() + seconds
    verdicts: list[str] = []
    for formula in claims:
        if time.process_time() > deadline:
            verdicts.append("open")
            continue
        context = z3.Context()
        reader = _Reals(context)
        premises = [reader.formula(premise) for premise in givens]
        claim = reader.formula(formula)
        premises += reader.conditions
        if _unsatisfiable([*premises, z3.Not(claim)], context):
            verdicts.append("right" if _check(premises, context) == z3.sat else "open")
        elif _unsatisfiable([*premises, claim], context):
            verdicts.append("wrong" if _check(premises, context) == z3.sat else "open")
        else:
            verdicts.append("open")
    return verdicts


class _Reals:
    """Terms and formulas as Z3 has them. A quotient or root is a new number, with the ``conditions`` that define it."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.conditions: list[Any] = []

    def _fresh(self) -> Any:
        return z3.FreshReal("t", self.context)

    def formula(self, data: Any) -> Any:
        kind = data[0]
        if kind == "where":
            self.conditions += [self.formula(part) for part in data[2:]]
            return self.formula(data[1])
        if kind == "and":
            return z3.And(*map(self.formula, data[1:]))
        if kind == "not":
            return z3.Not(self.formula(data[1]))
        left, right = self.term(data[1]), self.term(data[2])
        return {
            "=": lambda: left == right,
            "!=": lambda: left != right,
            "<": lambda: left < right,
            ">": lambda: left > right,
            "<=": lambda: left <= right,
            ">=": lambda: left >= right,
        }[kind]()

    def term(self, data: Any) -> Any:
        kind = data[0]
        if kind == "number":
            return z3.RealVal(data[1], self.context)
        if kind == "name":
            return z3.Real(data[1], self.context)
        first = self.term(data[1])
        if kind == "negative":
            return -first
        if kind == "absolute":
            return z3.If(first >= 0, first, -first)
        if kind in ("power", "root"):
            value = first if kind == "power" else self._fresh()
            product = value
            for _ in range(data[2] - 1):
                product = product * value
            if kind == "power":
                return product
            self.conditions.append(product == first)
            if data[2] % 2 == 0:
                self.conditions += [value >= 0, first >= 0]
            return value
        second = self.term(data[2])
        if kind == "/":
            value = self._fresh()
            self.conditions += [second != 0, value * second == first]
            return value
        return {"+": lambda: first + second, "-": lambda: first - second, "*": lambda: first * second}[kind]()
