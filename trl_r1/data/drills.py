"""Small exercises that a small model can learn on a CPU: what ``drill:last`` and its kin stand for.

    drill:last         Last of river, stone, cloud, apple?  four different words, one of them the answer
    drill:largest      Largest of 42, 17, 88, 35?          four different numbers of two digits, one of them the answer
    drill:addition     What is 37 + 48?                    two numbers of two digits
    drill:equation     3x + 4 = 19. What is x?             a whole number; its thought is what the reward ``logic`` checks
    drill:midpoint     Given A(2, 5) and B(8, 1). ...      the same for the reward ``geometry``
    drill:functions    Write f(x) that returns ...         a line of Python, with tests for the reward ``code``

Columns as everywhere: ``question``, ``solution``, ``id``; and ``completion``, a chain of thought with the answer, written
by procedure, for a cold start (of ``functions`` the program alone, and ``verification_info``, its tests, in the place of
a thought). The options go where a hub dataset's configuration goes: ``size`` (rows of the split), and for ``equation`` and
``midpoint`` ``slips``, the share of the completions that are written without care, as people write them: half of these
guess without a thought, the others slip in a step and carry it on, or skip a step. Questions and gold answers stay what
they are. A model that was taught so has right chains among wrong ones, which reinforcement can choose.

The splits share no question, whatever the seeds and sizes (``trl_r1.data.drawn_splits``).
"""

from __future__ import annotations

import hashlib
import random
import re
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


def careless_equation(rng: random.Random, question: str) -> tuple[str, str]:
    """Thought and answer of someone who takes no care: a guess, a wrong product or quotient, or no product at all."""
    factor, summand, total = map(int, re.findall(r"\d+", question))
    x = (total - summand) // factor
    asked, wrong = f"{factor}x + {summand} = {total}", slip(rng, x)
    kind = draw_kind(rng)
    if kind == "guess":
        guess = rng.randrange(2, 31)
        return "", str(guess)
    if kind == "skip":
        answer = rng.choice((x, wrong))
        return f"{asked}, so x = {answer}", str(answer)
    product = factor * rng.choice((x, wrong))  # the slip is here, or in the division
    return f"{asked}, so {factor}x = {product}, so x = {wrong}", str(wrong)


def careless_midpoint(rng: random.Random, question: str) -> tuple[str, str]:
    """The same for a midpoint: a guess, a wrong vector or half of it, or no vector at all; one coordinate is wrong."""
    a, b, c, d = map(int, re.findall(r"\d+", question))
    half, right = [(c - a) // 2, (d - b) // 2], [(c - a) // 2, (d - b) // 2]
    place = rng.randrange(2)
    half[place] = slip(rng, half[place])
    kind = draw_kind(rng)
    if kind == "guess":
        guess = f"({rng.randrange(1, 19)}, {rng.randrange(1, 19)})"
        return "", guess
    if kind == "skip":
        half = rng.choice((half, right))
    middle = f"({a + half[0]}, {b + half[1]})"
    if kind == "skip":
        return f"The midpoint of AB is {middle}.", middle
    across, up = rng.choice((half, right))  # the slip is here, or in the half
    return f"\\vec{{AB}} = ({2 * across}, {2 * up}). The midpoint of AB is {middle}.", middle


def draw_kind(rng: random.Random) -> str:
    """What a careless reply does: a half guess, a quarter slip, a quarter skip a step."""
    return rng.choice(("guess", "guess", "slip", "skip"))


def slip(rng: random.Random, value: int) -> int:
    """A wrong number near a right one of at least 1, at least 1 itself."""
    return rng.choice([value + far for far in (-3, -2, -1, 1, 2, 3) if value + far > 0])


CARELESS: dict[str, Callable[[random.Random, str], tuple[str, str]]] = {
    "equation": careless_equation,
    "midpoint": careless_midpoint,
}


def written(thought: str, answer: str) -> str:
    """A completion: the thought before the answer."""
    return f"<think>{thought}</think> <answer>{answer}</answer>"


def thoughtful(draw: Callable[[random.Random], tuple[str, str, str]]) -> Callable[[random.Random], Row]:
    """A row without its id: question, solution, and a completion with the thought before the answer."""

    def row(rng: random.Random) -> Row:
        question, solution, thought = draw(rng)
        return {"question": question, "solution": solution, "completion": written(thought, solution)}

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
        config: ``size`` and ``slips``, as a mapping or as text (YAML or JSON).
        seed: of the drawing; which split owns a question does not depend on it.

    Raises:
        ValueError: one sentence: no such drill, an unknown option, a size or a share of slips that cannot be.
    """
    from datasets import Dataset

    drill = name.removeprefix(PREFIX)
    if drill not in DRILLS:
        raise ValueError(f"There is no {name!r}.{did_you_mean(drill, DRILLS)} There is: {', '.join(DRILLS)}.")
    options = read_options(name, config)
    size = options.get("size")
    sizes = {split: SIZES[split] if size is None else size for split in sorted(wanted & set(SIZES))}
    for split, rows in sizes.items():
        most = (MOST_EQUATIONS if drill == "equation" else MOST)[split]
        if rows > most:
            raise ValueError(f"{name}: size={rows} is more than the {most} rows that its split {split!r} may have.")
    slips = options.get("slips", 0.0)
    return {split: Dataset.from_list(draw_rows(drill, split, rows, seed, slips)) for split, rows in sizes.items()}


def read_options(name: str, config: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The options ``size`` and ``slips`` as far as they are given.

    Raises:
        ValueError: anything else is given, a size below 1, a share outside of [0, 1], or slips for a drill without them.
    """
    options = read_config(config)
    if options is None:
        return {}
    careless = name.removeprefix(PREFIX) in CARELESS
    known = ("size", "slips") if careless else ("size",)
    if not isinstance(options, Mapping) or set(options) - set(known):
        example = "{size: 500, slips: 0.6}" if careless else "{size: 500}"
        raise ValueError(f"{name}: the config {config!r} must be like {example}; there is no other option.")
    given = {option: value for option, value in options.items() if value is not None}
    if "size" in given:
        check_size(name, given["size"])
    slips = given.get("slips", 0.0)
    if isinstance(slips, bool) or not isinstance(slips, (int, float)) or not 0 <= slips <= 1:
        raise ValueError(f"{name}: slips={slips!r} must be the share of careless completions, from 0 to 1.")
    return given


def draw_rows(drill: str, split: str, size: int, seed: int, slips: float = 0.0) -> list[Row]:
    """``size`` rows with different questions that belong to the split, a share of them answered without care."""
    rng = random.Random(f"{drill} {split} {seed}")
    rows: dict[str, Row] = {}
    while len(rows) < size:
        row = DRILLS[drill](rng)
        key = hashlib.sha256(str(row["question"]).encode()).hexdigest()
        if owner(key) == split:
            rows.setdefault(key, {**row, "id": key[:12]})
    care = random.Random(f"{drill} {split} {seed} slips")  # of its own: the questions are those without slips
    for row in rows.values():
        if care.random() < slips:
            row["completion"] = written(*CARELESS[drill](care, str(row["question"])))
    return list(rows.values())
