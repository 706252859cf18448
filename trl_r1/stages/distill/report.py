"""What a distillation was worth: parameters, the accuracy kept, and the student's other ways to learn, side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trl import ModelConfig

from trl_r1.evaluation.benchmark import Evaluation, compare, evaluate, pair
from trl_r1.evaluation.markdown import inline, percent, signed, with_section
from trl_r1.evaluation.metrics import Interval
from trl_r1.models.load import load_policy, parameters_of
from trl_r1.runs.folder import SUMMARY
from trl_r1.runs.rendering import renderer_of
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


HEADING = "## Distillation"
EVALUATION = "evaluation_after.json"


def find_evaluation(place: str) -> Evaluation:
    """What a run ended with, or a stored evaluation.

    Raises:
        ValueError: there is none at that place.
    """
    path = Path(place).expanduser()
    path = path / EVALUATION if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{place!r} holds no {EVALUATION}: give the folder of a finished run with an evaluation.")
    return Evaluation.load(path)


def evaluate_teacher(
    teacher: str, student: Evaluation, model: ModelConfig, path: Path, config: Any, graders: Any
) -> Evaluation:
    """The teacher on the student's problems, asked and sampled as the student was; stored at ``path``.

    Args:
        config: of the run: use_cpu, chat_template_kwargs and output_dir are read.
    """
    if path.is_file():
        return Evaluation.load(path)
    print(f"Evaluating the teacher: {len(student.problems)} problems, {student.samples} samples each.", flush=True)
    policy, tokenizer = load_policy(teacher, model, config.use_cpu)
    rows = [{**p.columns, **p.problem.to_row()} for p in student.problems]
    settings = student.settings
    evaluation = evaluate(
        policy,
        tokenizer,
        rows,
        samples=student.samples,
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        max_new_tokens=settings["max_new_tokens"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        progress=False,
        graders=graders,
        renderer=renderer_of(tokenizer, config, model=policy),
    )
    evaluation.save(path)
    return evaluation


def compare_student_and_teacher(
    folder: Path,
    student: str,
    teacher: str | None,
    teacher_evaluation: Evaluation | None,
    others: dict[str, str],
    method: str,
) -> Json:
    """The numbers: parameters of both, the ratio, the share of the teacher's pass@1 kept, and every other run.

    Args:
        folder: of the distilled student; its evaluations and summary are read.
        student, teacher: names that a configuration can be loaded from.
        others: runs on the same student by name.
    """
    comparison: Json = {"method": method}
    if teacher is not None:
        sizes = {"student": parameters_of(student), "teacher": parameters_of(teacher)}
        comparison["parameters"] = {**sizes, "ratio": sizes["student"] / sizes["teacher"]}
    stored = {when: folder / f"evaluation_{when}.json" for when in ("before", "after")}
    if not stored["after"].is_file():
        return comparison
    after = Evaluation.load(stored["after"])
    if teacher_evaluation is not None:
        comparison["teacher"] = teacher_evaluation.to_dict()
        comparison["shared_problems"] = len(pair(teacher_evaluation, after))
        comparison["kept"] = kept_share(teacher_evaluation, after)
    compared = {}
    for name, place in others.items():
        other = find_evaluation(place)
        difference = compare(other, after, "pass@1")
        compared[name] = {
            **other.to_dict(),
            "seconds": seconds_of(Path(place)),
            "ahead": None if math.isnan(difference.mean) else list(difference),
            "shared_problems": len(pair(other, after)),
        }
    return {**comparison, "compared": compared} if compared else comparison


def kept_share(teacher: Evaluation, student: Evaluation) -> float | None:
    """The student's pass@1 over the teacher's, on the problems that both were asked and that can be judged.

    None where they share none, or the teacher solves none of them.
    """
    pairs = pair(teacher, student)
    of_teacher, of_student = teacher.per_problem("pass@1"), student.per_problem("pass@1")
    both = [(of_teacher[i], of_student[j]) for i, j in pairs]
    judged = [(a, b) for a, b in both if not (math.isnan(a) or math.isnan(b))]
    reference = sum(a for a, _ in judged)
    return float(sum(b for _, b in judged) / reference) if reference else None


def seconds_of(folder: Path) -> float | None:
    """Training seconds of a run, if it says so."""
    path = folder / SUMMARY
    return json.loads(path.read_text(encoding="utf-8")).get("training_seconds") if path.is_file() else None


def section(comparison: Json, summary: Json, notes: Sequence[str] = ()) -> str:
    """The same in Markdown."""
    lines = [HEADING, ""]
    for note in notes:
        lines += [note, ""]
    if "parameters" in comparison:
        sizes = comparison["parameters"]
        lines += [
            f"Student {sizes['student']:,} parameters, teacher {sizes['teacher']:,}: a ratio of {sizes['ratio']:.2f}.",
            "",
        ]
    after = summary.get("after")
    if not after:
        return "\n".join([*lines, "No evaluation was asked for, so no accuracy is known."])
    if comparison.get("kept") is not None:
        shared = comparison.get("shared_problems", after["problems"])
        alone = shared == after["problems"] == comparison["teacher"]["problems"]
        sentence = (
            f"({percent(after['pass@1'])} of {percent(comparison['teacher']['pass@1'])})"
            if alone
            else f"on the {shared} problems that both were asked"
        )
        lines += [f"**The student keeps {comparison['kept']:.0%} of the teacher's accuracy** {sentence}.", ""]
    elif comparison.get("shared_problems") == 0:
        lines += ["Teacher and student were not asked the same problems, so the accuracy kept is not known.", ""]
    rows = [("teacher", comparison.get("teacher"), None, None)]
    rows.append((f"distilled ({comparison['method']})", after, summary.get("training_seconds"), None))
    rows += [(name, one, one["seconds"], one["ahead"]) for name, one in comparison.get("compared", {}).items()]
    lines += [
        "| | pass@1 | format | language | training seconds | distilled is ahead by |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, one, seconds, ahead in rows:
        if one is None:
            continue
        cells = [percent(math.nan if one.get(key) is None else one[key]) for key in ("pass@1", "format", "language")]
        cells.append("–" if seconds is None else f"{seconds:.0f}")
        cells.append("–" if ahead is None else f"{signed(Interval(*ahead))} points")
        lines.append(f"| {inline(name)} | " + " | ".join(cells) + " |")
    return "\n".join(
        [*lines, "", "Differences are paired over the problems both were asked, with bootstrap intervals."]
    )


def put_into(report: str, text: str) -> str:
    """A report with its section on distillation renewed, or put before the evaluation where it has none."""
    return with_section(report, HEADING, text, ("\n## ",))


def finish(folder: Path, comparison: Json, notes: Sequence[str]) -> Json:
    """Adds the numbers to the run's summary and the section to its report; doing it twice changes nothing."""
    path = folder / SUMMARY
    summary = {**json.loads(path.read_text(encoding="utf-8")), "distillation": comparison}
    report = folder / "report.md"
    text = put_into(report.read_text(encoding="utf-8"), section(comparison, summary, notes))
    replace_file(report, text)
    replace_file(path, json.dumps(summary, indent=1, ensure_ascii=False))
    return summary
