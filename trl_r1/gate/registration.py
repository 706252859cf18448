"""The one place that reaches into peft: the method HEAD_GATE, added to an enumeration that peft keeps closed.

peft finds configuration and tuner of an adapter by its `PeftType`. `register_peft_method` fills those tables, but only
for names the enumeration already has, so `register` adds ours first. Everything else is peft's documented road.
`trl-r1 doctor` prints what `register` could not do.
"""

from __future__ import annotations

import inspect
from typing import Any

import peft
from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.lora import LoraModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer


NAME, PREFIX = "HEAD_GATE", "head_gate_"

# methods we extend or lean on -> their first parameters, as we pass or read them
SEAMS: dict[tuple[type, str], tuple[str, ...]] = {
    (LoraModel, "_create_and_replace"): (
        "lora_config",
        "adapter_name",
        "target",
        "target_name",
        "parent",
        "current_key",
    ),
    (LoraModel, "_prepare_adapter_config"): ("peft_config", "model_config"),
    (LoraModel, "_prepare_model"): ("peft_config", "model"),
    (LoraModel, "_check_new_adapter_config"): ("config",),
    (LoraModel, "_check_merge_allowed"): (),
    (LoraModel, "_enable_peft_forward_hooks"): ("args", "kwargs"),
    (LoraModel, "add_weighted_adapter"): (),
    (BaseTuner, "_check_target_module_exists"): ("peft_config", "key"),
    (BaseTuner, "_unload_and_optionally_merge"): ("merge",),
    (BaseTuner, "delete_adapter"): ("adapter_name",),
    (BaseTuner, "_get_adapter_state_dict"): (
        "model",
        "config",
        "adapter_name",
        "state_dict",
    ),  # by layer, not by prefix
    (BaseTunerLayer, "_move_adapter_to_device_of_base_layer"): ("adapter_name",),
    (BaseTunerLayer, "set_adapter"): ("adapter_names", "inference_mode"),
}


def register(config: type[PeftConfig]) -> list[str]:
    """Makes HEAD_GATE known to peft, once.

    Args:
        config: the class of its configurations; handed in, because it stands on this module.

    Returns:
        Why it could not, one sentence each; empty when all is well. Nothing is raised and plain LoRA is not touched.
    """
    if NAME in PEFT_TYPE_TO_TUNER_MAPPING:
        return []
    sentences = broken_seams()
    if sentences:
        return sentences
    try:
        from peft.utils import register_peft_method

        from trl_r1.gate.tuner import HeadGateModel

        extend(PeftType, NAME)
        register_peft_method(name=NAME.lower(), config_cls=config, model_cls=HeadGateModel, prefix=PREFIX)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"peft {peft.__version__} does not take a method from outside ({type(error).__name__}: {error})."]
    return []


def check(config: type[PeftConfig]) -> None:
    """Raises RuntimeError with what `register` could not do."""
    sentences = register(config)
    if sentences:
        raise RuntimeError(
            " ".join(sentences)
            + " Install a peft that head gates were tested with (docs/gate.md), or use a LoraConfig."
        )


def peft_type() -> PeftType:
    """Our member of peft's enumeration."""
    return PeftType(NAME)


def broken_seams() -> list[str]:
    """One sentence for each method that the installed peft lacks or that takes other parameters."""
    sentences = []
    for (owner, name), expected in SEAMS.items():
        method = getattr(owner, name, None)
        if method is None:
            sentences.append(
                f"peft {peft.__version__} does not define {owner.__name__}.{name}, which head gates need."
            )
            continue
        parameters = tuple(p for p in inspect.signature(inspect.unwrap(method)).parameters if p != "self")
        if parameters[: len(expected)] != expected:
            sentences.append(
                f"peft {peft.__version__}: {owner.__name__}.{name} takes ({', '.join(parameters)}), and head gates expect "
                f"it to begin with ({', '.join(expected)})."
            )
    return sentences


def extend(enumeration: Any, name: str) -> None:
    """Adds a member, its own name as value, to a closed enumeration of strings.

    Raises:
        TypeError: the result does not behave like a member, because Python's enumerations have changed.
    """
    if name in enumeration.__members__:
        return
    member = str.__new__(enumeration, name)
    member._name_, member._value_ = name, name
    type.__setattr__(enumeration, name, member)  # before the table: EnumType guards the names in it
    enumeration._member_map_[name] = member
    enumeration._value2member_map_[name] = member
    enumeration._member_names_.append(name)
    if enumeration(name) is not member or member not in list(enumeration) or getattr(enumeration, name) is not member:
        raise TypeError(f"{enumeration.__name__} does not list a member that was added at run time")
