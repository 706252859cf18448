"""LightLinear: a linear layer that only generates. Its weight is that of a policy's layer with the adapter merged in.

Shapes  O outputs, I inputs, r rank of an adapter.

The policy's own layer is read and never written. On a CPU the weight is handed to oneDNN in the layout its kernels want
("packed"), so that no step of the rollout lays it out again; the operators for that are private to torch, and where they
are missing or refuse, the weight stays as it is.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


ROWS = 32  # for which a packed weight is laid out; others are served too


class LightLinear(nn.Module):
    """(..., I) -> (..., O) without parameters: neither optimizer nor checkpoint nor `parameters()` sees its weight.

    Args:
        weight: (O, I), of a type that the device computes in.
        bias: (O,) or None.
        pack: whether to pack, where that is possible.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, pack: bool):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.dtype = weight.dtype
        self.pack = pack and can_pack(weight.dtype, weight.device)
        self.held: Tensor | None = None  # (O, I), packed or not
        self.bias: Tensor | None = None
        self.take(weight, bias)

    @property
    def light_weights(self) -> int:
        """How many there are; `parameters()` counts none."""
        return int(self.out_features * self.in_features)

    def take(self, weight: Tensor, bias: Tensor | None) -> None:
        """Another weight of the same shape; it is kept, not copied, where nothing is packed."""
        weight = weight.detach().to(self.dtype)
        self.held = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS) if self.pack else weight
        self.bias = None if bias is None else bias.detach().to(self.dtype)

    def let_go(self) -> None:
        """Frees the weight; `take` brings one back."""
        self.held = self.bias = None

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.to(self.dtype)
        if self.pack:
            packed: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self.held, self.bias, "none", [], "")
            return packed
        assert self.held is not None
        return F.linear(inputs, self.held, self.bias)


@functools.cache
def can_pack(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether weights of this type can be packed here and then compute what they should; tried once."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return False
    weight = (torch.arange(48 * 32, dtype=torch.float32).view(48, 32) % 7 - 3).to(dtype)  # sums are exact
    inputs = (torch.arange(3 * 32, dtype=torch.float32).view(3, 1, 32) % 5 - 2).to(dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        found = torch.ops.mkldnn._linear_pointwise(inputs, packed, None, "none", [], "")
    except (
        AttributeError,
        NotImplementedError,
        RuntimeError,
        TypeError,
    ):  # private operators: gone, or another signature
        return False
    return bool(torch.equal(found, F.linear(inputs, weight)))


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is a linear map whose weight can be read: plain, quantised, or of GPT-2's transposed kind."""
    return (
        type(layer) is nn.Linear or isinstance(layer, Conv1D) or hasattr(getattr(layer, "weight", None), "quant_state")
    )


def why_not_merged(layer: LoraLayer) -> str | None:
    """Why the adapters of a layer cannot be merged into a copy of its weight; None where they can."""
    name = type(layer).__name__
    if not is_linear(layer.get_base_layer()):
        return f"an adapter on {type(layer.get_base_layer()).__name__}"
    if layer.merged:
        return "an adapter that is merged into the policy already"
    active = adapters_of(layer)
    variants = [type(layer.lora_variant[one]).__name__ for one in active if one in getattr(layer, "lora_variant", {})]
    if any(not variant.startswith("Dora") for variant in variants):
        return f"{name} with {', '.join(variants)}"
    if len(active) > 1 and any(layer.use_dora.get(one) for one in active):
        return "several DoRA adapters at once"
    return None


def adapters_of(layer: LoraLayer) -> list[str]:
    """The adapters that act in a layer's forward pass."""
    return [] if layer.disable_adapters else [name for name in layer.active_adapters if name in layer.lora_A]


@torch.no_grad()
def merged_weight(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The weight (O, I) and bias (O,) that do what a layer does, its active LoRA and DoRA adapters included.

    Quantised weights are dequantised. With adapters both are float32, or float64 where the layer's are: the merge is
    rounded once, when the copy is made of it. Without, the weight itself is returned.

    Source: LoRA, arXiv:2106.09685; the norm of DoRA, arXiv:2402.09353, as peft computes it.
    """
    base: Any = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    weight: Tensor = dequantize_module_weight(base) if hasattr(base.weight, "quant_state") else base.weight
    bias: Tensor | None = base.bias
    if isinstance(base, Conv1D):
        weight = weight.t()
    for name in adapters_of(layer) if isinstance(layer, LoraLayer) else []:
        assert isinstance(layer, LoraLayer)
        fine = torch.promote_types(weight.dtype, torch.float32)
        down, up = layer.lora_A[name].weight.to(fine), layer.lora_B[name].weight.to(fine)  # (r, I), (O, r)
        weight = torch.addmm(weight.to(fine), up, down, alpha=layer.scaling[name])
        if layer.use_dora.get(name):
            magnitude = layer.lora_magnitude_vector[name].weight.to(fine)  # (O,)
            weight = weight * (magnitude / weight.norm(dim=1))[:, None]
        if layer.lora_B[name].bias is not None:
            addition = layer.lora_B[name].bias.to(fine) * layer.scaling[name]
            bias = addition if bias is None else bias.to(fine) + addition
    return weight.detach(), None if bias is None else bias.detach()
