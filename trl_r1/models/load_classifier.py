"""A name in, a `Classifier` out: Hub ids, folders, adapters with a head of their own, and ``mini:semantic``.

    loading     on first use, once per process and device, whatever the number of rewards that ask; a reward holds only
                the name, so it pickles into another process, which loads its own
    head        a checkpoint without a trained head is refused: transformers would fill it with random numbers and say
                so only in a log line

Under DeepSpeed ZeRO-3, ``from_pretrained`` splits every model it loads: pass such a reward model to ``GRPOTrainer``
itself, which prepares it, or ask it through an endpoint (``trl_r1.models.judge``).
"""

from __future__ import annotations

import os
import threading
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from trl_r1.models.adapters import is_gated
from trl_r1.models.classifier import MAX_LENGTH, Classifier


_LOADED: dict[tuple[str, str, int], Classifier] = {}
_LOCK = threading.RLock()


def _forget_in_child() -> None:
    """A forked child has the parent's lock in an unknown state, and must not touch the parent's CUDA tensors."""
    global _LOCK
    _LOCK = threading.RLock()
    _LOADED.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def load_classifier(model: str, device: str | None = None, max_length: int = MAX_LENGTH) -> Classifier:
    """The classifier of a checkpoint, loaded now or earlier in this process.

    Args:
        model: a Hub id, a folder, or ``mini:semantic`` (built on first use).
        device: such as "cpu" or "cuda:1"; None: this process's current GPU, or the CPU where there is none.
        max_length: most tokens of a pair.

    Raises:
        ValueError: the checkpoint has no trained classification head.
        OSError: there is no such checkpoint.
    """
    if device is None:
        device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    with _LOCK:
        key = (model, device, max_length)
        if key not in _LOADED:
            _LOADED[key] = Classifier(*_from_pretrained(model), device, max_length)
        return _LOADED[key]


def _from_pretrained(name: str) -> tuple[Any, Any]:
    folder = name
    if name.startswith("mini:"):
        from trl_r1.models.chain_classifier import resolve_mini

        folder = resolve_mini(name)
    if os.path.isfile(os.path.join(folder, "adapter_config.json")):
        return _with_adapter(folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    missing = sorted(info["missing_keys"])
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ValueError(
            f"The checkpoint {name!r} has no trained weights for {names}: transformers would use random numbers there. "
            "Give one that was saved as a sequence-classification model, or train it: trl-r1 rewards train semantic."
        )
    return model, AutoTokenizer.from_pretrained(folder)


def _with_adapter(folder: str) -> tuple[Any, Any]:
    """What a LoRA or QLoRA stage leaves: base and adapter merged in memory; the head is saved with the adapter.

    Head gates cannot be merged and stay beside the base.
    """
    from peft import PeftConfig, PeftModel
    from safetensors import safe_open

    with safe_open(os.path.join(folder, "adapter_model.safetensors"), framework="pt") as weights:
        heads = [weights.get_slice(name).get_shape() for name in weights.keys() if name.endswith("score.weight")]
    if not heads:
        raise ValueError(
            f"The adapter in {folder!r} has no trained head; train it with the stage reward_model, which saves one."
        )
    base = PeftConfig.from_pretrained(folder).base_model_name_or_path
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=int(heads[0][0]))
    model = PeftModel.from_pretrained(model, folder)
    return model if is_gated(folder) else model.merge_and_unload(), AutoTokenizer.from_pretrained(folder)
