"""Critic: towers with a memory of their targets' scale; from a batch's rewards to its advantages, and to its own loss.

It knows no trainer: `credit` and `loss` take tensors, and a `total` that adds a tensor up over all processes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trl_r1.compat.host import Batch
from trl_r1.grpo.critic.options import CriticOptions
from trl_r1.grpo.critic.towers import NAMES, Ear, Towers
from trl_r1.grpo.critic.values import (
    Moments,
    clipped_value_errors,
    explained_variance,
    generalized_advantages,
    reward_to_go,
    tower_targets,
    value_of,
    whitened,
)


FILE_NAME = "critic.safetensors"
Total = Callable[[Tensor], Tensor]  # a tensor summed over processes


class Critic:
    """The value function of a run, one tower or two.

    Args:
        advantage: 'one_tower' or 'two_tower'.
        options: see `CriticOptions`.
        norm: the policy's final norm, which it listens at.
        size: H, the policy's hidden size.
        seed: of the towers' first weights.
        device: where they live.
    """

    def __init__(
        self, advantage: str, options: CriticOptions, norm: nn.Module, size: int, seed: int, device: torch.device
    ):
        self.options = options
        self.towers = Towers(NAMES[advantage], size, options.width, seed).to(device)
        self.moments = Moments(len(self.towers.names), options.decay)
        self.ear = Ear(norm)
        self._outputs: Tensor | None = None  # (B, C, K) of the forward passes under way

    @property
    def names(self) -> tuple[str, ...]:
        return self.towers.names

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The towers' weights, always in the same order."""
        return list(self.towers.parameters())

    # -- reading ------------------------------------------------------------------------------------------------------

    def place(self, shape: tuple[int, int], rows: Tensor, columns: Tensor, places: Tensor | None = None) -> None:
        """Turns the states just heard into outputs.

        Args:
            shape: (B, C) of the padded batch.
            rows, columns: where the outputs belong there.
            places: which of a packed row's tokens predict them; None: the pass was over padded rows, each completion
                token predicted by the one before it, and `columns` counts from the first of them.
        """
        for states in self.ear.take():
            if self._outputs is None:
                self._outputs = torch.zeros(*shape, len(self.names), device=states.device)
            if places is None:
                size = columns.size(-1)
                outputs = self.towers(states[:, -size - 1 : -1])
            else:
                outputs = self.towers(states[0, places])
            self._outputs = self._outputs.index_put((rows, columns), outputs)

    def outputs(self, shape: tuple[int, int]) -> Tensor | None:
        """(B, C, K) of all passes since the last call, 0 where nothing was computed; None if nothing was heard."""
        if self._outputs is None and self.ear.states:  # padded rows, in order
            states = torch.cat(self.ear.take())
            self._outputs = self.towers(states[:, -shape[1] - 1 : -1])
        outputs, self._outputs = self._outputs, None
        self.ear.take()
        return outputs

    # -- credit and loss ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def credit(
        self, rewards: Tensor, outputs: Tensor, mask: Tensor, total: Total, learns: bool
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
        """Advantages of a batch, and what its loss will need.

        Args:
            rewards: (B, T) reward points by token.
            outputs: (B, T, K) of the towers, before any update with this batch.
            mask: (B, T), 1 where a token is an action that a reward judged.
            learns: whether the running moments take this batch in (they do not in evaluation).

        Returns:
            (B, T) advantages, 0 outside the mask; what `loss` wants, by name; what to log, by name.
        """
        options, towers, mask = self.options, len(self.names), (mask != 0).to(rewards.dtype)
        estimates = self.moments.to_points(outputs.to(rewards.dtype)) * mask.unsqueeze(2)  # (B, T, K)
        values = value_of(estimates, options.gamma)
        advantages = generalized_advantages(rewards, values, mask, options.gamma, options.lam)
        targets = tower_targets(rewards, values, mask, options.gamma, options.lam, towers)
        returns = reward_to_go(rewards, mask, options.gamma)
        # one sum over all processes' tokens, whose columns may differ in number: first and second moments of everything
        single = torch.stack([advantages, returns, returns - values], dim=2)
        columns = torch.cat([single, targets, estimates], dim=2).double()  # (B, T, 3 + 2 K)
        sums = total(torch.cat([mask.double().sum()[None], columns.sum(dim=(0, 1)), (columns**2).sum(dim=(0, 1))]))
        count, (first, second) = sums[0], sums[1:].view(2, -1)
        tokens = count.clamp(min=1.0)
        mean, variance = first / tokens, (second / tokens - (first / tokens) ** 2).clamp(min=0.0)
        if learns:
            self.moments.update(count, first[3 : 3 + towers], second[3 : 3 + towers])
        if options.whiten:
            advantages = whitened(advantages, mask, mean[0].to(rewards.dtype), variance[0].sqrt().to(rewards.dtype))
        metrics = {f"{name}_mean": mean[3 + towers + k].item() for k, name in enumerate(self.names)}
        metrics["return_mean"] = mean[1].item()
        metrics["return_std"] = variance[1].sqrt().item()
        metrics["explained_variance"] = explained_variance(variance[2].item(), variance[1].item())
        batch = {
            "critic_outputs": outputs,
            "critic_targets": targets,
            "critic_mask": mask,
            "critic_tokens": count.to(rewards.dtype),
        }
        return advantages, batch, metrics

    def loss(self, outputs: Tensor, batch: Batch, total: Total) -> tuple[Tensor, dict[str, float]]:
        """Clipped value loss of a micro-batch, summed over towers and tokens (to be divided by the caller's token count).

        Args:
            outputs: (B, T, K), with gradient.
            batch: holds what `credit` returned, for these rows.

        Returns:
            A scalar in squared standard deviations; what to log, as means over the tokens of all processes.
        """
        targets = self.moments.to_outputs(batch["critic_targets"])
        clip = math.inf if self.options.clip is None else self.options.clip
        errors, clipped = clipped_value_errors(outputs, batch["critic_outputs"], targets, clip)
        mask = batch["critic_mask"].unsqueeze(2)
        by_tower = (errors * mask).sum(dim=(0, 1))  # (K,)
        here = torch.cat([by_tower.detach(), (clipped * mask).sum()[None], mask.sum()[None]])
        sums = total(here)
        tokens = sums[-1].clamp(min=1.0)
        metrics = {"value_loss": (sums[:-2].sum() / tokens).item()}
        if len(self.names) > 1:
            metrics |= {f"{name}_loss": (sums[k] / tokens).item() for k, name in enumerate(self.names)}
        metrics["clip_share"] = (sums[-2] / tokens / len(self.names)).item()
        return by_tower.sum(), metrics

    # -- over a resume --------------------------------------------------------------------------------------------------

    def save(self, folder: str | os.PathLike) -> None:
        """Writes the towers and the moments into `folder`, whole or not at all."""
        path = Path(folder) / FILE_NAME
        partial = path.with_suffix(".partial")
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.towers.state_dict().items()}
        save_file({**tensors, "moments": self.moments.sums}, partial)
        os.replace(partial, path)

    def load(self, folder: str | os.PathLike) -> None:
        """Restores what `save` wrote.

        Raises:
            ValueError: the towers in it have other names or another size.
        """
        path = Path(folder) / FILE_NAME
        saved = load_file(path)
        moments = saved.pop("moments")
        saved_shapes = {name: tuple(tensor.shape) for name, tensor in saved.items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in self.towers.state_dict().items()}
        if saved_shapes != shapes:
            differing = sorted(set(shapes.items()) ^ set(saved_shapes.items()))[0][0]
            raise ValueError(
                f"Cannot resume: {path} holds other towers than advantage_options ask for ({differing}). Give the "
                "advantage and the width that the run began with."
            )
        self.towers.load_state_dict(saved)
        self.moments.sums = moments


def check_checkpoint(checkpoint: str | os.PathLike, advantage: str) -> None:
    """Raises ValueError if a run with this advantage cannot go on from `checkpoint`, for lack or excess of towers."""
    there = (Path(checkpoint) / FILE_NAME).is_file()
    if advantage in NAMES and not there:
        raise ValueError(
            f"Cannot resume from {checkpoint}: it holds no {FILE_NAME}, so the towers of advantage={advantage!r} are lost. "
            "Resume from a checkpoint of a run with a critic, or start without resume_from_checkpoint."
        )
    if advantage not in NAMES and there:
        raise ValueError(
            f"Cannot resume from {checkpoint} with advantage={advantage!r}: it was written with a critic, whose towers are "
            f"in its {FILE_NAME} and its optimizer. Give the advantage that the run began with."
        )
