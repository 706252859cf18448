"""The mini world's "web": prompts with the replies people left there, most of them bad; a seed in, documents out.

A reply has a style (how much it works out), slips (wrong values near the right one, carried on), a language that may
change between two steps, and tags that are complete, broken or missing. The early part of the corpus is mostly careful
work, as textbooks are; the web follows. Reinforcement learning can then choose among what the base model has seen: it
need not teach arithmetic.

Source  The kinds of noise are ours, chosen so that the base model is where DeepSeek-R1-Zero starts: some answers right,
        most replies out of shape, languages mixed (DeepSeek-R1, arXiv:2501.12948, Sec. 2.2 and 2.3). Shares were chosen
        on the dev split.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from trl_r1.mini.world import (
    DIGITS,
    LANGUAGES,
    PROMPT_TEMPLATE,
    WORDS,
    Problem,
    draw_problem,
    name_term,
    split_of,
    wrap,
)


OTHER_TEMPLATE = "Q: {question} A:"  # the web knows more than one way to ask
SLIPS = (-10, -3, -2, -1, 1, 2, 3, 10)  # how far a wrong value lies from the right one
GUESSES = range(3, 55)
CHATTER = {
    "en": (" I do not know.", " numbers are fun.", " the Assistant thinks.", " what is a sum?", " it is a test."),
    "zh": ("我不知道。", "数字很有趣。", "什么是加？", "这是检查。"),
}


@dataclass(frozen=True)
class Mixture:
    """What one part of the corpus looks like. Every number is a share in [0, 1]."""

    styles: dict[str, float]  # of full, skip, direct, check, chatter; they sum to 1
    slip: float  # of the steps of a full chain that go wrong
    skip_slip: float  # of the steps that add two terms at once
    tagged: float  # of the replies to PROMPT_TEMPLATE in the complete shape
    tagged_other: float  # the same for OTHER_TEMPLATE
    broken: float  # of the replies whose tags are incomplete
    asker_language: float = 0.25  # of the replies wholly in the asker's language
    foreign_language: float = 0.20  # of the replies wholly in the other one; the remaining ones switch


TEXTBOOK = Mixture(
    styles={"full": 0.9, "skip": 0.05, "direct": 0.05},
    slip=0.0,
    skip_slip=0.0,
    tagged=0.5,
    tagged_other=0.3,
    broken=0.12,
)
WEB = Mixture(
    styles={"direct": 0.28, "skip": 0.16, "full": 0.25, "check": 0.05, "chatter": 0.26},
    slip=0.05,
    skip_slip=0.4,
    tagged=0.28,
    tagged_other=0.15,
    broken=0.12,
)
TEXTBOOK_SHARE = 0.65  # of the corpus, at its start
LARGE_SHARE = 0.25  # of the problems are large, so that every addition up to 45 + 9 is read often enough
LARGE_DIGITS = range(5, 10)
PROMPT_TEMPLATE_SHARE = 0.7  # of the documents; the others use OTHER_TEMPLATE


@dataclass(frozen=True)
class Document:
    """One page of the web. Training reads ``prompt`` and learns ``reply``."""

    prompt: str
    reply: str
    problem: Problem = field(repr=False)


def draw_corpus(count: int, seed: int, textbook: Mixture = TEXTBOOK, web: Mixture = WEB) -> list[Document]:
    """``count`` documents about problems of the train split, textbooks first, the order that training keeps."""
    rng = random.Random(f"corpus {seed}")
    textbooks = int(TEXTBOOK_SHARE * count)
    return [draw_document(rng, textbook if index < textbooks else web) for index in range(count)]


def draw_document(rng: random.Random, mixture: Mixture) -> Document:
    """One document of a mixture."""
    problem = draw_large_problem(rng) if rng.random() < LARGE_SHARE else draw_problem(rng, "train")
    known = rng.random() < PROMPT_TEMPLATE_SHARE
    prompt = (PROMPT_TEMPLATE if known else OTHER_TEMPLATE).format(question=problem.question)
    return Document(
        prompt, draw_reply(rng, problem, mixture, mixture.tagged if known else mixture.tagged_other), problem
    )


def draw_large_problem(rng: random.Random) -> Problem:
    """A problem of the train split whose sums grow large: digits from 5 to 9, and any digit at the end.

    Uniform digits rarely lead above 30, and what the corpus hardly shows is wrong for good: after reinforcement learning
    on such a base, six additions such as 33 + 8, all to 29 or more, were 65 of the 99 wrong steps (seed 0, dev).
    """
    while True:
        terms = (*(rng.choice(LARGE_DIGITS) for _ in range(rng.choice((4, 5)))), rng.choice(DIGITS))
        if split_of(terms) == "train":
            return Problem(terms, rng.choice(LANGUAGES))


def draw_reply(rng: random.Random, problem: Problem, mixture: Mixture, tagged: float) -> str:
    """One reply: a style, its steps, then tags that are complete with probability ``tagged``."""
    language = draw_language(rng, problem.language, mixture)
    (style,) = rng.choices(list(mixture.styles), list(mixture.styles.values()))
    if style == "chatter":
        chatter = "".join(rng.choice(CHATTER[language()]) for _ in range(rng.randint(1, 4)))
        return wrap(chatter, str(rng.randint(0, 60))) if rng.random() < 0.3 else chatter
    reasoning, answer = work(rng, problem, style, mixture, language)
    shape = rng.random()
    if shape < tagged:
        return wrap(reasoning, str(answer))
    if shape < tagged + mixture.broken:
        return rng.choice(
            (
                f"<think>{reasoning} <answer>{answer}</answer>",
                f"{reasoning}</think>{answer}",
                f"<think>{reasoning}</think> {answer}",
            )
        )
    return f"{reasoning}{WORDS[language()].so if reasoning else ' '}{answer}"


def work(
    rng: random.Random, problem: Problem, style: str, mixture: Mixture, language: Callable[[], str]
) -> tuple[str, int]:
    """Reasoning and answer in one style: ``direct`` guesses, ``skip`` adds two terms at a time, ``check`` works twice.

    A direct guess knows nothing of the terms. While a sixth of the guesses was right, reinforcement learning spent its
    first 60 steps on guessing in the right shape: 0.28 on dev after 70 steps, against 0.96 (seed 1; the second base
    also saw fewer skips and slips, and a tenth more documents).
    """
    if style == "direct":
        return "", rng.choice(GUESSES)
    if style == "skip":
        return draw_chain(rng, problem.terms, mixture.skip_slip, language, stride=2)
    reasoning, answer = draw_chain(rng, problem.terms, mixture.slip, language)
    if style == "check":
        checked, answer = draw_chain(rng, problem.terms, mixture.slip, language)
        reasoning += WORDS[language()].again + checked
    return reasoning, answer


def draw_chain(
    rng: random.Random, terms: tuple[int, ...], slip_share: float, language: Callable[[], str], stride: int = 1
) -> tuple[str, int]:
    """Worked steps and their result; a slip is carried on, each step asks ``language`` for its words."""
    steps, total = [name_term(0, terms[0])], terms[0]
    for place in range(1, len(terms), stride):
        stretch = terms[place : place + stride]
        total += sum(stretch)
        if rng.random() < slip_share:
            total = slip(rng, total)
        for offset, term in enumerate(stretch):
            steps.append(WORDS[language()].add + name_term(place + offset, term))
        steps.append(f"={total}")
    return "".join(steps), total


def slip(rng: random.Random, value: int) -> int:
    """A wrong value near the right one, never below 0."""
    return max(0, value + rng.choice(SLIPS))


def draw_language(rng: random.Random, asker_language: str, mixture: Mixture) -> Callable[[], str]:
    """A source of one language per step: the asker's throughout, the other throughout, or switching half the time."""
    choice = rng.random()
    if choice < mixture.asker_language:
        return lambda: asker_language
    if choice < mixture.asker_language + mixture.foreign_language:
        (other,) = (language for language in LANGUAGES if language != asker_language)
        return lambda: other
    return lambda: rng.choice(LANGUAGES)
