"""HeadGateConfig: which adapter to build, gates alone or gates with a low-rank update."""

from __future__ import annotations

from dataclasses import dataclass, field

from peft import LoraConfig

from trl_r1.gate import registration


@dataclass
class HeadGateConfig(LoraConfig):
    """[`~peft.LoraConfig`] plus one input-dependent gate per attention head.

    `r=0`, the default, trains the gates alone. With `r` above 0 the same adapter also holds the low-rank update that
    the inherited fields describe; `target_modules`, `exclude_modules`, `layers_to_transform` and the like are about
    that update, while every attention layer is gated.

    Raises:
        RuntimeError: the installed peft no longer takes a method from outside.
        ValueError: `r` is negative, or 0 although `target_modules` are named.
    """

    r: int = field(
        default=0, metadata={"help": "Rank of the low-rank update beside the gates; 0 trains the gates alone."}
    )

    def __post_init__(self) -> None:
        registration.check(HeadGateConfig)
        super().__post_init__()
        self.peft_type = registration.peft_type()
        if self.r < 0:
            raise ValueError(
                f"r={self.r} is not a rank. Give 0 for head gates alone, or a positive rank for LoRA too."
            )
        if self.r == 0 and (self.target_modules or self.target_parameters):
            raise ValueError(
                f"target_modules={self.target_modules or self.target_parameters} says where a low-rank update goes, and "
                "r=0 asks for none. Set r to a rank, or drop target_modules: every attention layer is gated anyway."
            )


def register() -> list[str]:
    """Makes head gates known to peft, once; why that failed, one sentence each (`trl_r1.gate.registration`)."""
    return registration.register(HeadGateConfig)
