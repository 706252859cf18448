"""Distillation: a small student learns from what a large teacher wrote, or from the teacher's word on its own answers.

    trl-r1 distill --config distill                (Qwen to Qwen, on the teacher's samples)
    trl-r1 distill --config distill_llama          (Qwen to Llama: another vocabulary)
    trl-r1 distill --config distill_on_policy      (Qwen to Qwen, on the student's own answers)

A recipe with `method: sft` holds fields of TRL's SFTConfig, one with `method: on_policy` those of DistillationConfig.

Reads   the samples that a rejection sampling from the teacher kept; `compare_with` names runs of reinforcement learning on
        the same student (stage zero with model_name_or_path set to it).
Leaves  in `output_dir`: the student, checkpoints, metrics.jsonl, evaluations, summary.json, and report.md with the ratio of
        parameters, the accuracy kept, and distillation against reinforcement learning.
Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.4 and 4.1; v2, B.4.3.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from trl import DistillationConfig, ModelConfig

from trl_r1 import errors, recipes
from trl_r1.evaluation.benchmark import Evaluation, default_graders
from trl_r1.models.four_bit import check_four_bit
from trl_r1.models.options import R1ModelConfig
from trl_r1.runs.folder import find_model, quiet_libraries
from trl_r1.runs.options import parse
from trl_r1.runs.sft import prepare, run_sft
from trl_r1.runs.tuning_config import R1SFTConfig
from trl_r1.stages.distill.on_policy import (
    DistillOptions,
    as_sft,
    prepare_on_policy,
    run_on_policy,
    vocabularies_differ,
)
from trl_r1.stages.distill.report import compare_student_and_teacher, evaluate_teacher, find_evaluation, finish


def method_of(argv: list[str]) -> str:
    """The `method` that a command line ends up with, before it is known which options it may have."""
    flat = [part for argument in argv for part in argument.split("=", 1)]
    if "--method" in flat[:-1]:
        return flat[flat.index("--method") + 1]
    if "--config" in flat[:-1]:
        try:
            content = yaml.safe_load(recipes.find(flat[flat.index("--config") + 1]).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            return "sft"  # `parse` tells what is wrong with the file
        if isinstance(content, dict):
            return str(content.get("method", "sft"))
    return "sft"


def ready(argv: list[str]) -> tuple[Any, ...]:
    """Everything checked: (options, config, model, prepared, sentences about the road taken)."""
    config_class = DistillationConfig if method_of(argv) == "on_policy" else R1SFTConfig
    options, config, model = parse((DistillOptions, config_class, R1ModelConfig), argv)
    for place in (*([options.teacher_run] if options.teacher_run else []), *options.others.values()):
        find_evaluation(place)
    notes: list[str] = []
    if options.teacher_model:
        names = [find_model(name, config) for name in (model.model_name_or_path, options.teacher_model)]
        if not options.teacher_run and options.evaluation_dataset_name:
            check_four_bit(model, names[1], config)  # it is evaluated as the student is
        if options.method == "on_policy":
            different = vocabularies_differ(*names)
            if different is None:
                return options, config, model, prepare_on_policy(options, config, model), notes
            notes.append(
                f"On-policy distillation needs one vocabulary, and {different}: this run takes the SFT road instead, on the "
                "teacher's samples."
            )
            config = as_sft(config, options.sft_max_length)
            if config.distributed_state.is_main_process:
                print(notes[0], flush=True)
    return options, config, model, prepare("distill", options, config, model), notes


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()
    arguments = sys.argv[1:] if argv is None else list(argv)
    options, config, model, prepared, notes = errors.tell("distill", lambda: ready(arguments))
    on_policy = isinstance(config, DistillationConfig)
    if on_policy:
        run_on_policy(options, config, model, prepared)
    else:
        run_sft("distill", options, config, model, prepared, notes, {"method": "sft"})
    if config.distributed_state.is_main_process:
        conclude(options, config, model, prepared, notes, "on_policy" if on_policy else "sft")


def conclude(options: Any, config: Any, model: ModelConfig, prepared: Any, notes: list[str], method: str) -> None:
    """The comparison with the teacher and with the other runs, in report and summary."""
    folder = Path(config.output_dir)
    student = prepared.student if method == "on_policy" else prepared.model
    teacher = find_model(options.teacher_model, config) if options.teacher_model else None
    reference = find_evaluation(options.teacher_run) if options.teacher_run else None
    after = folder / "evaluation_after.json"
    if reference is None and teacher is not None and after.is_file():
        graders = default_graders(prepared.graders, options.evaluation_verifier)
        reference = evaluate_teacher(
            teacher, Evaluation.load(after), model, folder / "evaluation_teacher.json", config, graders
        )
    finish(folder, compare_student_and_teacher(folder, student, teacher, reference, options.others, method), notes)
