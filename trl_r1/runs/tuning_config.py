"""TRL's options of supervised fine-tuning, the one that TRL's other trainers have and this one lacks, and batching."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import SFTConfig

from trl_r1.storage.structured import one_of
from trl_r1.text.records import Json


@dataclass
class R1SFTConfig(SFTConfig):
    """[`~trl.SFTConfig`] with `chat_template_kwargs` and `batching`, as [`~trl.GRPOConfig`] and `R1GRPOConfig` have them.

    Raises:
        ValueError: in `__post_init__`, for an unknown batching, or batching: fast together with packing.
    """

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]

    chat_template_kwargs: Json | str | None = field(
        default=None,
        metadata={"help": "Handed to the chat template with every row: {enable_thinking: false}, for instance."},
    )
    batching: str = field(
        default="trl",
        metadata={
            "help": "'trl' (rows padded to the longest of the batch) or 'fast': the same batches, loss and gradient without "
            "padding, and only tokens that are trained on go through the head. See docs/performance.md."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("batching", self.batching, ("trl", "fast"))
        if self.batching == "fast" and self.packing:
            raise ValueError(
                "batching='fast' needs no padding as it is, and packing: true puts other rows into a batch; set packing: "
                "false, or batching: trl."
            )
