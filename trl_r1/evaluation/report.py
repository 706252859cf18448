"""Report: a run folder in, ``report.md`` with curves beside it out.

Reads   ``metrics.jsonl`` (one JSON object per logged step, any key may be absent) and two Evaluations, if any.
Leaves  ``report.md`` and one PNG per curve that has data, each written whole or not at all.

Model text is untrusted: it appears in fenced blocks it cannot close, never in a picture, never as Markdown or HTML.
"""

import html
import io
import json
import math
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trl_r1.evaluation import followed
from trl_r1.evaluation.benchmark import METRICS, Evaluation, Problem, compare, pair
from trl_r1.evaluation.metrics import Interval
from trl_r1.files import read_json_lines, replace_file


if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]

PACKAGES = ("trl-r1", "trl", "transformers", "torch", "peft", "accelerate", "datasets", "bitsandbytes", "numpy")

SECRET = re.compile(r"(hub|access|auth|api|hf|wandb)_?(token|key)$|password|secret|credential", re.IGNORECASE)

LONGEST_SAMPLE = 2000  # characters of one text in the report

# Okabe & Ito's colours: told apart with any kind of colour vision, and in print by their lightness.
BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#333333",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)


def write_report(
    folder: str | os.PathLike[str],
    title: str,
    settings: Mapping[str, Any] | None = None,
    before: Evaluation | None = None,
    after: Evaluation | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write ``report.md`` and its curves into a run folder.

    Args:
        folder: of the run; its ``metrics.jsonl`` is read if it is there.
        title: heading, plain text.
        settings: options of the run by name; values that look like credentials are hidden.
        before, after: evaluations on the same problems, as far as they exist.
        notes: sentences for the top of the report, in Markdown (ours or the user's, never a model's).

    Returns:
        The path of ``report.md``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted([*read_metrics(folder / "metrics.jsonl"), *followed.as_metrics(folder)], key=lambda row: row["step"])
    pictures = draw_curves(folder, rows, before, after)
    parts = [
        f"# {inline(title)}",
        *[f"{note}" for note in notes],
        headline(before, after),
        evaluation_section(before, after),
        curves_section(pictures),
        training_section(rows),
        followed.section(folder),
        samples_section(before, after),
        settings_section(settings or {}),
        environment_section(),
    ]
    return replace_file(folder / "report.md", "\n\n".join(part for part in parts if part) + "\n")


# --- the log


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


# --- the pictures


@dataclass
class Curve:
    """A picture: what it is called, what it says to someone who cannot see it, and who draws it."""

    file: str
    title: str
    draw: Callable[["Axes", Rows], bool]  # false when the log has nothing for it
    caption: str = ""
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
        beside = axes.twinx()
        line(beside, rows, "beta", "beta (right)", ORANGE)
        beside.set_ylabel("beta", color=BLACK)
        beside.spines[["top", "right", "left"]].set_visible(False)
        beside.spines["bottom"].set_color("#B0B0B0")
        beside.tick_params(length=0, labelcolor=BLACK, labelsize=10)
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
            [step], [mean], yerr=[[mean - low], [high - mean]],
            fmt="D", color=RED, markersize=6, capsize=4, label=label, zorder=5, clip_on=False,
        )  # fmt: skip
        drawn, label = True, None
    axes.set_ylim(-0.02, 1.02)
    return drawn


def draw_imitation(axes: "Axes", rows: Rows) -> bool:
    """Supervised tuning: the loss, and beside it how often the next token is guessed."""
    if not len(series(rows, "mean_token_accuracy")[0]):
        return False  # the loss of reinforcement learning is no measure of anything
    axes.set_ylabel("nats per token")
    drawn = line(axes, rows, "loss", "loss on the completions", BLUE)
    beside = axes.twinx()
    line(beside, rows, "mean_token_accuracy", "tokens guessed (right)", ORANGE)
    beside.set_ylabel("share of tokens", color=BLACK)
    beside.spines[["top", "right", "left"]].set_visible(False)
    beside.spines["bottom"].set_color("#B0B0B0")
    beside.tick_params(length=0, labelcolor=BLACK, labelsize=10)
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = []
    for curve in curves(before, after):
        figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # inches
        FigureCanvasAgg(figure)  # no pyplot: no window, no global state
        axes = figure.add_subplot()
        style(axes, curve)
        if curve.draw(axes, rows):
            finish(axes)
            picture = io.BytesIO()
            figure.savefig(picture, format="png", metadata={"Software": None})
            replace_file(folder / curve.file, picture.getvalue())
            drawn.append(curve)
        else:
            (folder / curve.file).unlink(missing_ok=True)  # of an earlier report
    return drawn


