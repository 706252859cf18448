"""Rewards while the rollout still runs: a group is scored as soon as its last completion ends.

Every reward function gets a thread of its own and is called once per group, one group at a time, so it needs no lock. What
this gains is what a reward waits for outside Python (a verifier process, a sandbox, a server). Rewards that are models or
ask the policy itself (agser; it is busy sampling), async functions, and those that compare completions across groups keep
being called once, on the whole batch.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import nn
from trl.data_utils import is_conversational


class _Notes:
    """What one call logs through TRL's `log_extra` and `log_metric`; said again in the order of the batch."""

    def __init__(self) -> None:
        self.extras: list[tuple[str, list[Any]]] = []
        self.metrics: list[tuple[str, float]] = []

    def log_extra(self, column: str, values: list[Any]) -> None:
        self.extras.append((column, values))

    def log_metric(self, name: str, value: float) -> None:
        self.metrics.append((name, value))


class EarlyRewards:
    """Scores the groups of one rollout after the other.

    Args:
        trainer: whose reward functions and tokenizer are used.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self.numbers = [number for number, function in enumerate(trainer.reward_funcs) if _plain(function)]
        self.threads = {number: ThreadPoolExecutor(1, f"reward-{number}") for number in self.numbers}
        self.waited = 0.0  # seconds that the last batch stood still for its rewards
        self._inputs: list[dict[str, Any]] = []

    def begin(self, inputs: list[dict[str, Any]], group_size: int) -> bool:
        """Takes the rows of the next rollout; False where TRL alone can say what a reward is to be called with."""
        tokenizer = self.trainer.processing_class
        chat = is_conversational({"prompt": inputs[0].get("prompt", "")})
        parsed = any(getattr(tokenizer, name, None) is not None for name in ("response_template", "response_schema"))
        served = (
            self.numbers
            and "prompt" in inputs[0]
            and not {"image", "images"} & inputs[0].keys()
            and not self.trainer.tools
            and getattr(self.trainer, "environments", None) is None
            and not (chat and parsed)
            and len(inputs) % group_size == 0
        )
        self._inputs, self._size, self._chat = (inputs, group_size, chat) if served else ([], group_size, chat)
        self._ids: dict[int, list[int]] = {}
        self._jobs: dict[int, dict[int, Future]] = {}  # group -> number of the reward -> its scores and notes
        self._texts: dict[int, list[Any]] = {}
        return bool(served)

    def finished(self, rows: list[int], completions: list[list[int]]) -> None:
        """Called by the rollout as rows end; hands every completed group to the reward threads."""
        self._ids.update(zip(rows, completions))
        for group in sorted({row // self._size for row in rows}):
            members = range(group * self._size, (group + 1) * self._size)
            if all(row in self._ids for row in members):
                ids = [self._ids[row] for row in members]
                texts: list[Any] = self.trainer.processing_class.batch_decode(ids, skip_special_tokens=True)
                trainer_reasoning = getattr(self.trainer, "_reasoning", None)
                if trainer_reasoning is not None:
                    trainer_reasoning.keep_marks(texts, ids)
                if self._chat:
                    texts = [[{"role": "assistant", "content": text}] for text in texts]
                self._texts[group] = texts
                inputs = [self._inputs[row] for row in members]
                self._jobs[group] = {
                    number: thread.submit(self._call, self.trainer.reward_funcs[number], inputs, texts, ids)
                    for number, thread in self.threads.items()
                }

    def _call(self, function: Any, inputs: list[dict[str, Any]], texts: list[Any], ids: list[list[int]]) -> Any:
        notes = _Notes()
        keys = [key for key in inputs[0] if key not in ("prompt", "completion", "completion_ids")]
        scores = function(
            prompts=[row["prompt"] for row in inputs],
            completions=texts,
            completion_ids=ids,
            trainer_state=self.trainer.state,
            log_extra=notes.log_extra,
            log_metric=notes.log_metric,
            **{key: [row[key] for row in inputs] for key in keys},
        )
        if len(scores) != len(texts):
            raise ValueError(
                f"A reward function returned {len(scores)} rewards for {len(texts)} completions; it must return one each."
            )
        return list(scores), notes

    def ready(self, completions: list[Any]) -> dict[int, Callable[..., list[Any]]]:
        """Number of the reward -> a function that answers for the whole batch with what was computed early.

        Empty where the batch is not the one that was scored. Waits for the threads; an error in one is raised here.
        """
        groups = len(completions) // self._size if self._inputs else 0
        if not groups or sorted(self._jobs) != list(range(groups)):
            return {}
        if [text for group in range(groups) for text in self._texts[group]] != completions:
            return {}
        began = time.perf_counter()
        scores = {number: [self._jobs[group][number].result() for group in range(groups)] for number in self.numbers}
        self.waited = time.perf_counter() - began
        self._inputs = []
        return {number: _answer(parts) for number, parts in scores.items()}


def _plain(function: Any) -> bool:
    """Whether a reward function is neither a model, nor asynchronous, nor one that asks the policy (it can be ``bound``)."""
    while isinstance(function, functools.partial):
        function = function.func
    called = (function, getattr(function, "__call__", None))  # noqa: B004
    if isinstance(function, nn.Module) or hasattr(function, "bound"):
        return False
    return not any(inspect.iscoroutinefunction(one) for one in called)


def _answer(parts: list[tuple[list[Any], _Notes]]) -> Callable[..., list[Any]]:
    def answer(log_extra=None, log_metric=None, **columns: Any) -> list[Any]:
        for _, notes in parts:
            for column, values in notes.extras:
                log_extra(column, values)
            for name, value in notes.metrics:
                log_metric(name, value)
        return [score for scores, _ in parts for score in scores]

    return answer
