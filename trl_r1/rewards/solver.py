"""Z3 as a judge: statements in, "follows", "contradicts" or "open" out. Runs in the killable pool, never in the trainer.

Importing this module imports Z3 (``pip install "trl-r1[logic]"``); only ``trl_r1.rewards.verifier``'s processes do. Each
text gets a fresh context; each query has a time limit and a resource limit, and the text as a whole a time limit.
"""

from __future__ import annotations

import time
from typing import Any

import z3


QUERY_MILLISECONDS = 200
QUERY_RESOURCES = 2_000_000  # Z3's own unit; deterministic, unlike time


def judge(statements: list[dict[str, Any]], seconds: float) -> list[str]:
    """What each statement is to the statements before it, in its own branch and in the trunk.

    Args:
        statements: {"content", "branch", "given", "strict"}, as ``trl_r1.rewards.statements`` finds them.
        seconds: what is not judged by then is "open".

    Returns:
        Per statement "follows", "contradicts", "open" (new, or undecided: a premise from now on), or "given".
    """
    deadline = time.monotonic() + seconds
    context = z3.Context()
    trunk: list[tuple[set[str], Any]] = []
    branch: list[tuple[set[str], Any]] = []
    present = 0
    verdicts: list[str] = []
    for statement in statements:
        if time.monotonic() > deadline:
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
