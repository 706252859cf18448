"""HeadGateModel: peft's LoRA tuner, which also puts gates before the output projection of every attention layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftConfig
from peft.tuners.lora import LoraLayer, LoraModel
from torch import nn

from trl_r1.gate.layer import NOT_MERGEABLE, HeadGatedLinear


# configuration.model_type of the families whose attention was compared with a reference (tests/gate)
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "gemma3_text")


def gated_projections(model: nn.Module) -> dict[str, int]:
    """Names of the output projections to gate -> H, the heads whose outputs each one reads.

    Raises:
        ValueError: the architecture is none of FAMILIES, or its attention is not built like theirs.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    counts: dict[str, int] = {}
    if kind in FAMILIES:
        for name, attention in model.named_modules():
            projection, size = getattr(attention, "o_proj", None), getattr(attention, "head_dim", None)
            if not name.endswith("self_attn") or projection is None or not isinstance(size, int):
                continue
            if isinstance(projection, HeadGatedLinear):
                counts[f"{name}.o_proj"] = projection.heads
            elif getattr(projection, "in_features", 0) % size == 0:
                counts[f"{name}.o_proj"] = projection.in_features // size
    if not counts:
        raise ValueError(
            f"Head gates do not fit the attention of {type(model).__name__} (model_type {kind!r}): they were made for "
            f"{', '.join(FAMILIES)}. Use a LoraConfig for this model."
        )
    return counts


class HeadGateModel(LoraModel):
    """The tuner behind `HeadGateConfig`: gates on every attention layer and, where r > 0, LoRA on its targets.

    Extends these methods of [`~peft.LoraModel`]:
        __init__                                  refuses to work without a PeftModel
        _prepare_adapter_config, _prepare_model   r=0 needs no targets; the projections to gate are found
        _check_target_module_exists               those projections are targets too
        _create_and_replace                       puts gates on them, around a LoRA layer where there is one
        _check_merge_allowed, add_weighted_adapter, _enable_peft_forward_hooks   refuse what gates cannot do
        _unload_and_optionally_merge              takes the hooks away with the layers
        delete_adapter                            an adapter stays active though no LoRA layer holds it

    Raises:
        ValueError: unsupported architecture; merging, weighted combination, several adapters in one batch.
    """

    prefix = "head_gate_"
    tuner_layer_cls = (LoraLayer, HeadGatedLinear)  # type: ignore[assignment]  # peft only asks isinstance

    def __init__(self, model: nn.Module, peft_config: Any, adapter_name: str, **options: Any):
        if isinstance(peft_config, PeftConfig):  # a PeftModel hands over a dict of them
            raise ValueError(
                "Head gates need a PeftModel around the model: load the base, then call PeftModel.from_pretrained(base, "
                "folder). An Auto class of transformers that is given the adapter's folder, or inject_adapter_in_model, "
                "would lose half of it."
            )
        super().__init__(model, peft_config, adapter_name, **options)

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        return peft_config if peft_config.r == 0 else super()._prepare_adapter_config(peft_config, model_config)

    def _check_new_adapter_config(self, config: Any) -> None:
        gated_projections(self.model)  # before anything is changed
        super()._check_new_adapter_config(config)

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        super()._prepare_model(peft_config, model)
        self._projections = gated_projections(model)

    def _check_target_module_exists(self, peft_config: Any, key: str) -> Any:  # type: ignore[override]
        return key in self._projections or self._adapts(peft_config, key)

    @staticmethod
    def _adapts(peft_config: Any, key: str) -> Any:
        """Whether the low-rank update goes to this module, or peft's word that it was excluded."""
        return peft_config.r > 0 and LoraModel._check_target_module_exists(peft_config, key)

    def _create_and_replace(
        self, lora_config, adapter_name, target, target_name, parent, current_key, *, parameter_name=None
    ) -> None:
        gated = current_key in self._projections and parameter_name is None
        attention = parent
        if isinstance(target, HeadGatedLinear):  # LoRA goes under the gates
            parent, target_name, target = target, "base_layer", target.base_layer
        if not gated or self._adapts(lora_config, current_key):
            super()._create_and_replace(
                lora_config, adapter_name, target, target_name, parent, current_key, parameter_name=parameter_name
            )
        if gated:
            self._gate(lora_config, adapter_name, attention, current_key)

    def _gate(self, config: Any, adapter: str, attention: nn.Module, key: str) -> None:
        layer: Any = attention.o_proj
        if not isinstance(layer, HeadGatedLinear):
            layer = HeadGatedLinear(layer, attention, self._projections[key])
            layer._active_adapter = list(self.active_adapters)
            attention.o_proj = layer
        text = self.model.config.get_text_config()
        layer.add_gate(adapter, text.hidden_size, config.inference_mode)

    def _check_merge_allowed(self) -> None:
        raise ValueError(NOT_MERGEABLE)

    def _unload_and_optionally_merge(self, merge: bool = True, *args: Any, **kwargs: Any) -> Any:
        layers = [layer for layer in self.model.modules() if isinstance(layer, HeadGatedLinear)]
        model = super()._unload_and_optionally_merge(merge, *args, **kwargs)
        for layer in layers:
            layer.release()
        return model

    def add_weighted_adapter(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(
            "Adapters with head gates cannot be combined by weights, because a gate is not a sum. Activate several with "
            "set_adapter([...]): their low-rank updates add up and their gates multiply."
        )

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        if kwargs.get("adapter_names") is not None:
            raise ValueError(
                "adapter_names gives every row of a batch its own adapter, which head gates do not offer. Call set_adapter "
                "and one batch per adapter."
            )
        with super()._enable_peft_forward_hooks(*args, **kwargs):
            yield

    def delete_adapter(self, adapter_name: str) -> None:
        super().delete_adapter(adapter_name)
        if not self.active_adapter and self.peft_config:
            self.set_adapter(next(iter(self.peft_config)))
