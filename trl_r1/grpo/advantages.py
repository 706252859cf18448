"""Advantages: rewards of a batch in, one credit per completion out.

Shapes  N = P * G rows: P prompts, G completions each, the rows of one prompt adjacent. F reward functions.
Units   rewards are in reward points; each function says whether its advantages are points or standard deviations.
NaN     "no reward function could score this completion"; it leaves with advantage 0 and moves no baseline.

G may be 1 (evaluation with one generation): every advantage that compares siblings is then 0.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trl_r1.errors import did_you_mean


AdvantageFn = Callable[..., Tensor]

EPSILON = 1e-4  # TRL's guard against division by a zero standard deviation; kept so that our numbers are its numbers
DEAD_SPREAD = 1e-8  # rewards closer together than this are equal (TRL's `isclose(std, 0)` uses the same tolerance)


def deviation(rewards: Tensor, dim: int | None = None) -> Tensor:
    """Sample standard deviation (divisor n - 1) over the scored entries; NaN where fewer than two are scored.

    The order of operations is TRL's (`trl.trainer.utils.nanstd`), so that group_normalized is bit-identical to it.
    """
    mean = torch.nanmean(rewards, dim=dim, keepdim=True)
    variance = torch.nanmean((rewards - mean) ** 2, dim=dim, keepdim=True)
    count = torch.sum(~torch.isnan(rewards), dim=dim, keepdim=True)
    correction = count / (count - 1)
    variance = variance * torch.where(count > 1, correction, torch.full_like(correction, float("nan")))
    std = torch.sqrt(variance)
    return std.squeeze() if dim is None else std.squeeze(dim)


def _centred(rewards: Tensor, group_size: int) -> Tensor:
    """(N,) reward minus the mean of its group, NaN where unscored."""
    mean = torch.nanmean(rewards.view(-1, group_size), dim=1)  # (P,)
    return rewards - mean.repeat_interleave(group_size)  # (N,)


def group_normalized(rewards: Tensor, group_size: int) -> Tensor:
    """Distance from the group's mean in group standard deviations: ``A_i = (r_i - mean(r)) / (std(r) + 1e-4)``.

    Args:
        rewards: (N,) reward points, NaN where unscored.
        group_size: G.

    Returns:
        (N,) advantages in standard deviations (sample std, as TRL), summing to 0 inside every group.

    Source: GRPO; DeepSeek-R1, arXiv:2501.12948, Eq. 3. The paper does not say which std nor the 1e-4; both are TRL's.
    """
    if group_size == 1:
        return torch.zeros_like(rewards)
    std = deviation(rewards.view(-1, group_size), dim=1).repeat_interleave(group_size)  # (N,)
    return torch.nan_to_num(_centred(rewards, group_size) / (std + EPSILON), nan=0.0)


def group_centered(rewards: Tensor, group_size: int) -> Tensor:
    """Reward minus the mean of its group: ``A_i = r_i - mean(r)``.

    Args and Returns: as `group_normalized`, but in reward points.

    Source: Dr. GRPO, Liu et al. 2025, arXiv:2503.20783, Sec. 3.2 (dividing by the std favours too easy and too hard
    questions).
    """
    return torch.nan_to_num(_centred(rewards, group_size), nan=0.0)


def leave_one_out(rewards: Tensor, group_size: int) -> Tensor:
    """Reward minus the mean reward of its siblings: ``A_i = r_i - sum_{j != i} r_j / (G - 1)``.

    Args:
        rewards: (N,) reward points, NaN where unscored.
        group_size: G; a completion without scored siblings gets 0.

    Returns:
        (N,) advantages in reward points, summing to 0 inside every group.

    Source: RLOO, Ahmadian et al. 2024, arXiv:2402.14740.
    """
    groups = rewards.view(-1, group_size)  # (P, G)
    scored = ~groups.isnan()  # (P, G)
    points = groups.nan_to_num(0.0)  # (P, G)
    siblings = scored.sum(dim=1, keepdim=True) - 1  # (P, 1)
    baseline = (points.sum(dim=1, keepdim=True) - points) / siblings.clamp(min=1)  # (P, G)
    return torch.where(scored & (siblings > 0), points - baseline, 0.0).flatten()


def batch_normalized(rewards: Tensor, group_size: int) -> Tensor:
    """Distance from the group's mean in standard deviations of the whole batch.

    ``A_i = (r_i - mean(r of the group)) / (std(r of all N) + 1e-4)``; TRL's ``scale_rewards="batch"``.

    Args and Returns: as `group_normalized`.

    Source: Lite PPO, Liu et al. 2025, arXiv:2508.08221 (group mean, batch std).
    """
    if rewards.numel() < 2:
        return torch.zeros_like(rewards)
    return torch.nan_to_num(_centred(rewards, group_size) / (deviation(rewards) + EPSILON), nan=0.0)


def robust(rewards: Tensor, group_size: int) -> Tensor:
    """Distance from the group's median in scaled median absolute deviations: one outlier moves no one else's credit.

    ``A_i = (r_i - median(r)) / (1.4826 * MAD(r) + 1e-4)`` with ``MAD = median |r_j - median(r)|``; the factor makes the
    scale equal the standard deviation on normally distributed rewards. Where more than half of a group shares one
    value the MAD is 0; the mean absolute deviation times 1.2533 (the same calibration) takes its place, so that a
    lone success still gets a finite credit.

    Args and Returns: as `group_normalized`; the advantages do not sum to 0.

    Source: Rousseeuw and Croux 1993, doi:10.1080/01621459.1993.10476408, for MAD and its constant; Iglewicz and
    Hoaglin 1993 for the mean absolute deviation as its stand-in.
    """
    groups = rewards.view(-1, group_size)  # (P, G)
    middle = _median(groups)  # (P, 1)
    distance = (groups - middle).abs()  # (P, G)
    scale = 1.4826 * _median(distance)  # (P, 1)
    stand_in = 1.2533 * torch.nanmean(distance, dim=1, keepdim=True)  # (P, 1)
    scale = torch.where(scale > DEAD_SPREAD, scale, stand_in)
    return torch.nan_to_num((groups - middle) / (scale + EPSILON), nan=0.0).flatten()


def _median(groups: Tensor) -> Tensor:
    """(P, 1) median of the scored entries of each row, the mean of the middle two when their number is even."""
    return torch.nanquantile(groups.double(), 0.5, dim=1, keepdim=True, interpolation="midpoint").to(groups.dtype)


def pass_at_k(rewards: Tensor, group_size: int, k: int = 4) -> Tensor:
    """Credit for what a completion does for the best of k: exploration is paid until one of k tries succeeds.

    Every subset S of k completions of the group earns ``R_S = max_{i in S} r_i``; a completion's advantage is the mean
    over the subsets it belongs to of ``(R_S - mean_S R_S) / (std_S R_S + 1e-4)``, std over all subsets (population).
    All C(G, k) subsets are averaged in closed form. With 0/1 rewards and c right of G this is the paper's
    ``R = 1 - C(G - c, k) / C(G, k)``, ``std = sqrt(R (1 - R))``.

    Args:
        rewards: (N,) reward points, NaN where unscored; an unscored completion belongs to no subset.
        group_size: G.
        k: subset size, 1 <= k; a group with fewer than k scored completions gets 0. ``k=1`` is group normalisation
            with the population standard deviation.

    Returns:
        (N,) advantages in standard deviations of the best-of-k reward, summing to 0 inside every group.

    Source: Pass@k training, Chen et al. 2025, arXiv:2508.10751, analytic form.
    Departure: the paper derives it for 0/1 rewards; here r is any real number, and `max` takes the place of "any right".
    """
    if k < 1:
        raise ValueError(f"pass_at_k needs k of at least 1, got k={k}.")
    advantages = torch.zeros_like(rewards)
    for start in range(0, rewards.numel(), group_size):
        group = rewards[start : start + group_size]
        scored = (~group.isnan()).nonzero().flatten()
        if len(scored) < max(k, 2):
            continue
        values, order = group[scored].double().sort()
        n = len(values)
        # the j-th smallest value (0-based) is the maximum of C(j, k-1) of the C(n, k) subsets
        share = torch.tensor([math.comb(j, k - 1) for j in range(n)], dtype=torch.double) / math.comb(n, k)
        share = share.to(values.device)
        mean = (share * values).sum()
        std = (share * (values - mean) ** 2).sum().sqrt()
        # subsets with a given member: the other k-1 come from the n-1 others, whose maximum is the j-th smallest
        # other in C(j, k-2) of the C(n-1, k-1) cases
        best = values.clone()
        if k > 1:
            chance = torch.tensor([math.comb(j, k - 2) for j in range(n - 1)], dtype=torch.double)
            chance = chance.to(values.device) / math.comb(n - 1, k - 1)
            for i in range(n):
                others = torch.cat([values[:i], values[i + 1 :]])
                best[i] = (chance * torch.maximum(others, values[i])).sum()
        credit = torch.empty_like(values)
        credit[order] = (best - mean) / (std + EPSILON)
        advantages[start + scored] = credit.to(advantages.dtype)
    return advantages


ADVANTAGES: dict[str, AdvantageFn] = {
    "group_normalized": group_normalized,  # GRPO, DeepSeek-R1 Eq. 3
    "group_centered": group_centered,  # Dr. GRPO
    "leave_one_out": leave_one_out,  # RLOO
    "batch_normalized": batch_normalized,  # Lite PPO
    "robust": robust,  # median and MAD
    "pass_at_k": pass_at_k,  # Pass@k training
}


PER_TOKEN = ("one_tower", "two_tower")  # not functions of the rewards alone: a critic learns them (trl_r1.grpo.critic)


def find_advantage(name: str) -> AdvantageFn:
    """The advantage function called `name`: one of ADVANTAGES, or the user's own by dotted path (`package.module.f`).

    Raises:
        ValueError: no such name, or the dotted path leads to nothing callable.
    """
    if name in ADVANTAGES:
        return ADVANTAGES[name]
    if "." not in name:
        known = ["trl", *ADVANTAGES, *PER_TOKEN]
        raise ValueError(
            f"advantage={name!r} is unknown.{did_you_mean(name, known)} Choose one of:"
            f" {', '.join(known)}, or give your own by dotted path (package.module.function)."
        )
    module_name, _, attribute = name.rpartition(".")
    if os.getcwd() not in sys.path:  # `trl grpo` finds dotted rewards beside the script in the same way
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"advantage={name!r} could not be imported ({error}). Give package.module.function, importable from "
            f"{os.getcwd()}, or one of: trl, {', '.join(ADVANTAGES)}."
        ) from error
    if not callable(function):
        raise ValueError(
            f"advantage={name!r} is a {type(function).__name__}, not a function of (rewards, group_size)."
        )
    return function


def weighted_sum(scores: Tensor, weights: Tensor) -> Tensor:
    """(N, F) scores and (F,) weights -> (N,) rewards; NaN only where no function scored the completion.

    TRL's ``multi_objective_aggregation="sum_then_normalize"``.
    """
    rewards = (scores * weights.unsqueeze(0)).nansum(dim=1)  # (N,)
    return torch.where(scores.isnan().all(dim=1), torch.nan, rewards)


def weighted_sum_of_normalized(scores: Tensor, weights: Tensor, group_size: int) -> Tensor:
    """(N, F) scores, each function normalised inside its group first, then the weighted sum -> (N,) rewards.

    TRL's ``multi_objective_aggregation="normalize_then_sum"`` before its own batch normalisation, so that
    ``batch_normalized`` of this is what TRL trains on.

    Source: GDPO, Liu et al. 2026, arXiv:2601.05242.
    """
    groups = scores.view(-1, group_size, scores.shape[1])  # (P, G, F)
    mean = torch.nanmean(groups, dim=1, keepdim=True)
    std = deviation(groups, dim=1).unsqueeze(1) if group_size > 1 else torch.zeros_like(mean)
    return weighted_sum(((groups - mean) / (std + EPSILON)).view(scores.shape), weights)


def dead_groups(rewards: Tensor, group_size: int) -> Tensor:
    """(N,) rewards -> (N,) bool: True for every completion of a group whose scored rewards are all equal.

    Such a group compares nothing: every estimator that looks at siblings gives it advantage 0. A group with fewer than
    two scored completions counts as dead too.
    """
    groups = rewards.view(-1, group_size)  # (P, G)
    highest = groups.nan_to_num(-torch.inf).amax(dim=1)
    lowest = groups.nan_to_num(torch.inf).amin(dim=1)
    return ~(highest - lowest > DEAD_SPREAD).repeat_interleave(group_size)


def ungraded_groups(rewards: Tensor, group_size: int) -> Tensor:
    """(N,) rewards -> (N,) bool: True for every completion of a group that the rewards could not compare.

    Fewer than two of its completions have a reward (of a group of one: none). Every such group is dead as well.
    """
    graded = (~rewards.isnan()).view(-1, group_size).sum(dim=1)  # (P,)
    return (graded < min(2, group_size)).repeat_interleave(group_size)


def compares_nothing(function: AdvantageFn, group_size: int, options: Mapping[str, Any]) -> bool:
    """Whether an advantage is 0 for every completion, whatever the rewards: tried on groups that differ in all ways.

    One right of G, one wrong of G, half right, and G different rewards; a function that credits none of them credits
    nothing.
    """
    places = torch.arange(group_size, dtype=torch.float32)
    groups = [places == 0, places != 0, places < group_size / 2, places]
    credit = function(torch.cat([group.float() for group in groups]), group_size, **options)
    return isinstance(credit, Tensor) and bool((credit == 0).all())
