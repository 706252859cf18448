"""A run folder in, a few lines of text out: what `trl-r1 watch` shows."""

from __future__ import annotations

import textwrap
from pathlib import Path

from trl_r1.evaluation.curves import read_metrics
from trl_r1.monitor.page import TILES, direction, name_of
from trl_r1.monitor.record import every_alarm
from trl_r1.monitor.signals import History
from trl_r1.text.records import Row


BARS = "▁▂▃▄▅▆▇█"
MORE = (
    ("monitor/steps/p50", "reasoning steps"),
    ("monitor/reflection", "reflection words"),
    ("monitor/language", "language"),
    ("completions/clipped_ratio", "cut off"),
    ("frac_reward_zero_std", "dead groups"),
    ("frac_reward_ungraded", "ungraded groups"),
    ("monitor/drift", "drift"),
)


def sparkline(values: list[float], width: int = 24) -> str:
    """A line of block characters, of means over equal parts.

    >>> sparkline([0, 1, 2, 3], width=4)
    '▁▃▆█'
    """
    width = min(width, len(values))
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:])]
    low, high = min(means), max(means)
    if high == low:
        return BARS[0] * width
    return "".join(BARS[round((mean - low) / (high - low) * (len(BARS) - 1))] for mean in means)


def find_run(folder: Path) -> Path:
    """The folder with the log: this one, or, of a pipeline's, the one below that was written to last.

    Raises:
        ValueError: there is no log anywhere.
    """
    logs = [folder / "metrics.jsonl"] if (folder / "metrics.jsonl").is_file() else list(folder.rglob("metrics.jsonl"))
    if not logs:
        raise ValueError(f"{folder} holds no metrics.jsonl, so no run that has logged a step; name its output_dir.")
    return max(logs, key=lambda path: path.stat().st_mtime).parent


def screen(folder: Path, columns: int = 100) -> str:
    """The run as it is now, no line longer than ``columns`` where words allow it."""
    rows: list[Row] = read_metrics(folder / "metrics.jsonl")
    history = History.of(rows)
    step = int(max((row["step"] for row in rows), default=0))
    lines = [f"{name_of(folder)}    step {step}", ""]
    for key, label in (*TILES, *MORE):
        values = history.values(key)
        if values and not (key == "loss" and "reward" in history.points):
            lines.append(f"{label:<21}{values[-1]:>9.4g}  {sparkline(values):<25}{direction(values)}".rstrip())
    lines.append("")
    alarms = every_alarm(folder)
    for row in alarms[-5:]:
        head = f"{str(row['level']).upper()} step {row['step']} {row['name']}: "
        lines += textwrap.wrap(f"{head}{row['seen']} {row['advice']}", columns, subsequent_indent="    ")
    if not alarms:
        lines.append("No alarm.")
    return "\n".join(lines)
