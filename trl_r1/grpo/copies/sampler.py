"""CopySampler: which model a rollout samples from, by `rollout_copy`: built when first asked for, refreshed when due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import nn

from trl_r1.grpo.copies.copy import LightCopy, copied_bytes, why_not_copied
from trl_r1.grpo.copies.memory import GIB, refuse_too_large
from trl_r1.grpo.dropout import without_dropout
from trl_r1.grpo.rollout.engine import generate
from trl_r1.grpo.rollout.sampling import SamplingOptions
from trl_r1.grpo.rollout.support import COARSE, TOLERANCE, computing_type
from trl_r1.models.cpu import computes_bfloat16


logger = logging.getLogger(__name__)

TRIED = 6  # tokens that each kind generates, for `auto`
GAINS = {"merged": 1.05, "bfloat16": 1.15}  # how much faster than a more exact kind it has to be, for `auto`


class CopySampler:
    """Chooses, builds and refreshes the copy that a trainer's rollouts come from.

    Args:
        kind: one of `kinds.KINDS`.
        keep: False frees the copy's own tensors after every rollout.
    """

    def __init__(self, kind: str, keep: bool = True):
        self.kind, self.keep = kind, keep
        self.copy: LightCopy | None = None
        self.exact = False  # whether tokens are drawn from the very distribution that is trained
        self.refresh_seconds = 0.0  # what the last refresh took
        self.moved = False  # whether an optimizer step was made since the last refresh

    def model(self, trainer: Any, policy: Any, prompts: Sequence[Sequence[int]]) -> Any:
        """The model to sample from, up to date; the policy itself for `none`.

        Args:
            trainer: of the policy.
            policy: its bare model, gradient checkpointing off.
            prompts: token lists, for `auto` and for the check of a new copy.

        Raises:
            ValueError: a policy that cannot be copied, or no memory for it.
            RuntimeError: the copy computes something else than the policy.
        """
        if self.kind == "auto":
            self.kind = self._measured(trainer, policy, prompts)
        if self.kind == "none":
            return policy
        began = time.perf_counter()
        if self.copy is None or not self.copy.follows(policy):
            self.copy = self._built(self.kind, trainer, policy)
            why = difference(policy, self.copy.model, prompts, self._type(self.kind, trainer, policy))
            if why is not None:
                raise RuntimeError(
                    f"rollout_copy={self.kind!r}: {why}. Set rollout_copy: none, and tell us of this model."
                )
        else:
            self.copy.refresh(self.moved)
        self.moved = False
        self.exact = self._is_exact(trainer, policy)
        self.refresh_seconds = time.perf_counter() - began
        return self.copy.model

    def done(self) -> None:
        """After a rollout."""
        if not self.keep and self.copy is not None:
            self.copy.free()

    def _built(self, kind: str, trainer: Any, policy: Any) -> LightCopy:
        dtype = torch.bfloat16 if kind == "bfloat16" else None
        mixed = dtype is None and trainer.accelerator.mixed_precision in ("bf16", "fp16")
        why = why_not_copied(policy)
        if why is None:
            needed = copied_bytes(policy, dtype, pack=not mixed)
            logger.warning(
                "rollout_copy: a %s copy of the policy, %.2f GiB, generates in its place.", kind, needed / GIB
            )
            refuse_too_large(needed, policy.device)
        copied = LightCopy(policy, dtype, pack=not mixed)
        if mixed:  # the policy computes so too
            halved = torch.autocast(policy.device.type, computing_type(policy, trainer.accelerator))
            copied.model.forward = halved(copied.model.forward)
        if kind == "bfloat16" and policy.device.type == "cpu" and not computes_bfloat16():
            logger.warning("This processor has no units for bfloat16: rollout_copy: bfloat16 may be slower than none.")
        return copied

    @staticmethod
    def _type(kind: str, trainer: Any, policy: Any) -> torch.dtype:
        """The coarsest number type that copy or policy compute in: TRL keeps the adapter of a 4-bit policy in bfloat16."""
        if kind == "bfloat16":
            return torch.bfloat16
        held = [part.dtype for part in policy.parameters() if part.is_floating_point() and part.dtype not in TOLERANCE]
        return held[0] if held else computing_type(policy, trainer.accelerator)

    def _is_exact(self, trainer: Any, policy: nn.Module) -> bool:
        """Merged in float32, and no dropout in the policy that the copy, in evaluation mode, leaves out."""
        if self._type(self.kind, trainer, policy) not in TOLERANCE:
            return False
        return not any(isinstance(part, nn.Dropout) and part.p > 0 and part.training for part in policy.modules())

    def _measured(self, trainer: Any, policy: Any, prompts: Sequence[Sequence[int]]) -> str:
        """The kind that generates a few tokens of these prompts fastest; a less exact one has to earn it."""
        rates: dict[str, float] = {}
        for kind in ("none", "merged", "bfloat16"):
            if kind != "none" and why_not_copied(policy) is not None:
                continue
            model = policy if kind == "none" else self._built(kind, trainer, policy).model
            rates[kind] = max(tokens_per_second(model, prompts) for _ in range(2))
        return str(broadcast_object_list([fastest(rates)])[0])  # one choice for all processes, the main one's


def fastest(rates: Mapping[str, float]) -> str:
    """The kind to take, said aloud.

    Args:
        rates: tokens per second of `none` and of other kinds, the more exact first.
    """
    best = "none"
    for kind, gain in GAINS.items():
        if rates.get(kind, 0.0) > gain * rates[best]:
            best = kind
    told = ", ".join(f"{kind} {rate:.0f}" for kind, rate in rates.items())
    logger.warning("rollout_copy: auto takes %s (tokens per second over %d tokens: %s).", best, TRIED, told)
    return best


def tokens_per_second(model: Any, prompts: Sequence[Sequence[int]]) -> float:
    """Of `TRIED` greedy tokens for every prompt, prefill included; CPU seconds where the model is on a CPU."""
    clock: Callable[[], float] = time.process_time if model.device.type == "cpu" else time.perf_counter
    _wait(model.device)
    began = clock()
    tokens = generate(model, prompts, SamplingOptions(greedy=True), TRIED, end_tokens=[]).tokens
    _wait(model.device)
    return tokens / max(clock() - began, 1e-9)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.no_grad()
def difference(policy: Any, copied: Any, prompts: Sequence[Sequence[int]], dtype: torch.dtype) -> str | None:
    """Compares the logits of two short prompts, what shifts all of a token's alike aside; None where policy and copy agree.

    Args:
        dtype: what the copy computes in, which says how closely.
    """
    with without_dropout(policy):
        for prompt in list(dict.fromkeys(tuple(one) for one in prompts))[:2]:
            ids = torch.tensor([prompt[:8]], device=policy.device)
            ours, theirs = (
                model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float()
                for model in (copied, policy)
            )
            apart = ours - theirs  # (1, L, V)
            apart = apart - apart.mean(-1, keepdim=True)  # what all logits of a token share changes no probability
            error = (apart.abs().max() / theirs.std().clamp(min=1e-6)).item()
            if not error <= TOLERANCE.get(dtype, COARSE):
                return f"the copy's logits differ from the policy's by {error:.2g} of their spread"
    return None
