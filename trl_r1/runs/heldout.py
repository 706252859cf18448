"""Held-out evaluation of a model that is being trained: before, after, and a small probe while training runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from datasets import Dataset
from transformers import ProgressCallback, TrainerCallback, TrainingArguments

from trl_r1.compat.sharding import shards_the_model
from trl_r1.data.columns import load_rows, to_prompts
from trl_r1.evaluation.benchmark import Evaluation, default_graders, evaluate
from trl_r1.runs.options import EvaluationOptions, RLOptions
from trl_r1.runs.rendering import renderer_of


def evaluation_problems(options: Any, seed: int) -> Dataset | None:
    """The held-out problems, put to the model as the training problems are; None if the recipe names none.

    Args:
        options: an `EvaluationOptions` with the fields of `DataOptions` that say how a problem is put: question_column,
            solution_column, language_column, template, drop_empty, system_prompt.

    Raises:
        ValueError: they cannot be read, or the model that is to answer them is sharded.
    """
    if options.evaluation_dataset_name is None:
        return None
    if shards_the_model():
        raise ValueError(
            "evaluation_dataset_name: under FSDP and DeepSpeed ZeRO-3 no process holds the whole model, so none can sample "
            "held-out problems for itself while it trains. Set it to null in the recipe and evaluate the checkpoints with "
            "`trl-r1 evaluate` (docs/scale.md)."
        )
    split = held_out_split(options.evaluation_dataset_name, options.evaluation_split, options.dataset_name)
    rows = load_rows(options.evaluation_dataset_name, split, options.evaluation_dataset_config, seed)
    if options.evaluation_problems is not None:
        rows = rows.select(range(min(len(rows), options.evaluation_problems)))
    question = options.evaluation_question_column or options.question_column
    solution = options.evaluation_solution_column or options.solution_column
    language = options.language_column if options.language_column in rows.column_names else None
    columns = question, solution, options.template, language
    return to_prompts(rows, *columns, options.drop_empty, options.system_prompt)


def held_out_split(name: str, split: str, training: str) -> str:
    """The split to evaluate on: of a single data file the whole of it, whatever the file is called.

    Not where the file is the one that is trained on; there the split has to be found, or is refused.
    """
    path = Path(name).expanduser()
    whole = split == EvaluationOptions.evaluation_split and path.is_file()
    return "train" if whole and path.resolve() != Path(training).expanduser().resolve() else split


def asks_while_training(config: TrainingArguments) -> bool:
    """Whether the trainer itself is to evaluate (`eval_strategy`, `eval_on_start`)."""
    return str(getattr(config.eval_strategy, "value", config.eval_strategy)) != "no" or bool(config.eval_on_start)


def check_evaluation(config: TrainingArguments, rows: Dataset | None = None, why: str | None = None) -> None:
    """Refuses the trainer's own evaluation where it has nothing to evaluate on.

    Args:
        rows: held-out prompts.
        why: half a sentence on a stage that can never evaluate so.

    Raises:
        ValueError: in one sentence.
    """
    if not asks_while_training(config) or (rows is not None and why is None):
        return
    given = "eval_on_start=True" if config.eval_on_start else f"eval_strategy={config.eval_strategy.value!r}"
    if why is None:
        raise ValueError(
            f"{given} needs held-out prompts; set evaluation_dataset_name (and evaluation_problems), or drop it. "
            "probe_every measures right answers while training runs."
        )
    raise ValueError(f"{given} does not work here: {why}. Drop it.")


def evaluation(
    trainer: Any,
    rows: Dataset | None,
    options: EvaluationOptions,
    config: TrainingArguments,
    path: Path,
    when: str,
    rewards: Iterable[Any] | None = None,
) -> Evaluation | None:
    """The evaluation stored at `path`, or a new one of the trainer's model, shared out over the processes.

    Args:
        when: "before" or "after" training, for the sentence on the screen.
        rewards: whose options say how answers are read, and among which the verifier is; None takes the trainer's.
    """
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
    result = evaluate_shared(trainer, rows, options, config, rewards=rewards)
    if state.is_main_process:
        result.save(path)
    state.wait_for_everyone()
    return result


def evaluate_shared(
    trainer: Any,
    rows: Dataset,
    options: EvaluationOptions,
    config: Any,
    samples: int | None = None,
    rewards: Iterable[Any] | None = None,
) -> Evaluation:
    """Evaluates the trainer's model, every process taking every n-th problem; all processes get the whole result.

    Under mixed precision (`bf16`) the model computes as it does in training and in rollouts.
    """
    state = config.distributed_state
    share = rows.select(range(state.process_index, len(rows), state.num_processes))
    model = trainer.accelerator.unwrap_model(trainer.model)
    with trainer.accelerator.autocast():
        result = evaluate(
            model,
            trainer.processing_class,
            share if len(share) else rows.select([0]),
            samples=samples or options.evaluation_samples,
            temperature=options.evaluation_temperature,
            top_p=options.evaluation_top_p,
            max_new_tokens=options.evaluation_max_tokens or longest_answer(config),
            batch_size=options.evaluation_batch_size,
            seed=config.seed + 1000 * state.process_index,
            progress=state.is_main_process and not config.disable_tqdm and samples is None,
            graders=default_graders(
                trainer.reward_funcs if rewards is None else rewards, verifier=options.evaluation_verifier
            ),
            renderer=renderer_of(trainer.processing_class, config, model=model, options=options),
        )
    if state.num_processes == 1:
        return result
    parts = gather_object([result.problems if len(share) else []])
    return Evaluation([problem for part in parts for problem in part], result.settings)


def longest_answer(config: Any) -> int:
    """Tokens an answer may have where the recipe does not say: as in training (RL), or a whole training row (SFT)."""
    return getattr(config, "max_completion_length", None) or getattr(config, "max_length", None) or 1024


class Probe(TrainerCallback):
    """Held-out pass@1 on a few problems while training runs, logged as `heldout/pass@1` through TRL's own metrics.

    It draws from its own random state, so a run with a probe equals one without.
    """

    def __init__(self, trainer: Any, rows: Dataset, options: RLOptions):
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

    def __init__(self, metrics: dict[str, str] | None = None):
        super().__init__()
        self.shown = self.SHOWN if metrics is None else metrics
        self.values: dict[str, str] = {}

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None:
            for key, label in self.shown.items():
                if isinstance((logs or {}).get(key), float):
                    self.values[label] = f"{logs[key]:.3g}"
            self.training_bar.set_postfix(self.values, refresh=False)
