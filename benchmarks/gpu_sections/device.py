"""A device's clock and memory, the same calls on a GPU and on a CPU (where nothing can be capped)."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from typing import Any

import torch


GIB = 2**30
BESIDE = 1.0  # GiB of a card that a process cannot have: its context and the display; left free under a cap


class Meter:
    """Memory and time of one device.

    Args:
        device: cuda or cpu.
    """

    def __init__(self, device: str):
        self.is_gpu = device == "cuda"
        if self.is_gpu:
            torch.cuda.init()

    def wait(self) -> None:
        """Until all that was asked of the device is done."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def seconds(self, action: Callable[[], Any]) -> float:
        """What an action takes on the device, by the clock."""
        self.wait()
        began = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - began

    def total(self) -> float:
        """GiB of the card, or of the machine."""
        if self.is_gpu:
            return torch.cuda.get_device_properties(0).total_memory / GIB
        with open("/proc/meminfo") as told:
            return int(told.readline().split()[1]) / 2**20

    def forget_peak(self) -> None:
        """The peak counts from here (on a CPU: from the process's beginning, always)."""
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float:
        """GiB at most reserved by torch since `forget_peak`; of a CPU, the largest resident set."""
        if self.is_gpu:
            return torch.cuda.max_memory_reserved() / GIB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def peak_allocated(self) -> float:
        """GiB at most in tensors since `forget_peak`; the rest of `peak` is torch's reserve."""
        return torch.cuda.max_memory_allocated() / GIB if self.is_gpu else self.peak()

    def allocated(self) -> float:
        """GiB in tensors now."""
        return torch.cuda.memory_allocated() / GIB if self.is_gpu else self.peak()

    def release(self) -> None:
        """Gives back what nothing refers to any more."""
        gc.collect()
        if self.is_gpu:
            torch.cuda.empty_cache()

    def trim(self) -> None:
        """Gives back torch's reserve, so that a later peak of it is a later need."""
        if self.is_gpu:
            torch.cuda.empty_cache()

    def cap(self, card: float | None) -> None:
        """Lets this process have what a card of so many GiB would leave it; None: all there is."""
        if self.is_gpu:
            share = 1.0 if card is None else min(1.0, (card - BESIDE) / self.total())
            torch.cuda.set_per_process_memory_fraction(share)
