"""KL divergence to the reference policy: estimators in nats, their importance weights, and a controller for beta.

Shapes  B completions, T tokens; log-probabilities and masks are (B, T), a sequence-level quantity is (B, 1).
Units   nats; the log-ratio is ``log pi_ref - log pi``, so that ``k1`` is its negative.

Values and gradients are two questions. All three estimators have the KL as their expected value (k2 to second order),
but differentiated as a loss they differ: k1 has expected gradient zero, k2 has exactly the gradient of
KL(pi || pi_ref), k3 has the gradient of the forward KL(pi_ref || pi), unless it is multiplied by the importance ratio,
which gives the reverse one. tests/grpo/test_kl.py computes each in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


KLEstimator = Callable[[Tensor, Tensor], Tensor]

LOG_RATIO_LIMIT = 20.0  # nats; exp(20) = 5e8. TRL clamps its sequence-level weights (VESPO) at the same place.


def k1(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """``log pi - log pi_ref``: unbiased, high variance, may be negative. Right inside a reward, useless inside a loss.

    Source: Schulman 2020, "Approximating KL divergence", for the three estimators and their names.
    """
    return logps - reference_logps


def k2(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """``(log pi - log pi_ref)^2 / 2``: never negative; its gradient is the gradient of KL(pi || pi_ref) in expectation."""
    return 0.5 * (logps - reference_logps) ** 2


def k3(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """``pi_ref/pi - log(pi_ref/pi) - 1``: unbiased, never negative. Source: DeepSeek-R1, arXiv:2501.12948, Eq. 2."""
    log_ratio = reference_logps - logps
    return torch.exp(log_ratio) - log_ratio - 1


KL_ESTIMATORS: dict[str, KLEstimator] = {"k1": k1, "k2": k2, "k3": k3}


def sequence_sum(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T) per token and mask -> (B, 1) sum over the completion."""
    return (values * mask).sum(dim=-1, keepdim=True)


def kl_to_reference(estimator: str, level: str, logps: Tensor, reference_logps: Tensor, mask: Tensor) -> Tensor:
    """The estimator applied per token, (B, T), or once to the whole completion's log-probability, (B, 1).

    Args:
        estimator: a key of KL_ESTIMATORS.
        level: "token", or "sequence": DeepSeek-R1 Eq. 2 as printed, where pi(o|q) is the probability of the completion.
            The summed log-ratio is held within 20 nats, so that exp stays finite.
        logps, reference_logps: (B, T) nats.
        mask: (B, T), 1 where a token counts.

    Returns:
        Nats per token, or nats per completion.
    """
    if level == "sequence":
        total = sequence_sum(logps - reference_logps, mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)  # (B, 1)
        return KL_ESTIMATORS[estimator](total, torch.zeros_like(total))
    return KL_ESTIMATORS[estimator](logps, reference_logps)


def importance_log_weight(logps: Tensor, old_logps: Tensor, mask: Tensor, level: str) -> Tensor:
    """``log pi - log pi_old`` at the level the policy ratio uses.

    Args:
        level: "token" -> (B, T); "sequence" -> (B, 1) mean over the completion (GSPO, as TRL);
            "sequence_product" -> (B, 1) sum over the completion, held within 20 nats (DeepSeek-R1 Eq. 1 as printed).
    """
    log_ratio = logps - old_logps
    if level == "token":
        return log_ratio
    total = sequence_sum(log_ratio, mask)
    if level == "sequence":
        return total / mask.sum(dim=-1, keepdim=True).clamp(min=1.0)
    return total.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def weighted_kl(estimator: str, kl: Tensor, log_weight: Tensor) -> Tensor:
    """KL term times the importance ratio, so that samples of the old policy estimate the current policy's KL.

    k3 keeps the ratio in the graph: ``E_old[rho k3]`` is the reverse KL for every policy, hence so is its gradient (TRL's
    ``use_bias_correction_kl``, DeepSeek-V3.2). k2 takes it as a constant: ``E_old[rho grad k2]`` is the gradient of the
    reverse KL, while differentiating rho as well would add the gradient of another divergence.
    """
    weight = torch.exp(log_weight)
    return kl * (weight if estimator == "k3" else weight.detach())


def as_product(logps: Tensor, old_logps: Tensor | None, mask: Tensor) -> Tensor:
    """Log-probabilities whose *mean* log-ratio over a completion is the *sum* of the true log-ratios.

    TRL's sequence level averages ``logps - old_logps`` over the completion (GSPO). Given these instead it computes
    ``exp(sum_t log pi_t / pi_old_t)``, the ratio of DeepSeek-R1 Eq. 1 as printed, values and gradients alike. The sum is
    held within 20 nats; beyond it the ratio is far outside any clip range and passes no gradient.

    Args:
        logps: (B, T) with gradient.
        old_logps: (B, T), or None for "the policy that sampled is this one" (ratio 1, gradient of the sum).
        mask: (B, T), 1 where a token counts.

    Returns:
        (B, T); only the mean over counted tokens of its difference to `old_logps` means anything.
    """
    base = logps.detach() if old_logps is None else old_logps
    total = importance_log_weight(logps, base, mask, "sequence_product")  # (B, 1)
    return base + total  # the mean over the completion of what is added is the sum


@dataclass
class AdaptiveBeta:
    """Keeps the measured KL near `target` by moving `beta` by at most ``0.2 * gain`` of itself per optimizer step.

    Source: the proportional controller of Ziegler et al. 2019, arXiv:1909.08593, Sec. 2.2 (error clipped at 0.2, gain
    0.1). Departure: `beta` is held between `lowest` and `highest`, since a beta of 0 would switch TRL's KL term off.
    """

    beta: float
    target: float  # nats per token
    gain: float = 0.1
    lowest: float = 1e-6
    highest: float = 10.0

    def update(self, kl: float) -> float:
        """One optimizer step's mean KL in nats per token in, the next step's beta out."""
        error = max(-0.2, min(0.2, kl / self.target - 1.0))
        self.beta = max(self.lowest, min(self.highest, self.beta * (1.0 + self.gain * error)))
        return self.beta
