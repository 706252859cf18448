"""The act behind the supervised stages: `run_sft` takes parsed options from a checked folder to a report.

Order of events, as in `runs.rl.run_rl`: everything that can be wrong is checked first and told in one sentence
(`prepare`), then the model is evaluated, tuned by TRL's `SFTTrainer` (resuming where a killed run stopped), saved,
evaluated again, and the report is written.

R1's settings are the recipe's: 2 to 3 epochs, a cosine from the peak down to a tenth of it
(`lr_scheduler_type: cosine_with_min_lr`, `lr_scheduler_kwargs: {min_lr_rate: 0.1}`), loss on the completion alone.
Source  DeepSeek-R1, arXiv:2501.12948v2, supplement B.4.2 (cold start and 800k SFT) and B.4.3 (distillation).

Product    full fine-tuning: a whole model in `output_dir`. LoRA and QLoRA: the adapter, in `output_dir`; a later stage
           that is given this folder merges it into `output_dir/merged` (`trl_r1.models.adapters`), `merge_adapter` does so
           at once.
Resuming   a checkpoint holds weights, optimizer, schedule and random states, and the order of the rows depends on the
           seed alone, so a killed run goes on along the same trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase, TrainingArguments, set_seed
from trl import ModelConfig, SFTConfig, SFTTrainer

from trl_r1.data.imitation import to_imitate, tokenized
from trl_r1.data.spec import spec_of
from trl_r1.errors import first_line
from trl_r1.evaluation.graders import check_verifier
from trl_r1.evaluation.report import write_report
from trl_r1.models.adapters import SameTypes, is_adapter, merged
from trl_r1.models.four_bit import check_four_bit
from trl_r1.models.options import check_gates
from trl_r1.models.rendering import Renderer
from trl_r1.models.templates import check_template_options
from trl_r1.rewards.catalogue import load_rewards
from trl_r1.runs.folder import RunFolder, find_model, model_options
from trl_r1.runs.heldout import check_evaluation, evaluation_problems
from trl_r1.runs.options import SFTOptions
from trl_r1.runs.preview import decoded
from trl_r1.runs.processor import tell_before_training
from trl_r1.runs.rendering import dress, keep_date, read_kwargs, renderer_of
from trl_r1.runs.run import HeldOut, Run
from trl_r1.runs.sft_batching import FastSFTTrainer
from trl_r1.storage import manifest
from trl_r1.text.records import Json


SHOWN = {"loss": "loss", "mean_token_accuracy": "token accuracy", "learning_rate": "lr"}


class R1SFTTrainer(SameTypes, FastSFTTrainer):
    """TRL's `SFTTrainer` that resumes onto the same trajectory with QLoRA too, with `batching` of `R1SFTConfig`."""


@dataclass
class PreparedTuning:
    """What `prepare` found in order: nothing here has trained yet."""

    model: str
    tokenizer: PreTrainedTokenizerBase
    train_rows: Dataset | None  # None for a stage that makes its rows itself, until it has
    evaluation_rows: Dataset | None
    graders: list[Any]  # rewards whose options say how an evaluation reads answers
    folder: RunFolder
    renderer: Renderer


def prepare(
    stage: str, options: SFTOptions, config: SFTConfig, model: ModelConfig, *, rows_come_later: bool = False
) -> PreparedTuning:
    """Checks everything a user can get wrong, in the order of cost.

    Args:
        rows_come_later: the stage makes its training rows after this (`training_rows` takes them). It also says then
            what will take for ever, and takes the folder, when the rest of its own settings is in order.

    Raises:
        ValueError: one sentence: what was given, what was expected, what to do. Nothing was written by then, except
            `run.json` if the folder was free.
    """
    if not model.model_name_or_path:
        raise ValueError("No model was named; set model_name_or_path to a hub id, a local folder or mini:base.")
    check_settings(config)
    template_options = read_kwargs(getattr(config, "chat_template_kwargs", None))
    graders, _ = load_rewards(options.reward_list)
    check_verifier(graders, options.evaluation_verifier)
    raw = None
    if not rows_come_later:
        raw = options.chosen(spec_of(options).read(config.seed), config.seed)
        raw = imitated(raw, options, options.dataset_name)
        check_template_options(template_options, raw["prompt"])
    evaluation_rows = evaluation_problems(options, config.seed)
    check_evaluation(
        config, why="the held-out problems are answered before and after training, and no rows to imitate"
    )
    folder = RunFolder.look(stage, config, manifest.settings_of(options, model, config))
    path = find_model(model.model_name_or_path, config, model.model_revision)
    check_gates(model, path, options, config)
    check_four_bit(model, path, config)
    if not rows_come_later:
        tell_before_training(stage, options, config, model, path, evaluation_rows)
    tokenizer = load_tokenizer(path, model, config)
    renderer = renderer_of(tokenizer, config, path, options=options)
    rows = None if raw is None else rendered(raw, options, config, renderer, options.dataset_name)
    if not rows_come_later:
        folder.take()
        keep_date(renderer, config)
    return PreparedTuning(path, tokenizer, rows, evaluation_rows, graders, folder, renderer)


