"""Does R1GRPOTrainer with default options train like stock TRL on this device, and does stock repeat itself?

A tiny random model takes two steps with each trainer; losses, gradient norms, KL and the trained weights are compared bit
for bit. Where stock differs from itself, the device does not repeat sums, and a difference of ours says nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_sections.catalogue import Note, Setting


def measure(setting: Setting, note: Note) -> None:
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1.grpo.config import R1GRPOConfig
    from trl_r1.grpo.identity import differences, tiny_model
    from trl_r1.grpo.trainer import R1GRPOTrainer

    model = tiny_model(setting.scratch / "identity", width=64)
    found: dict[str, Any] = {}
    for name, (options, extra) in rows(setting).items():
        train = partial(one_run, model=model, folder=setting.scratch / "identity-run", options=options, extra=extra)
        with repeatable():
            stock = train(GRPOTrainer, GRPOConfig)
            itself = differences(train(GRPOTrainer, GRPOConfig), stock)
            ours = differences(train(R1GRPOTrainer, R1GRPOConfig), stock)
        found[name] = {
            "identical": not ours,
            "stock_repeats": not itself,
            "difference": "; ".join(ours)[:200] or None,
            "loss": stock["losses"][-1],
        }
        note(rows=found)


def one_run(
    trainer: Any, config: Any, model: str, folder: Path, options: dict[str, Any], extra: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What one trainer does in two steps; the trainer itself is let go."""
    from trl_r1.grpo.identity import run

    return {
        key: value for key, value in run(trainer, config, model, folder, options, extra()).items() if key != "trainer"
    }


def rows(setting: Setting) -> dict[str, tuple[dict[str, Any], Any]]:
    """name -> (fields of the config, function that makes the trainer's further arguments)."""
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig

    gpu = setting.device == "cuda"
    base = {"use_cpu": not gpu, "max_steps": 2, "beta": 0.1, "num_iterations": 2}
    half = {**base, "bf16": gpu, "model_init_kwargs": {"dtype": "bfloat16"}}

    def lora() -> dict[str, Any]:
        return {"peft_config": LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)}

    def nf4() -> dict[str, Any]:
        four_bit = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if gpu else torch.float32,
        )
        return {**lora(), "quantization_config": four_bit}

    found = {
        "float32": ({**base, "model_init_kwargs": {"dtype": "float32"}}, dict),
        "bf16": (half, dict),
        "bf16, LoRA": (half, lora),
    }
    if importlib.util.find_spec("bitsandbytes") is not None:
        found["NF4, LoRA"] = (half if gpu else {**base, "model_init_kwargs": {"dtype": "float32"}}, nf4)
    return found


@contextlib.contextmanager
def repeatable() -> Iterator[None]:
    """Operations that repeat their sums, where there are such; others run with a warning."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
