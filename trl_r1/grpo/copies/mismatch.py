"""How far the sampler is from the policy in training, and the factor that makes up for it in the loss.

Shapes  B rows, C completion columns. Log-probabilities are in nats.

Modes and limits mean what TRL's `vllm_importance_sampling_mode`, `_clip_min` and `_clip_max` mean: a ratio per token or per
completion, cut at the limits (`*_truncate`) or set to 0 beyond them (`*_mask`).

Source  truncated and masked importance sampling in TRL's GRPOTrainer (1.16); the ratio per completion, uncut, is what makes
        the gradient unbiased (docs/performance.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


def importance_ratio(
    policy: Tensor, sampler: Tensor, mask: Tensor, mode: str, low: float | None, high: float | None
) -> tuple[Tensor, Tensor]:
    """pi(token) / q(token), bounded.

    Args:
        policy: (B, C) log-probabilities under the policy in training.
        sampler: (B, C) under the distribution that the tokens were drawn from.
        mask: (B, C) 1 where a token counts; elsewhere the ratio is 1.
        mode: one of MODES.
        low: least ratio; None for no limit.
        high: greatest ratio; None for no limit.

    Returns:
        (B, C) for `token_*`, (B, 1) for `sequence_*`, without a gradient; and where it lay outside the limits, bool.
    """
    difference = torch.where(mask != 0, policy.detach() - sampler, 0.0)
    if mode.startswith("sequence"):
        difference = difference.sum(dim=1, keepdim=True)
    ratio = difference.exp()
    outside = torch.zeros_like(ratio, dtype=torch.bool)
    if low is not None:
        outside = outside | (ratio < low)
    if high is not None:
        outside = outside | (ratio > high)
    if mode.endswith("mask"):
        return ratio.masked_fill(outside, 0.0), outside
    return ratio.clamp(min=low, max=high), outside


@dataclass
class MismatchWindow:
    """What the micro-batches since the last optimizer step have shown."""

    distances: list[Tensor] = field(default_factory=list)  # (K,) |log ratio| of tokens, before penalty and truncation
    weights: list[Tensor] = field(default_factory=list)  # (K,) ratios as they weigh: of tokens or of completions
    outside: list[Tensor] = field(default_factory=list)  # (K,) bool

    def add(self, distance: Tensor, mask: Tensor, ratio: Tensor | None, outside: Tensor | None) -> None:
        """One micro-batch; without a ratio only its distances (B, C)."""
        tokens = mask != 0
        self.distances.append(distance.detach()[tokens].float())
        if ratio is not None and outside is not None:
            counted = tokens if ratio.size(1) == tokens.size(1) else tokens.any(dim=1, keepdim=True)
            self.weights.append(ratio[counted].float())
            self.outside.append(outside[counted])

    def sums(self) -> Tensor:
        """(8,) what processes add up: tokens, distances, processes with tokens, their 99th percentiles, ratios, their
        squares, how many, and how many of them outside the limits."""
        distances = torch.cat(self.distances)
        some = len(distances) > 0
        high = distances.quantile(0.99) if some else distances.new_zeros(())
        weights = torch.cat(self.weights) if self.weights else distances.new_zeros(0)
        outside = torch.cat(self.outside).float() if self.outside else distances.new_zeros(0)
        parts = (
            distances.new_tensor(len(distances)),
            distances.sum(),
            distances.new_tensor(float(some)),
            high,
            weights.sum(),
            weights.square().sum(),
            distances.new_tensor(len(weights)),
            outside.sum(),
        )
        return torch.stack(parts)


def measures(sums: Tensor) -> dict[str, float]:
    """The metrics of `MismatchWindow.sums`, added up over processes; {} where no token was seen.

    mismatch, mismatch_p99  |log pi - log q| of tokens in nats: mean, and 99th percentile (mean over processes)
    capped                  share of ratios (of tokens or completions, as the mode says) outside the limits
    effective_samples       (sum of ratios)^2 / (number x sum of squares): 1 where all weigh the same
    """
    tokens, distance, processes, high, weight, square, ratios, outside = sums.tolist()
    if tokens == 0:
        return {}
    found = {"mismatch": distance / tokens, "mismatch_p99": high / processes}
    if ratios > 0:
        found["capped"] = outside / ratios
        found["effective_samples"] = weight * weight / (ratios * square) if square > 0 else 0.0
    return found
