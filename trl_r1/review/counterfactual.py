"""Counterfactual pairs: the same question with another group's words; does the answer get worse, longer, or refused?

Two ways to pairs:
    swapped   questions that have words of a group: each is replaced by the word at the same place of another group's list
    filled    templates with {name}: filled with each group's words in turn

A gap is reported when its bootstrap interval over pairs excludes 0 **and** an exact sign test over the pairs that differ
agrees; both are drawn at ``1 - (1 - level) / m`` for m comparisons. The bootstrap alone is too sure where few pairs
differ: four of sixty, all one way, would do.

Source  the idea: Kusner et al. 2017, "Counterfactual Fairness", arXiv:1703.06856; on prompts: Huang et al. 2020,
        arXiv:1911.03064. The sign test: Dixon & Mood 1946.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from trl_r1.evaluation.metrics import Interval, paired_difference
from trl_r1.review.items import Item, topic_of
from trl_r1.review.slices import MEASURES, Groups, excludes_zero, mentions, pattern_of
from trl_r1.routing.paths import Ask, Sampler, Settings
from trl_r1.storage.shards import seed_of
from trl_r1.text.records import Origin, Problem, Row, Sample


PLACEHOLDER = "{name}"


@dataclass(frozen=True)
class Pair:
    """One question in two groups' words."""

    axis: str
    groups: tuple[str, str]
    questions: tuple[str, str]
    solution: str | None = None


@dataclass(frozen=True)
class Gap:
    """What two groups' askers get, over all their pairs: second minus first."""

    axis: str
    groups: tuple[str, str]
    measure: str
    pairs: int
    differing: int
    means: tuple[float, float]
    interval: Interval
    chance: float  # the sign test's, two-sided
    found: bool


def swap(question: str, words: Sequence[str], others: Sequence[str]) -> str:
    """Each of the words by the other list's at the same place (the list goes round), in the same case.

    >>> swap("Anna said that ANNA paid her bill.", ["Anna", "her"], ["Tom", "his"])
    'Tom said that TOM paid his bill.'
    """
    marks: list[str] = []
    for place, word in enumerate(words):
        other = others[place % len(others)]

        def put(match: Any, word: str = word, other: str = other) -> str:
            seen = match.group()
            if seen == word:
                marks.append(other)
            elif seen.isupper():
                marks.append(other.upper())
            else:
                marks.append(other.lower() if seen.islower() else other[:1].upper() + other[1:])
            return f"\ue000{len(marks) - 1}\ue001"  # so that no word is swapped twice

        question = pattern_of(word).sub(put, question)
    for number, text in enumerate(marks):
        question = question.replace(f"\ue000{number}\ue001", text)
    return question


def pairs_of(rows: Sequence[Row], groups: Groups) -> list[Pair]:
    """All pairs that questions and groups make: ``question`` and, where there is one, ``solution``.

    A question with words of both groups of a pair is left out: it would still have both after a swap.
    """
    pairs: list[Pair] = []
    for row in rows:
        question, solution = str(row["question"]), row.get("solution")
        gold = None if solution is None else str(solution)
        for axis, named in groups.items():
            for first, second in combinations(named, 2):
                a, b = named[first], named[second]
                if PLACEHOLDER in question:
                    for one, other in zip(a, b, strict=False):
                        both = (question.replace(PLACEHOLDER, one), question.replace(PLACEHOLDER, other))
                        pairs.append(Pair(axis, (first, second), both, gold))
                    continue
                has = mentions(question, a), mentions(question, b)
                if has == (True, False):
                    pairs.append(Pair(axis, (first, second), (question, swap(question, a, b)), gold))
                elif has == (False, True):
                    pairs.append(Pair(axis, (first, second), (swap(question, b, a), question), gold))
    return list(dict.fromkeys(pairs))


def ask(
    pairs: Sequence[Pair],
    sampler: Sampler,
    prompt_of: Callable[[str], Any],
    settings: Settings,
    samples: int = 4,
    seed: int = 0,
) -> list[tuple[list[Item], list[Item]]]:
    """Both sides of each pair, ``samples`` answers each, judged where there is a gold answer."""
    from trl_r1.rewards.accuracy import verdict

    asks = [Ask(prompt_of(question), samples) for pair in pairs for question in pair.questions]
    candidates = sampler.draw(asks, settings, seed_of(seed, "pairs"))
    sides: list[list[Item]] = []
    for number, paths in enumerate(candidates):
        pair, side = pairs[number // 2], number % 2
        question, gold = pair.questions[side], pair.solution
        problem = Problem(asks[number].prompt, question, gold, domain=topic_of(question))
        origin = Origin(f"pair {number // 2}, {pair.groups[side]}", sampler.name)
        items = []
        for completion in paths:
            right = None if gold is None else verdict(completion.text, gold, truncated=completion.truncated)
            items.append(Item(Sample(problem, completion, origin), right))
        sides.append(items)
    return list(zip(sides[0::2], sides[1::2], strict=True))


def sign_test(up: int, down: int) -> float:
    """Two-sided chance of a split at least as uneven among fair coin flips.

    >>> sign_test(0, 5), sign_test(3, 3)
    (0.0625, 1.0)
    """
    n, k = up + down, min(up, down)
    return min(1.0, 2.0 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n) if n else 1.0


def gaps(
    pairs: Sequence[Pair],
    answered: Sequence[tuple[Sequence[Item], Sequence[Item]]],
    level: float = 0.95,
    seed: int = 0,
) -> list[Gap]:
    """The gap of every pair of groups in every measure.

    Raises:
        ValueError: level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level} is not a share between 0 and 1; for 95 % write 0.95.")
    groups: dict[tuple[str, tuple[str, str]], list[int]] = {}
    for number, pair in enumerate(pairs):
        groups.setdefault((pair.axis, pair.groups), []).append(number)
    results: list[Gap] = []
    comparisons: list[tuple[tuple[str, tuple[str, str]], str, list[float], list[float]]] = []
    for key, numbers in groups.items():
        for name, measure in MEASURES.items():
            sides: tuple[list[float], list[float]] = ([], [])
            for number in numbers:
                both = [[v for v in map(measure, items) if v is not None] for items in answered[number]]
                if all(both):
                    for side, values in zip(sides, both, strict=True):
                        side.append(sum(values) / len(values))
            if sides[0]:
                comparisons.append((key, name, *sides))
    each = 1.0 - (1.0 - level) / max(1, len(comparisons))
    for (axis, names), measure_name, first, second in comparisons:
        up = sum(b > a for a, b in zip(first, second, strict=True))
        down = sum(b < a for a, b in zip(first, second, strict=True))
        interval = paired_difference(first, second, each, seed=seed)
        chance = sign_test(up, down)
        means = (sum(first) / len(first), sum(second) / len(second))
        is_finding = excludes_zero(interval) and chance <= 1.0 - each
        results.append(Gap(axis, names, measure_name, len(first), up + down, means, interval, chance, is_finding))
    return results
