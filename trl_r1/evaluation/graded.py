"""Graded problems: what an evaluation holds of each problem, and how that stands in the JSON file of an evaluation.

A `GradedProblem` is a `trl_r1.text.records.Problem` with K `GradedSample`; `to_row` and `of_row` are the only places
that know the file's keys, in which every property of the samples is a list of length K of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trl_r1.evaluation.metrics import Same, consensus
from trl_r1.text.records import Completion, Problem, Row


@dataclass(frozen=True)
class GradedSample:
    """A completion, and what the graders say of it."""

    completion: Completion
    answer: str | None = None  # the final answer; None where there is none
    correct: bool | None = None  # None: nobody has graded it yet
    well_formed: float | None = None  # format score, in [0, 1]
    consistency: float | None = None  # share of the words in the problem's language, in [0, 1]


@dataclass
class GradedProblem:
    """One problem with its K graded samples."""

    problem: Problem
    samples: list[GradedSample]
    judged: bool = True  # false when the gold answer cannot be read: no fault of the model's
    consensus: float = math.nan  # share of the (tied) majority answers that are right
    opened: tuple[str, str] | None = None  # the marks of the thought that the prompt has opened; None: it opened none
    columns: Row = field(default_factory=dict)  # of its row, where a reward that reads them has judged the samples

    @property
    def gold(self) -> str:
        """The gold answer, which every problem of an evaluation has."""
        return self.problem.solution or ""

    @property
    def right(self) -> list[bool]:
        """(K,) which samples are right; empty where nobody has graded them."""
        return [one.correct for one in self.samples if one.correct is not None]

    def vote(self, same: Same, k: int | None = None) -> float:
        """Is the majority of the first ``k`` samples (of all) right, from 0 to 1; NaN where there are none, and where the
        gold answer cannot be read."""
        if not self.judged or not self.samples:
            return math.nan
        return consensus([one.answer for one in self.samples[:k]], self.right[:k], same)

    def to_row(self) -> Row:
        """As an evaluation file holds it; NaN stays NaN."""
        graded = [one for one in self.samples if one.correct is not None]
        return {
            "prompt": self.problem.prompt,
            "solution": self.problem.solution,
            "language": self.problem.language,
            "texts": [one.completion.text for one in self.samples],
            "lengths": [one.completion.token_count for one in self.samples],
            "clipped": [one.completion.truncated for one in self.samples],
            "answers": [one.answer for one in graded],
            "verdicts": [one.correct for one in graded],
            "well_formed": [one.well_formed for one in graded],
            "consistency": [one.consistency for one in graded],
            "answer_type": self.problem.answer_type,
            "judged": self.judged,
            "consensus": self.consensus,
            **({"opened": list(self.opened)} if self.opened else {}),
            **({"columns": self.columns} if self.columns else {}),
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> GradedProblem:
        """From an evaluation file; files of earlier versions lack answer_type.

        Raises:
            LookupError, TypeError, ValueError: a key is missing, or a list is of another length than the texts.
        """
        texts = row["texts"]
        lists = [[None] * len(texts) if not (given := row.get(name)) else given for name in _GRADES]
        samples = [
            GradedSample(Completion(text, length, truncated), *grades)
            for text, length, truncated, *grades in zip(texts, row["lengths"], row["clipped"], *lists, strict=True)
        ]
        problem = Problem(row["prompt"], "", row["solution"], row["language"], answer_type=row.get("answer_type", ""))
        share = row.get("consensus")
        opened = tuple(row["opened"]) if row.get("opened") else None
        consensus, columns = math.nan if share is None else share, row.get("columns") or {}
        return cls(problem, samples, row.get("judged", True), consensus, opened, columns)


_GRADES = ("answers", "verdicts", "well_formed", "consistency")  # keys of the file, in the order of GradedSample
