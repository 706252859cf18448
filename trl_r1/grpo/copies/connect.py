"""CopiedRollout: a GRPO trainer whose rollouts come from a light copy, and whose loss knows: a mixin, idle without one.

The factor goes in as part of the advantages, which TRL takes per token, as soon as the loss has the policy's
log-probabilities: TRL asks for them before it looks at the advantages. Where old and current policy are one, no further
pass is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from trl_r1.compat import trl as compat
from trl_r1.compat.host import Batch
from trl_r1.compat.sharding import is_sharded
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.copies.mismatch import MismatchWindow, importance_ratio, measures
from trl_r1.grpo.copies.sampler import CopySampler
from trl_r1.grpo.fast_trainer import loss_mask
from trl_r1.grpo.mixin import Host
from trl_r1.grpo.passes import holding
from trl_r1.storage.checkpoints import checkpoint_folder
from trl_r1.storage.files import replace_file


SAMPLED = "sampling_per_token_logps"  # TRL's name: what the tokens were drawn with; its off-policy mask reads it
PLAIN = "copy_per_token_logps"  # the copy's, before penalty and truncation, where these are others
STATE_FILE = "rollout_copy.json"
PREFIX = "rollout_copy/"


@dataclass
class CopyPass:
    """While the loss of one micro-batch is computed whose tokens a copy has drawn.

    Args:
        batch: the inputs of that loss, ours to change.
        seen: whether the policy's log-probabilities came by.
    """

    batch: Batch
    seen: bool = False


class NoteSteps(TrainerCallback):
    """Tells the sampler of every optimizer step: fused optimizers write past torch's version counters."""

    def __init__(self, copies: CopySampler):
        self.copies = copies

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.copies.moved = True


