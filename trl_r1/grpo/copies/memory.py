"""What memory there is for a copy of the policy, told before it is taken."""

from __future__ import annotations

from pathlib import Path

import torch


GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where nobody tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _free_of_host() if device.type == "cpu" else None


def _free_of_host() -> int | None:
    """What Linux calls available, or what the container's limit leaves, whichever is less."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        limit = (CGROUP / "memory.max").read_text(encoding="utf-8").strip()
        if limit != "max":
            found.append(int(limit) - int((CGROUP / "memory.current").read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not Linux, or another way of limits
        pass
    return min(found) if found else None


def refuse_too_large(needed: int, device: torch.device) -> None:
    """Raises ValueError where a copy does not fit.

    Args:
        needed: bytes.
    """
    free = free_bytes(device)
    if free is not None and needed > free:
        raise ValueError(
            f"rollout_copy needs {needed / GIB:.1f} GiB on {device} and {free / GIB:.1f} GiB are free. Set rollout_copy: "
            "none, or make room (a smaller batch, load_in_4bit)."
        )
