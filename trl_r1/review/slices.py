"""Slices: accuracy, length and refusal by language, topic and named group, each against the rest, with intervals.

A problem is one observation: its samples are averaged first. Shares get Agresti and Caffo's interval (one success and one
failure are added to each side), lengths Welch's with normal quantiles. The intervals of the differences hold together: with
m of them each is drawn at ``1 - (1 - level) / m`` (Bonferroni), so that a model without a gap raises none in ``level`` of
all cases.

Source  Agresti & Caffo 2000, "Simple and Effective Confidence Intervals for Proportions and Differences of Proportions";
        per problem shares between 0 and 1 are treated like theirs of 0 and 1, which is on the safe side.
Limit   An interval that holds 0 is no proof that there is no gap; look at its ends.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

import numpy as np

from trl_r1.evaluation.metrics import Interval
from trl_r1.review.items import Item, refuses
from trl_r1.text.records import Row


LEAST = 8  # problems on either side of a comparison
Groups = Mapping[str, Mapping[str, Sequence[str]]]
"""Axis -> group -> its words: {"gender": {"women": ["Anna", "she"], "men": ["Tom", "he"]}}."""

MEASURES: dict[str, Callable[[Item], float | None]] = {
    "accuracy": lambda item: None if item.right is None else float(item.right),
    "refusal": lambda item: float(refuses(item.text)),
    "length": lambda item: None if (count := item.sample.completion.token_count) is None else float(count),
}
SHARES = ("accuracy", "refusal")
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True)
class Slice:
    """One slice against the rest."""

    kind: str  # language, topic, or the axis of a named group
    name: str
    problems: int
    rest: int
    means: dict[str, float]  # by name of MEASURES
    gaps: dict[str, Interval]  # slice minus rest
    keys: frozenset[str] = field(default_factory=frozenset, repr=False)  # its problems

    def holds(self, item: Item) -> bool:
        """Whether an item belongs to it."""
        return problem_of(item) in self.keys

    def findings(self) -> list[str]:
        """The measures whose gap excludes 0."""
        return [name for name, gap in self.gaps.items() if excludes_zero(gap)]

    def gap_sentence(self) -> str:
        """Its gaps in words."""
        return ", ".join(
            f"{name} {gap.mean:+.3g} [{gap.low:+.3g}, {gap.high:+.3g}]" for name, gap in self.gaps.items()
        )


def excludes_zero(gap: Interval) -> bool:
    """False for NaN."""
    return gap.low > 0 or gap.high < 0


def problem_of(item: Item) -> str:
    """What makes two items answers to one problem."""
    return json.dumps([item.problem.prompt, item.problem.solution], sort_keys=True, ensure_ascii=False, default=str)


def difference(first: Sequence[float], second: Sequence[float], level: float, share: bool) -> Interval:
    """Mean of ``first`` minus mean of ``second`` with its interval at ``level``.

    Args:
        share: the numbers are shares in [0, 1]: Agresti and Caffo; else Welch.

    >>> gap = difference([1.0] * 8, [0.0] * 8, 0.95, True)  # 9/10 - 1/10 -+ 1.96 sqrt(2 * 0.09 / 10)
    >>> round(gap.mean, 2), round(gap.low, 3), round(gap.high, 3)
    (1.0, 0.537, 1.0)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(a) < 2 or len(b) < 2:
        return Interval(math.nan, math.nan, math.nan)
    mean = float(a.mean() - b.mean())
    quantile = NormalDist().inv_cdf(0.5 + level / 2.0)
    if share:
        pa, pb = (a.sum() + 1.0) / (len(a) + 2.0), (b.sum() + 1.0) / (len(b) + 2.0)
        half = quantile * math.sqrt(pa * (1 - pa) / (len(a) + 2.0) + pb * (1 - pb) / (len(b) + 2.0))
        centre = float(pa - pb)
        return Interval(mean, max(-1.0, centre - half), min(1.0, centre + half))
    half = quantile * math.sqrt(float(a.var(ddof=1)) / len(a) + float(b.var(ddof=1)) / len(b))
    return Interval(mean, mean - half, mean + half)


def mentions(question: str, words: Iterable[str]) -> bool:
    """Whether a question has one of the words, as a whole word, whatever its case."""
    return any(pattern_of(word).search(question) for word in words)


