"""The acts behind the stages: `run_rl` takes parsed options from a checked folder to a report.

Order of events: everything that can be wrong is checked first and told in one sentence (`prepare`), then the model is
evaluated, trained (resuming where a killed run stopped), saved, evaluated again, and the report is written.
"""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from transformers import AutoConfig, PrinterCallback, ProgressCallback, TrainerCallback
from trl import ModelConfig, get_peft_config, get_quantization_config

from trl_r1 import manifest
from trl_r1.checkpoints import newest_complete, resolve_resume
from trl_r1.config import R1GRPOConfig
from trl_r1.data.columns import load_rows, looks_like_path, to_prompts
from trl_r1.evaluation.benchmark import Evaluation, default_graders, evaluate
from trl_r1.evaluation.metrics_log import MetricsLog
from trl_r1.evaluation.report import write_report
from trl_r1.files import replace_file
from trl_r1.options import EvaluationOptions, RLOptions
from trl_r1.rewards.catalogue import load_rewards
from trl_r1.trainer import R1GRPOTrainer


logger = logging.getLogger(__name__)

SUMMARY = "summary.json"


@dataclass
class PreparedRun:
    """What `prepare` found in order: nothing here has trained yet."""

    model: str
    train_rows: Dataset
    evaluation_rows: Dataset | None
    reward_functions: list[Any]
    resume: str | None
    lock: Any  # held while the run lives, by the main process


def prepare(stage: str, options: RLOptions, config: R1GRPOConfig, model: ModelConfig) -> PreparedRun:
    """Checks everything a user can get wrong, in the order of cost.

    Raises:
        ValueError: one sentence: what was given, what was expected, what to do. Nothing was written by then, except
            `run.json` if the folder was free.
    """
    if not model.model_name_or_path:
        raise ValueError("No model was named; set model_name_or_path to a hub id, a local folder or mini:base.")
    rewards, weights = load_rewards(options.reward_list)
    if config.reward_weights is not None and len(config.reward_weights) != len(rewards):
        raise ValueError(
            f"reward_weights has {len(config.reward_weights)} entries for {len(rewards)} rewards. Give the weights inside "
            "`rewards` instead."
        )
    config.reward_weights = config.reward_weights or weights
    train_rows = _training_problems(options, config.seed)
    evaluation_rows = _evaluation_problems(options, config.seed)
    explicit = config.resume_from_checkpoint not in (None, False)
    resume = resolve_resume(config.resume_from_checkpoint, config.output_dir) if explicit else None
    settings = manifest.settings_of(options, model, config)
    known = manifest.belongs(config.output_dir, stage, settings, explicit)
    config.distributed_state.wait_for_everyone()  # all have looked before one writes
    path = _find_model(model, config)
    lock = None
    if config.distributed_state.is_main_process:
        if not known:
            manifest.claim(config.output_dir, stage, settings)
        lock = manifest.hold(config.output_dir)
    if known and not explicit:
        resume = newest_complete(config.output_dir)
    return PreparedRun(path, train_rows, evaluation_rows, rewards, resume, lock)


def _training_problems(options: RLOptions, seed: int) -> Dataset:
    rows = load_rows(options.dataset_name, options.dataset_split, options.dataset_config, seed)
    columns = options.question_column, options.solution_column
    return to_prompts(rows, *columns, options.template, options.language_column, options.drop_empty)


def _evaluation_problems(options: RLOptions, seed: int) -> Dataset | None:
    """The held-out problems, put to the model as the training problems are; None if the recipe names none."""
    if options.evaluation_dataset_name is None:
        return None
    rows = load_rows(
        options.evaluation_dataset_name, options.evaluation_split, options.evaluation_dataset_config, seed
    )
    if options.evaluation_problems is not None:
        rows = rows.select(range(min(len(rows), options.evaluation_problems)))
    question = options.evaluation_question_column or options.question_column
    solution = options.evaluation_solution_column or options.solution_column
    language = options.language_column if options.language_column in rows.column_names else None
    return to_prompts(rows, question, solution, options.template, language, options.drop_empty)


def _find_model(model: ModelConfig, config: R1GRPOConfig) -> str:
    """A name that `from_pretrained` takes; the miniature base is built here if it is not in the cache yet."""
    name = model.model_name_or_path
    if name.startswith("mini:"):
        from trl_r1.mini.store import resolve_model

        with config.distributed_state.main_process_first():
            return str(resolve_model(name, config.seed))
    if looks_like_path(name) and not Path(name).expanduser().exists():
        raise ValueError(f"model_name_or_path={name!r}: there is no such folder. Give a hub id or an existing folder.")
    try:
        AutoConfig.from_pretrained(name, revision=model.model_revision, trust_remote_code=config.trust_remote_code)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"model_name_or_path={name!r} cannot be loaded ({first}). Give a hub id that this machine can reach, or a "
            "folder written by save_pretrained."
        ) from error
    return name


