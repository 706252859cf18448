"""The maths of a critic over tokens: rewards and values in, advantages, value targets and a clipped loss out.

Shapes  B completions, T token columns, K towers (1 or 2). A mask is 1 where a token is an action of the policy; holes
        (tool results) and padding are 0 and are stepped over: the action after a hole follows the one before it.
Units   rewards, values, returns and targets are in reward points; what a tower puts out is in standard deviations of
        its target (see `Moments`).

Time    the state of column t is what the policy has read before it writes token t. ``immediate[t]`` estimates the reward
        that token t earns, ``long_term[t]`` the discounted reward of all tokens after it, and

            V[t] = immediate[t] + gamma * long_term[t]        (two towers)        V[t] = the one output (one tower)

        After the last token nothing follows: V is 0 there, also where a completion was cut at its longest length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def reward_to_go(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Discounted sum of the rewards from a token to the end: ``G[t] = r[t] + gamma * G[t + 1]``.

    Args:
        rewards: (B, T) reward points.
        mask: (B, T).

    Returns:
        (B, T) reward points, 0 outside the mask.
    """
    returns, following = torch.zeros_like(rewards), rewards.new_zeros(len(rewards))
    for column in reversed(range(rewards.size(1))):
        here = mask[:, column] != 0
        following = torch.where(here, rewards[:, column] + gamma * following, following)
        returns[:, column] = torch.where(here, following, 0.0)
    return returns


def generalized_advantages(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """Generalised advantage estimation over tokens.

    ``delta[t] = r[t] + gamma * V[t + 1] - V[t]`` and ``A[t] = delta[t] + gamma * lam * A[t + 1]``. With ``gamma = lam = 1``
    and ``V = 0`` an advantage is the reward-to-go.

    Args:
        rewards: (B, T) reward points of each token.
        values: (B, T) V, reward points.
        mask: (B, T).
        gamma: discount per token, in [0, 1].
        lam: from 0 (one step, all bias) to 1 (the whole return, no bias of the critic), in [0, 1].

    Returns:
        (B, T) reward points, 0 outside the mask.

    Source: Schulman et al. 2016, arXiv:1506.02438, Eq. 16.
    """
    advantages = torch.zeros_like(rewards)
    value_after, advantage_after = rewards.new_zeros(len(rewards)), rewards.new_zeros(len(rewards))
    for column in reversed(range(rewards.size(1))):
        here = mask[:, column] != 0
        delta = rewards[:, column] + gamma * value_after - values[:, column]
        advantage_after = torch.where(here, delta + gamma * lam * advantage_after, advantage_after)
        value_after = torch.where(here, values[:, column], value_after)
        advantages[:, column] = torch.where(here, advantage_after, 0.0)
    return advantages


def following(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T): at every token of the mask the entry of the next such token; 0 after the last one and outside the mask."""
    result, after = torch.zeros_like(values), values.new_zeros(len(values))
    for column in reversed(range(values.size(1))):
        here = mask[:, column] != 0
        result[:, column] = torch.where(here, after, 0.0)
        after = torch.where(here, values[:, column], after)
    return result


def tower_targets(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, towers: int) -> Tensor:
    """What the towers learn to predict.

    With ``R[t] = A[t] + V[t]``, the lambda-return:

        one tower     R[t]
        two towers    immediate: r[t]; long-term: ``(1 - lam) * V[t + 1] + lam * R[t + 1]``

    so that in both cases the targets put together (``immediate + gamma * long-term``) are R[t].

    Args:
        values: (B, T) V under which the completions were made.
        towers: K, 1 or 2.

    Returns:
        (B, T, K) reward points, 0 outside the mask.
    """
    returns = generalized_advantages(rewards, values, mask, gamma, lam) + values * (mask != 0)
    if towers == 1:
        return returns.unsqueeze(2)
    later = following((1.0 - lam) * values + lam * returns, mask)
    return torch.stack([rewards * (mask != 0), later], dim=2)


def value_of(towers: Tensor, gamma: float) -> Tensor:
    """(B, T, K) tower estimates in reward points -> (B, T) V."""
    return towers[..., 0] if towers.size(-1) == 1 else towers[..., 0] + gamma * towers[..., 1]


def clipped_value_errors(outputs: Tensor, old: Tensor, targets: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Half the squared error, or that of an output held within `clip` of the old one, whichever is larger.

    ``0.5 * max((o - y)^2, (old + clamp(o - old, -clip, clip) - y)^2)``: an output that has already moved by `clip` towards
    its target gets no further gradient from this batch.

    Args:
        outputs: any shape, with gradient.
        old: the same shape, as it was when the completions were made.
        targets: the same shape.
        clip: in units of the outputs; infinity does not clip.

    Returns:
        The errors, and a boolean that is True where clipping stopped the gradient; both of that shape.

    Source: the value loss of OpenAI's PPO2 (Baselines); the PPO paper, arXiv:1707.06347, does not have it.
    """
    free = (outputs - targets) ** 2
    held = (old + (outputs - old).clamp(-clip, clip) - targets) ** 2
    return 0.5 * torch.maximum(free, held), held > free


def whitened(advantages: Tensor, mask: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """(B, T) advantages minus `mean`, over `deviation` + 1e-8, 0 outside the mask; both are of the whole batch."""
    return (advantages - mean) / (deviation + 1e-8) * (mask != 0)


def explained_variance(error_variance: float, return_variance: float) -> float:
    """``1 - var(G - V) / var(G)``, G the reward-to-go: 1 is perfect, 0 no better than a constant, below 0 worse.

    NaN where the returns do not vary.
    """
    return 1.0 - error_variance / return_variance if return_variance > 1e-12 else float("nan")


@dataclass
class Moments:
    """Running mean and variance of each tower's target, in reward points; what the towers' outputs are measured in.

    An exponential mean over batches, with the bias of its start divided out (as Adam does), so that the first batch
    counts fully and old batches fade as the policy changes. A tower whose target never varied has deviation 1.

    Args:
        towers: K.
        decay: weight of the past at every update, in [0, 1).
    """

    towers: int
    decay: float = 0.99

    def __post_init__(self):
        # float64, so that the same numbers come back from a checkpoint whatever the towers' type
        self.sums = torch.zeros(3, self.towers, dtype=torch.float64)  # faded [weight, values, squares]

    def update(self, count: Tensor, total: Tensor, squares: Tensor) -> None:
        """Takes in one batch: how many tokens (scalar), the sum of their targets (K,) and of the squares (K,)."""
        if not count > 0:
            return
        batch = torch.stack([torch.ones(self.towers), (total / count).cpu(), (squares / count).cpu()])
        self.sums = self.decay * self.sums + (1.0 - self.decay) * batch.double()

    @property
    def mean(self) -> Tensor:
        """(K,) float64."""
        return self.sums[1] / self.sums[0].clamp(min=1e-12)

    @property
    def deviation(self) -> Tensor:
        """(K,) float64, positive."""
        variance = (self.sums[2] / self.sums[0].clamp(min=1e-12) - self.mean**2).clamp(min=0.0)
        return torch.where(variance > 1e-8, variance.sqrt(), 1.0)

    def to_points(self, outputs: Tensor) -> Tensor:
        """(..., K) outputs -> reward points."""
        return outputs * self.deviation.to(outputs) + self.mean.to(outputs)

    def to_outputs(self, points: Tensor) -> Tensor:
        """(..., K) reward points -> the outputs that mean them."""
        return (points - self.mean.to(points)) / self.deviation.to(points)
