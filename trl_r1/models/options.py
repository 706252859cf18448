"""The model's fields of a recipe: TRL's, and the head gates that no TRL field asks for."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from peft import PeftConfig
from transformers import AutoConfig
from trl import ModelConfig, get_peft_config

from trl_r1.gate.config import HeadGateConfig, register
from trl_r1.gate.tuner import FAMILIES


@dataclass
class R1ModelConfig(ModelConfig):
    """[`~trl.ModelConfig`] plus the choice of head gates."""

    head_gate: bool = field(
        default=False,
        metadata={
            "help": "Train an input-dependent gate on every attention head: beside LoRA with use_peft, else alone. Cannot "
            "be merged. See docs/gate.md."
        },
    )


def adapter_config(model: ModelConfig) -> PeftConfig | None:
    """The adapter that the model's fields ask for: LoRA, head gates, both in one, or None for full training."""
    plain = get_peft_config(model)
    if not getattr(model, "head_gate", False):
        return plain
    if plain is None:
        return HeadGateConfig(task_type=model.lora_task_type)
    return HeadGateConfig(
        **{
            entry.name: getattr(plain, entry.name)
            for entry in fields(plain)
            if entry.init and entry.name != "peft_type"
        }
    )


def check_gates(model: ModelConfig, path: str, *settings: Any) -> None:
    """What head gates cannot do, told before anything is trained.

    Args:
        path: of the model that will be loaded, as `find_model` returned it.
        settings: of the stage and of its trainer.

    Raises:
        ValueError: in one sentence.
    """
    if not getattr(model, "head_gate", False):
        return
    for name, why in {
        "merge_adapter": "no whole model can be made of them. Drop merge_adapter; PeftModel.from_pretrained loads both",
        "use_vllm": "vLLM, which is given merged weights, cannot generate with them. Use rollout: fast",
    }.items():
        if any(getattr(part, name, False) for part in settings):
            raise ValueError(f"head_gate: true trains gates that depend on the input, so {why}, or drop head_gate.")
    trusted = any(getattr(part, "trust_remote_code", False) for part in settings)
    kind = AutoConfig.from_pretrained(path, trust_remote_code=trusted).model_type
    if kind not in FAMILIES:
        raise ValueError(
            f"head_gate: true does not fit {path!r} (model_type {kind!r}): head gates were made for {', '.join(FAMILIES)}. "
            "Drop head_gate, or train LoRA with use_peft."
        )
    broken = register()
    if broken:
        raise ValueError(f"head_gate: true needs another peft: {broken[0]} Run `trl-r1 doctor`, or drop head_gate.")
