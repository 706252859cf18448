"""The towers: small networks over the policy's last hidden states, and the ear at its final norm that hears those states.

The trunk is the policy, detached: a tower's loss moves the tower and nothing else, and a forward pass that the trainer
makes anyway serves both. So a critic costs a few thousand weights instead of a second model.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


NAMES = {"one_tower": ("value",), "two_tower": ("immediate", "long_term")}
NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "norm_f", "embedding_norm")  # of a decoder, by name


class Towers(nn.Module):
    """K networks from the policy's hidden states to one number each, in float32.

    Each is linear, or one hidden layer with SiLU; the last layer starts at zero, so that all outputs do.

    Args:
        names: of the towers, K of them.
        size: H, the policy's hidden size.
        width: of the hidden layer; 0 for none.
        seed: of the first weights; the process's own random numbers are left alone.
    """

    def __init__(self, names: tuple[str, ...], size: int, width: int, seed: int):
        super().__init__()
        self.names = names
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.towers = nn.ModuleDict({name: self._tower(size, width) for name in names})

    @staticmethod
    def _tower(size: int, width: int) -> nn.Sequential:
        inner = [nn.Linear(size, width), nn.SiLU()] if width else []
        last = nn.Linear(width or size, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        return nn.Sequential(*inner, last).float()

    def forward(self, states: Tensor) -> Tensor:
        """(..., H) hidden states, of any type -> (..., K) outputs, float32."""
        states = states.detach().float()
        with torch.autocast(states.device.type, enabled=False):
            return torch.cat([self.towers[name](states) for name in self.names], dim=-1)


def final_norm(model: Any) -> tuple[nn.Module, int]:
    """The norm behind a policy's last layer, and the hidden size H.

    Args:
        model: a transformers model or a PeftModel, unwrapped.

    Raises:
        ValueError: the model's decoder ends in no norm that is known by name.
    """
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder = bare.get_decoder() if hasattr(bare, "get_decoder") else getattr(bare, "base_model", bare)
    for name in NORMS:
        norm = getattr(decoder, name, None)
        if isinstance(norm, nn.Module):
            return norm, bare.config.get_text_config().hidden_size
    raise ValueError(
        f"The critic listens at the policy's final norm, and {type(decoder).__name__} has none of the names "
        f"{', '.join(NORMS)}. Use an advantage without a critic, for instance advantage='group_normalized'."
    )


class Ear:
    """Keeps what a module puts out while it listens, detached.

    Args:
        module: the final norm.
    """

    def __init__(self, module: nn.Module):
        self.states: list[Tensor] = []
        self.listens = False
        module.register_forward_hook(self._hear)

    def _hear(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.listens:
            self.states.append((output[0] if isinstance(output, tuple) else output).detach())

    def take(self) -> list[Tensor]:
        """What was heard since the last time, (b, L, H) each."""
        states, self.states = self.states, []
        return states

    @contextmanager
    def listening(self, yes: bool = True):
        """Listens inside the block, or is deaf there; what was heard outside stays."""
        before, self.listens = self.listens, yes
        try:
            yield self
        finally:
            self.listens = before
