"""The options of a critic. What it cannot be combined with: trl_r1/grpo/conflicts.py."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class CriticOptions:
    """``advantage_options`` of ``advantage: two_tower`` and ``one_tower``.

    Args:
        gamma: discount per token, in [0, 1].
        lam: GAE's lambda, in [0, 1]. 1 takes the whole return, as Open-Reasoner-Zero does (arXiv:2503.24290).
        learning_rate: of the towers, which start from nothing; it follows the run's schedule.
        warmup: optimizer steps at the start that train the towers alone; they count as steps of the run.
        width: units in the hidden layer of each tower; 0 makes a tower linear.
        clip: how far an output may move from its old value, in standard deviations of its target; None does not clip.
        whiten: whether advantages are brought to mean 0 and standard deviation 1 over the tokens of a batch.
        max_grad_norm: of the towers' gradient, apart from the policy's; 0 does not clip.
        decay: weight of the past in the running mean and deviation of the targets, in [0, 1).

    Raises:
        ValueError: a value out of range.
    """

    gamma: float = 1.0
    lam: float = 1.0
    learning_rate: float = 1e-3
    warmup: int = 0
    width: int = 64
    clip: float | None = 0.2
    whiten: bool = True
    max_grad_norm: float = 1.0
    decay: float = 0.99

    def __post_init__(self):
        whole = ("warmup", "width")
        for name in (entry.name for entry in fields(self) if entry.name != "whiten"):
            number = getattr(self, name)
            if name == "clip" and number is None:
                continue
            try:
                value = float(number)
            except (TypeError, ValueError):
                value = math.nan
            if not math.isfinite(value) or isinstance(number, bool) or (name in whole and value != int(value)):
                kind = "a whole number" if name in whole else "a number"
                raise ValueError(f"advantage_options: {name}={number!r} must be {kind}.")
            object.__setattr__(self, name, int(value) if name in whole else value)
        if not isinstance(self.whiten, bool):
            raise ValueError(f"advantage_options: whiten={self.whiten!r} must be true or false.")
        for name in ("gamma", "lam"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"advantage_options: {name}={getattr(self, name)} must lie in [0, 1].")
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"advantage_options: decay={self.decay} must lie in [0, 1).")
        for name in ("learning_rate", "warmup", "width", "max_grad_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"advantage_options: {name}={getattr(self, name)} must be 0 or more.")
        if self.clip is not None and self.clip <= 0.0:
            raise ValueError(f"advantage_options: clip={self.clip} must be positive, or null for no clipping.")

    @classmethod
    def of(cls, advantage: str, options: dict[str, Any]) -> CriticOptions:
        """The options as a recipe gives them.

        Raises:
            ValueError: an unknown name, or a value out of range.
        """
        unknown = sorted(options.keys() - {entry.name for entry in fields(cls)})
        if unknown:
            raise ValueError(
                f"advantage_options: {', '.join(unknown)} is unknown to advantage={advantage!r}. Choose among: "
                f"{', '.join(inspect.signature(cls).parameters)}."
            )
        return cls(**options)
