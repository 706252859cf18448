"""What is true only while a trainer generates a batch or computes a loss: objects that live exactly that long.

TRL calls our overrides two frames deeper than the override that knows why. What the outer one knows, the inner one reads
from here; before and after there is nothing to read (None), also where TRL raised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from trl_r1.compat.host import Batch


T = TypeVar("T")


@dataclass
class GenerationPass:
    """While one batch is generated and scored.

    Args:
        old_is_next: the next log-probabilities that TRL asks for are the old policy's. The first request clears it.
        scores_early: the groups of this batch are scored as they end.
    """

    old_is_next: bool
    scores_early: bool


@dataclass
class LossPass:
    """While the loss of one micro-batch of B completions and C columns is computed.

    Args:
        skipped: (B,) bool, rows that cannot move the loss and need no forward pass; None computes them all.
        old_logps: (B, C) old log-probabilities of the batch, where it has some.
        entropies: (B, C), put here by the forward pass, where TRL asked for them.
    """

    skipped: Tensor | None
    old_logps: Tensor | None
    entropies: Tensor | None = None


@dataclass
class KLPass:
    """While the loss of one micro-batch is computed whose KL term may be ours.

    Args:
        batch: the inputs of that loss.
        logps: (B, C) log-probabilities of the policy, with gradient, put here by the forward pass.
        terms: how often TRL asked for the KL term; once, in every TRL that we know.
    """

    batch: Batch
    logps: Tensor | None = None
    terms: int = 0


@contextlib.contextmanager
def holding(trainer: object, name: str, state: T) -> Iterator[T]:
    """Meanwhile the trainer's attribute `name` is `state`; afterwards it is None, whatever happened.

    Raises:
        RuntimeError: there is one already: a pass inside a pass of its kind.
    """
    if getattr(trainer, name, None) is not None:
        raise RuntimeError(f"{type(trainer).__name__}.{name} began again before it ended.")
    setattr(trainer, name, state)
    try:
        yield state
    finally:
        setattr(trainer, name, None)
