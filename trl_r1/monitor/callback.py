"""Monitor: the callback that measures what is sampled, looks at what is logged, and tells when something is wrong.

    trainer.add_callback(Monitor(trainer))      any TRL trainer; one line

Leaves in the run's folder: ``monitor.html``, ``monitor_alarms.jsonl``, and ``metrics.jsonl`` if nothing else writes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from trl_r1.evaluation.metrics_log import MetricsLog
from trl_r1.models.rendering import Renderer
from trl_r1.monitor.alarms import AlarmThresholds, Finding, look
from trl_r1.monitor.drift import Anchor, make_anchor
from trl_r1.monitor.page import write_page
from trl_r1.monitor.record import keep_until, record, sentence
from trl_r1.monitor.signals import History
from trl_r1.monitor.texts import measure, spread_evenly


logger = logging.getLogger(__name__)

PREFIX = "monitor/"
ANCHORS = 16  # texts that drift is measured on, at most
ANCHOR_TOKENS = 1024  # of all of them together, prompts included; two texts are kept in any case
DUTY = 50  # a page that took a second to write is written again after that many


class Monitor(TrainerCallback):
    """Watches a run: signals through the trainer's own trackers, alarms with advice, a page that refreshes.

    Nothing it does changes the run: it draws no random number and touches no weight (tests/monitor/test_callback.py).
    With a trainer that keeps its sampled texts (GRPO and its kin) it adds ``monitor/...`` to every logged line; with any
    other, and with none, it watches what is logged. All processes look; the main one writes.

    Args:
        trainer: whose texts are read; None where only the log is to be watched (``callbacks=[Monitor()]``).
        folder: of the run; None takes ``output_dir``.
        limits: where the alarms stand.
        most_texts: completions measured per step, spread evenly over the batch.
        drift_every: steps between two measurements of ``monitor/drift``; 0: never. It is a forward pass
            over up to 16 texts of 1,024 tokens together.
        page_seconds: least time between two writes of the page; a new alarm writes it at once. Writing takes at most a
            fiftieth of the run's time.
        title: of the page.
    """

    def __init__(
        self,
        trainer: Any = None,
        folder: str | Path | None = None,
        limits: AlarmThresholds | None = None,
        most_texts: int = 128,
        drift_every: int = 0,
        page_seconds: float = 10.0,
        title: str | None = None,
    ) -> None:
        if most_texts < 1 or drift_every < 0 or page_seconds < 0:
            raise ValueError(
                f"most_texts={most_texts} must be 1 or more, drift_every={drift_every} and page_seconds={page_seconds} "
                "0 or more."
            )
        self.trainer, self.limits, self.title = trainer, limits or AlarmThresholds(), title
        self.folder = Path(folder) if folder is not None else None
        self.most_texts, self.drift_every, self.page_seconds = most_texts, drift_every, page_seconds
        self.history = History()
        self.active: dict[str, int] = {}  # alarms that stand, and for how many lines they have been quiet
        self.anchor: Anchor | None = None
        self.log: MetricsLog | None = None
        self.measured: tuple[Any, ...] = ()
        self.next_page = 0.0
        self.spent = 0.0  # seconds on this step so far

    # --- the life of a run

    def on_train_begin(self, args, state, control, **kwargs):
        self.folder = self.folder or Path(args.output_dir)
        others = getattr(getattr(self.trainer, "callback_handler", None), "callbacks", [])
        if not any(isinstance(other, MetricsLog) for other in others):
            self.log = MetricsLog(self.folder)
            self.log.on_train_begin(args, state, control)
        self.history = History.of(line for line in state.log_history if line.get("step", 0) <= state.global_step)
        if state.is_world_process_zero:
            keep_until(self.folder, state.global_step)
        self.active = {finding.name: 0 for finding in look(self.history, self.limits)}
        self.anchor = Anchor.load(self.folder) if state.global_step > 0 and self.drift_every else None
        self.next_page = 0.0

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        """Before the first step the policy is still the one it started as."""
        if not self.drift_every or state.global_step != 0 or self.anchor is not None:
            return
        prompts, completions = self._texts()
        began = time.perf_counter()
        chosen = spread_evenly(len(completions), ANCHORS)
        self.anchor = make_anchor(
            model,
            self._tokenizer(),
            [prompts[i] for i in chosen],
            [completions[i] for i in chosen],
            renderer=self._renderer(args),
            budget=ANCHOR_TOKENS,
        )
        if self.anchor is not None and state.is_world_process_zero:
            self.anchor.save(self._folder())
        self.spent += time.perf_counter() - began

    def on_step_end(self, args, state, control, model=None, **kwargs):
        metrics = getattr(self.trainer, "_metrics", None)
        if metrics is None:
            return
        began = time.perf_counter()
        for name, value in self._measure_texts().items():
            metrics["train"][PREFIX + name].append(value)
        if self.anchor is not None and state.global_step % self.drift_every == 0:
            metrics["train"][PREFIX + "drift"].append(self.anchor.drift(model))
        metrics["train"]["seconds/monitor"].append(self.spent + time.perf_counter() - began)
        self.spent = 0.0

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.log is not None:
            self.log.on_log(args, state, control, logs=logs)
        self.history.add(state.global_step, logs or {})
        raised = self._new_findings()
        if state.is_world_process_zero and raised:
            for row in record(self._folder(), state.global_step, raised):
                (logger.warning if row["level"] == "alarm" else logger.info)("%s", sentence(row))
        metrics = getattr(self.trainer, "_metrics", None)
        if metrics is not None:  # in the next line, so that every tracker can be told to call somebody
            metrics["train"][PREFIX + "alarms"].append(float(sum(one.level == "alarm" for one in raised)))
        self._page(state, now=bool(raised))

    def on_train_end(self, args, state, control, **kwargs):
        self._page(state, now=True, finished=True)

    # --- its parts

    def _folder(self) -> Path:
        assert self.folder is not None, "on_train_begin comes first"
        return self.folder

    def _texts(self) -> tuple[list[Any], list[Any]]:
        """Prompts and completions of the latest batch, of all processes; ([], []) where the trainer keeps none."""
        logs = getattr(self.trainer, "_logs", None)
        if not isinstance(logs, dict) or not {"prompt", "completion"} <= set(logs):
            return [], []
        return list(logs["prompt"]), list(logs["completion"])

    def _tokenizer(self) -> Any:
        processing = getattr(self.trainer, "processing_class", None)
        return getattr(processing, "tokenizer", processing)

    def _renderer(self, args: Any) -> Renderer:
        """What the trainer renders its prompts with; of a trainer that is not ours, one with its template options."""
        ours = getattr(self.trainer, "_reasoning", None)
        if ours is not None:
            return ours.renderer
        return Renderer(self._tokenizer(), chat_template_kwargs=getattr(args, "chat_template_kwargs", None))

    def _measure_texts(self) -> dict[str, float]:
        """Metrics of the texts sampled since the last look; {} if there are none."""
        prompts, completions = self._texts()
        fingerprint = (len(completions), str(completions[:1]), str(completions[-1:]))
        if not completions or fingerprint == self.measured:
            return {}
        self.measured = fingerprint
        chosen = spread_evenly(len(completions), self.most_texts)
        chosen_prompts = [prompts[i] for i in chosen] if len(prompts) == len(completions) else None
        return measure([completions[i] for i in chosen], chosen_prompts, count_tokens=token_counter(self._tokenizer()))

    def _new_findings(self) -> list[Finding]:
        """Findings that were not standing already. An alarm falls silent after ``width`` lines without it."""
        findings = look(self.history, self.limits)
        fresh = [one for one in findings if one.name not in self.active]
        names = {one.name for one in findings}
        quiet = {name: 0 if name in names else lines + 1 for name, lines in self.active.items()}
        self.active = {name: lines for name, lines in quiet.items() if lines < self.limits.width}
        self.active |= {one.name: 0 for one in fresh}
        return fresh

    def _page(self, state: Any, now: bool = False, finished: bool = False) -> None:
        if not state.is_world_process_zero or (not now and time.monotonic() < self.next_page):
            return
        began = time.monotonic()
        write_page(self._folder(), self.title, state.max_steps, finished)
        self.next_page = time.monotonic() + max(self.page_seconds, DUTY * (time.monotonic() - began))


def token_counter(tokenizer: Any) -> Callable[[list[str]], list[int]] | None:
    """Lengths in tokens of many texts; None without a tokenizer."""
    if tokenizer is None:
        return None
    return lambda texts: [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]
