"""The report of an evaluation over several datasets: one table, pass@k, paired differences, some answers.

A part is one dataset asked in one way; its name is ``<label>`` for zero-shot and ``<label>-<n>shot`` for n examples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trl_r1.evaluation.benchmark import OF_K, Evaluation, compare, pair
from trl_r1.evaluation.markdown import (
    environment_section,
    inline,
    percent,
    settings_section,
    signed,
    with_interval,
)
from trl_r1.evaluation.metrics import Interval
from trl_r1.evaluation.pictures import BLACK, COLOURS, canvas, save
from trl_r1.evaluation.report import evaluation_section, prompt_section, samples_section
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


PICTURE = "pass_at_k.png"
TIE_RULE = (
    "The majority (cons@K) counts votes by what an answer means, not by its letters: 1/2 and 0.5 are one answer. A reply "
    "without an answer does not vote. Where several answers share the most votes, the problem counts as the chance of "
    "drawing the right one among them (1/2 for a tie of two)."
)


def part_name(label: str, shots: int) -> str:
    """
    >>> part_name("gsm8k", 0), part_name("gsm8k", 4)
    ('gsm8k', 'gsm8k-4shot')
    """
    return f"{label}-{shots}shot" if shots else label


def zero_shot_of(part: str, parts: Mapping[str, Any]) -> str | None:
    """The part with the same dataset and no examples, if this one has examples and that one is there."""
    label, mark, _ = part.rpartition("-")
    is_few_shot = mark and part.removeprefix(f"{label}-").removesuffix("shot").isdigit()
    return label if is_few_shot and label in parts else None


def numbers(evaluation: Evaluation, ks: Sequence[int]) -> Json:
    """``Evaluation.to_dict`` with the unbiased pass@k for every k up to the number of samples."""
    found = evaluation.to_dict()
    for k in ks:
        if k <= evaluation.samples:
            value = evaluation.pass_at(k)
            found[f"pass@{k}"] = value if value == value else None
    return found


def paired_on_questions(first: Evaluation, second: Evaluation, metric: str = "pass@1") -> tuple[Interval, int]:
    """``second - first`` over the problems at the same place: the same questions asked in two ways.

    Raises:
        ValueError: they are not the same problems in the same order.
    """
    from trl_r1.evaluation.metrics import paired_difference

    if [p.gold for p in first.problems] != [p.gold for p in second.problems]:
        raise ValueError("The two evaluations do not hold the same problems in the same order.")
    return paired_difference(first.per_problem(metric), second.per_problem(metric), first.level), len(first.problems)


def write_suite_report(
    folder: str | os.PathLike[str],
    title: str,
    parts: Mapping[str, Evaluation],
    earlier: Mapping[str, Evaluation],
    ks: Sequence[int],
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
    prompt: str = "",
) -> Path:
    """Writes report.md and the pass@k picture.

    Args:
        parts: evaluations by part name.
        earlier: what they are compared with, by the same names; parts without one are only reported.
        ks: of the pass@k table.
        prompt: the first one, as the model reads it.
    """
    folder = Path(folder)
    sections = [
        f"# {inline(title)}",
        *notes,
        table_section(parts),
        pass_at_k_section(folder, parts, ks),
        few_shot_section(parts),
        *[comparison_section(part, earlier[part], parts[part]) for part in parts if part in earlier],
    ]
    first = next(iter(parts))
    names = ("Before", "After") if first in earlier else ("", "Samples")
    answers = samples_section(earlier.get(first), parts[first], names=names)
    sections += [prompt_section(prompt), answers, settings_section(settings), environment_section()]
    return replace_file(folder / "report.md", "\n\n".join(part for part in sections if part) + "\n")


COLUMNS = {
    "pass@1": "pass@1",
    "cons@K": "majority (cons@K)",
    "pass@K": "at least one (pass@K)",
    "format": "format",
    "language": "language",
    "length": "tokens",
}


def table_section(parts: Mapping[str, Evaluation]) -> str:
    """Every part with its numbers and intervals; what depends on K only where K is one number above 1."""
    shown = [metric for metric in COLUMNS if metric not in OF_K or any(map(has_k, parts.values()))]
    head = ["dataset", "problems x samples", *(COLUMNS[metric] for metric in shown), "cut off"]
    lines = ["## Results", "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for part, evaluation in parts.items():
        found = evaluation.intervals
        cells = [f"{len(evaluation.problems)} x {evaluation.counts}"]
        for metric in shown:
            there = metric not in OF_K or has_k(evaluation)
            cells.append(with_interval(found[evaluation.key(metric)], metric) if there else "–")
        cells.append(percent(found["clipped"].mean))
        lines.append(f"| {inline(part)} | " + " | ".join(cells) + " |")
    notes = ["Shares in percent, with 95 % bootstrap intervals over problems in brackets."]
    unread = {part: sum(not p.judged for p in run.problems) for part, run in parts.items()}
    told = ", ".join(f"{count} of {inline(part)}" for part, count in unread.items() if count)
    verifiers = sorted({inline(str(run.settings["verifier"])) for run in parts.values() if "verifier" in run.settings})
    if verifiers:
        notes.append(f"Right is a reply that the reward {', '.join(verifiers)} pays in full.")
    if told:
        unjudged = "Problems that it could not judge" if verifiers else "Gold answers that cannot be read"
        notes.append(f"{unjudged}, and do not count: {told}.")
    several = ", ".join(
        f"{inline(part)} ({run.key('pass@K')} {with_interval(run.intervals[run.key('pass@K')], 'pass@K')}, "
        f"{run.key('cons@K')} {with_interval(run.intervals[run.key('cons@K')], 'cons@K')})"
        for part, run in parts.items()
        if run.samples < run.most_samples
    )
    if several:
        notes.append(f"Where problems have different numbers of samples, K is the smallest: {several}.")
    missing = ", ".join(f"{run.unsampled} of {inline(part)}" for part, run in parts.items() if run.unsampled)
    if missing:
        notes.append(f"Problems without samples, in no number: {missing}.")
    rule = [TIE_RULE] if any(run.most_samples > 1 for run in parts.values()) else []
    return "\n\n".join(["\n".join(lines), " ".join(notes), *rule])


def has_k(evaluation: Evaluation) -> bool:
    """Whether all problems have the same number of samples, more than one."""
    return 1 < evaluation.samples == evaluation.most_samples


def pass_at_k_section(folder: Path, parts: Mapping[str, Evaluation], ks: Sequence[int]) -> str:
    """The unbiased pass@k, as a table and a picture."""
    shown = [k for k in ks if k <= max(run.samples for run in parts.values())]
    if len(shown) < 2:
        (folder / PICTURE).unlink(missing_ok=True)
        return ""
    lines = ["## pass@k", "", "| dataset | " + " | ".join(f"k={k}" for k in shown) + " |"]
    lines += ["|---|" + "---:|" * len(shown)]
    curves: dict[str, list[tuple[int, float]]] = {}
    for part, run in parts.items():
        curves[part] = [(k, run.pass_at(k)) for k in shown if k <= run.samples]
        known = dict(curves[part])
        cells = [percent(known[k]) if k in known else "–" for k in shown]
        lines.append(f"| {inline(part)} | " + " | ".join(cells) + " |")
    draw_pass_at_k(folder, curves)
    explained = "Chance that one of k samples is right, estimated without bias from all K (Chen et al. 2021)."
    return "\n".join([*lines, "", explained, "", f"![pass@k over k]({PICTURE})"])


def draw_pass_at_k(folder: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    axes = canvas("pass@k", "samples k")
    axes.set_xscale("log", base=2)
    for number, (part, points) in enumerate(curves.items()):
        axes.plot(*zip(*points), "-o", color=COLOURS[number % len(COLOURS)], markersize=4, label=part.lstrip("_"))
    ticks = sorted({k for points in curves.values() for k, _ in points})
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of problems", color=BLACK)
    save(axes, folder / PICTURE)


def few_shot_section(parts: Mapping[str, Evaluation]) -> str:
    """What examples in the prompt changed, paired over the same questions."""
    lines = []
    for part, run in parts.items():
        plain = zero_shot_of(part, parts)
        if plain is None:
            continue
        change, count = paired_on_questions(parts[plain], run)
        lines.append(
            f"- **{inline(part)}** against {inline(plain)}: {signed(change)} points of pass@1 on the same {count} "
            "questions."
        )
    if not lines:
        return ""
    source = (
        "DeepSeek-R1 is hurt by examples in the prompt (v1 Sec. 5: describe the problem, zero-shot). Here, paired over "
        "questions:"
    )
    return "\n".join(["## Zero-shot and few-shot", "", source, "", *lines])


def comparison_section(part: str, before: Evaluation, after: Evaluation) -> str:
    """Before and after on the problems both hold, with the paired test in words."""
    shared = len(pair(before, after))
    if not shared:
        return f"## {inline(part)}: before and after\n\nThe two evaluations share no problem, so nothing is compared."
    change = compare(before, after, "pass@1")
    table = evaluation_section(before, after).removeprefix("## Evaluation\n\n")
    return f"## {inline(part)}: before and after\n\n{verdict(change, shared)}\n\n{table}"


def verdict(change: Interval, shared: int) -> str:
    """The paired test: does the interval of the difference leave zero out?

    >>> verdict(Interval(0.1, 0.02, 0.18), 50)
    'pass@1 rose: +10.0 [+2.0, +18.0] points on the same 50 problems; the interval leaves zero out.'
    """
    if change.mean != change.mean:
        return f"None of the {shared} shared problems can be judged."
    told = f"{signed(change)} points on the same {shared} problems"
    if change.low > 0:
        return f"pass@1 rose: {told}; the interval leaves zero out."
    if change.high < 0:
        return f"pass@1 fell: {told}; the interval leaves zero out."
    return f"No clear difference in pass@1: {told}; the interval holds zero."
