"""The life of a run, written once: finished already? the clock, evaluate, train, save, evaluate, summary, report.

    run = Run("sft", config)
    if run.summary is not None:  # an earlier start finished it
        return run.summary
    trainer = run.quiet(SFTTrainer(...))
    run.train(trainer, resume, held_out)  # evaluates before and after, where there is something to evaluate on
    return run.finish({"rows": 100}, report)

`summary.json` is written last, so that "it is there" means "the run is finished".
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import ModelConfig, get_quantization_config

from trl_r1.evaluation.metrics_log import MetricsLog
from trl_r1.models.options import adapter_config
from trl_r1.runs.folder import SUMMARY, elapsed, finished
from trl_r1.runs.heldout import ProgressLine, evaluation
from trl_r1.storage.checkpoints import train
from trl_r1.storage.shards import write_or_tell
from trl_r1.text.records import Json


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer

    from trl_r1.evaluation.benchmark import Evaluation
    from trl_r1.runs.options import EvaluationOptions

T = TypeVar("T", bound="Trainer")


@dataclass(frozen=True)
class HeldOut:
    """What a model is measured on before and after training, and how its answers are read."""

    rows: Dataset | None  # None: nothing is measured
    options: EvaluationOptions
    graders: Iterable[Any] | None = None  # rewards whose options say how answers are read; None: the trainer's own


class Run:
    """One start of a run in the folder `config.output_dir`.

    Args:
        stage: its name in summary and report.
        config: training arguments, or any object with output_dir, resume_from_checkpoint and distributed_state.
        earlier_seconds: of the stage's work before this act; counted in.
    """

    def __init__(self, stage: str, config: Any, earlier_seconds: float = 0.0) -> None:
        self.stage, self.config = stage, config
        self.folder = Path(config.output_dir)
        self.started = time.time() - earlier_seconds
        self.summary: Json | None = finished(config)
        self.training_seconds: float | None = None  # over all starts
        self.steps: int | None = None
        self.before: Evaluation | None = None
        self.after: Evaluation | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return bool(self.config.distributed_state.is_main_process)

    @contextmanager
    def training(self) -> Iterator[None]:
        """The clock of the training, over all starts."""
        with elapsed(self.folder / "seconds.json", self.is_main) as seconds:
            yield
        self.training_seconds = round(seconds[0], 1)

    def trainer_options(self, model: ModelConfig) -> Json:
        """What every trainer of ours is given of the model's options, and the log that reports draw from."""
        return {
            "quantization_config": get_quantization_config(model),
            "peft_config": adapter_config(model),
            "callbacks": [MetricsLog(self.folder)],
        }

    def quiet(self, trainer: T, progress: dict[str, str] | None = None) -> T:
        """The trainer without the libraries' printed dictionaries, with our bar unless bars are off.

        Args:
            progress: metrics behind the bar, by the word that stands there; None: those of RL.
        """
        trainer.remove_callback(ProgressCallback)
        trainer.remove_callback(PrinterCallback)
        if not self.config.disable_tqdm:
            trainer.add_callback(ProgressLine(progress))
        return trainer

    def evaluate(self, trainer: Trainer, held_out: HeldOut, when: str) -> Evaluation | None:
        """Of the trainer's model, ``when`` "before" or "after" training; from its file where an earlier start left it."""
        path = self.folder / f"evaluation_{when}.json"
        return evaluation(trainer, held_out.rows, held_out.options, self.config, path, when, held_out.graders)

    def train(
        self, trainer: Trainer, resume: str | None, held_out: HeldOut, begin: Callable[[], Any] = lambda: None
    ) -> None:
        """Evaluates, trains onto the same trajectory after a kill, saves, and evaluates.

        Args:
            begin: called between the first evaluation and the training.
        """
        self.before = self.evaluate(trainer, held_out, "before")
        begin()
        with self.training():
            train(trainer, resume)
        trainer.save_model(self.config.output_dir)
        self.after = self.evaluate(trainer, held_out, "after")
        self.steps = trainer.state.global_step

    def finish(self, entries: Json, report: Callable[[], Any]) -> Json:
        """`write` in the main process; the others wait until it is done. Every process gets the summary."""
        if self.is_main:
            summary = self.write(entries, report)
        else:
            summary = self._summary(entries)
        self.config.distributed_state.wait_for_everyone()
        return summary

    def write(self, entries: Json, report: Callable[[], Any]) -> Json:
        """Writes the report, then the summary; returns it.

        Args:
            entries: of the summary, beside stage, steps, seconds and the two evaluations; they win over these.
            report: writes report.md.

        Raises:
            ShardError: the summary cannot be written, in one sentence.
        """
        summary = self._summary(entries)
        report()
        write_or_tell(self.folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False))
        return summary

    def _summary(self, entries: Json) -> Json:
        known = {
            "stage": self.stage,
            "steps": self.steps,
            "training_seconds": self.training_seconds,
            "seconds": round(time.time() - self.started, 1),
        }
        evaluations = {
            "before": self.before.to_dict() if self.before else None,
            "after": self.after.to_dict() if self.after else None,
        }
        return {key: value for key, value in known.items() if value is not None} | evaluations | entries
