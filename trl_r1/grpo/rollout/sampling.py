"""Logits in, one token per row and its log-probability out: the distribution of transformers' `generate`, drawn cheaper.

Shapes  n rows, V tokens. Log-probabilities are in nats.

`generate` draws V exponential numbers per row for one token. Here one uniform number per row is looked up in the
cumulative distribution, in two steps (which block of the vocabulary, then which token in it), so that only sums and no
random numbers are as long as the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


BLOCK = 256  # tokens of the vocabulary per block of the two-step lookup


@dataclass(frozen=True)
class SamplingOptions:
    """How a token is drawn, in the words and the order of transformers' GenerationConfig.

    The repetition penalty comes first (tokens of prompt and completion), then temperature, top-k, top-p, min-p.
    Departure: padding is no part of a prompt here; `generate` penalises the padding token of shorter prompts too.

    Raises:
        ValueError: a number out of range.
    """

    temperature: float = 1.0
    top_k: int = 0  # 0: off
    top_p: float = 1.0  # 1: off
    min_p: float = 0.0  # 0: off
    repetition_penalty: float = 1.0  # 1: off
    greedy: bool = False

    def __post_init__(self) -> None:
        ranges = {
            "temperature": self.greedy or self.temperature > 0.0,
            "top_k": self.top_k >= 0,
            "top_p": 0.0 < self.top_p <= 1.0,
            "min_p": 0.0 <= self.min_p <= 1.0,
            "repetition_penalty": self.repetition_penalty > 0.0,
        }
        for name, right in ranges.items():
            if not right:
                raise ValueError(f"{name}={getattr(self, name)} is out of range for sampling; see trl's GRPOConfig.")

    @property
    def truncates(self) -> bool:
        """Whether some tokens are never drawn."""
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0

    @property
    def filters(self) -> bool:
        """Whether tokens are drawn from another distribution than ``softmax(logits / temperature)``."""
        return not self.greedy and (self.truncates or self.repetition_penalty != 1.0)


def next_tokens(logits: Tensor, options: SamplingOptions, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The tokens and log-probabilities of `drawn_tokens`."""
    tokens, logps, _ = drawn_tokens(logits, options, seen)
    return tokens, logps


def drawn_tokens(
    logits: Tensor, options: SamplingOptions, seen: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws one token per row.

    Args:
        logits: (n, V), any float type; not changed.
        options: how to draw.
        seen: (n, V) bool, tokens of the row so far; needed where repetition_penalty is not 1.

    Returns:
        tokens (n,); their log-probabilities (n,) in float32 under ``softmax(logits / temperature)``: before the penalty
        and before truncation, as TRL's loss computes them; and those (n,) with which they were drawn, after both. Where
        nothing is drawn (greedy), these are the same.
    """
    scores = logits.float()  # (n, V)
    if options.greedy:
        temperature = options.temperature if options.temperature > 0.0 else 1.0
        tokens = penalised(scores, seen, options.repetition_penalty).argmax(dim=-1)
        scaled = scores / temperature
        logps = scaled.gather(1, tokens[:, None]).squeeze(1) - scaled.logsumexp(dim=-1)
        return tokens, logps, logps
    if options.temperature != 1.0:
        scores = scores / options.temperature
    if not options.filters:
        tokens, mass, total = draw(weights := (scores - scores.amax(dim=-1, keepdim=True)).exp_())
        del weights
        logps = (mass.double() / total).log().float()
        return tokens, logps, logps
    # the penalty multiplies or divides by the sign of the score, which the temperature does not change
    nucleus = truncated(penalised(scores, seen, options.repetition_penalty), options)
    tokens, mass, total = draw((nucleus - nucleus.amax(dim=-1, keepdim=True)).exp_())
    logps = scores.gather(1, tokens[:, None]).squeeze(1) - scores.logsumexp(dim=-1)
    return tokens, logps, (mass.double() / total).log().float()


def draw(weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One index per row with probability proportional to its weight.

    Args:
        weights: (n, V) not negative, at least one positive per row.

    Returns:
        index (n,), its weight (n,), and the sum of the row's weights (n,) in float64 (float32 on MPS).
    """
    rows, width = weights.shape
    exact = torch.float32 if weights.device.type == "mps" else torch.float64
    blocks = -(-width // BLOCK)
    if blocks * BLOCK != width:
        weights = torch.nn.functional.pad(weights, (0, blocks * BLOCK - width))
    weights = weights.view(rows, blocks, BLOCK)
    inclusive = weights.sum(dim=-1).to(exact).cumsum(dim=-1)  # (n, blocks)
    total = inclusive[:, -1]
    target = torch.rand(rows, 1, dtype=exact, device=weights.device) * total[:, None]  # (n, 1), below total
    block = torch.searchsorted(inclusive, target, right=True)  # (n, 1), a block of positive weight
    block = torch.minimum(block, last_positive(inclusive))  # rounding may have carried the target onto the total
    inner = weights.gather(1, block[:, :, None].expand(-1, 1, BLOCK)).squeeze(1)  # (n, BLOCK)
    before = torch.where(block > 0, inclusive.gather(1, (block - 1).clamp(min=0)), 0.0)
    within = inner.to(exact).cumsum(dim=-1)
    token = torch.searchsorted(within, target - before, right=True)
    token = torch.minimum(token, last_positive(within))
    mass = inner.gather(1, token).squeeze(1)
    return (block * BLOCK + token).squeeze(1), mass, total


def last_positive(inclusive: Tensor) -> Tensor:
    """(n, 1) index of the last entry of positive weight, from cumulative sums (n, m)."""
    return torch.searchsorted(inclusive, inclusive[:, -1:].contiguous())


def penalised(scores: Tensor, seen: Tensor | None, penalty: float) -> Tensor:
    """Scores of seen tokens divided by the penalty where positive, multiplied where negative (CTRL, arXiv:1909.05858)."""
    if penalty == 1.0:
        return scores
    if seen is None:
        raise ValueError(f"repetition_penalty={penalty} needs to know which tokens a row has; pass `seen`.")
    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def truncated(scores: Tensor, options: SamplingOptions) -> Tensor:
    """(n, V) scores with -inf where top-k, top-p or min-p exclude a token; the best token always stays."""
    if options.top_k > 0:
        least = scores.topk(min(options.top_k, scores.size(-1)), dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if options.top_p < 1.0:
        ordered, order = scores.sort(dim=-1)  # ascending
        low = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - options.top_p
        low[:, -1] = False
        scores = scores.masked_fill(low.scatter(1, order, low), -torch.inf)
    if options.min_p > 0.0:
        probabilities = scores.softmax(dim=-1)
        low = probabilities < options.min_p * probabilities.amax(dim=-1, keepdim=True)
        scores = scores.masked_fill(low, -torch.inf)
    return scores
