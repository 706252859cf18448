"""Small exercises that a small model can learn on a CPU: what ``drill:last`` and its kin stand for.

    drill:last         Last of river, stone, cloud, apple?  four different words, one of them the answer
    drill:largest      Largest of 42, 17, 88, 35?          four different numbers of two digits, one of them the answer
    drill:addition     What is 37 + 48?                    two numbers of two digits
    drill:equation     3x + 4 = 19. What is x?             a whole number; its thought is what the reward ``logic`` checks
    drill:midpoint     Given A(2, 5) and B(8, 1). ...      the same for the reward ``geometry``
    drill:functions    Write f(x) that returns ...         a line of Python, with tests for the reward ``code``

Columns as everywhere: ``question``, ``solution``, ``id``; and ``completion``, a chain of thought with the answer, written
by procedure, for a cold start (of ``functions`` the program alone, and ``verification_info``, its tests, in the place of
a thought). The option ``size`` (rows of the split) goes where a hub dataset's configuration goes.

The splits share no question, whatever the seeds and sizes (``trl_r1.data.drawn_splits``).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trl_r1.data.drawn_splits import SIZES, check_size, owner, read_config
from trl_r1.data.function_drill import draw_function
from trl_r1.errors import did_you_mean
from trl_r1.text.records import Row


if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = "drill:"
MOST = {"train": 4000, "test": 1500, "few_shot": 700}  # rows of a split: there are 8,100 additions
MOST_EQUATIONS = {"train": 2400, "test": 900, "few_shot": 450}  # there are 4,248


WORDS = (
    "apple river stone cloud garden music paper window yellow table orange forest pencil silver bridge mountain candle "
    "rocket basket island dragon helmet jacket kitten lemon market needle ocean pepper rabbit salad tiger umbrella village "
    "winter zebra"
).split()


def last(rng: random.Random) -> tuple[str, str, str]:
    """Question, gold answer, thought: the last of four words."""
    words = rng.sample(WORDS, 4)
    return (
        f"Last of {', '.join(words)}?",
        words[-1],
        ", ".join(f"{place} {word}" for place, word in enumerate(words, 1)),
    )


def largest(rng: random.Random) -> tuple[str, str, str]:
    """Question, gold answer, thought: the largest of four."""
    numbers = rng.sample(range(10, 100), 4)
    best, steps = numbers[0], []
    for number in numbers[1:]:
        steps.append(f"{number} > {best}" if number > best else f"{best} > {number}")
        best = max(best, number)
    return f"Largest of {', '.join(map(str, numbers))}?", str(best), ", ".join(steps)


def addition(rng: random.Random) -> tuple[str, str, str]:
    """Question, gold answer, thought: tens, ones as two digits, tens with what is carried, and the last digit behind it."""
    one, other = rng.randrange(10, 100), rng.randrange(10, 100)
    ones, tens = one % 10 + other % 10, one // 10 + other // 10
    thought = (
        f"{one // 10} + {other // 10} = {tens}, {one % 10} + {other % 10} = {ones:02d}, "
        f"{tens} + {ones // 10} = {tens + ones // 10}"
    )
    return f"What is {one} + {other}?", str(one + other), thought


def equation(rng: random.Random) -> tuple[str, str, str]:
    """Question, gold answer, thought: two equations that follow from the one asked about. No number is above 99."""
    factor, summand = rng.randrange(2, 10), rng.randrange(1, 31)
    x = rng.randrange(2, (99 - summand) // factor + 1)
    asked = f"{factor}x + {summand} = {factor * x + summand}"
    return f"{asked}. What is x?", str(x), f"{asked}, so {factor}x = {factor * x}, so x = {x}"


def midpoint(rng: random.Random) -> tuple[str, str, str]:
    """Question, gold answer, thought: the vector, then the midpoint, whose coordinates are whole."""
    a, b = rng.randrange(10), rng.randrange(10)
    across, up = rng.randrange(1, 10), rng.randrange(1, 10)
    c, d = a + 2 * across, b + 2 * up
    middle = f"({a + across}, {b + up})"
    return (
        f"Given A({a}, {b}) and B({c}, {d}). Find the midpoint of AB.",
        middle,
        f"\\vec{{AB}} = ({2 * across}, {2 * up}). The midpoint of AB is {middle}.",
    )


def thoughtful(draw: Callable[[random.Random], tuple[str, str, str]]) -> Callable[[random.Random], Row]:
    """A row without its id: question, solution, and a completion with the thought before the answer."""

    def row(rng: random.Random) -> Row:
        question, solution, thought = draw(rng)
        completion = f"<think>{thought}</think> <answer>{solution}</answer>"
        return {"question": question, "solution": solution, "completion": completion}

    return row


DRILLS: dict[str, Callable[[random.Random], Row]] = {
    "last": thoughtful(last),
    "largest": thoughtful(largest),
    "addition": thoughtful(addition),
    "equation": thoughtful(equation),
    "midpoint": thoughtful(midpoint),
    "functions": draw_function,
}


def load_splits(
    name: str, wanted: set[str], config: str | Mapping[str, Any] | None = None, seed: int = 0
) -> dict[str, Dataset]:
    """Rows of the splits asked for, no question twice.

    Args:
        name: ``drill:`` and a name of ``DRILLS``.
        wanted: among ``SIZES``; others are left to the caller.
        config: ``size``, as a mapping or as text (YAML or JSON).
        seed: of the drawing; which split owns a question does not depend on it.

    Raises:
        ValueError: one sentence: no such drill, an unknown option, a size that cannot be.
    """
    from datasets import Dataset

    drill = name.removeprefix(PREFIX)
    if drill not in DRILLS:
        raise ValueError(f"There is no {name!r}.{did_you_mean(drill, DRILLS)} There is: {', '.join(DRILLS)}.")
    size = read_size(name, config)
    sizes = {split: SIZES[split] if size is None else size for split in sorted(wanted & set(SIZES))}
    for split, rows in sizes.items():
        most = (MOST_EQUATIONS if drill == "equation" else MOST)[split]
        if rows > most:
            raise ValueError(f"{name}: size={rows} is more than the {most} rows that its split {split!r} may have.")
    return {split: Dataset.from_list(draw_rows(drill, split, rows, seed)) for split, rows in sizes.items()}


def read_size(name: str, config: str | Mapping[str, Any] | None) -> int | None:
    """The option ``size``; None where there is none.

    Raises:
        ValueError: anything else is given, or a size below 1.
    """
    options = read_config(config)
    if options is None:
        return None
    if not isinstance(options, Mapping) or set(options) - {"size"}:
        raise ValueError(f"{name}: the config {config!r} must be like {{size: 500}}; there is no other option.")
    size = options.get("size")
    if size is None:
        return None
    check_size(name, size)
    return int(size)


def draw_rows(drill: str, split: str, size: int, seed: int) -> list[Row]:
    """``size`` rows with different questions that belong to the split."""
    rng = random.Random(f"{drill} {split} {seed}")
    rows: dict[str, Row] = {}
    while len(rows) < size:
        row = DRILLS[drill](rng)
        key = hashlib.sha256(str(row["question"]).encode()).hexdigest()
        if owner(key) == split:
            rows.setdefault(key, {**row, "id": key[:12]})
    return list(rows.values())
