"""The process side of the reward `reasoning_gym`: what an answer to an entry scores.

Imported only in the processes of ``trl_r1.sandbox.pool``, which can be killed. reasoning-gym 0.1.25 reads the answers of
some datasets with Python's ``eval``, and of some with sympy's ``parse_expr``, which comes to the same: an answer would be
run as a program. So importing this module replaces both in the library's modules:
``eval`` by ``literal_eval``, ``parse_expr`` by itself behind a look at the syntax tree (numbers, names, operators, and
calls of elementary functions).
"""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import reasoning_gym
import sympy
from sympy.parsing import sympy_parser

from trl_r1.rewards.reasoning_gym_entry import Entry, from_text, to_text


OWN_TEXTS = ("bitwise_arithmetic", "basic_arithmetic", "gsm_symbolic")  # here only what the library wrote is evaluated
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc asin acos atan sinh cosh tanh asinh acosh atanh exp log ln sqrt cbrt Abs".split()
)
SYNTAX = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.operator,
    ast.unaryop,
    ast.Name,
    ast.Load,
    ast.Call,
    ast.Constant,
)


def score(answers: list[str], text: str) -> float:
    """What the dataset itself gives an answer, in [0, 1]; of several readings of one answer the best.

    An answer that the dataset cannot read (it raises) is worth 0.

    Args:
        answers: readings of one answer.
        text: its entry, see ``reasoning_gym_entry.to_text``.

    Raises:
        ValueError: no such entry, dataset or options; or the score is no number.
    """
    dataset, config, entry = from_text(text)
    score_answer = _scorer(dataset, to_text(Entry(dataset, config, {})))
    best = 0.0
    for answer in answers:
        try:
            score_of_answer = score_answer(answer, entry)
        except MemoryError:
            raise
        except Exception:  # whatever the library raises over a text that it does not understand: the answer is no good
            continue
        if not math.isfinite(score_of_answer):
            raise ValueError(f"{dataset} gave {score_of_answer!r}, which is no score.")
        best = max(best, min(float(score_of_answer), 1.0))
        entry = from_text(text).entry  # anew: some datasets write into it
    return best


@cache
def _scorer(dataset: str, config: str) -> Callable[[str, Any], float]:
    library_dataset = reasoning_gym.create_dataset(dataset, **from_text(config).config, seed=0)
    scorer: Callable[[str, Any], float] = library_dataset.score_answer
    return scorer


def is_formula(text: str) -> bool:
    """Whether a text is a formula: numbers, names, operators, calls of FUNCTIONS, and nothing else.

    >>> is_formula("x**2/2 + sin(x) + C"), is_formula("exec('1')"), is_formula("x.real")
    (True, False, False)
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_plain(node) for node in ast.walk(tree))


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    if isinstance(node, ast.Name):
        return not node.id.startswith("_")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords
    return isinstance(node, SYNTAX)


def _read_formula(text: str, *args: Any, **options: Any) -> Any:
    if not is_formula(text):
        raise ValueError("This is no formula of numbers, names and elementary functions.")
    return sympy_parser.parse_expr(text, *args, **options)


class _Sympy:
    """sympy, as the library's modules see it from here on."""

    parse_expr = staticmethod(_read_formula)

    def __getattr__(self, name: str) -> Any:
        return getattr(sympy, name)


def _guard() -> None:
    for name, module in list(sys.modules.items()):
        if not name.startswith("reasoning_gym."):
            continue
        if not any(part in OWN_TEXTS for part in name.split(".")):
            module.eval = ast.literal_eval  # type: ignore[attr-defined]
        for known, value in list(vars(module).items()):
            if value is sympy:
                setattr(module, known, _Sympy())
            elif value is sympy_parser.parse_expr:
                setattr(module, known, _read_formula)


_guard()
