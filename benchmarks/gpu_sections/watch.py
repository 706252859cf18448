"""Looks into a stage while it takes its steps: seconds and peaks of each, of its generations, and a hook at the end.

A stage makes its trainer itself, so the hooks go in at two places that every trainer passes: the table of default
callbacks, and `Trainer.training_step`, which sees the trainer. Both are as before afterwards.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers.trainer
from transformers import Trainer, TrainerCallback

from gpu_sections.device import Meter


@dataclass
class Step:
    """One optimizer step."""

    seconds: float = 0.0
    generation_seconds: float = 0.0
    generated: int = 0  # tokens
    trained: int = 0  # tokens of the micro-batches, without padding
    peak: float = 0.0  # GiB, reserved
    peak_allocated: float = 0.0  # GiB, in tensors
    generation_peak: float = 0.0  # GiB, reserved
    resident: float = 0.0  # GiB in tensors when a generation began: all models there are, the optimizer's state


@dataclass
class Watch:
    """What was seen of the first trainer that ran, and of later ones their peaks.

    Args:
        generated: tokens that are really generated of each completion; the others are drawn at random. None: all.
        at_the_end: called with (trainer, the last micro-batch) after the last step, with its gradients gone.
    """

    meter: Meter
    generated: int | None = None
    at_the_end: Callable[[Any, dict[str, Any]], None] | None = None
    steps: list[Step] = field(default_factory=list)
    trainer: Any = None
    micro_batch: dict[str, Any] = field(default_factory=dict)
    now: Step = field(default_factory=Step)
    ended: bool = False

    def seen(self, trainer: Any) -> None:
        """A trainer takes a micro-batch for the first time."""
        if self.trainer is trainer:
            return
        self.trainer = trainer
        plain = trainer.compute_loss

        def compute_loss(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.micro_batch = inputs
            self.now.trained += tokens_of(inputs)
            return plain(model, inputs, *args, **kwargs)

        trainer.compute_loss = compute_loss
        if hasattr(trainer, "_generate_single_turn"):
            self._watch_generation(trainer)

    def _watch_generation(self, trainer: Any) -> None:
        plain = trainer._generate_single_turn

        def generate(*args: Any, **kwargs: Any) -> Any:
            config = trainer.generation_config
            whole = config.max_new_tokens
            config.max_new_tokens = min(whole, self.generated or whole)
            before = self.meter.peak(), self.meter.peak_allocated()
            self.now.resident = self.meter.allocated()
            self.meter.wait()
            self.meter.forget_peak()
            began = time.perf_counter()
            try:
                drawn = plain(*args, **kwargs)
            finally:
                short, config.max_new_tokens = config.max_new_tokens, whole
            self.meter.wait()
            self.now.generation_seconds += time.perf_counter() - began
            self.now.generation_peak = max(self.now.generation_peak, self.meter.peak())
            self.meter.trim()
            self.meter.forget_peak()
            self.now.peak, self.now.peak_allocated = (
                max(self.now.peak, before[0]),
                max(self.now.peak_allocated, before[1]),
            )
            rows = drawn[0] if isinstance(drawn, tuple) else drawn
            self.now.generated += sum(map(len, rows))
            longer = [filled(row, short, whole, trainer.model.config.vocab_size) for row in rows]
            return (longer, *drawn[1:]) if isinstance(drawn, tuple) else longer

        trainer._generate_single_turn = generate


def filled(row: list[int], short: int, whole: int, vocabulary: int) -> list[int]:
    """A completion that was cut at `short` tokens, as long as `whole` with tokens drawn at random."""
    row = list(row)
    if len(row) < short:
        return row  # it ended
    return row + torch.randint(2, vocabulary, (whole - len(row),)).tolist()


def tokens_of(inputs: Any) -> int:
    """Tokens of a micro-batch, without padding where a mask says what that is."""
    masks = [inputs[name] for name in ("prompt_mask", "completion_mask", "attention_mask") if name in inputs]
    if masks and all(torch.is_tensor(mask) for mask in masks):
        return sum(int((mask != 0).sum()) for mask in masks)
    return inputs["input_ids"].numel() if "input_ids" in inputs else 0


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
    """Every trainer that takes a step inside is watched."""
    meter = watch.meter

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            watch.now = Step()
            meter.wait()
            meter.forget_peak()
            self.began = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            meter.wait()
            step = watch.now
            step.seconds = time.perf_counter() - self.began
            step.peak, step.peak_allocated = (
                max(step.peak, meter.peak()),
                max(step.peak_allocated, meter.peak_allocated()),
            )
            watch.steps.append(step)
            if state.global_step >= state.max_steps and watch.at_the_end is not None and not watch.ended:
                watch.ended = True
                watch.trainer.model.zero_grad(set_to_none=True)
                watch.at_the_end(watch.trainer, watch.micro_batch)
                watch.trainer.model.zero_grad(set_to_none=True)

    plain_step, callbacks = Trainer.training_step, list(transformers.trainer.DEFAULT_CALLBACKS)

    def training_step(self, *args, **kwargs):
        watch.seen(self)
        return plain_step(self, *args, **kwargs)

    Trainer.training_step = training_step
    transformers.trainer.DEFAULT_CALLBACKS[:] = [*callbacks, Clock]
    try:
        yield watch
    finally:
        Trainer.training_step = plain_step
        transformers.trainer.DEFAULT_CALLBACKS[:] = callbacks