class CopiedRollout(Host):
    """What a GRPO trainer needs for `rollout_copy`."""

    options: R1GRPOConfig
    _copies: CopySampler | None = None
    _copy_pass: CopyPass | None = None  # while a loss is computed
    _mismatch: MismatchWindow | None = None  # since the last optimizer step

    def _start_copy(self) -> None:
        """Called once the trainer is built.

        Raises:
            ValueError: tools, images, or a TRL whose loss would not see the factor.
            NotImplementedError: under FSDP or DeepSpeed ZeRO-3.
        """
        kind = self.options.rollout_copy
        if kind == "none":
            return
        columns = set(getattr(self.train_dataset, "column_names", None) or ())
        if self.tools or getattr(self, "environments", None) is not None:
            raise ValueError(
                f"rollout_copy={kind!r} serves rollout='fast', which tool calls do not pass through. Set rollout_copy: "
                "none, or drop tools."
            )
        if columns & {"image", "images"}:
            raise ValueError(
                f"rollout_copy={kind!r} serves prompts of text, and the dataset has images. Set rollout_copy: none."
            )
        if is_sharded(self):
            raise NotImplementedError(
                f"rollout_copy={kind!r} is not available under DeepSpeed ZeRO-3 or FSDP, where no process holds the whole "
                "policy. Set it to none, or use one GPU, DDP or ZeRO-1/2."
            )
        if self.options.use_liger_kernel and compat.bypasses_compute_loss():
            raise ValueError(
                f"use_liger_kernel=True computes the loss outside _compute_loss in this TRL, so it would not know of "
                f"rollout_copy={kind!r}. Drop use_liger_kernel, or upgrade to trl>=1.14."
            )
        assert self._fast_rollout is not None, "the config asks for rollout='fast'"
        self._copies = self._fast_rollout.sampler = CopySampler(kind, self.options.rollout_copy_keep)
        self._mismatch = MismatchWindow()
        self.add_callback(NoteSteps(self._copies))

    # -- generation ---------------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        copies = self._copies
        rollout = None if self._fast_rollout is None else self._fast_rollout.last
        if copies is None or copies.copy is None or rollout is None or not self.model.training:
            return batch
        ids = batch["completion_ids"]
        batch[SAMPLED] = by_row(rollout.drawn, ids)
        if rollout.drawn is not rollout.logps:
            batch[PLAIN] = by_row(rollout.logps, ids)
        return batch

    # -- loss ---------------------------------------------------------------------------------------------------------

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        out = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        now = self._copy_pass
        if now is not None and not now.seen:
            now.seen = True
            self._weigh(now.batch, out[0])
        return out

    def _compute_loss(self, model, inputs):
        if self._copies is None or SAMPLED not in inputs or not self.model.training:
            return super()._compute_loss(model, inputs)
        inputs = dict(inputs)  # TRL keeps the batch for further iterations
        with holding(self, "_copy_pass", CopyPass(inputs)) as now:
            loss = super()._compute_loss(model, inputs)
            if not now.seen:
                raise RuntimeError(
                    "TRL computed a loss without asking for log-probabilities, so it does not know that a copy drew the "
                    "tokens. Run `trl-r1 doctor`, or set rollout_copy: none."
                )
        if self.accelerator.sync_gradients:
            self._log_mismatch()
        return loss

    def _weigh(self, batch: Batch, logps: Tensor) -> None:
        """Multiplies the advantages of `batch` with the ratio of policy and copy.

        Args:
            logps: (B, C) of the policy as it is, which are also those of the policy at the rollout unless the batch says
                otherwise; meaningless in rows that the loss skips.
        """
        assert self._copies is not None
        assert self._mismatch is not None
        policy: Tensor = logps.detach() if batch.get("old_per_token_logps") is None else batch["old_per_token_logps"]
        mask = loss_mask(batch)
        skipped = None if self._loss_pass is None else self._loss_pass.skipped
        if skipped is not None:
            mask = mask * ~skipped[:, None]
        distance = (policy - (batch[PLAIN] if PLAIN in batch else batch[SAMPLED])).abs()
        if not self.args.vllm_importance_sampling_correction or (self._copies.exact and PLAIN not in batch):
            self._mismatch.add(distance, mask, None, None)
            return
        ratio, outside = importance_ratio(
            policy,
            batch[SAMPLED],
            mask,
            self.args.vllm_importance_sampling_mode,
            self.args.vllm_importance_sampling_clip_min,
            self.args.vllm_importance_sampling_clip_max,
        )
        self._mismatch.add(distance, mask, ratio, outside)
        if self.loss_type == "vespo":
            batch["importance_sampling_ratio"] = ratio
            return
        advantages = batch["advantages"]
        batch["advantages"] = (advantages[:, None] if advantages.dim() == 1 else advantages) * ratio

    def _log_mismatch(self) -> None:
        assert self._mismatch is not None
        sums = self.accelerator.reduce(self._mismatch.sums(), reduction="sum")
        self._mismatch = MismatchWindow()
        for name, value in measures(sums).items():
            self._metrics["train"][PREFIX + name].append(value)

    # -- checkpoints: what `auto` chose ---------------------------------------------------------------------------------

    def _save_checkpoint(self, model, trial):
        if self.options.rollout_copy == "auto" and self._copies is not None and self.args.should_save:
            replace_file(checkpoint_folder(self, trial) / STATE_FILE, json.dumps({"kind": self._copies.kind}))
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self._copies is not None and self.options.rollout_copy == "auto":
            path = Path(checkpoint) / STATE_FILE
            if path.is_file():  # measured anew it could choose otherwise, and the run would be another
                self._copies.kind = json.loads(path.read_text(encoding="utf-8"))["kind"]


def by_row(values: list[list[float]], ids: Any) -> Tensor:
    """(B, C) what the rollout says of each token, 0 behind a row's end."""
    if len(values) != len(ids):
        raise RuntimeError(
            f"The rollout has {len(values)} rows and TRL's batch {len(ids)}; this TRL leaves some out. Run `trl-r1 doctor`, "
            "or set rollout_copy: none."
        )
    filled = torch.zeros(ids.shape)
    for row, found in enumerate(values):
        filled[row, : len(found)] = torch.tensor(found)
    return filled.to(ids.device)
