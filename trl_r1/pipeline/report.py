"""summary.json, report.md and two pictures over all stages, from the summary each stage leaves.

A stage's summary may hold evaluations (mappings with ``pass@1``) as ``before`` and ``after``, or under names of its own
(distill: ``sft``, ``on_policy``, ``rl``); all of them get a line. Its other numbers are listed below the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_r1.pipeline.console import clock
from trl_r1.pipeline.plan import Pipeline, Step
from trl_r1.pipeline.record import SUMMARY, Record
from trl_r1.storage.files import replace_file


KINDS = {  # stage -> what it is, where the paper describes it (arXiv:2501.12948v2)
    "zero": ("reinforcement learning on the base, without examples", "Sec. 2"),
    "cold_start": ("readable long reasoning, gathered and imitated", "Sec. 3, B.3.2"),
    "reasoning_rl": ("reinforcement learning with accuracy, format and language", "Sec. 3.2.1"),
    "rejection_sampling": ("many answers of a checkpoint, the right and readable ones kept", "B.3.3"),
    "sft": ("supervised fine-tuning, from the base again", "B.4.2"),
    "reward_model": ("what is helpful and what is harmful, learnt from pairs and labels", "Sec. 3.1"),
    "all_scenario_rl": ("rules where an answer is checkable, preference elsewhere", "Sec. 3.2.2"),
    "distill": ("a smaller student learns from the teacher's answers", "B.4.3"),
    "evaluate": ("benchmarks", "D.1"),
}
MAJORITY = "cons@k"  # the summaries' cons@16, cons@64 in one column
SHOWN = ("pass@1", MAJORITY, "format", "language", "length")
NOT_FACTS = {"stage", "seconds", "training_seconds", "settings", "interval", "level", "versions", "name"}
MOST_FACTS = 16
PICTURES = {"pass@1": "pass_at_1.png", "language": "language.png"}


@dataclass(frozen=True)
class Row:
    """One evaluation before and after, as the summaries hold them: ``{"pass@1": .., "interval": {..}, ..}``."""

    step: Step
    label: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def is_evaluation(value: Any) -> bool:
    return isinstance(value, Mapping) and "pass@1" in value


def rows_of(step: Step, summary: Mapping[str, Any]) -> list[Row]:
    """The evaluations of one stage, its own first."""
    rows = []
    before, after = summary.get("before"), summary.get("after")
    if is_evaluation(before) or is_evaluation(after):
        rows.append(
            Row(step, step.name, before if is_evaluation(before) else None, after if is_evaluation(after) else None)
        )
    for key, value in summary.items():
        if key in ("before", "after") or not isinstance(value, Mapping):
            continue
        label = f"{step.name}: {key}"
        if is_evaluation(value):
            rows.append(Row(step, label, None, value))
        elif is_evaluation(value.get("after")):
            earlier = value.get("before")
            rows.append(Row(step, label, earlier if is_evaluation(earlier) else None, value["after"]))
    return rows


def facts_of(summary: Mapping[str, Any], prefix: str = "", depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Numbers (and short words) of a summary that are no evaluation, as ``a b``, value."""
    for key, value in summary.items():
        if key in NOT_FACTS:
            continue
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            if not is_evaluation(value) and depth > 1:
                yield from facts_of(value, f"{name} ", depth - 1)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value


def result_line(step: Step, summary: Mapping[str, Any]) -> str:
    """A stage's result in a few words, for the terminal."""
    parts = []
    for row in rows_of(step, summary):
        cells = [f"{key} {text}" for key in keys_of([row]) if key != "length" and (text := cell(row, key)) != "–"]
        what = row.label.partition(": ")[2]
        parts.append((f"{what}: " if what else "") + ", ".join(cells[:4]))
    if not parts:
        after = summary.get("after")
        parts = [
            f"{name} {plain(value)}"
            for name, value in list(facts_of(after if isinstance(after, Mapping) else summary))[:4]
        ]
    return "; ".join(parts)