def run_rl(
    stage: str, options: RLOptions, config: R1GRPOConfig, model: ModelConfig, prepared: PreparedRun
) -> dict[str, Any]:
    """Evaluates, trains, saves, evaluates and reports; returns the summary it also writes to `summary.json`.

    Leaves in `output_dir`: run.json, checkpoints, metrics.jsonl, the model, evaluation_before.json,
    evaluation_after.json, report.md with its pictures, summary.json.
    """
    folder = Path(config.output_dir)
    main = config.distributed_state.is_main_process
    if (folder / SUMMARY).is_file() and config.resume_from_checkpoint in (None, False):
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if main:
            print(f"This run is finished already; its report is {folder / 'report.md'}.")
        return summary
    started = time.time()
    config.model_init_kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(config.model_init_kwargs or {}),
    }
    log = MetricsLog(folder)
    trainer = R1GRPOTrainer(
        model=prepared.model,
        reward_funcs=prepared.reward_functions,
        args=config,
        train_dataset=prepared.train_rows,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        callbacks=[log],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if not config.disable_tqdm:
        trainer.add_callback(ProgressLine())
    rows = prepared.evaluation_rows
    before = _evaluation(trainer, rows, options, config, folder / "evaluation_before.json", "before")
    if rows is not None and options.probe_every > 0:
        trainer.add_callback(Probe(trainer, rows.select(range(min(len(rows), options.probe_problems))), options))

    with _elapsed(folder / "seconds.json", main) as seconds:
        trainer.train(resume_from_checkpoint=prepared.resume)
    trainer.save_model(config.output_dir)
    after = _evaluation(trainer, rows, options, config, folder / "evaluation_after.json", "after")

    summary = {
        "stage": stage,
        "steps": trainer.state.global_step,
        "training_seconds": round(seconds[0], 1),
        "seconds": round(time.time() - started, 1),
        "before": before.to_dict() if before else None,
        "after": after.to_dict() if after else None,
    }
    if main:
        settings = manifest.settings_of(options, model, config)
        write_report(folder, _title(stage, model), settings, before, after, notes=_notes(trainer, prepared))
        replace_file(folder / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False))
    config.distributed_state.wait_for_everyone()
    return summary


def _title(stage: str, model: ModelConfig) -> str:
    return f"{stage}: {model.model_name_or_path}"


def _notes(trainer: R1GRPOTrainer, prepared: PreparedRun) -> list[str]:
    notes = [f"{len(prepared.train_rows)} training problems, {trainer.accelerator.num_processes} process(es)."]
    if prepared.resume:
        notes.append(f"Resumed from {prepared.resume}.")
    return notes


@contextmanager
def _elapsed(path: Path, main: bool) -> Iterator[list[float]]:
    """Training seconds over all starts of a run; [0] is the total so far when the block ends."""
    earlier = json.loads(path.read_text())["training_seconds"] if path.is_file() else 0.0
    total, began = [earlier], time.time()
    try:
        yield total
    finally:
        total[0] = earlier + time.time() - began
        if main:
            replace_file(path, json.dumps({"training_seconds": total[0]}))


def _evaluation(
    trainer: R1GRPOTrainer,
    rows: Dataset | None,
    options: EvaluationOptions,
    config: R1GRPOConfig,
    path: Path,
    when: str,
) -> Evaluation | None:
    """The evaluation stored at `path`, or a new one of the trainer's model, shared out over the processes."""
    if rows is None:
        return None
    if path.is_file():
        return Evaluation.load(path)
    if when == "before" and trainer.args.resume_from_checkpoint:
        return None  # the base is no longer what is loaded
    state = config.distributed_state
    if state.is_main_process:
        print(
            f"Evaluating {when} training: {len(rows)} problems, {options.evaluation_samples} samples each.", flush=True
        )
    result = evaluate_shared(trainer, rows, options, config)
    if state.is_main_process:
        result.save(path)
    state.wait_for_everyone()
    return result


def evaluate_shared(
    trainer: R1GRPOTrainer, rows: Dataset, options: EvaluationOptions, config: R1GRPOConfig, samples: int | None = None
) -> Evaluation:
    """Evaluates the trainer's model, every process taking every n-th problem; all processes get the whole result."""
    state = config.distributed_state
    share = rows.select(range(state.process_index, len(rows), state.num_processes))
    result = evaluate(
        trainer.accelerator.unwrap_model(trainer.model),
        trainer.processing_class,
        share if len(share) else rows.select([0]),
        samples=samples or options.evaluation_samples,
        temperature=options.evaluation_temperature,
        top_p=options.evaluation_top_p,
        max_new_tokens=options.evaluation_max_tokens or config.max_completion_length,
        batch_size=options.evaluation_batch_size,
        seed=config.seed + 1000 * state.process_index,
        progress=state.is_main_process and not config.disable_tqdm and samples is None,
        graders=default_graders(trainer.reward_funcs),
    )
    if state.num_processes == 1:
        return result
    parts = gather_object([result.problems if len(share) else []])
    return Evaluation([problem for part in parts for problem in part], result.settings)


class Probe(TrainerCallback):
    """Held-out pass@1 on a few problems while training runs, logged as `heldout/pass@1` through TRL's own metrics.

    It draws from its own random state, so a run with a probe equals one without.
    """

    def __init__(self, trainer: R1GRPOTrainer, rows: Dataset, options: RLOptions):
        self.trainer, self.rows, self.options = trainer, rows, options

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.options.probe_every == 0:
            result = evaluate_shared(self.trainer, self.rows, self.options, args, samples=self.options.probe_samples)
            self.trainer._metrics["train"]["heldout/pass@1"].append(result["pass@1"])


class ProgressLine(ProgressCallback):
    """The usual bar, with the numbers worth watching behind it instead of a dictionary per logged step."""

    SHOWN = {
        "reward": "reward",
        "rewards/accuracy/mean": "accuracy",
        "completions/mean_length": "length",
        "entropy": "entropy",
        "kl": "kl",
        "heldout/pass@1": "held-out",
    }

    def __init__(self):
        super().__init__()
        self.values: dict[str, str] = {}

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None:
            for key, label in self.SHOWN.items():
                if isinstance((logs or {}).get(key), float):
                    self.values[label] = f"{logs[key]:.3g}"
            self.training_bar.set_postfix(self.values, refresh=False)


def quiet_libraries() -> None:
    """Only warnings from the libraries, so that a run's own lines can be read."""
    import datasets
    import transformers

    if os.environ.get("RANK", "0") != "0":
        transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.|trl\.")
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
