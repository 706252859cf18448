"""TRL's options of supervised fine-tuning, and the one that TRL's other trainers have and this one lacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trl import SFTConfig


@dataclass
class R1SFTConfig(SFTConfig):
    """[`~trl.SFTConfig`] with `chat_template_kwargs`, as [`~trl.GRPOConfig`] has it."""

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]

    chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Handed to the chat template with every row: {enable_thinking: false}, for instance."},
    )
