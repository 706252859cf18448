"""The largest micro-batch that fits a card: one forward and one backward pass of the trainer's own, under caps of memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gpu_sections.device import Meter


CARDS = (24, 48, 80)  # GiB
RUNGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # rows in a micro-batch


def climb(fits: Callable[[int], bool], start: int, rungs: Sequence[int] = RUNGS) -> int:
    """The largest rung that fits, looked for from `start` upwards, or downwards where `start` does not fit; 0: none does.

    >>> climb(lambda rows: rows <= 24, 8), climb(lambda rows: rows <= 2, 8), climb(lambda rows: False, 8)
    (24, 2, 0)
    """
    below = [rung for rung in rungs if rung < start]
    above = [rung for rung in rungs if rung >= start]
    best = 0
    for rung in above:
        if not fits(rung):
            break
        best = rung
    return best or next((rung for rung in reversed(below) if fits(rung)), 0)


def largest_batches(
    trainer: Any, micro_batch: dict[str, Any], rows: int, meter: Meter, besides: float = 0.0, seconds: float = 40.0,
    rungs: Sequence[int] = RUNGS, cards: Sequence[int] = CARDS,
) -> dict[str, Any]:  # fmt: skip
    """Card -> the largest micro-batch, with what one took; only cards smaller than this one, and while there is time.

    Args:
        micro_batch: one of `rows` rows, whose rows are repeated or left out.
        besides: GiB that a rollout needs, whatever the micro-batch; a card must hold that too.
    """
    meter.release()
    began, found, peaks = time.monotonic(), dict[str, Any](), dict[str, float]()
    start = rows
    for card in cards:
        if meter.is_gpu and card > meter.total() + 2:  # a card of 80 GB has 79.2 GiB
            continue

        def fits(count: int) -> bool:
            if time.monotonic() - began > seconds:
                found["out_of_time"] = True
                return False
            peak = peak_of(trainer, enlarged(micro_batch, rows, count), meter)
            if peak is not None:
                peaks[str(count)] = round(peak, 2)
            return peak is not None

        meter.cap(card)
        try:
            best = climb(fits, start, rungs) if besides <= card - 1 else 0
        finally:
            meter.cap(None)
        if found.get("out_of_time"):
            break  # larger ones may fit
        found[f"{card} GB"] = best
        start = max(start, best)
    return {**found, "peaks_gib": peaks}


def enlarged(micro_batch: dict[str, Any], rows: int, count: int) -> dict[str, Any]:
    """The micro-batch with `count` rows in the place of each `rows`: whole copies, or the first of them.

    Tensors whose first dimension is no multiple of `rows` are left alone.
    """
    made = {}
    for name, value in micro_batch.items():
        if torch.is_tensor(value) and value.dim() > 0 and value.size(0) % rows == 0:
            size = value.size(0) // rows * count
            made[name] = value[torch.arange(size, device=value.device) % value.size(0)]
        else:
            made[name] = value
    return made


def peak_of(trainer: Any, micro_batch: dict[str, Any], meter: Meter) -> float | None:
    """GiB at most reserved in one forward and backward pass; None where it ran out of memory."""
    meter.trim()
    meter.forget_peak()
    try:
        loss = trainer.compute_loss(trainer.model_wrapped, micro_batch)
        trainer.accelerator.backward(loss)
        meter.wait()
        return meter.peak()
    except torch.OutOfMemoryError:
        loss = None
    finally:
        trainer.model.zero_grad(set_to_none=True)
    meter.release()  # what the error's traceback held
    return None