def check_settings(config: SFTConfig) -> None:
    """Settings that TRL or transformers would trip over later, or take in silence.

    Raises:
        ValueError: in one sentence.
    """
    if config.packing and config.max_length is None:
        raise ValueError(
            "packing needs max_length, the number of tokens a packed row holds; set it, or packing: false."
        )
    kind = str(getattr(config.lr_scheduler_type, "value", config.lr_scheduler_type))
    schedule = config.lr_scheduler_kwargs or {}
    if kind == "cosine_with_min_lr" and not {"min_lr", "min_lr_rate"} & set(schedule):
        raise ValueError(
            "lr_scheduler_type cosine_with_min_lr needs to know where to end: set lr_scheduler_kwargs to "
            "{min_lr_rate: 0.1} (the paper's tenth of the peak) or to {min_lr: ...}."
        )
    if "min_lr_rate" in schedule and not 0 <= schedule["min_lr_rate"] <= 1:
        raise ValueError(
            f"min_lr_rate={schedule['min_lr_rate']} is a share of the peak, in [0, 1]; the paper's is 0.1."
        )
    if config.completion_only_loss is False:
        raise ValueError(
            "completion_only_loss: false would train on the prompts too; these stages imitate completions. Leave it out."
        )


def load_tokenizer(path: str, model: ModelConfig, config: TrainingArguments) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with the recipe's `eos_token` and `chat_template_path`.

    Raises:
        ValueError: it has none, or one without an end token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path,
            revision=model.model_revision,
            trust_remote_code=getattr(config, "trust_remote_code", False),
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The tokenizer of {model.model_name_or_path!r} cannot be loaded ({first_line(error)})."
        ) from error
    if tokenizer.eos_token is None:
        raise ValueError(
            f"The tokenizer of {model.model_name_or_path!r} has no end-of-text token, so no reply would learn to end."
        )
    return dress(tokenizer, config)


def imitated(rows: Dataset, options: SFTOptions, name: str) -> Dataset:
    """Rows of a dataset as prompts and completions, by the options' columns."""
    return to_imitate(
        rows,
        options.prompt_column,
        options.completion_column,
        options.messages_column,
        options.question_column,
        options.template,
        options.drop_empty,
        repr(name),
        options.reasoning_column,
        options.system_prompt,
    )


def rendered(rows: Dataset, options: SFTOptions, config: SFTConfig, renderer: Renderer, name: str) -> Dataset:
    """The rows as ids and labels, as generation would see and emit them, without those that `max_length` leaves out."""
    if not isinstance(rows[0]["prompt"], str) and not renderer.chat.text:
        raise ValueError(
            f"{name!r} holds conversations, but the tokenizer has no chat template. Set prompt_column to null and "
            "template to a text template such as r1_zero, or give a model with a chat template."
        )
    longest = None if options.overlong == "cut" else config.max_length
    processes = config.dataset_num_proc
    return tokenized(rows, renderer, longest, bool(config.assistant_only_loss), processes, repr(name))


def training_rows(
    rows: Dataset, options: SFTOptions, config: SFTConfig, prepared: PreparedTuning, name: str
) -> Dataset:
    """Rows that a stage made itself, as `run_sft` takes them.

    Raises:
        ValueError: there are none, or none that `max_length` allows.
    """
    return rendered(imitated(rows, options, name), options, config, prepared.renderer, name)


def run_sft(
    stage: str,
    options: SFTOptions,
    config: SFTConfig,
    model: ModelConfig,
    prepared: PreparedTuning,
    notes: list[str] | None = None,
    more: Json | None = None,
    earlier_seconds: float = 0.0,
) -> Json:
    """Evaluates, tunes, saves, evaluates and reports; returns the summary it also writes to `summary.json`.

    Leaves in `output_dir`: run.json, checkpoints, metrics.jsonl, the model or the adapter, evaluation_before.json,
    evaluation_after.json, report.md with its pictures, summary.json.

    Args:
        notes: sentences for the top of the report.
        more: entries for the summary.
        earlier_seconds: of the stage's work before this act.
    """
    run = Run(stage, config, earlier_seconds)
    if run.summary is not None:
        return run.summary
    if prepared.train_rows is None:
        raise ValueError(f"The stage {stage} has no training rows.")
    config.model_init_kwargs = model_options(model, config.model_init_kwargs)
    config.completion_only_loss, config.assistant_only_loss = True, False  # the rows' masks say what is trained on
    set_seed(config.seed)  # of an adapter's first weights; TRL does so itself, but 1.12 does not
    trainer = run.quiet(
        R1SFTTrainer(
            model=prepared.model,
            args=config,
            train_dataset=prepared.train_rows,
            processing_class=prepared.tokenizer,
            **run.trainer_options(model),
        ),
        SHOWN,
    )
    run.train(trainer, prepared.folder.resume, HeldOut(prepared.evaluation_rows, options, prepared.graders))
    if run.is_main and options.merge_adapter and is_adapter(run.folder):
        merged(run.folder)
    settings, title = manifest.settings_of(options, model, config), f"{stage}: {model.model_name_or_path}"
    every_note = [*_notes(trainer, prepared, config), *(notes or [])]
    return run.finish(
        {"rows": len(prepared.train_rows), **(more or {})},
        lambda: write_report(run.folder, title, settings, run.before, run.after, every_note, first_context(prepared)),
    )


def first_context(prepared: PreparedTuning) -> str:
    """What the first row trains behind, as text with all special tokens."""
    row = prepared.train_rows[0] if prepared.train_rows is not None else {}
    masked = zip(row.get("input_ids", ()), row.get("completion_mask", ()), strict=True)
    ids = [token for token, trained in masked if not trained]
    return decoded(prepared.renderer, ids)


def _notes(trainer: SFTTrainer, prepared: PreparedTuning, config: SFTConfig) -> list[str]:
    rows, packed = len(prepared.train_rows or ()), len(trainer.train_dataset)
    packing = f" packed into {packed} of {config.max_length} tokens" if config.packing else ""
    notes = [f"{rows} rows to imitate{packing}, {trainer.accelerator.num_processes} process(es)."]
    if prepared.folder.resume:
        notes.append(f"Resumed from {prepared.folder.resume}.")
    return notes
