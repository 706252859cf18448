"""TRL's options of supervised fine-tuning, and the one that TRL's other trainers have and this one lacks."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import SFTConfig

from trl_r1.text.records import Json


@dataclass
class R1SFTConfig(SFTConfig):
    """[`~trl.SFTConfig`] with `chat_template_kwargs`, as [`~trl.GRPOConfig`] has it."""

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]

    chat_template_kwargs: Json | str | None = field(
        default=None,
        metadata={"help": "Handed to the chat template with every row: {enable_thinking: false}, for instance."},
    )
