"""A small model, built here on first use: once, whole or not at all, the same on every start."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from trl_r1.storage.folders import make_once


def build_once(path: Path, make: Callable[[Path], dict[str, object]]) -> Path:
    """``path``, made by ``make(folder)`` unless it is there (``make_once``: whole or not at all).

    ``make`` runs in one thread, whatever the caller's setting, because the order of float sums depends on the number of
    threads, and torch's generator is put back afterwards; what it returns goes into ``mini.json``, with the cost.
    """

    def build(folder: Path) -> None:
        threads, started, cpu = torch.get_num_threads(), time.perf_counter(), time.process_time()
        torch.set_num_threads(1)
        try:
            with torch.random.fork_rng(devices=[]):
                result = make(folder)
            cost = {
                **result,
                "wall_seconds": round(time.perf_counter() - started, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
            }
            (folder / "mini.json").write_text(json.dumps(cost, indent=2) + "\n", encoding="utf-8")
        finally:
            torch.set_num_threads(threads)

    return make_once(path, build)
