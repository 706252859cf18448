"""Curves: the lines of a run's ``metrics.jsonl`` in, one PNG per curve that has data out.

No picture holds a model's text.
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.evaluation.pictures import BLACK, BLUE, COLOURS, GREEN, ORANGE, PINK, RED, SKY, canvas, save, second_axis
from trl_r1.storage.files import read_json_lines
from trl_r1.text.records import Row


if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[Row]


def read_metrics(path: str | os.PathLike[str]) -> Rows:
    """Log lines by step; lines without a step, or cut in half, are left out."""
    rows = [row for row in read_json_lines(path) if is_number(row.get("step"))]
    return sorted(rows, key=lambda row: row["step"])


def is_number(value: Any) -> bool:
    """A finite number (a bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def series(rows: Rows, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values (both (S,)) of the lines that have a number under ``key``; of two lines for a step the last."""
    points = {row["step"]: row[key] for row in rows if is_number(row.get(key))}
    return np.array(list(points), dtype=float), np.array(list(points.values()), dtype=float)


def smoothed(values: np.ndarray, window: int | None = None) -> np.ndarray:
    """Centred moving average, (S,) to (S,); near the ends over what there is. Window: a twentieth of the run, odd."""
    window = window or 2 * (len(values) // 40) + 1
    half = min(window, len(values)) // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    left, right = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (total[right] - total[left]) / (right - left)


@dataclass
class Curve:
    """A picture: what it is called, what it says to someone who cannot see it, and who draws it."""

    file: str
    title: str
    draw: Callable[["Axes", Rows], bool]  # false when the log has nothing for it
    axis: str = field(default="training step", kw_only=True)


def line(axes: "Axes", rows: Rows, key: str, label: str, colour: str) -> bool:
    """A smoothed line over its faint raw values; a dot when there is a single one. False without values."""
    steps, values = series(rows, key)
    if len(steps) == 0:
        return False
    label = label.replace("$", r"\$").lstrip("_") or "unnamed"  # matplotlib reads $ as formula, _ as "no legend"
    if len(steps) == 1:
        axes.plot(steps, values, "o", color=colour, label=label)
        return True
    smooth = smoothed(values)
    if not np.array_equal(smooth, values):
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(steps, smooth, color=colour, linewidth=1.9, label=label)
    return True


def draw_reward(axes: "Axes", rows: Rows) -> bool:
    parts = sorted({match[1] for row in rows for key in row if (match := re.fullmatch(r"rewards/(.+)/mean", key))})
    drawn = [
        line(axes, rows, f"rewards/{part}/mean", part.replace("_", " "), COLOURS[i % len(COLOURS)])
        for i, part in enumerate(parts)
    ]
    if len(parts) != 1:
        drawn.append(line(axes, rows, "reward", "reward (weighted sum)", BLACK))
    axes.set_ylabel("reward points")
    return any(drawn)


def draw_length(axes: "Axes", rows: Rows) -> bool:
    axes.set_ylabel("tokens")
    low_steps, low = series(rows, "completions/length_p10")
    high_steps, high = series(rows, "completions/length_p90")
    band = "10 % to 90 % of completions"
    if not len(low):  # without percentiles: the extremes, which every TRL logs
        low_steps, low = series(rows, "completions/min_length")
        high_steps, high = series(rows, "completions/max_length")
        band = "shortest to longest"
    steps, at_low, at_high = np.intersect1d(low_steps, high_steps, return_indices=True)
    if len(steps) > 1:
        axes.fill_between(
            steps, smoothed(low[at_low]), smoothed(high[at_high]), color=SKY, alpha=0.3, linewidth=0, label=band
        )
    elif len(steps) == 1:
        axes.vlines(steps, low[at_low], high[at_high], color=SKY, alpha=0.6, linewidth=4, label=band)
    median = line(axes, rows, "completions/length_p50", "median", BLUE)
    mean = line(axes, rows, "completions/mean_length", "mean", BLACK if median else BLUE)
    axes.set_ylim(bottom=0)
    return len(steps) > 0 or median or mean


def draw_entropy(axes: "Axes", rows: Rows) -> bool:
    axes.set_ylabel("nats per token")
    drawn = line(axes, rows, "entropy", "entropy of the policy", BLUE)
    axes.set_ylim(bottom=0)
    return drawn


def draw_kl(axes: "Axes", rows: Rows) -> bool:
    axes.set_ylabel("nats per token")
    betas = series(rows, "beta")[1]
    constant = f" (beta {betas[0]:.3g})" if len(betas) and betas.min() == betas.max() else ""
    drawn = line(axes, rows, "kl", f"KL to the reference{constant}", BLUE)
    if drawn and len(betas) and not constant:
        beside = second_axis(axes, "beta")
        line(beside, rows, "beta", "beta (right)", ORANGE)
        beside.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useOffset=False)
    return drawn


def draw_dead_groups(axes: "Axes", rows: Rows) -> bool:
    axes.set_ylabel("share of groups")
    drawn = line(axes, rows, "frac_reward_zero_std", "groups without reward variance", BLUE)
    axes.set_ylim(-0.02, 1.02)
    return drawn


def draw_pass_at_1(axes: "Axes", rows: Rows, before: Evaluation | None, after: Evaluation | None) -> bool:
    """Training accuracy, the held-out probe, and the evaluations before and after with their intervals."""
    axes.set_ylabel("share of samples that are right")
    drawn = line(axes, rows, "rewards/accuracy/mean", "training prompts, as sampled", SKY)
    steps, values = series(rows, "heldout/pass@1")
    if len(steps):
        axes.plot(steps, values, "-o", color=BLUE, linewidth=1.9, markersize=4, label="held-out probe")
        drawn = True
    others = sorted({match[1] for row in rows for key in row if (match := re.fullmatch(r"followed/(.+)/pass@1", key))})
    for number, part in enumerate(others):
        steps, values = series(rows, f"followed/{part}/pass@1")
        colour = (GREEN, PINK, ORANGE)[number % 3]
        axes.plot(steps, values, "-s", color=colour, linewidth=1.9, markersize=4, label=f"followed: {part}")
        drawn = True
    last = max((row["step"] for row in rows), default=1)
    label: str | None = "evaluation, with interval"
    for step, evaluation in ((0, before), (last, after)):
        if evaluation is None or math.isnan(evaluation["pass@1"]):
            continue
        mean, low, high = evaluation.intervals["pass@1"]
        axes.errorbar(
            [step],
            [mean],
            yerr=[[mean - low], [high - mean]],
            fmt="D",
            color=RED,
            markersize=6,
            capsize=4,
            label=label,
            zorder=5,
            clip_on=False,
        )
        drawn, label = True, None
    axes.set_ylim(-0.02, 1.02)
    return drawn


def draw_imitation(axes: "Axes", rows: Rows) -> bool:
    """Supervised tuning: the loss, and beside it how often the next token is guessed."""
    if not len(series(rows, "mean_token_accuracy")[0]):
        return False  # the loss of reinforcement learning is no measure of anything
    axes.set_ylabel("nats per token")
    drawn = line(axes, rows, "loss", "loss on the completions", BLUE)
    line(second_axis(axes, "share of tokens"), rows, "mean_token_accuracy", "tokens guessed (right)", ORANGE)
    return drawn


def curves(before: Evaluation | None, after: Evaluation | None) -> list[Curve]:
    """The pictures of a report, in their order."""
    return [
        Curve("pass_at_1.png", "pass@1", lambda axes, rows: draw_pass_at_1(axes, rows, before, after)),
        Curve("imitation.png", "Imitation", draw_imitation),
        Curve("reward.png", "Reward by part", draw_reward),
        Curve("length.png", "Completion length", draw_length),
        Curve("entropy.png", "Entropy", draw_entropy),
        Curve("kl.png", "KL to the reference", draw_kl),
        Curve("dead_groups.png", "Groups that teach nothing", draw_dead_groups),
    ]


def draw_curves(folder: Path, rows: Rows, before: Evaluation | None, after: Evaluation | None) -> list[Curve]:
    """Draw every curve that has data into ``folder``; those drawn come back. A curve without data leaves no file."""
    drawn = []
    for curve in curves(before, after):
        axes = canvas(curve.title, curve.axis)
        if curve.draw(axes, rows):
            save(axes, folder / curve.file)
            drawn.append(curve)
        else:
            (folder / curve.file).unlink(missing_ok=True)  # of an earlier report
    return drawn
