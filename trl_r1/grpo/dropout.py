"""Dropout switched off for a moment, with every module's mode put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def without_dropout(model: torch.nn.Module) -> Iterator[None]:
    """Meanwhile the model computes as in evaluation, and no module draws a random number for dropout.

    Linear layers keep their mode: they have no dropout, and those of bitsandbytes repack their 4-bit weights in evaluation.
    """
    modes = {module: module.training for module in model.modules() if not isinstance(module, torch.nn.Linear)}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
