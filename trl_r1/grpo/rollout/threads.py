"""How many threads a step of the rollout deserves on a CPU.

A decoding step is many small operations. Where threads sleep between them (``OMP_WAIT_POLICY=PASSIVE``, which busy machines
need), waking a second one for each costs more than it brings, up to three times the step's own time (docs/performance.md);
where they spin, as is OpenMP's default, it does not, and nothing is changed here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


SMALL = 5e8  # floating-point operations of a step, up to which one thread is faster than two that sleep


@contextmanager
def fewer_threads(model: Any) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told how many rows the next steps have, and sets the number of threads for them.

    The number from before comes back at the end. Does nothing on other devices, or where threads spin.
    """
    before = torch.get_num_threads()
    if model.device.type != "cpu" or before == 1 or os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        yield lambda rows: None
        return
    per_row = 2.0 * weights_of(model)

    def tell(rows: int) -> None:
        torch.set_num_threads(1 if per_row * rows <= SMALL else before)

    try:
        yield tell
    finally:
        torch.set_num_threads(before)


def weights_of(model: Any) -> int:
    """How many weights a step reads: the parameters, and those of a copy's layers (`light_weights`), which are none."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return int(parameters + sum(getattr(module, "light_weights", 0) for module in model.modules()))
