"""The act behind the reinforcement-learning stages: `run_rl` takes parsed options from a checked folder to a report.

Order of events: everything that can be wrong is checked first and told in one sentence (`prepare`), then the model is
evaluated, trained (resuming where a killed run stopped), saved, evaluated again, and the report is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import set_seed
from trl import ModelConfig

from trl_r1 import errors
from trl_r1.compat.sharding import shards_the_model
from trl_r1.data.columns import to_prompts
from trl_r1.data.spec import spec_of
from trl_r1.evaluation.graders import check_verifier
from trl_r1.evaluation.report import write_report
from trl_r1.grpo.checks import check_weights
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.curriculum import levels_of
from trl_r1.grpo.prompts import RenderedPrompts
from trl_r1.grpo.trainer import R1GRPOTrainer
from trl_r1.models.four_bit import check_four_bit
from trl_r1.models.options import R1ModelConfig, check_gates
from trl_r1.models.rendering.prompts import prompt_of
from trl_r1.models.templates import check_template_options
from trl_r1.monitor import AlarmThresholds, Monitor
from trl_r1.monitor.record import judged_again, passed_sentence, read_alarms, sentence
from trl_r1.monitor.signals import HELD_OUT, History
from trl_r1.rewards.catalogue import load_rewards
from trl_r1.runs.folder import RunFolder, find_model, model_options, quiet_libraries
from trl_r1.runs.heldout import Probe, asks_while_training, check_evaluation, evaluation_problems
from trl_r1.runs.options import RLOptions, parse
from trl_r1.runs.preview import decoded
from trl_r1.runs.processor import tell_before_training
from trl_r1.runs.rendering import check_prompt, read_kwargs
from trl_r1.runs.run import HeldOut, Run
from trl_r1.storage import manifest
from trl_r1.text.records import Json, Row


__all__ = ["Hooks", "PreparedRun", "prepare", "quiet_libraries", "run_rl", "start"]


@dataclass
class PreparedRun:
    """What `prepare` found in order: nothing here has trained yet."""

    model: str
    train_rows: Dataset
    evaluation_rows: Dataset | None
    reward_functions: list[Any]
    resume: str | None
    lock: Any  # held while the run lives, by the main process


class Hooks:
    """What a stage adds to the act: called by every process, doing nothing unless a stage says otherwise."""

    def begin(self, trainer: R1GRPOTrainer) -> None:
        """The model is as it was given; callbacks may be added."""

    def end(self, trainer: R1GRPOTrainer) -> tuple[list[str], Json]:
        """The model is trained: sentences for the report, entries for the summary."""
        return [], {}


def prepare(
    stage: str,
    options: RLOptions,
    config: R1GRPOConfig,
    model: ModelConfig,
    make_rows: Callable[[], Dataset] | None = None,
) -> PreparedRun:
    """Checks everything a user can get wrong, in the order of cost.

    Args:
        make_rows: the training rows of a stage that makes its own; None takes those of `dataset_name`.

    Raises:
        ValueError: one sentence: what was given, what was expected, what to do. Nothing was written by then, except
            `run.json` if the folder was free.
    """
    if not model.model_name_or_path:
        raise ValueError("No model was named; set model_name_or_path to a hub id, a local folder or mini:base.")
    rewards, weights = load_rewards(options.reward_list)
    check_verifier(rewards, options.evaluation_verifier)
    if config.reward_weights is not None and len(config.reward_weights) != len(rewards):
        raise ValueError(
            f"reward_weights has {len(config.reward_weights)} entries for {len(rewards)} rewards. Give the weights inside "
            "`rewards` instead."
        )
    config.reward_weights = config.reward_weights or weights
    in_reward = config.kl_placement == "reward" and config.beta > 0.0
    check_weights(config.reward_weights, [reward.__name__ for reward in rewards], in_reward)
    train_rows = _training_problems(options, config.seed) if make_rows is None else make_rows()
    _check_sharding(config)
    if config.curriculum != "none":
        levels_of(train_rows, config.curriculum_column)  # or one sentence that says what is missing
    check_template_options(read_kwargs(config.chat_template_kwargs), (row["prompt"] for row in train_rows))
    evaluation_rows = evaluation_problems(options, config.seed)
    why = "the held-out problems lack the columns that say which reward judges a row" if make_rows else None
    check_evaluation(config, evaluation_rows, why)
    folder = RunFolder.look(stage, config, manifest.settings_of(options, model, config))
    path = find_model(model.model_name_or_path, config, model.model_revision)
    check_gates(model, path, options, config)
    check_four_bit(model, path, config)
    check_prompt(train_rows[0], path, config, options)
    tell_before_training(stage, options, config, model, path, evaluation_rows)
    folder.take()
    return PreparedRun(path, train_rows, evaluation_rows, rewards, folder.resume, folder.lock)


def start(stage: str, argv: list[str] | None = None) -> dict[str, Any]:
    """A whole stage of RL from its arguments: parsed, checked and run; returns the summary.

    Raises:
        SystemExit: the arguments cannot work; the sentence stands on stderr.
    """
    quiet_libraries()

    def ready() -> tuple[RLOptions, R1GRPOConfig, ModelConfig, PreparedRun]:
        options, config, model = parse((RLOptions, R1GRPOConfig, R1ModelConfig), argv)
        return options, config, model, prepare(stage, options, config, model)

    return run_rl(stage, *errors.tell(stage, ready))


def _check_sharding(config: R1GRPOConfig) -> None:
    """One sentence before any model is loaded where FSDP or ZeRO-3 was asked for with an option that cannot work there."""
    if not shards_the_model():
        return
    if config.reference_every is not None:
        raise ValueError(
            f"reference_every={config.reference_every} needs the whole policy in every process, which FSDP and DeepSpeed "
            "ZeRO-3 do not keep. Set it to null, or use DDP (docs/scale.md)."
        )
    if config.verified_paths > 0:
        raise ValueError(
            f"verified_paths={config.verified_paths} needs the probabilities of the fast rollout, which FSDP and DeepSpeed "
            "ZeRO-3 leave to TRL. Set it to 0, or use DDP (docs/scale.md)."
        )


def _training_problems(options: RLOptions, seed: int) -> Dataset:
    rows = spec_of(options).read(seed)
    columns = options.question_column, options.solution_column, options.template, options.language_column
    return to_prompts(rows, *columns, options.drop_empty, options.system_prompt)


def run_rl(
    stage: str,
    options: RLOptions,
    config: R1GRPOConfig,
    model: ModelConfig,
    prepared: PreparedRun,
    hooks: Hooks | None = None,
) -> Json:
    """Evaluates, trains, saves, evaluates and reports; returns the summary it also writes to `summary.json`.

    Leaves in `output_dir`: run.json, checkpoints, metrics.jsonl, monitor.html, the model, evaluation_before.json,
    evaluation_after.json, report.md with its pictures, summary.json.
    """
    run = Run(stage, config)
    if run.summary is not None:
        return run.summary
    config.model_init_kwargs = model_options(model, config.model_init_kwargs)
    set_seed(config.seed)  # of an adapter's first weights; TRL does so itself, but 1.12 does not
    trainer = run.quiet(
        R1GRPOTrainer(  # type: ignore[abstract]  # to mypy, which does not see that TRL's class brings the members
            model=prepared.model,
            reward_funcs=prepared.reward_functions,
            args=config,
            train_dataset=prepared.train_rows,
            eval_dataset=prepared.evaluation_rows if asks_while_training(config) else None,
            **run.trainer_options(model),
        )
    )
    rows = prepared.evaluation_rows
    watcher = monitor(trainer, options)
    trainer.add_callback(watcher)
    hooks = hooks or Hooks()

    def begin() -> None:
        hooks.begin(trainer)
        if rows is not None and options.probe_every > 0:
            trainer.add_callback(Probe(trainer, rows.select(range(min(len(rows), options.probe_problems))), options))

    run.train(trainer, prepared.resume, HeldOut(rows, options), begin)
    notes, more = hooks.end(trainer)
    settings, title = manifest.settings_of(options, model, config), f"{stage}: {model.model_name_or_path}"

    def report() -> None:
        every_note = [*_notes(trainer, prepared), *alarm_notes(run, trainer.state.log_history, watcher.limits), *notes]
        prompt = first_prompt(trainer, prepared.train_rows)
        write_report(run.folder, title, settings, run.before, run.after, every_note, prompt)

    return run.finish(more, report)


def first_prompt(trainer: RenderedPrompts, rows: Dataset) -> str:
    """The first prompt of a training, as text with all special tokens; "" where it holds more than text."""
    if trainer._reasoning is None:
        return ""
    renderer = trainer._reasoning.renderer
    try:
        return decoded(renderer, renderer.prompt_ids(prompt_of(rows[0])))
    except ValueError:
        return ""


def monitor(trainer: R1GRPOTrainer, options: RLOptions) -> Monitor:
    """The monitor of a run: it measures drift where no reference model does (beta 0), and knows how much a held-out probe
    varies by chance."""
    chance = 2 * math.sqrt(
        2 * 0.25 / max(1, options.probe_problems * options.probe_samples)
    )  # two errors of a difference
    limits = AlarmThresholds(fall=max(AlarmThresholds().fall, chance))
    return Monitor(trainer, limits=limits, drift_every=0 if trainer.beta else options.drift_every)


def alarm_notes(run: Run, log: Sequence[Row], limits: AlarmThresholds) -> list[str]:
    """The run's alarms for its report, judged again on all that is known at its end: those that still hold are bold.

    Without a held-out probe the evaluations before and after training say whether right answers became more.
    """
    history = History.of(log)
    if history.held_out() is None and run.before is not None and run.after is not None:
        history.add(0, {HELD_OUT[0]: run.before["pass@1"]})
        history.add(run.steps or 0, {HELD_OUT[0]: run.after["pass@1"]})
    standing, passed = judged_again(read_alarms(run.folder), history, limits)
    return [*(f"**{sentence(row)}**" for row in standing), *map(passed_sentence, passed)]


def _notes(trainer: R1GRPOTrainer, prepared: PreparedRun) -> list[str]:
    notes = [f"{len(prepared.train_rows)} training problems, {trainer.accelerator.num_processes} process(es)."]
    if prepared.resume:
        notes.append(f"Resumed from {prepared.resume}.")
    return notes
