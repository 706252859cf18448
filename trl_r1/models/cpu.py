"""The processor: which of its features decide which kernels run, asked in one place for everybody who goes by them."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


# of /proc/cpuinfo, x86 and then ARM; beside some of them what torch is asked where there is no such file
FEATURES = {
    "avx2": "_is_avx2_supported",
    "avx512f": "_is_avx512_supported",
    "avx512_bf16": "_is_avx512_bf16_supported",
    "amx_bf16": None,
    "amx_tile": "_is_amx_tile_supported",
    "asimd": None,
    "bf16": None,
    "i8mm": None,
}
OF_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def cpuinfo() -> dict[str, str]:
    """What Linux tells of its first processor; empty elsewhere."""
    fields: dict[str, str] = {}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return fields
    for line in lines:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def features() -> tuple[str, ...]:
    """Those of FEATURES that this processor has, in that order."""
    fields = cpuinfo()
    have = set((fields.get("flags") or fields.get("Features") or "").split())
    if not have:
        have = {name for name, ask in FEATURES.items() if ask is not None and getattr(torch.cpu, ask, lambda: False)()}
    return tuple(name for name in FEATURES if name in have)


def processor() -> str:
    """Its name and features, in one line."""
    return f"{cpuinfo().get('model name') or platform.machine()}; {', '.join(features()) or 'no features told'}"


def computes_bfloat16() -> bool:
    """Whether it has instructions for bfloat16; without them bfloat16 is many times slower than float32."""
    return not OF_BFLOAT16.isdisjoint(features())
