"""Machine and versions: card, memory, driver, two rates measured here, and what differs from the tested versions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess

import torch

from gpu_sections.catalogue import TESTED, Note, Setting
from gpu_sections.device import GIB, Meter
from trl_r1.compat import trl as compat
from trl_r1.storage.manifest import versions


def measure(setting: Setting, note: Note) -> None:
    installed = versions()
    note(
        versions={**installed, "cuda": torch.version.cuda, "flash_attn": flash_attention()},
        other_versions=[f"{name} {installed[name]} (tested: {tested})" for name, tested in TESTED.items()
                        if installed[name].split("+")[0] != tested],
        broken_seams=[*compat.broken_seams(), *compat.broken_kl_seam(), *compat.broken_token_seam()],
        processor=platform.machine(),
        cores=os.cpu_count(),
    )  # fmt: skip
    meter = Meter(setting.device)
    if meter.is_gpu:
        card = torch.cuda.get_device_properties(0)
        note(
            card=card.name,
            capability=f"{card.major}.{card.minor}",
            multiprocessors=card.multi_processor_count,
            bf16=torch.cuda.is_bf16_supported(),
            driver=driver(),
        )
    note(memory_gib=round(meter.total(), 1))
    note(copy_tb_per_s=copy_rate(meter, setting), matmul_bf16_tflops=matmul_rate(meter, setting))


def flash_attention() -> str:
    """Its version, or that it is not installed."""
    if importlib.util.find_spec("flash_attn") is None:
        return "not installed"
    return importlib.metadata.version("flash_attn")


def driver() -> str | None:
    """The driver's version as nvidia-smi tells it."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=30).stdout.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def copy_rate(meter: Meter, setting: Setting) -> float:
    """TB/s of a copy on the device, bytes read and written; median of five."""
    source = torch.randint(
        0, 255, (GIB // 1024 if setting.tiny else 2 * GIB,), dtype=torch.uint8, device=setting.device
    )
    target = torch.empty_like(source)
    seconds = sorted(meter.seconds(lambda: target.copy_(source)) for _ in range(5))[2]
    return round(2 * source.numel() / seconds / 1e12, 4)


def matmul_rate(meter: Meter, setting: Setting) -> float:
    """TFLOP/s of a bfloat16 product on random data; median of five after one to warm up."""
    size = 128 if setting.tiny else 8192
    one, two = (torch.randn(size, size, dtype=torch.bfloat16, device=setting.device) for _ in range(2))
    meter.seconds(lambda: one @ two)
    seconds = sorted(meter.seconds(lambda: one @ two) for _ in range(5))[2]
    return round(2 * size**3 / seconds / 1e12, 3)
