"""OnePassHead: a token's log-probability, its entropy and its gradient from one look at its logits.

Shapes  K predicted tokens, E hidden size, V tokens of the vocabulary.

TRL's fused head projects every token of a batch, prompts too, tile by tile, and once more in the backward pass. Here only
tokens whose prediction counts are projected. Where the head's weight is frozen, as under LoRA, the gradient of a
log-probability with respect to its hidden state, ``W[token] - p W``, is known with the logits, so it is kept, (K, E): the
backward pass is a multiplication. Where the weight is trained, logits are computed again.

Source  the gradient of a log-softmax; keeping it in the forward pass is Liger's way (arXiv:2410.10989).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


CHUNK = 128  # tokens whose logits are there at a time: 25 MiB for 49,152 in float32
SCALES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def why_not_one_pass(model: Any) -> str | None:
    """Why a model's head is left to TRL; None where it is a linear layer and nothing follows it."""
    text = model.config.get_text_config()
    head = model.get_output_embeddings()
    for name in SCALES:
        if getattr(text, name, None) not in (None, 1.0):
            return f"its logits are changed by {name}"
    return None if type(head) is nn.Linear else f"its head is no plain linear layer ({type(head).__name__})"


@dataclass
class OnePassHead:
    """Scores the tokens of a packed row.

    Args:
        temperature: by which logits are divided.
        whole: computes in float32, outside autocast (TRL's cast_lm_head_to_fp32).
        chunk: tokens whose logits are there at a time.
    """

    temperature: float
    whole: bool = False
    chunk: int = CHUNK

    def scores(self, head: nn.Linear, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(K,) log-probabilities of `targets` in nats, with gradient, and (K,) entropies, without; float32.

        Args:
            hidden: (K, E) what the head reads.
            targets: (K,) tokens.
        """
        logps, entropies, _ = self.judged(head, hidden, targets)
        return logps, entropies

    def judged(self, head: nn.Linear, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`scores`, and (K,) bool, whether the target is the most likely token."""
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) and not self.whole else hidden.dtype
        dtype = torch.float32 if self.whole else dtype
        with torch.autocast(kind, enabled=False):
            found: tuple[Tensor, Tensor, Tensor] = _Scores.apply(  # type: ignore[no-untyped-call]
                hidden, head.weight, head.bias, targets, 1.0 / self.temperature, dtype, self.chunk
            )
        return found


@contextlib.contextmanager
def returning_hidden_states(head: nn.Module) -> Iterator[None]:
    """Meanwhile a model returns, as its logits, what its head would read."""
    head.forward = lambda hidden: hidden
    try:
        yield
    finally:
        del head.forward  # the class's own again


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: float,
        dtype: torch.dtype,
        chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        logps = hidden.new_empty(len(hidden), dtype=torch.float32)
        entropies, totals = torch.empty_like(logps), torch.empty_like(logps)
        first = hidden.new_empty(len(hidden), dtype=torch.bool)
        gradient = None if trained or not hidden.requires_grad else hidden.new_empty(hidden.shape, dtype=torch.float32)
        cast = weight.to(dtype)
        for at in _chunks(len(hidden), chunk):
            logits = _logits(hidden[at], cast, bias, scale, dtype)  # (k, V)
            peak = logits.amax(dim=1, keepdim=True)
            logits.sub_(peak)
            chosen = logits.gather(1, targets[at, None])
            first[at] = chosen.squeeze(1) == 0.0
            weights = logits.exp()
            total = weights.sum(dim=1, keepdim=True)
            logps[at] = (chosen - total.log()).squeeze(1)
            entropies[at] = (total.log() - torch.linalg.vecdot(weights, logits)[:, None] / total).squeeze(1)
            totals[at] = (peak + total.log()).squeeze(1)
            if gradient is not None:
                pull = weights.div_(-total).scatter_add_(1, targets[at, None], torch.ones_like(total))  # 1[token] - p
                gradient[at] = (pull.to(dtype) @ cast).float() * scale
        ctx.trained, ctx.scale, ctx.dtype, ctx.type, ctx.chunk = trained, scale, dtype, hidden.dtype, chunk
        ctx.save_for_backward(gradient, *((hidden, weight, bias, targets, totals) if trained else ()))
        ctx.mark_non_differentiable(entropies, first)
        return logps, entropies, first

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 7
        gradient, *saved = ctx.saved_tensors
        if not ctx.trained:
            return (gradient * grad[:, None]).to(ctx.type), None, None, None, None, None, None
        hidden, weight, bias, targets, totals = saved
        of_hidden = torch.empty(hidden.shape, dtype=torch.float32, device=hidden.device)
        of_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        of_bias = None if bias is None else torch.zeros(bias.shape, dtype=torch.float32, device=bias.device)
        cast = weight.to(ctx.dtype)
        for at in _chunks(len(hidden), ctx.chunk):
            logits = _logits(hidden[at], cast, bias, ctx.scale, ctx.dtype)
            pull = logits.sub_(totals[at, None]).exp_().neg_()
            pull.scatter_add_(1, targets[at, None], torch.ones_like(totals[at, None]))
            pull.mul_(grad[at, None] * ctx.scale)
            halved = pull.to(ctx.dtype)
            of_hidden[at] = (halved @ cast).float()
            of_weight.addmm_(pull.t(), hidden[at].float())  # summed over chunks: not to be rounded in between
            if of_bias is not None:
                of_bias += pull.sum(dim=0)
        return of_hidden.to(ctx.type), of_weight.to(weight.dtype), of_bias, None, None, None, None


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, dtype: torch.dtype) -> Tensor:
    logits = (hidden.to(dtype) @ weight.t()).float()
    if bias is not None:
        logits = logits + bias.float()
    return logits.mul_(scale) if scale != 1.0 else logits
