"""How good a reward model is on rows it has not seen: numbers, two pictures, and a page.

pair accuracy   share of held-out pairs in which the chosen reply scores higher; a tie counts half
AUROC           chance that a safe reply scores higher than an unsafe one
longer wins     the accuracy of a judge who only looks at length, on the same pairs: near a half where lengths match
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trl_r1.evaluation import detection
from trl_r1.evaluation.markdown import environment_section, inline, percent, settings_section
from trl_r1.evaluation.metrics import Interval, auroc, bootstrap_interval
from trl_r1.evaluation.pictures import BLUE, ORANGE, canvas, save
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


@dataclass
class Helpful:
    """The helpfulness model on P held-out pairs."""

    pairs: int
    pair_accuracy: float
    interval: tuple[float, float]
    auroc: float  # chosen against rejected, over all prompts
    longer_wins: float
    center: float  # mean raw score
    spread: float  # its standard deviation
    margins: list[float]  # (P,) chosen minus rejected

    @classmethod
    def of(cls, scores: Sequence[float], pairs: Sequence[Any]) -> Helpful:
        """Args: ``scores`` (2P,) raw, chosen and rejected in turn; ``pairs`` (P,) with ``log_ratio``."""
        values = np.asarray(scores, dtype=np.float64).reshape(-1, 2)  # (P, 2)
        margins = values[:, 0] - values[:, 1]
        right = bootstrap_interval(half_ties(margins))
        longer = half_ties(np.array([pair.log_ratio for pair in pairs]))
        return cls(
            len(pairs),
            right.mean,
            (right.low, right.high),
            auroc(values.T.ravel(), np.repeat([True, False], len(values))),
            float(longer.mean()),
            float(values.mean()),
            float(values.std(ddof=1)),
            margins.tolist(),
        )

    def to_dict(self) -> Json:
        return {key: value for key, value in asdict(self).items() if key != "margins"}


@dataclass
class Safety:
    """The harmlessness model on N held-out replies."""

    replies: int
    unsafe: int
    auroc: float
    interval: tuple[float, float]
    accuracy: float  # at a probability of one half
    loss: float  # mean binary cross-entropy, nats
    center: float
    spread: float
    scores: list[float]  # (N,) logits, high is safe
    labels: list[bool]

    @classmethod
    def of(cls, scores: Sequence[float], rows: Sequence[Any]) -> Safety:
        """Args: ``scores`` (N,) logits; ``rows`` (N,) with ``safe``."""
        values, safe = np.asarray(scores, dtype=np.float64), np.array([row.safe for row in rows])
        area = detection.interval(auroc, values, safe)
        loss = np.logaddexp(0.0, np.where(safe, -values, values)).mean()
        return cls(
            len(safe),
            int((~safe).sum()),
            area.mean,
            (area.low, area.high),
            float(((values > 0) == safe).mean()),
            float(loss),
            float(values.mean()),
            float(values.std(ddof=1)),
            values.tolist(),
            safe.tolist(),
        )

    def to_dict(self) -> Json:
        return {key: value for key, value in asdict(self).items() if key not in ("scores", "labels")}


def half_ties(margins: np.ndarray) -> np.ndarray:
    """1.0 above zero, 0.0 below, 0.5 at zero."""
    return (np.sign(margins) + 1.0) / 2.0


def write_preference_report(
    folder: str | os.PathLike[str],
    title: str,
    helpful: Mapping[str, Helpful] | None,
    safety: Mapping[str, Safety] | None,
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> Path:
    """Writes report.md and its pictures.

    Args:
        helpful, safety: under "before" (the fresh head) and "after", or None where there is no such model.
    """
    folder = Path(folder)
    parts = [f"# {inline(title)}", *notes]
    if helpful is not None:
        parts.append(helpful_section(folder, helpful))
    if safety is not None:
        parts.append(safety_section(folder, safety))
    parts += [settings_section(settings), environment_section()]
    return replace_file(folder / "report.md", "\n\n".join(part for part in parts if part) + "\n")


def helpful_section(folder: Path, measured: Mapping[str, Helpful]) -> str:
    before, after = measured["before"], measured["after"]
    draw(
        folder / "helpfulness.png",
        "Chosen minus rejected, held out",
        "raw score",
        [("fresh head", before.margins, ORANGE), ("trained", after.margins, BLUE)],
    )
    interval = Interval(after.pair_accuracy, *after.interval)
    lines = [
        "## Helpfulness",
        "",
        f"**The chosen reply scores higher in {percent(after.pair_accuracy)} of {after.pairs} held-out pairs** "
        f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]; a judge of length alone gets {percent(after.longer_wins)}.",
        "",
        "| | fresh head | trained |",
        "|---|---:|---:|",
        f"| pair accuracy (higher is better) | {percent(before.pair_accuracy)} | {percent(after.pair_accuracy)} |",
        f"| AUROC, chosen against rejected (higher is better) | {before.auroc:.3f} | {after.auroc:.3f} |",
        f"| raw score, mean | {before.center:.3g} | {after.center:.3g} |",
        f"| raw score, spread | {before.spread:.3g} | {after.spread:.3g} |",
        "",
        f"As a reward of mean 0 and spread 1: `options: {{center: {after.center:.4g}, spread: {after.spread:.4g}}}`.",
        "",
        "![Margins of held-out pairs](helpfulness.png)",
    ]
    return "\n".join(lines)


def safety_section(folder: Path, measured: Mapping[str, Safety]) -> str:
    before, after = measured["before"], measured["after"]
    draw(
        folder / "harmlessness.png",
        "Logit by label, held out",
        "logit (high is safe)",
        [
            ("unsafe", [s for s, safe in zip(after.scores, after.labels, strict=True) if not safe], ORANGE),
            ("safe", [s for s, safe in zip(after.scores, after.labels, strict=True) if safe], BLUE),
        ],
    )
    low, high = after.interval
    lines = [
        "## Harmlessness",
        "",
        f"**AUROC {after.auroc:.3f}** [{low:.3f}, {high:.3f}] on {after.replies} held-out replies, {after.unsafe} of them "
        "unsafe.",
        "",
        "| | fresh head | trained |",
        "|---|---:|---:|",
        f"| AUROC (higher is better) | {before.auroc:.3f} | {after.auroc:.3f} |",
        f"| right at one half (higher is better) | {percent(before.accuracy)} | {percent(after.accuracy)} |",
        f"| cross-entropy, nats (lower is better) | {before.loss:.3f} | {after.loss:.3f} |",
        "",
        "As a reward: `options: {normalize: sigmoid}` gives the probability of being safe.",
        "",
        "![Logits of held-out replies](harmlessness.png)",
    ]
    return "\n".join(lines)


def draw(path: Path, title: str, axis: str, groups: Sequence[tuple[str, Sequence[float], str]]) -> None:
    """Histograms over one another."""
    axes = canvas(title, axis)
    every = [value for _, values, _ in groups for value in values if math.isfinite(value)]
    bins = np.linspace(min(every), max(every) + 1e-9, 25)
    for label, values, colour in groups:
        axes.hist(values, bins=bins, color=colour, alpha=0.6, label=label)
    axes.set_ylabel("held-out rows")
    save(axes, path)
