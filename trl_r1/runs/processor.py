"""What a run without a GPU is told before it begins: what will take for ever, and which options end that.

It counts what would be generated (two operations for each weight and token) and says so in answers, tokens and weights,
which are known, not in hours, which are not. It warns and never refuses: a patient person may wait.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoConfig
from trl import ModelConfig

from trl_r1.models.cpu import computes_bfloat16
from trl_r1.models.four_bit import check_four_bit
from trl_r1.models.load import base_of, find_policy, parameters_of
from trl_r1.runs.heldout import longest_answer
from trl_r1.text.records import Json


MANY = 7.2e13  # operations for each thread that are told: an hour at 2e10 a second, and few processors reach that
LARGE = 100_000_000  # weights from which a type without instructions of its own is told


def overrides(dtype: str | None = None, half: bool = True) -> dict[str, str]:
    """What a GPU recipe needs changed on a machine without one, as option -> value; `mini` recipes have it in them.

    Args:
        dtype: the recipe's; None: unknown.
        half: whether the recipe trains with `bf16` or `fp16`, or may.
    """
    changes = {"dtype": "float32"} if dtype not in ("float32", "auto") else {}
    return {"use_cpu": "true", **({"bf16": "false"} if half else {}), **changes}


def as_options(changes: Json) -> str:
    """For a command line."""
    return " ".join(f"--{name} {value}" for name, value in changes.items())


def without_gpu(config: Any) -> bool:
    """Whether a stage with this configuration stays on the processor."""
    return bool(getattr(config, "use_cpu", False)) or not torch.cuda.is_available()


def weights_of(path: str, revision: str | None = None) -> int:
    """How many weights a model has, from its configuration alone; 0 where that does not tell."""
    try:
        return parameters_of(path, revision)
    except (OSError, ValueError, RuntimeError, ImportError):  # what is wrong with it is told where it is loaded
        return 0


@dataclass(frozen=True)
class Generation:
    """Texts that a model writes in this process."""

    what: str  # generates them
    model: str  # as `find_model` or `find_policy` returned it; its weights are not loaded
    answers: int  # all together
    longest: int  # tokens of an answer
    smaller: dict[str, int]  # the options that make it small enough

    def reason(self, revision: str | None = None) -> str | None:
        """Half a sentence, or None where a processor is enough."""
        weights = weights_of(self.model, revision)
        if 2.0 * weights * self.answers * self.longest <= MANY * torch.get_num_threads():
            return None
        return (
            f"{self.what} generates {self.answers:,} answers of up to {self.longest:,} tokens, {weights / 1e9:.2g} billion "
            "weights for each token"
        )


def what_takes_for_ever(config: Any, model: ModelConfig, path: str, *generations: Generation) -> str | None:
    """One sentence, or None where a processor is enough.

    Args:
        config: of the trainer or the stage: use_cpu, bf16, fp16.
        path: of the model, as `find_model` or `find_policy` returned it; its weights are not loaded.
    """
    if not without_gpu(config):
        return None
    half = bool(getattr(config, "bf16", False) or getattr(config, "fp16", False))
    slow = half or model.dtype in ("bfloat16", "float16")
    slow = slow and (model.dtype == "float16" or not computes_bfloat16())
    slow = slow and weights_of(path, model.model_revision) >= LARGE
    reasons: list[str] = []
    changes: Json = {}
    for generation in generations:
        reason = generation.reason(model.model_revision if generation.model == path else None)
        if reason is not None:
            reasons.append(reason)
            changes.update(generation.smaller)
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
    stage: str,
    options: Any,
    config: Any,
    model: ModelConfig,
    path: str,
    held_out: Sized | None = None,
    more: Sequence[Generation] = (),
) -> None:
    """For a training stage, which evaluates before and after: says what will take for ever.

    Args:
        held_out: the problems it evaluates on; None: it evaluates nothing.
        more: what it generates besides.
    """
    generations = list(more)
    if held_out is not None:
        answers = 2 * len(held_out) * options.evaluation_samples
        longest = options.evaluation_max_tokens or longest_answer(config)
        generations.insert(0, Generation("held-out evaluation", path, answers, longest, FIRST_LOOK))
    tell(stage, what_takes_for_ever(config, model, path, *generations))


def check_processor(
    stage: str, options: Any, model: ModelConfig, path: str, generations: Sequence[Generation]
) -> None:
    """For a stage that samples: refuses 4-bit layers that a CPU decodes wrongly, and says what will take for ever.

    Args:
        options: use_cpu and distributed_state are read.
        path: of the model, as `find_policy` returned it.

    Raises:
        ValueError: such layers; in one sentence.
    """
    check_four_bit(model, base_of(path) or path, options.distributed_state)
    tell(stage, what_takes_for_ever(options, model, path, *generations))


def tell_before_answering(command: str, name: str, dtype: str, use_cpu: bool) -> None:
    """For a command that answers with a model in this process: says what has no instructions here, before it is loaded.

    Args:
        name: of the model, as `find_policy` takes it.
        dtype: of its weights; auto: as its configuration says.

    Raises:
        ValueError: `find_policy`'s.
    """
    config = SimpleNamespace(use_cpu=use_cpu or not torch.cuda.is_available())
    path = find_policy(name)
    dtype_wanted = stored_dtype(path) if dtype == "auto" else dtype
    tell(command, what_takes_for_ever(config, ModelConfig(dtype=dtype_wanted), path))


def stored_dtype(path: str) -> str | None:
    """The precision a model's configuration names: float32, bfloat16, ...; None where it does not tell."""
    try:
        kind = AutoConfig.from_pretrained(base_of(path) or path).dtype
    except (OSError, ValueError):  # what is wrong with it is told where it is loaded
        return None
    return None if kind is None else str(kind).removeprefix("torch.")
