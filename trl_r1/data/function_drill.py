"""Functions of one line with tests, drawn without end: what ``drill:functions`` stands for.

A task names what ``f(x)`` returns; the reply is the program, and the tests are calls of it with their results, in the
form of open-r1/verifiable-coding-problems-python (``trl_r1.rewards.code``). The results are computed here, by functions
of ours; no text is ever evaluated. Of every task three calls are drawn whose results differ, so that no constant passes.

Source  Ours; it stands in for the code problems of DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from trl_r1.text.records import Row


TESTS = 3  # of a task
LETTERS = "abcdefgh"


class Task(NamedTuple):
    """What ``f(x)`` returns in words, as a Python expression, and as a function that computes it here."""

    words: str
    expression: str
    value: Callable[[Any], Any]
    kind: str  # of x: number, numbers, text


def times_plus(rng: random.Random) -> Task:
    a, b = rng.randrange(2, 100), rng.randrange(1, 100)
    return Task(f"x times {a} plus {b}", f"x * {a} + {b}", lambda x: x * a + b, "number")


def minus_times(rng: random.Random) -> Task:
    a, b = rng.randrange(1, 100), rng.randrange(2, 100)
    return Task(f"x minus {a}, then times {b}", f"(x - {a}) * {b}", lambda x: (x - a) * b, "number")


def remainder(rng: random.Random) -> Task:
    a = rng.randrange(3, 100)
    return Task(f"the remainder of x divided by {a}", f"x % {a}", lambda x: x % a, "number")


def total_plus(rng: random.Random) -> Task:
    a = rng.randrange(1, 100)
    return Task(f"the sum of the list x plus {a}", f"sum(x) + {a}", lambda x: sum(x) + a, "numbers")


def largest_times(rng: random.Random) -> Task:
    a = rng.randrange(2, 100)
    return Task(f"the largest number of the list x times {a}", f"max(x) * {a}", lambda x: max(x) * a, "numbers")


def repeated(rng: random.Random) -> Task:
    a = rng.randrange(2, 10)
    return Task(f"the text x repeated {a} times", f"x * {a}", lambda x: x * a, "text")


def framed(rng: random.Random) -> Task:
    first, last = rng.choice(LETTERS), rng.choice(LETTERS)
    return Task(
        f"the text x between {first!r} and {last!r}",
        f"{first!r} + x + {last!r}",
        lambda x: first + x + last,
        "text",
    )


TASKS: tuple[Callable[[random.Random], Task], ...] = (
    times_plus,
    minus_times,
    remainder,
    total_plus,
    largest_times,
    repeated,
    framed,
)
ARGUMENTS: dict[str, Callable[[random.Random], Any]] = {
    "number": lambda rng: rng.randrange(1, 1000),
    "numbers": lambda rng: [rng.randrange(1, 100) for _ in range(rng.randrange(2, 6))],
    "text": lambda rng: "".join(rng.choice(LETTERS) for _ in range(rng.randrange(2, 7))),
}


def draw_function(rng: random.Random) -> Row:
    """A task as a row: question, solution (the program), completion, and ``verification_info``, its tests as JSON."""
    task = rng.choice(TASKS)(rng)
    program = f"def f(x): return {task.expression}"
    calls: dict[str, tuple[Any, Any]] = {}  # by the result: three different ones
    while len(calls) < TESTS:
        x = ARGUMENTS[task.kind](rng)
        value = task.value(x)
        calls.setdefault(repr(value), (x, value))
    tests = [{"type": "function_call", "fn_name": "f", "input": [x], "output": value} for x, value in calls.values()]
    return {
        "question": f"Write f(x) that returns {task.words}.",
        "solution": program,
        "completion": f"<answer>{program}</answer>",
        "verification_info": json.dumps({"language": "python", "test_cases": tests}),
    }
