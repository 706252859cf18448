"""Whether every process holds the whole model, or FSDP or DeepSpeed ZeRO-3 has split it between them."""

from __future__ import annotations

import os
from typing import Any


def shards_the_model() -> bool:
    """Whether the launcher asked for FSDP or for DeepSpeed ZeRO-3, which is known before there is a trainer."""
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

    on = {"1", "true", "yes"}
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in on:
        return True
    deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in on
    return deepspeed and (os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3" or is_deepspeed_zero3_enabled())


def is_sharded(trainer: Any) -> bool:
    """Whether a trainer's processes each hold a part of its model only."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return bool(trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))
