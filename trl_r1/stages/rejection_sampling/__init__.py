"""Rejection sampling: many samples per prompt from a checkpoint; what is right and readable becomes training data.

    trl-r1 rejection-sampling --config rejection_sampling      (or a path, or mini/...)

Reads   problems with a checkable gold answer, and pools of general prompts with or without answers; see
        docs/rejection_sampling.md.
Leaves  in `output_dir`: kept.jsonl (prompt, completion, and where each sample comes from), samples/ and judged/ (shards),
        log_dropped.jsonl, report.md with the funnel, summary.json. A killed run goes on where it stopped.
Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.3: about 600k reasoning samples from the RL checkpoint, and about 200k
        others; v2, supplement B.3.3.
"""

from __future__ import annotations

from trl import ModelConfig

from trl_r1 import errors
from trl_r1.data.filters import FilterLimits
from trl_r1.runs.folder import quiet_libraries
from trl_r1.runs.options import parse
from trl_r1.stages.rejection_sampling.make import prepare_rejection, run_rejection
from trl_r1.stages.rejection_sampling.options import RejectionOptions


def main(argv: list[str] | None = None) -> None:
    quiet_libraries()

    def ready():
        options, limits, model = parse((RejectionOptions, FilterLimits, ModelConfig), argv)
        return options, limits, model, prepare_rejection(options, limits, model)

    prepared = errors.tell("rejection_sampling", ready)
    try:
        errors.tell("rejection_sampling", lambda: run_rejection(*prepared), errors.AT_WORK)
    finally:
        if prepared[-1].folder.lock is not None:
            prepared[-1].folder.lock.release()
