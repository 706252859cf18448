"""Which sections there are, in order of priority, with the seconds they are expected to take on an H200.

The seconds are estimates made without a GPU; `gpu.json` holds what each took.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


TESTED = {  # what the test suite runs with; others are reported
    "torch": "2.13.0",
    "transformers": "5.24.0",
    "trl": "1.16.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "bitsandbytes": "0.50.2",
    "datasets": "5.2.0",
}
TINY_SECONDS, TINY_LIMIT = 12, 300  # of a section on a CPU, under --tiny


@dataclass(frozen=True)
class Setting:
    """Where and on what a section measures."""

    device: str  # cuda or cpu
    tiny: bool  # miniature shapes and lengths
    scratch: Path  # models and run folders; removed at the end


Note = Callable[..., None]
"""note(figure=value, ...) keeps figures, on disk at once: a section that dies later has them."""


@dataclass(frozen=True)
class Section:
    """One measurement in a process of its own."""

    name: str
    title: str
    seconds: int  # expected
    limit: int  # seconds after which it is ended
    measure: Callable[[Setting, Note], None]


@dataclass(frozen=True)
class Late:
    """A function of a module that is imported when it is called, in the section's own process."""

    module: str
    function: str = "measure"
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, setting: Setting, note: Note) -> None:
        getattr(import_module(f"gpu_sections.{self.module}"), self.function)(setting, note, **dict(self.options))


def _steps(recipe: str, seconds: int = 40, whole: bool = False) -> Section:
    title = f"{recipe}: two steps{', every token generated' if whole else ''}"
    measure = Late("steps", options=(("recipe", recipe), ("whole", whole)))
    return Section(recipe, title, seconds, 3 * seconds, measure)


def _sampling(recipe: str, seconds: int = 35) -> Section:
    measure = Late("sampling", options=(("recipe", recipe),))
    return Section(recipe, f"{recipe}: one batch", seconds, 3 * seconds, measure)


SECTIONS = (
    Section("machine", "Machine and versions", 15, 60, Late("machine")),
    Section("identity", "Identity with stock TRL", 40, 120, Late("identity")),
    Section("gradients", "Gradients against float32", 35, 120, Late("gradients")),
    Section("rollout", "Fast rollout against generate, greedy", 25, 90, Late("rollout")),
    _steps("zero", 130, whole=True),
    Section("ratio", "A step of zero against stock TRL", 110, 240, Late("ratio")),
    Section("copy", "The same with a bfloat16 copy", 60, 150, Late("ratio", options=(("arms", ("copy",)),))),
    Section("nf4", "Gradient of NF4 against float32", 25, 90, Late("gradients", "measure_nf4")),
    _steps("sft"),
    _steps("reasoning_rl"),
    Section("attribution", "AGSER under other attention", 20, 60, Late("attribution")),
    Section("teacher", "cold_start: one batch of its 7B teacher in NF4", 60, 150, Late("sampling", "measure_teacher")),
    _steps("cold_start"),
    _steps("reward_model"),
    _steps("all_scenario_rl", 60),
    _steps("distill"),
    _steps("distill_llama"),
    _steps("distill_on_policy", 60),
    _steps("ppo_two_tower"),
    _sampling("rejection_sampling"),
    _sampling("evaluate"),
    Section("resume", "Ten steps, killed and resumed", 60, 150, Late("resume")),
)