def keys_of(rows: list[Row]) -> list[str]:
    """The numbers these evaluations have, in the order of a table."""
    there = dict.fromkeys(key for row in rows for part in (row.before, row.after) if part for key in part)
    return [
        key for key in SHOWN if key in there or (key == MAJORITY and any(name.startswith("cons@") for name in there))
    ]


def named(part: Mapping[str, Any], key: str) -> str:
    """How an evaluation itself calls a column: cons@k is its cons@16."""
    return next((name for name in part if name.startswith("cons@")), key) if key == MAJORITY else key


def plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def number(value: Any, key: str) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.1f}" if key == "length" else f"{100 * value:.1f} %"


def cell(row: Row, key: str) -> str:
    """``12.0 % → 91.3 %``, or the one that is there."""
    parts = [part for part in (row.before, row.after) if part is not None]
    texts = [number(part.get(named(part, key)), key) for part in parts]
    texts = [text for text in texts if text != "–"]
    return " → ".join(texts) if texts else "–"


# --- what is left in the folder


def write(plan: Pipeline, record: Record) -> Path:
    """Writes report.md with its pictures over what is finished; and summary.json once everything is."""
    from trl_r1.evaluation.markdown import inline

    summaries = {
        step.name: json.loads((step.folder / SUMMARY).read_text(encoding="utf-8"))
        for step in plan.steps
        if record.finished(step)
    }
    rows = [row for step in plan.steps if step.name in summaries for row in rows_of(step, summaries[step.name])]
    pictures = [(key, draw(plan.folder, rows, key, file)) for key, file in PICTURES.items()]
    done = len(summaries) == len(plan.steps)
    head = f"seed {plan.seed}" + (f", scale {plan.scale}" if plan.scale else "")
    parts = [
        f"# {inline(plan.name)}: {len(summaries)} of {len(plan.steps)} stages",
        f"{head}; {clock(record.content['seconds'])} of work"
        + ("." if done else f"; still to come: {', '.join(s.name for s in plan.steps if s.name not in summaries)}."),
        *[f"**Note** {inline(warning)}" for warning in plan.warnings],
        "\n".join(story(plan, summaries, record)),
        table(rows, record) if rows else "",
        "  ".join(f"![{key} over the stages]({file})" for key, file in pictures if file),
        other_numbers(plan, summaries),
        traces(plan, record, summaries),
    ]
    path = replace_file(plan.folder / "report.md", "\n\n".join(part for part in parts if part) + "\n")
    if done and plan.whole:
        content = {
            "name": plan.name,
            "seconds": record.content["seconds"],
            "seed": plan.seed,
            "scale": plan.scale,
            "versions": record.content["versions"],
            "stages": {
                name: {**summary, "started_times": record.of(name)["starts"]} for name, summary in summaries.items()
            },
        }
        replace_file(plan.folder / SUMMARY, json.dumps(content, indent=1, ensure_ascii=False))
    return path


def story(plan: Pipeline, summaries: Mapping[str, Any], record: Record) -> Iterator[str]:
    """One line per stage: what it is, what it rests on, what it changed."""
    from trl_r1.evaluation.markdown import inline

    for number_, step in enumerate(plan.steps, start=1):
        if step.name not in summaries:
            continue
        what, section = KINDS.get(step.stage, (step.stage, ""))
        rests = f", after {', '.join(step.after)}" if step.after else ""
        result = result_line(step, summaries[step.name])
        link = f"[{step.name}]({step.name}/report.md)" if (step.folder / "report.md").is_file() else step.name
        yield (
            f"{number_}. **{link}**: {what}{f' (DeepSeek-R1, {section})' if section else ''}{rests}."
            + (f" {inline(result)}." if result else "")
        )


