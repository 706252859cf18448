"""LightCopy: a policy's twin that only generates. It shares what it need not change, and never writes to the policy.

Built from a skeleton of the policy (its modules, without a second set of tensors), in which linear layers are replaced by
`LightLinear` and, for another number type, every other parameter by one of that type. Buffers stay the policy's: rotary
frequencies that are rounded to bfloat16 would turn long positions wrong.
"""

from __future__ import annotations

import copy
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from trl_r1.gate.layer import HeadGatedLinear
from trl_r1.grpo.copies.linear import LightLinear, adapters_of, can_pack, is_linear, merged_weight, why_not_merged


@dataclass
class Part:
    """What of the copy follows certain parameters of the policy, and how."""

    sources: tuple[nn.Parameter, ...]
    write: Callable[[], None]
    let_go: Callable[[], None]
    seen: tuple[Any, ...] = ()

    def state(self) -> tuple[Any, ...]:
        """Another one after whatever torch saw happen to the sources."""
        return tuple((source.data_ptr(), source._version) for source in self.sources)

    @property
    def trained(self) -> bool:
        return any(source.requires_grad for source in self.sources)


class OwnParameter:
    """A parameter of the policy in another number type."""

    def __init__(self, source: nn.Parameter, dtype: torch.dtype):
        self.source = source
        self.parameter = nn.Parameter(source.detach().to(dtype), requires_grad=False)

    def write(self) -> None:
        if self.parameter.shape != self.source.shape:
            self.parameter.data = self.source.detach().to(self.parameter.dtype)
        else:
            self.parameter.data.copy_(self.source.detach())

    def let_go(self) -> None:
        self.parameter.data = self.parameter.data.new_empty(0)


class LightCopy:
    """The twin (`model`), and what it takes to keep it the policy's.

    Args:
        policy: a bare model or a PeftModel with LoRA, DoRA or head gates, whose parameters are all on one device.
        dtype: of its weights; None keeps the policy's.
        pack: lay linear weights out for the processor, where it is one.

    Raises:
        ValueError: an adapter that cannot be merged into a copy, or a model on several devices.
    """

    def __init__(self, policy: nn.Module, dtype: torch.dtype | None = None, pack: bool = True):
        why = why_not_copied(policy)
        if why is not None:
            raise ValueError(f"rollout_copy cannot copy this policy: {why}. Set rollout_copy: none.")
        self.dtype, self.pack = dtype, pack
        self.adapters = active_adapters(policy)
        self.parts: list[Part] = []
        base = base_of(policy)
        self.model: Any = skeleton(base)
        self._replace(base, self.model)
        self.model.eval()  # parameters that are shared keep their requires_grad: they are the policy's
        self._note()

    def follows(self, policy: nn.Module) -> bool:
        """Whether it can still be refreshed: the policy has the adapters that were merged."""
        return self.adapters == active_adapters(policy)

    def refresh(self, moved: bool) -> int:
        """Takes over what has changed; the number of parts that were written.

        Args:
            moved: an optimizer step was made since; trained parameters then count as changed, also where an optimizer
                writes past torch's version counters.
        """
        changed = [part for part in self.parts if (moved and part.trained) or part.state() != part.seen]
        for part in changed:
            part.write()
        self._note()
        return len(changed)

    def free(self) -> None:
        """Lets the tensors go that are its own; the next refresh makes them anew."""
        for part in self.parts:
            part.let_go()
            part.seen = ()

    def _note(self) -> None:
        for part in self.parts:
            part.seen = part.state()

    # -- building -----------------------------------------------------------------------------------------------------

    def _replace(self, policy: nn.Module, twin: nn.Module) -> None:
        """Below `twin`, what is not the policy's own; both have the same modules in the same places."""
        for name, child in policy.named_children():
            mine = twin._modules[name]
            assert mine is not None
            if is_mergeable(child) and changes(child, self.dtype, self.pack):
                twin._modules[name] = self._light(child)
            else:
                self._replace(child, mine)
        if self.dtype is None:
            return
        for name, source in policy._parameters.items():
            if source is not None and source.is_floating_point() and source.dtype != self.dtype:
                own = OwnParameter(source, self.dtype)
                twin._parameters[name] = own.parameter
                self.parts.append(Part((source,), own.write, own.let_go))

    def _light(self, layer: nn.Module) -> LightLinear:
        weight, bias = merged_weight(layer)
        light = LightLinear(weight.to(self.dtype or computing_type_of(layer)), bias, self.pack)
        self.parts.append(Part(tuple(layer.parameters()), lambda: light.take(*merged_weight(layer)), light.let_go))
        return light


