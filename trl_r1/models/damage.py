"""Damaged chains: a coherent (question, chain) and a seeded generator in, one that is not coherent out.

What a coherence model is trained and measured on. Every function is pure: it draws from the generator it is given and
changes nothing. None means "this chain offers no such damage" (too few steps, or nothing would change).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple


class Example(NamedTuple):
    """A chain and the question it answers."""

    question: str
    chain: str


Damage = Callable[[random.Random, Example, Example], "Example | None"]  # (generator, example, another example)

_LINES = re.compile(r"(?<=\n)(?=[^\n])")
_SENTENCES = re.compile(r"(?<=[.!?])(?=\s+\S)|(?<=[。！？；])(?=\S)")
_CLAUSES = re.compile(
    r"(?=\s(?:add|then|so|next|thus|hence|therefore|because)\b)|(?=再加上|然后|所以|因此|接着|因为)", re.IGNORECASE
)
ENOUGH = 3  # pieces that make a cut worth taking; the next finer one is tried otherwise


def steps(chain: str) -> list[str]:
    """The steps of a chain: its lines; if they are too few its sentences; else its clauses. Joined, they are the chain.

    >>> steps(" ①2 add ②9=11 add ③4=15")
    [' ①2', ' add ②9=11', ' add ③4=15']
    """
    pieces = [chain]
    for cut in (_LINES, _SENTENCES, _CLAUSES):
        pieces = [piece for piece in cut.split(chain) if piece]
        if len(pieces) >= ENOUGH:
            break
    return pieces


def shuffled(rng: random.Random, example: Example, other: Example) -> Example | None:
    """The steps in another order."""
    pieces = steps(example.chain)
    if len(set(pieces)) < 2:
        return None
    mixed = list(pieces)
    while mixed == pieces:
        rng.shuffle(mixed)
    return example._replace(chain="".join(mixed))


def dropped(rng: random.Random, example: Example, other: Example) -> Example | None:
    """One step left out, not the last (that would be ``cut_off``)."""
    pieces = steps(example.chain)
    if len(pieces) < 2:
        return None
    gone = rng.randrange(len(pieces) - 1)
    return example._replace(chain="".join(pieces[:gone] + pieces[gone + 1 :]))


def other_question(rng: random.Random, example: Example, other: Example) -> Example | None:
    """The chain under another example's question."""
    return None if other.question == example.question else example._replace(question=other.question)


def cut_off(rng: random.Random, example: Example, other: Example) -> Example | None:
    """The chain up to a character between a fifth and nine tenths of it."""
    length = len(example.chain)
    beginning = example.chain[: rng.randint(length // 5, length * 9 // 10)]
    return example._replace(chain=beginning) if beginning.strip() else None


def repeated(rng: random.Random, example: Example, other: Example) -> Example | None:
    """One step said two to four times."""
    pieces = steps(example.chain)
    if len(pieces) < 2:
        return None
    place = rng.randrange(len(pieces))
    return example._replace(
        chain="".join(pieces[: place + 1] + [pieces[place]] * rng.randint(1, 3) + pieces[place + 1 :])
    )


def foreign(rng: random.Random, example: Example, other: Example) -> Example | None:
    """One step replaced by a step of another chain."""
    pieces, others = steps(example.chain), steps(other.chain)
    if len(pieces) < 2:
        return None
    place = rng.randrange(len(pieces))
    offered = [step for step in others if step.strip() != pieces[place].strip()]
    if not offered:
        return None
    pieces[place] = rng.choice(offered)
    return example._replace(chain="".join(pieces))


DAMAGES: dict[str, Damage] = {
    "shuffled": shuffled,
    "dropped": dropped,
    "other_question": other_question,
    "cut_off": cut_off,
    "repeated": repeated,
    "foreign": foreign,
}


def damaged(kind: str, rng: random.Random, example: Example, examples: list[Example]) -> Example | None:
    """The example with a damage of one kind, another example drawn from ``examples``; None after five vain tries."""
    for _ in range(5):
        result = DAMAGES[kind](rng, example, rng.choice(examples))
        if result is not None and result != example:
            return result
    return None
