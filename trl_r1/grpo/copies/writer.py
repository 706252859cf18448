"""Writer: a light copy that writes texts where nothing is trained: in an evaluation, rejection sampling, routing.

No loss makes up for the difference there, so it is measured before the first text and told: tokens that the copy draws
itself, and what model and copy each thought of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from trl_r1.grpo.copies.copy import LightCopy, copied_bytes, why_not_copied
from trl_r1.grpo.copies.memory import GIB, refuse_too_large
from trl_r1.grpo.copies.sampler import difference, fastest, tokens_per_second
from trl_r1.grpo.rollout.engine import generate
from trl_r1.grpo.rollout.sampling import SamplingOptions
from trl_r1.grpo.rollout.support import why_not_model
from trl_r1.models.cpu import computes_bfloat16
from trl_r1.models.sampling import own_randomness
from trl_r1.storage.files import replace_file


logger = logging.getLogger(__name__)

FILE_NAME = "rollout_copy.json"
PROBES, PROBE_TOKENS, PROBE_CONTEXT = 8, 32, 256  # texts of the measurement, tokens of each, tokens of a prompt


@dataclass(frozen=True)
class Difference:
    """How far a copy's log-probabilities are from its model's, over tokens that the copy drew.

    Args:
        kind: of the copy; none where the model itself writes.
        mean, p99: |log p - log q| in nats per token.
        tokens: how many were looked at.
    """

    kind: str
    mean: float
    p99: float
    tokens: int

    def __str__(self) -> str:
        if self.kind == "none":
            return "`rollout_copy` found no copy to be faster: the model itself wrote the texts."
        return (
            f"The texts are written by a copy of the model (`rollout_copy: {self.kind}`), whose log-probabilities differ "
            f"from the model's by {self.mean:.2g} nats per token, {self.p99:.2g} at the 99th percentile (measured over "
            f"{self.tokens} tokens that the copy drew)."
        )

    def save(self, folder: Path) -> None:
        replace_file(folder / FILE_NAME, json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Difference | None:
        """What an earlier start has measured; None where none has."""
        path = folder / FILE_NAME
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def writer(policy: Any, kind: str, prompts: Sequence[Sequence[int]], seed: int = 0) -> tuple[Any, Difference]:
    """The model that writes in `policy`'s place, and how far it is from it.

    Args:
        policy: a causal language model or a PeftModel, in evaluation mode; it is kept, and not changed.
        kind: merged, bfloat16, or auto: whichever is fastest, the model itself among them.
        prompts: token lists, to try it on.
        seed: of the tokens that it is tried with; the process's own random numbers are left alone.

    Raises:
        ValueError: a model that cannot be copied or has no cache of keys and values, or no memory.
        RuntimeError: the copy computes something else than the model.
    """
    why = why_not_copied(policy) or why_not_model(policy)
    if why is not None:
        raise ValueError(f"rollout_copy={kind!r} cannot copy this model: {why}. Set rollout_copy: none.")
    tried = [list(prompt)[-PROBE_CONTEXT:] for prompt in prompts[:PROBES]]
    kinds = ("merged", "bfloat16") if kind == "auto" else (kind,)
    copies = {name: copied(policy, name) for name in kinds}
    if kind == "auto":
        models = {"none": policy, **{name: one.model for name, one in copies.items()}}
        kind = fastest({name: max(tokens_per_second(one, tried) for _ in range(2)) for name, one in models.items()})
        if kind == "none":
            return policy, Difference(kind, 0.0, 0.0, 0)
    model = copies[kind].model
    found = difference(policy, model, tried, torch.bfloat16 if kind == "bfloat16" else policy.dtype)
    if found is not None:
        raise RuntimeError(f"rollout_copy={kind!r}: {found}. Set rollout_copy: none, and tell us of this model.")
    with own_randomness(seed, {policy.device}):
        return model, measured(policy, model, kind, tried)


def copied(policy: Any, kind: str) -> LightCopy:
    """The copy, its memory told and looked for before it is taken."""
    dtype = torch.bfloat16 if kind == "bfloat16" else None
    needed = copied_bytes(policy, dtype, pack=True)
    logger.warning("rollout_copy: a %s copy of the model, %.2f GiB, writes in its place.", kind, needed / GIB)
    refuse_too_large(needed, policy.device)
    if dtype is not None and policy.device.type == "cpu" and not computes_bfloat16():
        logger.warning("This processor has no units for bfloat16: rollout_copy: bfloat16 may be slower than none.")
    return LightCopy(policy, dtype)


@torch.no_grad()
def measured(policy: Any, model: Any, kind: str, prompts: Sequence[Sequence[int]]) -> Difference:
    """The difference over `PROBE_TOKENS` tokens behind each prompt, drawn by the copy at temperature 1."""
    rollout = generate(model, prompts, SamplingOptions(), PROBE_TOKENS, end_tokens=[])
    distances = []
    for prompt, reply, logps in zip(prompts, rollout.completions, rollout.logps):
        ids = torch.tensor([[*prompt, *reply]], device=policy.device)
        logits = policy(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        scores = logits[0, len(prompt) - 1 : -1].float().log_softmax(dim=-1)  # (T, V)
        chosen = scores.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        distances.append((chosen.cpu() - torch.tensor(logps)).abs())
    every = torch.cat(distances)
    return Difference(kind, every.mean().item(), every.quantile(0.99).item(), len(every))
