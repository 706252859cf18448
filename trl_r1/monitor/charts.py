"""Charts of a run's page: series in, one SVG each out. No script, no picture file, nothing from the network.

CHARTS    what is drawn, in order; a chart without data is left out
svg       one chart
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trl_r1.evaluation.curves import smoothed
from trl_r1.monitor.signals import RULE, History


WIDTH, HEIGHT = 480, 232  # of the view box
LEFT, RIGHT, TOP, BOTTOM = 50, 10, 10, 26  # margins
MOST_POINTS = 240  # of a line; a longer one is thinned


@dataclass(frozen=True)
class Line:
    """One metric of a chart. ``dots`` for a sparse one."""

    key: str
    label: str
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """What a chart shows: lines, and perhaps a band between two metrics."""

    title: str
    unit: str
    lines: Callable[[History], list[Line]]
    band: tuple[tuple[str, str], ...] = ()  # candidates (low, high); the first pair with data is drawn
    share: bool = False  # the axis runs from 0 to 1
    zero: bool = False  # the axis begins at 0


def fixed(*lines: Line) -> Callable[[History], list[Line]]:
    """The same lines for every run."""
    return lambda history: list(lines)


def rewards(history: History) -> list[Line]:
    """The total and its parts."""
    parts = sorted(key for key in history.points if key.startswith("rewards/") and key.endswith("/mean"))
    total = [] if len(parts) == 1 else [Line("reward", "reward, weighted sum")]
    return total + [Line(key, key[len("rewards/") : -len("/mean")].replace("_", " ")) for key in parts[:6]]


def right_answers(history: History) -> list[Line]:
    """The rule rewards while training, and held-out problems."""
    lines = [Line(key, "training, as sampled") for key in history.matching(RULE)[:1]]
    held_out = history.held_out()
    return lines + ([Line(held_out, "held out", dots=True)] if held_out else [])


CHARTS = (
    Chart("Right answers", "share", right_answers, share=True),
    Chart("Reward", "points", rewards),
    Chart("Entropy of the policy", "nats per token", fixed(Line("entropy", "entropy")), zero=True),
    Chart(
        "Distance moved", "nats per token",
        fixed(Line("kl", "KL to the reference"), Line("monitor/drift", "drift from the start", dots=True)), zero=True,
    ),
    Chart(
        "Length of completions", "tokens",
        fixed(Line("completions/mean_length", "mean"), Line("completions/length_p50", "median")),
        band=(("completions/length_p10", "completions/length_p90"), ("completions/min_length", "completions/max_length")),
        zero=True,
    ),
    Chart(
        "Length of thoughts", "tokens", fixed(Line("monitor/thought_tokens/p50", "median")),
        band=(("monitor/thought_tokens/p10", "monitor/thought_tokens/p90"),), zero=True,
    ),
    Chart(
        "Reasoning steps", "steps", fixed(Line("monitor/steps/p50", "median")),
        band=(("monitor/steps/p10", "monitor/steps/p90"),), zero=True,
    ),
    Chart(
        "Words of reflection", "per completion",
        fixed(Line("monitor/reflection", "all ten"), Line("monitor/reflection/wait", "wait")), zero=True,
    ),
    Chart("One language", "share of words", fixed(Line("monitor/language", "in the asker's language")), share=True),
    Chart(
        "What is lost", "share",
        fixed(
            Line("completions/clipped_ratio", "completions cut off"),
            Line("frac_reward_zero_std", "groups of equal rewards"),
            Line("frac_reward_ungraded", "groups that nobody could grade"),
        ),
        share=True,
    ),
    Chart(
        "Seconds of a step", "by the clock",
        fixed(
            Line("seconds/generation", "generation"), Line("seconds/rewards", "rewards"),
            Line("seconds/logps", "log-probabilities"), Line("seconds/loss", "loss"),
            Line("seconds/backward", "backward"), Line("seconds/optimizer", "optimizer"),
            Line("seconds/refresh", "refresh of the copy"), Line("seconds/monitor", "monitor"),
        ),
        zero=True,
    ),
    Chart(
        "Copy that generates", "nats per token",
        fixed(Line("rollout_copy/mismatch", "mismatch, mean"), Line("rollout_copy/mismatch_p99", "99th percentile")),
        zero=True,
    ),
    Chart("Imitation", "share of tokens guessed", fixed(Line("mean_token_accuracy", "next token")), share=True),
    Chart("Loss", "", fixed(Line("loss", "loss"))),
    Chart("Gradient norm", "", fixed(Line("grad_norm", "before clipping")), zero=True),
)  # fmt: skip


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most`` + 1 of them.

    >>> ticks(0, 1), ticks(13, 64)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [20.0, 40.0, 60.0])
    """
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= most + 1e-9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def limits(chart: Chart, values: Sequence[float]) -> tuple[float, float]:
    """The ends of the value axis."""
    if chart.share:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if chart.zero:
        low = min(0.0, low)
    room = (high - low) * 0.05 or max(abs(high) * 0.1, 1e-3)
    return (low if chart.zero and low == 0.0 else low - room), high + room


