"""Evaluate a model on benchmarks: pass@1 with its interval, pass@k, majority, format, language, length.

    trl-r1 evaluate --config evaluate --model_name_or_path runs/zero
    trl-r1 evaluate --config evaluate --regrade runs/evaluate --output_dir runs/regraded
    trl-r1 evaluate --config evaluate --follow runs/zero       (--async runs/zero is the same)

Reads   problems with checkable gold answers: benchmarks by name, hub ids, local files; several in one run.
Leaves  in `output_dir`: every answer with its verdict, one JSON file per dataset; report.md, summary.json. A killed
        evaluation goes on where it stopped. With `--follow`: a table and points in the followed run's own report.
Source  DeepSeek-R1, arXiv:2501.12948v2, D.1: temperature 0.6, top-p 0.95, pass@1 over k samples, cons@64 for AIME;
        v1 Sec. 5: few-shot prompts degrade R1, so the default is zero-shot.
"""

from __future__ import annotations

import sys

from trl import ModelConfig

from trl_r1 import errors
from trl_r1.runs.folder import quiet_libraries
from trl_r1.runs.options import parse
from trl_r1.stages.evaluate.run import EvaluateOptions, follow_run, prepare_evaluation, run_evaluation


def arguments(argv: list[str]) -> list[str]:
    """`--async RUN` is `--follow RUN`; a follower that names no folder gets one inside the run it follows."""
    argv = [part for argument in argv for part in split(argument)]
    if "--follow" in argv and "--output_dir" not in argv:
        position = argv.index("--follow") + 1
        if position < len(argv):
            argv = [*argv, "--output_dir", f"{argv[position].rstrip('/')}/followed"]
    return argv


def split(argument: str) -> list[str]:
    """
    >>> split("--async=runs/zero"), split("--async"), split("--seed=1")
    (['--follow', 'runs/zero'], ['--follow'], ['--seed=1'])
    """
    name, mark, value = argument.partition("=")
    if name in ("--async", "--follow", "--output_dir"):
        return ["--follow" if name == "--async" else name, *([value] if mark else [])]
    return [argument]


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()

    def ready():
        options, model = parse((EvaluateOptions, ModelConfig), arguments(sys.argv[1:] if argv is None else list(argv)))
        return options, model, prepare_evaluation(options, model)

    options, model, prepared = errors.tell("evaluate", ready)
    act = follow_run if options.follow else run_evaluation
    errors.tell("evaluate", lambda: act(options, model, prepared), errors.AT_WORK, "What is stored stays.")