def table(rows: list[Row], record: Record) -> str:
    """All evaluations of all stages in one table, before → after."""
    keys = keys_of(rows)
    lines = ["## All stages", "", f"| stage | time | {' | '.join(keys)} |", "|---|---:|" + "---:|" * len(keys)]
    for row in rows:
        own = row.label == row.step.name
        time = clock(record.of(row.step.name).get("seconds", 0.0)) if own or row is first_of(rows, row.step) else ""
        lines.append(f"| {row.label} | {time} | " + " | ".join(cell(row, key) for key in keys) + " |")
    explained = "Before → after the stage; cons@k over the stage's own number of samples; length in tokens."
    return "\n".join([*lines, "", f"{explained} Intervals and settings are in each stage's own report."])


def first_of(rows: list[Row], step: Step) -> Row:
    return next(row for row in rows if row.step is step)


def other_numbers(plan: Pipeline, summaries: Mapping[str, Any]) -> str:
    lines = []
    for step in plan.steps:
        facts = list(facts_of(summaries.get(step.name, {})))
        if facts:
            more = f", and {len(facts) - MOST_FACTS} more in its summary.json" if len(facts) > MOST_FACTS else ""
            numbers = ", ".join(f"{name} {plain(value)}" for name, value in facts[:MOST_FACTS])
            lines.append(f"- **{step.name}**: {numbers}{more}")
    return "\n".join(["## Other numbers", "", *lines]) if lines else ""


def traces(plan: Pipeline, record: Record, summaries: Mapping[str, Any]) -> str:
    """What each stage was made from and left, by hash."""
    lines = [
        "## Where things come from",
        "",
        "| stage | recipe | made from | starts | left (first 12 digits of sha256) |",
        "|---|---|---|---:|---|",
    ]
    for step in plan.steps:
        if step.name in summaries:
            entry = record.of(step.name)
            products = ", ".join(f"{name} {value['sha256'][:12]}" for name, value in entry.get("products", {}).items())
            inputs = ", ".join(entry.get("inputs", {})) or "–"
            lines.append(f"| {step.name} | {step.config} | {inputs} | {entry.get('starts', 0)} | {products or '–'} |")
    lines += ["", f"`trl-r1 why {plan.folder} ANSWER` walks from an answer back to its rows, checkpoints and rewards."]
    versions = {name: entry for name in summaries for entry in [record.of(name).get("versions")] if entry}
    distinct = {json.dumps(entry, sort_keys=True) for entry in versions.values()}
    if len(distinct) > 1:
        lines.append("The stages ran with different versions of the libraries; pipeline.json names them.")
    return "\n".join(lines)


def draw(folder: Path, rows: list[Row], key: str, file: str) -> str | None:
    """A number over the stages, with its interval; None (and no file) when fewer than two evaluations have it."""
    from trl_r1.evaluation.pictures import BLACK, BLUE, canvas, save

    points = []
    for place, row in enumerate(rows):
        if place == 0 and row.before is not None:
            points.append(("before", row.before))
        if row.after is not None:
            points.append((row.label, row.after))
    points = [(label, part) for label, part in points if isinstance(part.get(key), int | float)]
    if len(points) < 2:
        (folder / file).unlink(missing_ok=True)
        return None
    names = {"pass@1": "pass@1 after each stage", "language": "Language consistency after each stage"}
    axes = canvas(names.get(key, key), "")
    values = [part[key] for _, part in points]
    spans = [(part.get("interval") or {}).get(key) or [value, value] for (_, part), value in zip(points, values)]
    below = [max(0.0, value - (low if low is not None else value)) for value, (low, _) in zip(values, spans)]
    above = [max(0.0, (high if high is not None else value) - value) for value, (_, high) in zip(values, spans)]
    axes.errorbar(range(len(values)), values, yerr=[below, above], fmt="o", color=BLUE, capsize=3, markersize=6)
    for place, value in enumerate(values):
        axes.annotate(
            f"{100 * value:.0f}", (place, value), textcoords="offset points", xytext=(8, -3), fontsize=9, color=BLACK
        )
    axes.set_xticks(range(len(values)), [label for label, _ in points], rotation=30, ha="right", fontsize=9)
    axes.set_xlim(-0.5, len(values) - 0.3)
    axes.set_ylim(-0.02, 1.05)
    axes.grid(False, axis="x")
    save(axes, folder / file)
    return file