def thin(steps: np.ndarray, values: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` points, (S,) each: means over equal parts of the line; the last point stays what it is."""
    if len(steps) <= most:
        return steps, values
    parts = np.array_split(np.arange(len(steps) - 1), most - 1)
    return (
        np.array([*(steps[part].mean() for part in parts), steps[-1]]),
        np.array([*(values[part].mean() for part in parts), values[-1]]),
    )


def svg(chart: Chart, history: History, marks: Sequence[int] = ()) -> str:
    """One chart with its heading and legend, as HTML; "" without data.

    Args:
        marks: steps of alarms, drawn as broken lines.
    """
    lines = [line for line in chart.lines(history) if history.points.get(line.key)]
    band = next((pair for pair in chart.band if all(history.points.get(key) for key in pair)), None)
    if not lines and band is None:
        return ""
    series = {key: _arrays(history, key) for key in [*(line.key for line in lines), *(band or ())]}
    every = np.concatenate([steps for steps, _ in series.values()])
    first, last = float(every.min()), float(max(every.max(), every.min() + 1))
    low, high = limits(chart, np.concatenate([values for _, values in series.values()]).tolist())

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (min(max(value, low), high) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def points(steps: np.ndarray, values: np.ndarray) -> str:
        return " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in zip(*thin(steps, values)))

    parts = [_frame(x, y, first, last, low, high)]
    parts += [
        f'<line class="mark" x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        for step in sorted(set(marks))
        if first <= step <= last
    ]
    if band is not None:
        shared = np.intersect1d(series[band[0]][0], series[band[1]][0])
        edges = [smoothed(np.array([history.points[key][int(step)] for step in shared])) for key in band]
        lower, upper = (points(shared, edge).split() for edge in edges)
        parts.append(f'<polygon class="band" points="{" ".join([*lower, *reversed(upper)])}"/>')
    for number, line in enumerate(lines, start=1):
        steps, values = series[line.key]
        if not line.dots and len(values) > 1:
            smooth = smoothed(values)
            if not np.array_equal(smooth, values):
                parts.append(f'<polyline class="faint c{number}" points="{points(steps, values)}"/>')
            parts.append(f'<polyline class="line c{number}" points="{points(steps, smooth)}"/>')
            continue
        parts.append(f'<polyline class="line c{number}" points="{points(steps, values)}"/>')
        parts += [
            f'<circle class="dot c{number}" cx="{x(step):.1f}" cy="{y(value):.1f}" r="3"/>'
            for step, value in zip(*thin(steps, values))
        ]
    return _card(chart, lines, band, parts, history)


def _arrays(history: History, key: str) -> tuple[np.ndarray, np.ndarray]:
    steps, values = history.series(key)
    return np.array(steps, dtype=float), np.array(values, dtype=float)


def _frame(
    x: Callable[[float], float], y: Callable[[float], float], first: float, last: float, low: float, high: float
) -> str:
    parts = []
    for value in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    parts += [
        f'<text class="tick" x="{x(step):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{step:.0f}</text>'
        for step in ticks(first, last)
        if step == int(step) and x(step) < WIDTH - 14
    ]
    return "".join(parts)


def _card(
    chart: Chart, lines: Sequence[Line], band: tuple[str, str] | None, parts: Sequence[str], history: History
) -> str:
    keys = [
        f'<li><i class="key c{number}"></i>{html.escape(line.label)} <b>{history.values(line.key)[-1]:.3g}</b></li>'
        for number, line in enumerate(lines, start=1)
    ]
    if band is not None:
        named = "10 % to 90 %" if band[0].endswith("p10") else "shortest to longest"
        low, high = (history.values(key)[-1] for key in band)
        keys.append(f'<li><i class="key wide"></i>{named} <b>{low:.3g}–{high:.3g}</b></li>')
    title = html.escape(chart.title)
    unit = f" <small>{html.escape(chart.unit)}</small>" if chart.unit else ""
    about = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title} over training steps"'
    return f"<section><h2>{title}{unit}</h2><svg {about}>{''.join(parts)}</svg><ul>{''.join(keys)}</ul></section>"