def base_of(policy: nn.Module) -> nn.Module:
    """The model itself, its adapter layers in it, without peft's wrapper around it."""
    base: nn.Module = policy.get_base_model() if isinstance(policy, PeftModel) else policy
    return base


def is_mergeable(layer: nn.Module) -> bool:
    """Whether a layer becomes one `LightLinear`."""
    if isinstance(layer, LoraLayer):
        return why_not_merged(layer) is None
    return not isinstance(layer, BaseTunerLayer) and is_linear(layer)


def why_not_copied(policy: nn.Module) -> str | None:
    """None, or what stands in the way of a copy."""
    devices = {str(parameter.device) for parameter in policy.parameters()}
    if len(devices) != 1:
        return f"its weights lie on several devices ({', '.join(sorted(devices))})"
    for _, layer in base_of(policy).named_modules():
        why = why_not_merged(layer) if isinstance(layer, LoraLayer) else None
        if why is None and isinstance(layer, BaseTunerLayer) and not isinstance(layer, LoraLayer | HeadGatedLinear):
            why = f"an adapter of the kind {type(layer).__name__}"
        if why is not None:
            return f"it has {why}, and only LoRA, DoRA and head gates on linear layers can be copied"
    return None


def active_adapters(policy: nn.Module) -> tuple[Any, ...]:
    """What acts on which layer, as something to compare."""
    return tuple(
        tuple(adapters_of(layer)) if isinstance(layer, LoraLayer) else (layer.disable_adapters, *layer.active_adapters)
        for layer in base_of(policy).modules()
        if isinstance(layer, BaseTunerLayer)
    )


def changes(layer: Any, dtype: torch.dtype | None, pack: bool) -> bool:
    """Whether a layer gains by a weight of its own: an adapter, quantisation, another type or packing."""
    if isinstance(layer, LoraLayer) or hasattr(layer.weight, "quant_state"):
        return True
    own = dtype or layer.weight.dtype
    return own != layer.weight.dtype or (pack and can_pack(own, layer.weight.device))


def computing_type_of(layer: Any) -> torch.dtype:
    """The number type in which a layer of the policy computes."""
    base = layer.get_base_layer() if isinstance(layer, LoraLayer) else layer
    stated: torch.dtype | None = getattr(base, "compute_dtype", None)  # of quantised layers
    return stated or (base.weight.quant_state.dtype if hasattr(base.weight, "quant_state") else base.weight.dtype)


def copied_bytes(policy: nn.Module, dtype: torch.dtype | None, pack: bool) -> int:
    """What a `LightCopy` with these arguments takes, from shapes alone."""
    total = 0

    def walk(module: nn.Module) -> None:
        nonlocal total
        for child in module.children():
            if is_mergeable(child):
                base: Any = child.get_base_layer() if isinstance(child, LoraLayer) else child
                own = dtype or computing_type_of(child)
                total += size_of(base) * own.itemsize if changes(child, dtype, pack) else 0
            else:
                walk(child)
        if dtype is not None:
            sources = [p for p in module._parameters.values() if p is not None and p.is_floating_point()]
            total += sum(source.numel() for source in sources if source.dtype != dtype) * dtype.itemsize

    walk(base_of(policy))
    return total


def size_of(layer: Any) -> int:
    """O * I of a linear layer, quantised or not."""
    state = getattr(layer.weight, "quant_state", None)
    shape = layer.weight.shape if state is None else state.shape
    return int(torch.Size(shape).numel())


# -- the skeleton ---------------------------------------------------------------------------------------------------------


def skeleton(model: nn.Module) -> nn.Module:
    """A model with modules of its own and the tensors, configurations and quantisation states of another.

    What others have hung on the original stays behind: a `forward` put on an instance (such a closure would go on running
    the original, TRL's fused head and accelerate's hooks do), and hooks that belong to an object (a critic that listens).
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for shared in _shared(module):
            memo[id(shared)] = shared
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            memo[id(hooks)] = OrderedDict((key, hook) for key, hook in hooks.items() if _is_free(hook))
    keep = list(memo.values())  # `deepcopy` must not see an id of something that was freed meanwhile
    twin = copy.deepcopy(model, memo)
    del keep
    for module in twin.modules():
        vars(module).pop("forward", None)
        if getattr(module, "gradient_checkpointing", False):
            module.gradient_checkpointing = False  # type: ignore[assignment]
    return twin


def _shared(module: nn.Module) -> Iterator[Any]:
    yield from (tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None)
    for name, value in vars(module).items():
        if isinstance(value, Tensor) or name in ("config", "quant_state", "state", "generation_config"):
            yield value


def _is_free(hook: Any) -> bool:
    """Whether a hook is a function that knows nothing but what it is called with."""
    return isinstance(hook, types.FunctionType) and hook.__closure__ is None
