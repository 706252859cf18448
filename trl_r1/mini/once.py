"""A small model, built here on first use: once, whole or not at all, the same on every start."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock


def build_once(path: Path, make: Callable[[Path], dict[str, object]]) -> Path:
    """``path``, made by ``make(folder)`` unless it is there.

    The folder appears at once and complete: it is made beside ``path`` and renamed. Of two processes that ask for the
    same path one builds, the other waits and finds it. ``make`` runs in one thread, whatever the caller's setting,
    because the order of float sums depends on the number of threads, and torch's generator is put back afterwards; what
    it returns goes into ``mini.json``, with the cost.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            building = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
            threads, started, cpu = torch.get_num_threads(), time.perf_counter(), time.process_time()
            torch.set_num_threads(1)
            try:
                with torch.random.fork_rng(devices=[]):
                    told = make(building)
                cost = {
                    **told,
                    "wall_seconds": round(time.perf_counter() - started, 1),
                    "cpu_seconds": round(time.process_time() - cpu, 1),
                }
                (building / "mini.json").write_text(json.dumps(cost, indent=2) + "\n", encoding="utf-8")
                building.chmod(0o755)  # mkdtemp's 0700 would hide a shared cache from its other users
                os.replace(building, path)
            finally:
                torch.set_num_threads(threads)
                shutil.rmtree(building, ignore_errors=True)
    return path
