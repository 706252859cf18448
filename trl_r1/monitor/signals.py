"""The log of a run as series, and the three questions that the alarms put to them: where is it, where was it, which way?

History    log lines in, one at a time -> series by metric
trend      a series -> its change over a window with a standard error -> rising | falling | flat | unclear
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import NamedTuple

import numpy as np

from trl_r1.evaluation.curves import is_number
from trl_r1.text.records import Row


HELD_OUT = ("heldout/pass@1", "eval_heldout/pass@1")  # ours first; then what TRL's own evaluation logs
RULE = re.compile(r"rewards/(?=.*(?:accura|correct|solve|exact_match))(?!.*format)(.+)/mean")
SHAPE = re.compile(r"rewards/(?=.*format)(.+)/mean")


class Trend(NamedTuple):
    """The change over a window along a fitted line, in the metric's unit, and its standard error."""

    change: float
    error: float

    def direction(self, still: float, errors: float = 2.0) -> str:
        """``rising`` or ``falling`` when the change is beyond chance and beyond ``still``; ``flat`` when it is surely
        within ``still``; otherwise ``unclear``."""
        if abs(self.change) > max(still, errors * self.error):
            return "rising" if self.change > 0 else "falling"
        return "flat" if abs(self.change) + errors * self.error <= still else "unclear"


def trend(values: Sequence[float]) -> Trend | None:
    """Least squares over equally spaced values, (W,); None below 4.

    The standard error counts neighbours that move together as less than one value each (the lag-1 autocorrelation of
    the residuals, where it is positive).

    >>> trend([0.0, 1.0, 2.0, 3.0])
    Trend(change=3.0, error=0.0)
    """
    count = len(values)
    if count < 4:
        return None
    y = np.asarray(values, dtype=float)
    x = np.arange(count) - (count - 1) / 2
    spread = float((x**2).sum())
    slope = float((x * y).sum()) / spread
    residual = y - y.mean() - slope * x
    total = float((residual**2).sum())
    if total <= 1e-18 * max(1.0, float((y**2).sum())):
        return Trend(slope * (count - 1), 0.0)
    lag = max(0.0, min(0.9, float((residual[1:] * residual[:-1]).sum()) / total))
    variance = total / (count - 2) / spread * (1 + lag) / (1 - lag)
    return Trend(slope * (count - 1), math.sqrt(variance) * (count - 1))


@dataclass
class History:
    """Series of what a run has logged. A line's place is its step; of two lines for a step the later value counts."""

    points: dict[str, dict[int, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> History:
        """The history of log lines that have a ``step``."""
        history = cls()
        for row in rows:
            if is_number(row.get("step")):
                history.add(int(row["step"]), row)
        return history

    def add(self, step: int, row: Row) -> None:
        """Takes a log line in."""
        for key, value in row.items():
            if key != "step" and is_number(value):
                self.points.setdefault(key, {})[step] = float(value)

    def series(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of a metric, in the order they were logged."""
        points = self.points.get(key, {})
        return list(points), list(points.values())

    def values(self, key: str, last: int | None = None) -> list[float]:
        """Its values, or the last few of them."""
        latest = list(self.points.get(key, {}).values())
        return latest if last is None else latest[-last:]

    def now(self, key: str, width: int) -> float | None:
        """Mean of the last ``width`` values; None before there are so many."""
        values = self.values(key, width)
        return sum(values) / len(values) if len(values) == width else None

    def was(self, key: str, width: int, ago: int | None) -> tuple[int, float] | None:
        """(last step, mean) of ``width`` values: those that end ``ago`` values before the end, or the first ones (None).

        None where they would overlap the last ``width``.
        """
        steps, values = self.series(key)
        end = width if ago is None else len(values) - ago
        if end < width or end > len(values) - width:
            return None
        part = values[end - width : end]
        return steps[end - 1], sum(part) / width

    # --- which metrics say what

    def matching(self, pattern: re.Pattern[str]) -> list[str]:
        """Metrics of that form, in the order they first appeared."""
        return [key for key in self.points if pattern.fullmatch(key)]

    def held_out(self) -> str | None:
        """The metric that measures right answers to problems that are not trained on."""
        evaluated = [key for key in self.points if key.startswith("eval_") and RULE.fullmatch(key[5:])]
        return next((key for key in (*HELD_OUT, *evaluated) if key in self.points), None)

    def rule(self) -> str | None:
        """The metric of the first reward that says whether an answer is right."""
        return next(iter(self.matching(RULE)), None)

    def length(self) -> str | None:
        """The metric of completion length."""
        return next((k for k in ("completions/mean_length", "monitor/thought_tokens/p50") if k in self.points), None)

    # --- did it get better since?

    def gain(self, key: str, since: int, width: int) -> float | None:
        """How much a metric has risen since a step: mean of its last values less mean of those up to then.

        A sparse metric (a held-out probe) is compared value by value: the last one with the last one at or before
        ``since``, or with its first. None where there is nothing to compare. One odd line is no fall: of the difference of
        the means and that of the medians the higher counts.
        """
        steps, values = self.series(key)
        if not values:
            return None
        dense = len(values) * 2 > len(self.points.get("loss", values))
        wide = width if dense else 1
        before = [value for step, value in zip(steps, values) if step <= since] or values[:wide]
        early, late = before[-wide:], values[-wide:]
        if steps[-1] <= since or len(values) < 2:
            return None
        return max(mean(late) - mean(early), median(late) - median(early))
