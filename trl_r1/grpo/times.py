"""StepTimes: where the seconds of a step go, as metrics `seconds/...`: a mixin that only looks at the clock.

    generation   completions; the refresh of a copy is told apart (`seconds/refresh`)
    rewards      reward functions, or the wait for them
    logps        log-probabilities outside a loss: of the old policy and of the reference
    loss         its forward pass
    backward     and what accelerate does with the gradient
    optimizer    clipping apart: the step itself
    preparation  tokens, padding, advantages, dealing rows out

By the clock of this process, per optimizer step; nothing waits for a device, so on a GPU work counts where it is
waited for.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback

from trl_r1.grpo.mixin import Host


PREFIX = "seconds/"


class NestedClock:
    """Seconds by part; a part inside another is taken off the outer one."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def within(self, name: str) -> bool:
        return name in self._open

    def drained(self) -> dict[str, float]:
        """What there is, and from now on anew."""
        found, self.seconds = dict(self.seconds), defaultdict(float)
        return found


class TellTimes(TrainerCallback):
    """Times the optimizer, and hands a step's seconds to the trainer's metrics."""

    def __init__(self, trainer: Any):
        self.trainer, self.began = trainer, 0.0

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.trainer._clock.seconds["optimizer"] += time.perf_counter() - self.began

    def on_step_end(self, args, state, control, **kwargs):
        for name, value in self.trainer._clock.drained().items():
            self.trainer._metrics["train"][PREFIX + name].append(value)


class StepTimes(Host):
    """The parts of a GRPO trainer's step, on a clock."""

    _clock: NestedClock

    def _start_times(self) -> None:
        """Called once the trainer is built."""
        self._clock = NestedClock()
        self.add_callback(TellTimes(self))

    def _timed(self, name: str) -> contextlib.AbstractContextManager[None]:
        clock = getattr(self, "_clock", None)
        return contextlib.nullcontext() if clock is None or not self.model.training else clock.part(name)

    def training_step(self, *args, **kwargs):
        with self._clock.part("backward"):  # the model is put into training mode inside
            return super().training_step(*args, **kwargs)

    def _prepare_inputs(self, generation_batch):
        with self._timed("preparation"):
            return super()._prepare_inputs(generation_batch)

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, *args, **kwargs):
        with self._timed("generation"):
            found = super()._generate_single_turn(prompt_ids, images, multimodal_fields, *args, **kwargs)
        copies = getattr(self, "_copies", None)
        if copies is not None and self.model.training:
            self._clock.seconds["refresh"] += copies.refresh_seconds
            self._clock.seconds["generation"] -= copies.refresh_seconds
        return found

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self._timed("rewards"):
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def _compute_loss(self, model, inputs):
        with self._timed("loss"):
            return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        clock = getattr(self, "_clock", None)
        with self._timed("loss" if clock is not None and clock.within("loss") else "logps"):
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
