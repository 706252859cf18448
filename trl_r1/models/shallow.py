"""A shallow model: some layers of a whole one left out, the rest as they are. It is to be taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def write_shallow(source: Path, folder: Path, kept: Sequence[int]) -> None:
    """Writes the model in ``source`` with the layers ``kept`` only (counted from 0, in their order), and its tokenizer.

    Raises:
        ValueError: a layer that is not there, or none at all.
    """
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    stack = model.get_decoder().layers
    if not kept or not all(0 <= layer < len(stack) for layer in kept):
        raise ValueError(f"layers {list(kept)} cannot be kept of a model that has {len(stack)}, counted from 0.")
    model.get_decoder().layers = torch.nn.ModuleList(stack[layer] for layer in kept)
    model.config.num_hidden_layers = len(kept)
    for place, layer in enumerate(model.get_decoder().layers):
        if hasattr(layer, "self_attn"):
            layer.self_attn.layer_idx = place  # its place in the cache
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
