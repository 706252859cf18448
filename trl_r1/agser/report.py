"""An evaluation as a folder: report.md with its tables, results.json, pictures, and a page of heat."""

from __future__ import annotations

import json
from pathlib import Path

from trl_r1.agser.evaluate import Detection, Method, by_group
from trl_r1.agser.pictures import draw_heat, draw_histogram, draw_roc, heat_html
from trl_r1.evaluation.detection import METRICS, interval
from trl_r1.evaluation.markdown import environment_section, fenced, inline, settings_section
from trl_r1.evaluation.metrics import Interval, auroc
from trl_r1.storage.files import replace_file


SHOWN = 5  # reflections in the report
PAGE = 100  # reflections on the page of heat


def write_report(
    detection: Detection, folder: Path, title: str, numbers: dict[str, dict[str, Interval]] | None = None
) -> Path:
    """Writes everything into ``folder``; ``numbers`` as from ``Detection.numbers``. Returns the path of report.md."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = detection.numbers() if numbers is None else numbers
    draw_roc(detection, folder / "roc.png")
    draw_histogram(detection, folder / "scores.png")
    draw_heat(detection.reflections[0], folder / "heat.png")
    replace_file(folder / "heat.html", heat_html(detection.reflections[:PAGE]))
    replace_file(folder / "results.json", json.dumps(results(detection, numbers), ensure_ascii=False, indent=1) + "\n")
    rows = [
        json.dumps({"question": q, "made_up": bad, "group": group, **found.to_dict()}, ensure_ascii=False)
        for q, bad, group, found in zip(
            detection.questions, detection.bad, detection.groups, detection.reflections, strict=True
        )
    ]
    replace_file(folder / "reflections.jsonl", "\n".join(rows) + "\n")
    share = sum(detection.bad) / len(detection.bad)
    left = "".join(f" {count} left out: {why}." for why, count in detection.left_out.items())
    parts = [
        f"# {inline(title)}",
        f"{len(detection.bad)} answers, {share:.1%} of them made up.{left} Brackets are 95 % bootstrap intervals over the "
        "questions; they do not speak of another model or seed.",
        table(numbers, detection),
        detection.inversion,
        groups_table(detection),
        "![ROC curves](roc.png)\n\n![Scores](scores.png)\n\n![Contributions of the first query](heat.png)\n\n"
        f"Every query's heat, the first {PAGE}: [heat.html](heat.html).",
        sweep_table(detection),
        samples(detection),
        settings_section(detection.settings),
        environment_section(),
    ]
    return replace_file(folder / "report.md", "\n\n".join(part for part in parts if part) + "\n")


def table(numbers: dict[str, dict[str, Interval]], detection: Detection) -> str:
    """The methods, the model runs they take, and their metrics."""
    lines = ["| detector | model runs | AUROC | AUPRC | PRR |", "|---|---|---|---|---|"]
    for name, found in numbers.items():
        cells = " | ".join(bracketed(found[metric]) for metric in METRICS)
        lines.append(f"| {name} | {detection.methods[name].runs} | {cells} |")
    return "\n".join(lines)


def groups_table(detection: Detection) -> str:
    """Where the questions come in groups: how each fares."""
    groups = by_group(detection)
    if len(groups) < 2:
        return ""
    lines = ["| group | answers | made up | mean score |", "|---|---:|---:|---:|"]
    lines += [f"| {inline(name)} | {n} | {bad:.1%} | {score:+.3f} |" for name, (n, bad, score) in groups.items()]
    return "\n".join(lines)


def sweep_table(detection: Detection) -> str:
    """One option changed at a time."""
    if not detection.sweep:
        return ""
    lines = ["## Sweep", "", "| AGSER with | model runs | AUROC |", "|---|---|---|"]
    for name, method in detection.sweep.items():
        lines.append(f"| {name} | {method.runs} | {bracketed(of(method, detection))} |")
    return "\n".join(lines)


def of(method: Method, detection: Detection) -> Interval:
    return interval(METRICS["auroc"], method.values, detection.bad, resamples=300)


def samples(detection: Detection) -> str:
    """Reflections spread evenly over the questions; not chosen by their result."""
    lines = ["## Reflections", "", "Spread evenly over the questions; not chosen by their result."]
    step = max(1, len(detection.reflections) // SHOWN)
    for number in range(0, len(detection.reflections), step)[:SHOWN]:
        found, label = detection.reflections[number], "made up" if detection.bad[number] else "right"
        text = (
            f"question   {detection.questions[number]}\nanswer     {found.answer}\n"
            f"attentive  {found.attentive}  ->  {found.attentive_answer}\n"
            f"others     {found.non_attentive}  ->  {found.non_attentive_answer}"
        )
        lines += [
            "",
            f"**{label}**, score {found.score:+.3f} = {found.r_att:.3f} - {found.r_non:.3f}",
            "",
            fenced(text),
        ]
    return "\n".join(lines)


def results(detection: Detection, numbers: dict[str, dict[str, Interval]]) -> dict:
    """What results.json holds."""
    return {
        "answers": len(detection.bad),
        "made_up": sum(detection.bad),
        "left_out": detection.left_out,
        "settings": detection.settings,
        "methods": {
            name: {"runs": detection.methods[name].runs, **{m: list(number) for m, number in found.items()}}
            for name, found in numbers.items()
        },
        "sweep": {
            name: {"runs": m.runs, "auroc": auroc(m.values, detection.bad)} for name, m in detection.sweep.items()
        },
        "inversion": detection.inversion,
        "groups": {name: dict(zip(("answers", "made_up", "score"), row)) for name, row in by_group(detection).items()},
    }


def bracketed(number: Interval) -> str:
    return f"{number.mean:.3f} [{number.low:.3f}, {number.high:.3f}]"
