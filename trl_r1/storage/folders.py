"""Folders of what was made on this machine once, and is kept: the cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cache_folder() -> Path:
    """``$TRL_R1_CACHE``, or ``~/.cache/trl_r1``; it need not exist yet."""
    return Path(os.environ.get("TRL_R1_CACHE") or Path.home() / ".cache" / "trl_r1").expanduser()


def make_once(path: Path, make: Callable[[Path], object]) -> Path:
    """``path``, made by ``make(folder)`` unless it is there.

    The folder appears at once and complete: it is made beside ``path`` and renamed. Of two processes that ask for the
    same path one makes it, the other waits and finds it. What a killed process left beside it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            for remnant in path.parent.glob(f".{path.name}-*.part"):  # we hold the lock: nobody is at work on it
                shutil.rmtree(remnant, ignore_errors=True)
            building = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent))
            try:
                make(building)
                building.chmod(0o755)  # mkdtemp's 0700 would hide a shared cache from its other users
                os.replace(building, path)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    return path