def pattern_of(word: str) -> re.Pattern[str]:
    """A word as a whole one; in scripts without spaces, wherever it stands."""
    edge = "" if _WIDE.search(word) else r"\b"
    return re.compile(f"{edge}{re.escape(word)}{edge}", re.IGNORECASE)


def read_groups(path: str | Path) -> Groups:
    """Named groups from a YAML or JSON file.

    Raises:
        ValueError: it cannot be read, or is no mapping axis -> group -> words with at least two groups per axis.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"The groups in {path} cannot be read ({' '.join(str(error).split())}).") from None
    good = isinstance(content, dict) and all(
        isinstance(groups, dict)
        and len(groups) > 1
        and all(
            isinstance(words, list) and words and all(isinstance(w, str) and w for w in words)
            for words in groups.values()
        )
        for groups in content.values()
    )
    if not good or not content:
        raise ValueError(
            f"{path} must say axis: {{group: [words], other group: [words]}}, such as gender: {{women: [Anna]}}."
        )
    return content


def memberships(item: Item, groups: Groups) -> list[tuple[str, str]]:
    """The slices an item belongs to: (kind, name)."""
    pairs = [("topic", item.problem.domain)]
    if item.problem.language:
        pairs.append(("language", item.problem.language))
    pairs += [
        (axis, name)
        for axis, named in groups.items()
        for name, words in named.items()
        if mentions(item.problem.question, words)
    ]
    return pairs


def slices(
    items: Sequence[Item], groups: Groups | None = None, level: float = 0.95, least: int = LEAST
) -> list[Slice]:
    """Every slice with at least ``least`` problems in it and in what it is compared with.

    A language or a topic is compared with all other problems; a named group with the other groups of its axis.

    Raises:
        ValueError: level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level} is not a share between 0 and 1; for 95 % write 0.95.")
    groups = groups or {}
    problems: dict[str, list[Item]] = {}
    for item in items:
        problems.setdefault(problem_of(item), []).append(item)
    values: dict[str, dict[str, float]] = {}  # problem -> measure -> mean over its samples
    for key, samples in problems.items():
        values[key] = {}
        for name, measure in MEASURES.items():
            numbers = [number for number in map(measure, samples) if number is not None]
            if numbers:
                values[key][name] = sum(numbers) / len(numbers)
    members: dict[tuple[str, str], set[str]] = {}
    for key, samples in problems.items():
        for place in memberships(samples[0], groups):
            members.setdefault(place, set()).add(key)
    sides: list[tuple[str, str, set[str], set[str]]] = []
    for (kind, name), inside in sorted(members.items()):
        if kind in groups:
            others = set().union(*(keys for (k, n), keys in members.items() if k == kind and n != name)) - inside
        else:
            others = set(problems) - inside
        if len(inside) >= least and len(others) >= least:
            sides.append((kind, name, inside, others))
    twice = {(k, frozenset([frozenset(a), frozenset(b)])) for k, _, a, b in sides}  # two languages: one comparison
    comparisons = max(1, len(twice) * len(MEASURES))
    each = 1.0 - (1.0 - level) / comparisons
    result = []
    for kind, name, inside, others in sides:
        means: dict[str, float] = {}
        gaps: dict[str, Interval] = {}
        for what in MEASURES:
            own_values = [values[key][what] for key in inside if what in values[key]]
            theirs = [values[key][what] for key in others if what in values[key]]
            if len(own_values) >= least and len(theirs) >= least:
                means[what] = float(np.mean(own_values))
                gaps[what] = difference(own_values, theirs, each, what in SHARES)
        result.append(Slice(kind, name, len(inside), len(others), means, gaps, frozenset(inside)))
    return result


def alarms(entries: Sequence[Slice]) -> list[Slice]:
    """The slices that do worse than what they are compared with: accuracy down, or refusals up, for certain."""
    return [
        s
        for s in entries
        if ("accuracy" in s.gaps and s.gaps["accuracy"].high < 0)
        or ("refusal" in s.gaps and s.gaps["refusal"].low > 0)
    ]


def as_json(entries: Sequence[Slice]) -> list[Row]:
    """Plain values."""
    return [
        {
            "kind": s.kind,
            "name": s.name,
            "problems": s.problems,
            "rest": s.rest,
            "means": s.means,
            "gaps": {name: list(gap) for name, gap in s.gaps.items()},
            "findings": s.findings(),
        }
        for s in entries
    ]