def style(axes: "Axes", curve: Curve) -> None:
    """Quiet axes: a light grid below the data, no box."""
    axes.set_title(curve.title, loc="left", fontsize=13, fontweight="bold", color=BLACK, pad=10)
    axes.set_xlabel(curve.axis, color=BLACK)
    axes.yaxis.label.set_color(BLACK)
    axes.grid(True, color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#B0B0B0")
    axes.tick_params(length=0, labelcolor=BLACK, labelsize=10)
    axes.xaxis.get_major_locator().set_params(integer=True)


def finish(axes: "Axes") -> None:
    """One legend for the axes and its twin, below the picture where no line runs through it."""
    figure = axes.figure
    entries = [part.get_legend_handles_labels() for part in figure.axes]
    handles = [handle for found, _ in entries for handle in found]
    labels = [label for _, found in entries for label in found]
    if handles:
        columns = len(handles) if sum(map(len, labels)) <= 62 else -(-len(handles) // 2)
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9.5,
            labelcolor=BLACK,
        )  # fmt: skip
    steps = [x for shown in axes.get_lines() for x in np.atleast_1d(shown.get_xdata())]
    if steps and min(steps) == max(steps):
        axes.set_xlim(steps[0] - 1, steps[0] + 1)


# --- the sections


def headline(before: Evaluation | None, after: Evaluation | None) -> str:
    """The result in one sentence, when there are two evaluations."""
    if before is None or after is None:
        return ""
    change = compare(before, after, "pass@1")
    if any(map(math.isnan, (before["pass@1"], after["pass@1"], change.mean))):
        return ""
    return (
        f"**pass@1 went from {percent(before['pass@1'])} to {percent(after['pass@1'])}** "
        f"({signed(change)} points on the same {len(pair(before, after))} problems)."
    )


WORDS = {
    "pass@1": "a sample is right",
    "cons@K": "the majority is right",
    "pass@K": "at least one sample is right",
    "format": "thinking and answer in their tags",
    "language": "reasoning in the language asked for",
    "length": "tokens per reply",
    "clipped": "replies cut off at the limit",
}


def evaluation_section(before: Evaluation | None, after: Evaluation | None) -> str:
    """The before/after table with intervals and the paired difference; lines nobody has a number for are left out."""
    known = [(name, run) for name, run in (("before", before), ("after", after)) if run is not None]
    if not known:
        return ""
    shared = len(pair(before, after)) if before is not None and after is not None else 0
    lines = ["## Evaluation", ""]
    columns = [name for name, _ in known] + (["difference"] if len(known) == 2 else [])
    lines += ["| | | " + " | ".join(columns) + " |", "|---|---|" + "---:|" * len(columns)]
    for metric in METRICS:
        numbers = [run.intervals[run.key(metric)] for _, run in known]
        if all(math.isnan(number.mean) for number in numbers):
            continue
        cells = [with_interval(number, metric) for number in numbers]
        if before is not None and after is not None:
            same_k = before.key(metric) == after.key(metric)
            cells.append(signed(compare(before, after, metric), metric) if shared and same_k else "–")
        name = " / ".join(dict.fromkeys(run.key(metric) for _, run in known))
        lines.append(f"| **{name}** | {WORDS[metric]} | " + " | ".join(cells) + " |")
    level = known[0][1].level
    lines += [
        "",
        f"In brackets: {level:.0%} bootstrap intervals over problems. Shares in percent; differences in points.",
    ]
    if len(known) == 2:
        lines[-1] += (
            f" The difference is paired: the same {shared} problems before and after."
            if shared
            else " The two evaluations share no problem, so there is no paired difference."
        )
    for name, run in known:
        drawn = ", ".join(
            f"{key.replace('_', ' ')} {plainly(run.settings[key])}"
            for key in ("temperature", "top_p", "max_new_tokens", "seed", "answer_from")
            if key in run.settings
        )
        unjudged = sum(not problem.judged for problem in run.problems)
        lines[-1] += f" {name.capitalize()}: {len(run.problems)} problems x {run.samples} samples" + (
            f" ({inline(drawn)})" if drawn else ""
        )
        lines[-1] += f", {unjudged} with a gold answer that cannot be read and does not count." if unjudged else "."
    return "\n".join(lines)


def plainly(value: Any) -> str:
    return " or ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def with_interval(number: Interval, metric: str) -> str:
    """``31.2 [28.0, 34.5]`` in percent, or tokens."""
    if math.isnan(number.mean):
        return "–"
    scale = 1 if metric == "length" else 100
    return f"{scale * number.mean:.1f} [{scale * number.low:.1f}, {scale * number.high:.1f}]"


def signed(number: Interval, metric: str = "") -> str:
    """``+57.3 [+51.0, +63.2]`` in points of a percentage, or tokens."""
    if math.isnan(number.mean):
        return "–"
    scale = 1 if metric == "length" else 100
    return f"{scale * number.mean:+.1f} [{scale * number.low:+.1f}, {scale * number.high:+.1f}]"


def curves_section(pictures: Sequence[Curve]) -> str:
    """The pictures, two beside each other."""
    if not pictures:
        return ""
    cells = [f"![{curve.title} over training steps]({curve.file})" for curve in pictures]
    cells += [""] * (len(cells) % 2)
    pairs = [f"| {cells[i]} | {cells[i + 1]} |" for i in range(0, len(cells), 2)]
    explained = "Strong lines are moving averages over a twentieth of the run, faint ones the logged values."
    return "\n".join(["## Curves", "", pairs[0], "|---|---|", *pairs[1:], "", explained])


SHOWN = (
    "reward", "rewards/", "heldout/", "completions/mean_length", "completions/clipped_ratio", "entropy", "kl", "beta",
    "entropy_coef", "frac_reward_zero_std", "loss", "mean_token_accuracy", "grad_norm", "learning_rate", "step_time",
)  # fmt: skip


def training_section(rows: Rows) -> str:
    """How the logged numbers started and ended: means over the first and last tenth of their values."""
    if not rows:
        return "## Training\n\nNo training step was logged in `metrics.jsonl`."
    each = series(rows, "step_time")[1]  # seconds; TRL logs the mean over the steps since the last line
    last = max(row["step"] for row in rows)
    told = f"{last:g} step{'' if last == 1 else 's'}" + (f", {each.mean():.3g} s each" if len(each) else "")
    keys = dict.fromkeys(key for row in rows for key in row)
    shown = [
        key
        for start in SHOWN
        for key in keys
        if (key == start or (start.endswith("/") and key.startswith(start))) and not key.endswith("/std")
    ]
    table = []
    for key in shown:
        values = series(rows, key)[1]
        if len(values):
            tenth = max(1, len(values) // 10)
            table.append(f"| {inline(key)} | {values[:tenth].mean():.4g} | {values[-tenth:].mean():.4g} |")
    lines = ["## Training", "", told + "."]
    if table:
        lines += ["", "| logged | first tenth | last tenth |", "|---|---:|---:|", *table]
    return "\n".join(lines)


def samples_section(before: Evaluation | None, after: Evaluation | None, count: int = 5) -> str:
    """The first sample of ``count`` problems spread evenly over the set (not chosen by result), before and after."""
    shown: list[tuple[Problem | None, Problem | None]]
    if before is not None and after is not None:
        shown = [(before.problems[i], after.problems[j]) for i, j in pair(before, after)]
        if not shown:
            return ""
    elif before is not None:
        shown = [(problem, None) for problem in before.problems]
    elif after is not None:
        shown = [(None, problem) for problem in after.problems]
    else:
        return ""
    chosen = [shown[i] for i in np.unique(np.linspace(0, len(shown) - 1, min(count, len(shown))).round().astype(int))]
    lines = [
        "## Sample answers",
        "",
        "The first sample of problems spread evenly over the set; not chosen by their result.",
    ]
    for number, runs in enumerate(chosen, start=1):
        problem = next(run for run in runs if run is not None)
        lines += ["", f"### Problem {number}", "", fenced(as_text(problem.prompt)), "", "Gold answer:", ""]
        lines += [fenced(problem.solution)]
        for name, run in zip(("Before", "After"), runs, strict=True):
            if run is not None and run.texts:
                verdict = ("right" if run.verdicts[0] else "wrong") if run.judged else "not judged"
                right = f"{sum(run.verdicts)} of {len(run.texts)} samples right" if run.judged else "gold unreadable"
                lines += ["", f"**{name}**: {verdict}, {run.lengths[0]} tokens ({right})", "", fenced(run.texts[0])]
    return "\n".join(lines)


def settings_section(settings: Mapping[str, Any]) -> str:
    """The options of the run, by name."""
    if not settings:
        return ""
    lines = ["## Settings", "", "| option | value |", "|---|---|"]
    for name, value in settings.items():
        shown = "(hidden)" if SECRET.search(str(name)) and value else as_text(hide_secrets(value))
        lines.append(f"| {inline(str(name))} | {inline(shown)} |")
    return "\n".join(lines)


def hide_secrets(value: Any) -> Any:
    """The same for credentials inside nested settings."""
    if isinstance(value, Mapping):
        return {k: "(hidden)" if SECRET.search(str(k)) and v else hide_secrets(v) for k, v in value.items()}
    return [hide_secrets(part) for part in value] if isinstance(value, list | tuple) else value


def environment_section() -> str:
    """What the run ran on."""
    lines = ["## Environment", "", "| | |", "|---|---|", f"| python | {platform.python_version()} |"]
    for package in PACKAGES:
        try:
            lines.append(f"| {package} | {inline(metadata.version(package))} |")
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed did not take part
    lines.append(f"| machine | {inline(platform.platform())}, {os.cpu_count()} CPU cores |")
    torch = sys.modules.get("torch")  # not imported for this: without it nothing ran on a GPU
    if torch is not None and torch.cuda.is_available():
        cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        lines.append(f"| GPU | {inline(', '.join(cards))} |")
    return "\n".join(lines)


# --- making text safe


def as_text(value: Any) -> str:
    """A prompt or a setting as text: a conversation line by line with its roles, anything else but text as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) and "role" in part for part in value):
        return "\n".join(f"{message['role']}: {as_text(message.get('content'))}" for message in value)
    return json.dumps(value, ensure_ascii=False, default=str)


def visible(text: str) -> str:
    """Control, format and surrogate characters (terminal escapes, right-to-left overrides) as ``\\u001b`` escapes.

    Line feeds and tabs stay; joiners stay too, as scripts and emoji need them.
    """
    import unicodedata

    text = text.replace("\r\n", "\n")
    return "".join(
        f"\\u{ord(c):04x}"
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n\t\u200c\u200d"
        else c
        for c in text
    )


def fenced(text: str, longest: int = LONGEST_SAMPLE) -> str:
    """A fenced block the text cannot close: its fence is longer than any backticks inside. Cut when too long."""
    text = visible(text)
    if len(text) > longest:
        text = f"{text[:longest]}\n[... {len(text) - longest} more characters]"
    longest_run = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return f"{fence}text\n{text}\n{fence}"


def inline(text: str, longest: int = 300) -> str:
    """Text for a line or a table cell: one line, without any character Markdown or HTML would act on."""
    text = " ".join(visible(text).split())
    if len(text) > longest:
        text = text[:longest] + "..."
    text = html.escape(text, quote=False)
    return re.sub(r"([\\`*_\[\]|~#!$])", r"\\\1", text)
