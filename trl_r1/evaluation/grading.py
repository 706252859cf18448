"""Grading of a dataset: rows in, rows with a level out; pass rates come from columns, or from a model that is sampled here.

Added columns, per row: ``trl_r1_level`` (1-6), ``trl_r1_difficulty`` (the score in [0, 1]), ``trl_r1_level_low`` and
``trl_r1_level_high`` (what the pass rate's interval allows), and, as far as they are known, ``trl_r1_right``,
``trl_r1_tried``, ``trl_r1_steps``.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from trl_r1.data.difficulty import Grade, grade, stated_difficulty
from trl_r1.text.steps import reasoning, reasoning_steps


if TYPE_CHECKING:
    from datasets import Dataset

    from trl_r1.evaluation.graded import GradedProblem

PREFIX = "trl_r1_"


@dataclass(frozen=True)
class Columns:
    """Where evidence stands in the rows; None: nowhere."""

    right: str | None = None
    tried: str | None = None
    pass_rate: str | None = None  # a share; needs ``tried``, as a column or a number
    samples: int | None = None  # tried, where it is the same for all rows
    steps: str | None = None
    reasoning: str | None = None  # a text whose steps are counted
    domain: str | None = None


class Evidence(TypedDict, total=False):
    """What is known of a row's difficulty: arguments of `difficulty.grade`."""

    right: int
    tried: int | None
    steps: float
    domain: str
    stated: float


def measured(problem: GradedProblem) -> Evidence:
    """What sampling has shown of a problem: right answers, samples, and the median steps of the right ones (of all, where
    none is right). Of one whose gold answer cannot be read: the steps alone, for nobody could have been right."""
    chosen = [one for one in problem.samples if one.correct] or problem.samples
    steps = float(statistics.median(reasoning_steps(reasoning(one.completion.text)) for one in chosen))
    if not problem.judged:
        return {"steps": steps}
    return {"right": sum(problem.right), "tried": len(problem.samples), "steps": steps}


def evidence(row: Mapping[str, Any], columns: Columns) -> Evidence:
    """What a row says about itself, as arguments of ``difficulty.grade``.

    Raises:
        ValueError: a pass rate without a number of samples, or outside [0, 1].
    """
    found: Evidence = {}
    if columns.right is not None and row[columns.right] is not None:
        tried = columns.samples if columns.tried is None else row[columns.tried]
        found |= {"right": int(row[columns.right]), "tried": None if tried is None else int(tried)}
    elif columns.pass_rate is not None and row[columns.pass_rate] is not None:
        rate, tried = float(row[columns.pass_rate]), columns.samples if columns.tried is None else row[columns.tried]
        if tried is None or not 0.0 <= rate <= 1.0:
            raise ValueError(
                f"A pass rate of {rate:g} of {tried} samples cannot be used: it lies in [0, 1], and how sure it is depends "
                "on the samples; name their column (--tried-column) or number (--samples)."
            )
        found |= {"right": round(rate * int(tried)), "tried": int(tried)}
    if columns.steps is not None and row[columns.steps] is not None:
        found["steps"] = float(row[columns.steps])
    elif columns.reasoning is not None and row[columns.reasoning]:
        found["steps"] = float(reasoning_steps(reasoning(row[columns.reasoning])))
    if columns.domain is not None and row[columns.domain]:
        found["domain"] = str(row[columns.domain])
    stated = stated_difficulty(row)
    if stated is not None:
        found["stated"] = stated
    return found


def grade_rows(
    rows: Dataset,
    columns: Columns,
    problems: list[GradedProblem] | None = None,
    domain: str = "maths",
    chance: float | None = None,
    step_range: tuple[float, float] | None = None,
) -> Dataset:
    """The rows with their levels.

    Args:
        problems: the rows as a model was sampled on them, in their order; wins over the columns.
        domain, chance, step_range: as of ``difficulty.grade``; a row's own domain wins.

    Raises:
        ValueError: a row about which nothing is known, or whose evidence makes no sense; says which.
    """
    made: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        try:
            found = evidence(row, columns) | (measured(problems[number]) if problems is not None else {})
            right, tried, steps = found.get("right"), found.get("tried"), found.get("steps")
            kind, stated = found.get("domain", domain), found.get("stated")
            result: Grade = grade(right, tried, steps, kind, stated, chance, step_range)
        except ValueError as error:
            raise ValueError(f"Row {number}: {error}") from error
        values = {
            "level": result.level,
            "difficulty": round(result.score, 6),
            "level_low": result.lowest,
            "level_high": result.highest,
            "right": right,
            "tried": tried,
            "steps": steps,
        }
        for name, value in values.items():
            made.setdefault(PREFIX + name, []).append(value)
    known = {name: values for name, values in made.items() if any(value is not None for value in values)}
    kept = rows.remove_columns([name for name in made if name in rows.column_names])
    for name, column in known.items():
        kept = kept.add_column(name, column)
    return kept
