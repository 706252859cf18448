"""One gate per attention head: the maths, and the layer that applies it in front of an output projection.

Shapes  ... leading dimensions of the hidden states, (B, T) as a rule; E hidden size, H heads, D head size.

``gate(x) = 2 * sigmoid(x W^T + b)`` lies in (0, 2) and is 1 where W and b are 0, exactly so in every floating-point type:
a multiplication with it then changes no bit.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn


def gate_heads(attended: Tensor, scores: Tensor) -> Tensor:
    """Multiplies each head's output with ``2 * sigmoid`` of its score.

    Args:
        attended: (..., H * D) the heads' outputs side by side, as the output projection reads them.
        scores: (..., H) any floating-point type; the sigmoid is taken in float32 or finer.

    Returns:
        (..., H * D) in the type of `attended`; `attended` itself, bit for bit, where all scores are 0.

    Source: the head-wise gate behind scaled dot-product attention of Qiu et al. 2025, arXiv:2505.06708.
    Departure: twice their sigmoid, so that a gate without weights lets everything through.
    """
    fine = scores.to(torch.promote_types(scores.dtype, torch.float32))
    gate = (2.0 * torch.sigmoid(fine)).to(attended.dtype)  # (..., H)
    return (attended.unflatten(-1, (scores.size(-1), -1)) * gate.unsqueeze(-1)).flatten(-2)


class HeadScores(nn.Module):
    """x -> x W^T + b, (..., E) -> (..., H). Starts at zero without drawing a random number."""

    def __init__(self, hidden_size: int, heads: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(heads, hidden_size))
        self.bias = nn.Parameter(torch.zeros(heads))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden.to(self.weight.device, self.weight.dtype), self.weight, self.bias)


class HeadGatedLinear(nn.Module, BaseTunerLayer):
    """In the place of an attention's output projection: gates its input, head by head, then calls it.

    The gates read what the attention module read. A hook on that module hands it over at the start of every forward
    pass, so a pass that gradient checkpointing repeats finds its own input again; it is let go as soon as it was used.

    Args:
        base_layer: the projection, plain, quantised or with LoRA around it.
        attention: the module it belongs to, called with hidden states (B, T, E).
        heads: H.
    """

    adapter_layer_names = ("head_gate_scores",)
    other_param_names = ()

    def __init__(self, base_layer: nn.Module, attention: nn.Module, heads: int):
        super().__init__()
        self.base_layer = base_layer
        self.heads = heads
        self.head_gate_scores = nn.ModuleDict()  # adapter's name -> HeadScores
        self._hidden: Tensor | None = None  # (B, T, E) while the attention module runs
        self._listening = attention.register_forward_pre_hook(_hand_over, with_kwargs=True)

    @property
    def behind_gates(self) -> nn.Module:
        """The projection itself, which is given the gated heads."""
        return self.base_layer

    def add_gate(self, adapter: str, hidden_size: int, inference_mode: bool = False) -> None:
        """A new adapter's gate, open."""
        self.head_gate_scores[adapter] = HeadScores(hidden_size, self.heads)
        layer: Any = self  # peft's half of it has no types
        layer._move_adapter_to_device_of_base_layer(adapter)
        layer.set_adapter(layer.active_adapters, inference_mode=inference_mode)

    def hold(self, hidden: Tensor) -> None:
        self._hidden = hidden

    def release(self) -> None:
        """Stops listening to the attention module, for good."""
        self._listening.remove()
        self._hidden = None

    def forward(self, attended: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        hidden, self._hidden = self._hidden, None
        active: Any = () if self.disable_adapters else self.active_adapters
        for adapter in active:
            if adapter in self.head_gate_scores:
                if hidden is None:
                    raise RuntimeError(
                        "An output projection with head gates was called outside its attention module, whose input the "
                        "gates read. Call the model or the whole attention module."
                    )
                attended = gate_heads(attended, self.head_gate_scores[adapter](hidden).to(attended.device))
        return self.base_layer(attended, *args, **kwargs)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError(NOT_MERGEABLE)

    def unmerge(self) -> None:
        """Nothing was ever merged."""


NOT_MERGEABLE = (
    "Head gates depend on the input and cannot be merged into weights: keep the adapter beside its base and load both with "
    "PeftModel.from_pretrained, or train with use_peft alone (a LoraConfig) where a merged model is needed."
)


def _hand_over(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Reads the module's own projection, not a remembered one, so that a copy of the model gates itself."""
    attention.o_proj.hold(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])
