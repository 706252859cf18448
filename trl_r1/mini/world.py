"""The mini world: sums of named digits, asked in English or Chinese; seeds in, problems and gold chains out.

A problem is three to six digits, each with a name: ``Compute ①2 ②9 ③4.`` or ``计算 ①2 ②9 ③4。``. Its gold answer holds by
construction (15), and so does its gold chain, which adds one term per step: ``①2 add ②9=11 add ③4=15``.

Names    The terms carry circled numbers, because these belong to no script: the language of a reply is then exactly the
         language of its words, and no letter of the notation counts for either side. The step words have three letters
         in both languages (``add``, ``再加上``), so a share of letters weighs them equally.
Splits   The side a problem is on depends on its digits alone, whatever their order, wording or language, and on no
         seed: what is in ``test`` occurs in no corpus, no training row and no other split, in any language.
         A longer problem may begin with the terms of a held-out one: what is held out is the sum, not its steps.
Source   Ours; it stands in for the mathematics of DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2, where a rule can check
         every answer.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass


LANGUAGES = ("en", "zh")
NAMES = "①②③④⑤⑥"  # the name of a term is its place
TERM_COUNTS = (3, 4, 5, 6)
DIGITS = range(1, 10)
HELD_OUT = {"test": range(0, 10), "dev": range(10, 20)}  # percent of all contents; the remaining 80 are "train"
SPLITS = ("train", "dev", "test")

PROMPT_TEMPLATE = "User: {question} Assistant:"  # R1-Zero's template in miniature: 9 to 12 tokens, not about 100
QUESTIONS = {"en": "Compute{terms}.", "zh": "计算{terms}。"}


@dataclass(frozen=True)
class Words:
    """The words of a chain in one language."""

    add: str  # begins a step
    so: str  # between the last step and an answer without tags
    again: str  # before the same sum is worked a second time


WORDS = {"en": Words(" add", " so ", " wait"), "zh": Words("再加上", "所以", "等等再看")}


@dataclass(frozen=True)
class Problem:
    """One sum: ``terms`` are digits in 1..9 in the order they are asked, ``language`` is the asker's."""

    terms: tuple[int, ...]
    language: str

    @property
    def question(self) -> str:
        """The plain question, without any template."""
        return QUESTIONS[self.language].format(
            terms="".join(name_term(place, t) for place, t in enumerate(self.terms))
        )

    @property
    def solution(self) -> str:
        """The gold answer as a string of digits."""
        return str(sum(self.terms))

    @property
    def id(self) -> str:
        """Language and digits: ``en-2-9-4``."""
        return "-".join([self.language, *map(str, self.terms)])


def name_term(place: int, term: int) -> str:
    """The term as it stands in questions and in chains: a space, its name, its digit.

    >>> name_term(1, 9)
    ' ②9'
    """
    return f" {NAMES[place]}{term}"


def split_of(terms: tuple[int, ...]) -> str:
    """The split that owns these digits: ``train``, ``dev`` or ``test``; their order does not matter.

    >>> split_of((2, 9, 4)) == split_of((4, 2, 9))
    True
    """
    content = "".join(map(str, sorted(terms))).encode()
    percent = int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % 100
    return next((split for split, share in HELD_OUT.items() if percent in share), "train")


def draw_problem(rng: random.Random, split: str, term_counts: tuple[int, ...] = TERM_COUNTS) -> Problem:
    """One problem of a split: the number of terms uniform over ``term_counts``, digits and language uniform."""
    count = rng.choice(term_counts)
    while True:
        terms = tuple(rng.choice(DIGITS) for _ in range(count))
        if split_of(terms) == split:
            return Problem(terms, rng.choice(LANGUAGES))


def draw_problems(split: str, count: int, seed: int, term_counts: tuple[int, ...] = TERM_COUNTS) -> list[Problem]:
    """``count`` problems of a split, no two with the same digits in the same order.

    Args:
        split: ``train``, ``dev`` or ``test``.
        count: how many; the smallest split offers several thousand.
        seed: of the drawing; equal arguments give equal rows.
        term_counts: how many terms a problem may have.
    """
    if split not in SPLITS:
        raise ValueError(f"The mini world has no split {split!r}. Choose one of: {', '.join(SPLITS)}.")
    rng = random.Random(f"{split} {seed}")  # a string, so that neighbouring seeds and splits share no stream
    problems: dict[tuple[int, ...], Problem] = {}
    while len(problems) < count:
        problem = draw_problem(rng, split, term_counts)
        problems.setdefault(problem.terms, problem)
    return list(problems.values())


def gold_chain(problem: Problem) -> str:
    """The correct worked steps in the asker's language, one term per step, without tags.

    >>> gold_chain(Problem((2, 9, 4), "en"))
    ' ①2 add ②9=11 add ③4=15'
    """
    add = WORDS[problem.language].add
    steps, total = [name_term(0, problem.terms[0])], problem.terms[0]
    for place, term in enumerate(problem.terms[1:], start=1):
        total += term
        steps.append(f"{add}{name_term(place, term)}={total}")
    return "".join(steps)


def gold_reply(problem: Problem) -> str:
    """The reply we would like: gold chain and gold answer inside their tags, one language throughout."""
    return wrap(gold_chain(problem), problem.solution)


def wrap(reasoning: str, answer: str) -> str:
    """Reasoning and answer in the shape the format reward asks for.

    >>> wrap(" ①2 add ②9=11", "11")
    '<think> ①2 add ②9=11</think> <answer>11</answer>'
    """
    return f"<think>{reasoning}</think> <answer>{answer}</answer>"
