"""Report: a run folder in, ``report.md`` with curves beside it out.

Reads   ``metrics.jsonl`` (one JSON object per logged step, any key may be absent) and two Evaluations, if any.
Leaves  ``report.md`` and one PNG per curve that has data, each written whole or not at all.

Model text is untrusted: it appears in fenced blocks it cannot close, never in a picture, never as Markdown or HTML.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trl_r1.evaluation import followed
from trl_r1.evaluation.benchmark import METRICS, OF_K, Evaluation, compare, pair
from trl_r1.evaluation.curves import Curve, Rows, draw_curves, read_metrics, series
from trl_r1.evaluation.graded import GradedProblem
from trl_r1.evaluation.markdown import (
    as_text,
    environment_section,
    fenced,
    inline,
    percent,
    plainly,
    settings_section,
    signed,
    with_interval,
)
from trl_r1.storage.files import replace_file


def write_report(
    folder: str | os.PathLike[str],
    title: str,
    settings: Mapping[str, Any] | None = None,
    before: Evaluation | None = None,
    after: Evaluation | None = None,
    notes: Sequence[str] = (),
    prompt: str = "",
) -> Path:
    """Write ``report.md`` and its curves into a run folder.

    Args:
        folder: of the run; its ``metrics.jsonl`` is read if it is there.
        title: heading, plain text.
        settings: options of the run by name; values that look like credentials are hidden.
        before, after: evaluations on the same problems, as far as they exist.
        notes: sentences for the top of the report, in Markdown (ours or the user's, never a model's).
        prompt: one that the model was trained behind, rendered: what a chat template adds of itself is seen there.

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
        times_section(rows),
        followed.section(folder),
        prompt_section(prompt),
        samples_section(before, after),
        settings_section(settings or {}),
        environment_section(),
    ]
    return replace_file(folder / "report.md", "\n\n".join(part for part in parts if part) + "\n")


def prompt_section(prompt: str) -> str:
    """A rendered prompt; "" where there is none."""
    about = "The first one, special tokens and what the template adds of itself included."
    return f"## A prompt as the model reads it\n\n{about}\n\n{fenced(prompt)}" if prompt else ""


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
        if metric in OF_K and all(run.samples == 1 for _, run in known):
            continue  # one sample is its own majority
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
            for key in ("temperature", "top_p", "max_new_tokens", "seed", "answer_from", "verifier")
            if key in run.settings
        )
        unjudged = sum(not problem.judged for problem in run.problems)
        lines[-1] += f" {name.capitalize()}: {len(run.problems)} problems x {run.counts} samples" + (
            f" ({inline(drawn)})" if drawn else ""
        )
        lines[-1] += f", {run.unsampled} without any" if run.unsampled else ""
        lines[-1] += f", {unjudged} {cannot_be_judged(run)}, which do not count." if unjudged else "."
    return "\n".join(lines)


def cannot_be_judged(run: Evaluation) -> str:
    """Why some problems of an evaluation are not judged, half a sentence."""
    verifier = run.settings.get("verifier")
    return (
        "with gold answers that cannot be read"
        if verifier is None
        else f"that {inline(str(verifier))} could not judge"
    )


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
    "entropy_coef", "frac_reward_zero_std", "frac_reward_ungraded", "loss", "mean_token_accuracy", "grad_norm",
    "learning_rate", "step_time",
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


TIMES = "seconds/"  # of the parts of a step, by name


def times_section(rows: Rows) -> str:
    """The parts of a training step and their shares of it, the largest first; nothing where none was logged."""
    names = dict.fromkeys(key for row in rows for key in row if key.startswith(TIMES))
    logged = {name: series(rows, name)[1] for name in names}
    means = {name.removeprefix(TIMES): values.mean() for name, values in logged.items() if len(values)}
    total = sum(means.values())
    if not total > 0:
        return ""
    ordered = sorted(means.items(), key=lambda part: -part[1])
    lines = [f"| {inline(name)} | {mean:.3g} | {percent(mean / total)} |" for name, mean in ordered]
    head = ["## Where the seconds of a step went", "", "| part | seconds | share |", "|---|---:|---:|"]
    return "\n".join([*head, *lines, "", "Means over the logged steps, by the clock of the main process."])


def samples_section(
    before: Evaluation | None, after: Evaluation | None, count: int = 5, names: tuple[str, str] = ("Before", "After")
) -> str:
    """The first sample of ``count`` problems spread evenly over the set (not chosen by result), before and after."""
    shown: list[tuple[GradedProblem | None, GradedProblem | None]]
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
        graded = next(run for run in runs if run is not None)
        lines += ["", f"### Problem {number}", "", fenced(as_text(graded.problem.prompt)), "", "Gold answer:", ""]
        lines += [fenced(graded.gold)]
        for name, run in zip(names, runs, strict=True):
            if run is not None and run.samples:
                first = run.samples[0]
                verdict = ("right" if first.correct else "wrong") if run.judged else "not judged"
                right = f"{sum(run.right)} of {len(run.samples)} samples right" if run.judged else "gold unreadable"
                lines += ["", f"**{name}**: {verdict}, {first.completion.token_count} tokens ({right})", ""]
                lines.append(fenced(first.completion.text))
    return "\n".join(lines)
