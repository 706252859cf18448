"""Host: the class that the mixins of the trainer stand on, to mypy; at run time they stand on nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from trl_r1.grpo.fast_trainer import FastGRPOTrainer as Host
else:
    Host = object

__all__ = ["Host"]
