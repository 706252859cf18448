"""LossPrecision: how the loss's log-probabilities are computed, by `loss_precision` and `loss_head`: a mixin.

`loss_precision: bfloat16` is accelerate's `bf16: true` for the log-probabilities alone: it needs no accelerator, leaves
generation as it is, and serves CPUs with AVX512-BF16 or AMX. All log-probabilities (of the policy, the old policy, the
reference) are computed alike, so a ratio of equal policies stays 1. Attention over packed rows stays in float32 on a CPU,
whose bfloat16 kernel takes twelve times as long backward as forward.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import torch

from trl_r1.compat.sharding import is_sharded
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.head import OnePassHead, why_not_one_pass
from trl_r1.grpo.mixin import Host
from trl_r1.models.cpu import computes_bfloat16


logger = logging.getLogger(__name__)


class LossPrecision(Host):
    """What a GRPO trainer needs for `loss_precision` and `loss_head`."""

    options: R1GRPOConfig

    def _start_precision(self) -> None:
        """Called once the trainer is built; warns where bfloat16 is no gain, and where TRL's head stays."""
        if self._halves() and self.accelerator.device.type == "cpu" and not computes_bfloat16():
            logger.warning("This processor has no units for bfloat16: loss_precision: bfloat16 is slower than policy.")

        if self.options.loss_head == "one_pass":
            policy = self.accelerator.unwrap_model(self.model)
            why = why_not_one_pass(policy)
            if self.accelerator.num_processes > 1 and policy.get_output_embeddings().weight.requires_grad:
                why = "DDP wants weights that are trained to be used inside its forward pass"
            if self._entropy_bonus_enabled:
                why = "an entropy bonus needs the entropy's gradient"
            if is_sharded(self):
                why = "under FSDP and DeepSpeed ZeRO-3 the head's weight is gathered by TRL"
            if why is not None:
                logger.warning("loss_head: one_pass is not used and TRL's head scores: %s.", why)
            else:
                self._head = OnePassHead(self.temperature, getattr(self.args, "cast_lm_head_to_fp32", False))

    def _halves(self) -> bool:
        return self.options.loss_precision == "bfloat16"

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self._halves():
            return contextlib.nullcontext()
        return torch.autocast(self.accelerator.device.type, torch.bfloat16)

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        with self._autocast():
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)

    def _scored(self, model, packed):
        packed.packing.whole = self._halves() and self.accelerator.device.type == "cpu"
        return super()._scored(model, packed)

    def _packing_agrees(self, *args: Any) -> bool:
        with self._autocast():
            return super()._packing_agrees(*args)

    def _computing_type(self, model: Any) -> torch.dtype:
        return torch.bfloat16 if self._halves() else super()._computing_type(model)
