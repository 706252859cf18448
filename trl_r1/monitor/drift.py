"""Drift: how far a policy has moved from where it started, in nats per token, without a reference model in memory.

A few texts that the starting policy sampled are kept with the log-probability it gave them. For such texts
``E[log p_start - log p_now]`` per token is an unbiased estimate of KL(start || now), the other direction than the ``kl``
that TRL logs (KL(now || reference)). It grows without bound where the policy gives up what it could do.

Source  ours; the estimator is k1 of Schulman, "Approximating KL Divergence" (2020), with the samples of the start.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trl_r1.models.four_bit import keep_layout
from trl_r1.models.rendering import Renderer
from trl_r1.monitor.texts import spread_evenly
from trl_r1.storage.files import replace_file


FILE_NAME = "monitor_anchor.json"


@dataclass
class Anchor:
    """Texts of the starting policy as token ids, and what it thought of them."""

    prompts: list[list[int]]
    completions: list[list[int]]
    logps: list[float]  # sum over the completion's tokens, in nats

    @property
    def tokens(self) -> int:
        return sum(map(len, self.completions))

    def drift(self, model: Any) -> float:
        """Nats per token, 0 for the policy that the anchor was made with; may be slightly negative by chance."""
        now = log_probabilities(model, self.prompts, self.completions)
        return (sum(self.logps) - sum(now)) / self.tokens

    def save(self, folder: Path) -> None:
        replace_file(folder / FILE_NAME, json.dumps(vars(self)))

    @classmethod
    def load(cls, folder: Path) -> Anchor | None:
        """The anchor of an earlier start of a run; None without one."""
        path = folder / FILE_NAME
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def make_anchor(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    most_tokens: int = 256,
    renderer: Renderer | None = None,
    budget: int | None = None,
) -> Anchor | None:
    """An anchor from texts that ``model`` has just sampled; None where there is nothing to keep.

    Args:
        prompts, completions: as TRL logs them, texts or messages.
        most_tokens: of a prompt (its end is kept) and of a completion (its start is kept).
        renderer: of the run's prompts; None is one with the tokenizer's own template and no options.
        budget: tokens of all texts together, which bounds what a measurement costs; two texts are kept in any case.
    """
    renderer = renderer or Renderer(tokenizer)
    pairs = []
    for prompt, completion in zip(prompts, completions, strict=True):
        asked = renderer.prompt_ids(prompt)
        said = completion if isinstance(completion, str) else renderer.spoken(completion)
        answered = tokenizer(said, add_special_tokens=False)["input_ids"]
        if asked and answered:
            pairs.append((asked[-most_tokens:], list(answered)[:most_tokens]))
    if not pairs:
        return None
    if budget is not None:
        pairs = within(pairs, budget)
    columns = [prompt_ids for prompt_ids, _ in pairs], [answered for _, answered in pairs]
    return Anchor(*columns, log_probabilities(model, *columns))


def within(pairs: list[tuple[list[int], list[int]]], budget: int) -> list[tuple[list[int], list[int]]]:
    """As many (prompt, completion) pairs, spread evenly, as have at most `budget` tokens together; at least two."""
    for count in range(len(pairs), 2, -1):
        chosen = [pairs[i] for i in spread_evenly(len(pairs), count)]
        if sum(len(asked) + len(said) for asked, said in chosen) <= budget:
            return chosen
    return [pairs[i] for i in spread_evenly(len(pairs), 2)]


@torch.no_grad()
def log_probabilities(model: Any, prompts: list[list[int]], completions: list[list[int]]) -> list[float]:
    """Log-probability of each completion after its prompt, (N,), in nats; one text at a time, without dropout.

    The model's mode and every random state are left as they were.
    """
    training = model.training
    device = next(model.parameters()).device
    bare = getattr(model, "module", model)  # of DDP
    bare = bare.get_base_model() if hasattr(bare, "get_base_model") else bare

    def keep(answer: int) -> dict[str, int]:  # no logits of the prompt
        return {"logits_to_keep": answer + 1} if "logits_to_keep" in inspect.signature(bare.forward).parameters else {}

    autocast = torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else nullcontext()
    keep_layout(model)  # whoever trains it
    model.eval()
    try:
        values = []
        for prompt, answered in zip(prompts, completions, strict=True):
            ids = torch.tensor([[*prompt, *answered]], device=device)  # (1, P + T)
            with autocast:
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **keep(len(answered))).logits
            predicted = logits[0, -len(answered) - 1 : -1].float().log_softmax(dim=-1)  # (T, V)
            values.append(predicted.gather(1, ids[0, len(prompt) :, None]).sum().item())
        return values
    finally:
        model.train(training)
