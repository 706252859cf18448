"""What a run without a GPU is told before it begins: what will take for ever, and which options end that.

A guess, good to an order of magnitude: two operations for each weight and token that is generated, at a rate that a
processor reaches at best. It warns and never refuses: a patient person may wait.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sized
from typing import Any

import torch
from trl import ModelConfig

from trl_r1.models.load import parameters_of
from trl_r1.runs.heldout import longest_answer


RATE = 2e10  # operations a second and thread; 7e10 were measured for float32 in the linear layers alone
PATIENCE = 3600.0  # seconds
LARGE = 100_000_000  # weights from which a type without instructions of its own is told


def overrides(dtype: str | None = None, half: bool = True) -> dict[str, str]:
    """What a GPU recipe needs changed on a machine without one, as option -> value; `mini` recipes have it in them.

    Args:
        dtype: the recipe's; None: unknown.
        half: whether the recipe trains with `bf16` or `fp16`, or may.
    """
    changes = {"dtype": "float32"} if dtype not in ("float32", "auto") else {}
    return {"use_cpu": "true", **({"bf16": "false"} if half else {}), **changes}


def as_options(changes: dict[str, Any]) -> str:
    """For a command line."""
    return " ".join(f"--{name} {value}" for name, value in changes.items())


def without_gpu(config: Any) -> bool:
    """Whether a stage with this configuration stays on the processor."""
    return bool(getattr(config, "use_cpu", False)) or not torch.cuda.is_available()


def computes_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; without them it is many times slower than float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def weights_of(path: str, revision: str | None = None) -> int:
    """How many weights a model has, from its configuration alone; 0 where that does not tell."""
    try:
        return parameters_of(path, revision)
    except (OSError, ValueError, RuntimeError, ImportError):  # what is wrong with it is told where it is loaded
        return 0


def what_takes_for_ever(
    config: Any,
    model: ModelConfig,
    path: str,
    answers: int = 0,
    longest: int = 0,
    smaller: dict[str, int] | None = None,
) -> str | None:
    """One sentence, or None where a processor is enough.

    Args:
        config: of the trainer or the stage: use_cpu, bf16, fp16.
        path: of the model, as `find_model` or `find_policy` returned it; its weights are not loaded.
        answers: generated in evaluations, all together.
        longest: tokens of an answer.
        smaller: the options that make the evaluation small enough.
    """
    if not without_gpu(config):
        return None
    weights = weights_of(path, model.model_revision)
    seconds = 2.0 * weights * answers * longest / (RATE * torch.get_num_threads())
    half = bool(getattr(config, "bf16", False) or getattr(config, "fp16", False))
    slow = half or model.dtype in ("bfloat16", "float16")
    slow = slow and weights >= LARGE and (model.dtype == "float16" or not computes_bfloat16())
    reasons: list[str] = []
    changes: dict[str, Any] = {}
    if seconds > PATIENCE:
        reasons.append(
            f"held-out evaluation takes up to {seconds / 3600:,.0f} hours ({answers:,} answers of up to {longest:,} tokens, "
            f"{weights / 1e9:.2g} billion weights)"
        )
        changes.update(smaller or {})
    if slow:
        reasons.append(f"{'bf16/fp16' if half else f'dtype {model.dtype}'} has no instructions of its own here")
        changes.update(overrides(model.dtype, half))
    if not reasons:
        return None
    if not getattr(config, "use_cpu", False):
        changes["use_cpu"] = "true"
    elif "use_cpu" in changes:
        del changes["use_cpu"]  # given already
    return (
        f"without a GPU this will take for ever: {' and '.join(reasons)}; for a first look add {as_options(changes)}."
    )


def tell(stage: str, sentence: str | None) -> None:
    """Says it once, on stderr, and the run goes on."""
    if sentence is not None and os.environ.get("RANK", "0") == "0":
        print(f"trl-r1 {stage}: {sentence}", file=sys.stderr, flush=True)


FIRST_LOOK = {"evaluation_problems": 8, "evaluation_samples": 1, "evaluation_max_tokens": 256}


def tell_before_training(
    stage: str, options: Any, config: Any, model: ModelConfig, path: str, held_out: Sized | None = None
) -> None:
    """For a training stage, which evaluates before and after: says what will take for ever.

    Args:
        held_out: the problems it evaluates on; None: it generates nothing.
    """
    answers = longest = 0
    if held_out is not None:
        answers = 2 * len(held_out) * options.evaluation_samples
        longest = options.evaluation_max_tokens or longest_answer(config)
    tell(stage, what_takes_for_ever(config, model, path, answers, longest, FIRST_LOOK))
