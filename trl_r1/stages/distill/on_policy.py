"""The acts behind the stage `distill`: a student imitates its teacher's kept samples, or is corrected on its own.

    sft        `runs.sft.run_sft` on the samples; teacher and student may speak different vocabularies
    on_policy  TRL's DistillationTrainer: the student answers, the teacher's whole next-token distribution corrects it
               (reverse KL by default); needs one vocabulary. Other pairs take the SFT road, and the report says so.

Both read the same rows (`kept.jsonl` of a rejection sampling from the teacher): SFT their completions, on-policy
distillation their prompts. What follows both is the comparison: parameters of student and teacher, the accuracy kept, and
reinforcement learning directly on the student, if its run is named.

Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.4 (SFT only) and Sec. 4.1 (distillation against RL on the student); v2,
        B.4.3 (2-3 epochs, cosine to a tenth, batch 64). On-policy: TRL's own; Agarwal et al. 2023, arXiv:2306.13649.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from trl import (
    DistillationConfig,
    DistillationTrainer,
    ModelConfig,
)

from trl_r1.data.domains import read_shares, share_of_domains
from trl_r1.data.spec import spec_of
from trl_r1.evaluation.graders import check_verifier
from trl_r1.evaluation.report import write_report
from trl_r1.grpo.prompts import RenderedPrompts
from trl_r1.grpo.reasoning import TrainerReasoning
from trl_r1.models.adapters import SameTypes
from trl_r1.models.four_bit import check_four_bit
from trl_r1.models.options import check_gates
from trl_r1.models.rendering.prompts import OF_THE_ROW, own_options
from trl_r1.rewards.catalogue import load_rewards
from trl_r1.runs.folder import RunFolder, find_model, model_options
from trl_r1.runs.heldout import check_evaluation, evaluation_problems
from trl_r1.runs.options import SFTOptions
from trl_r1.runs.processor import tell_before_training
from trl_r1.runs.rl import first_prompt
from trl_r1.runs.run import HeldOut, Run
from trl_r1.runs.sft import imitated, load_tokenizer
from trl_r1.runs.tuning_config import R1SFTConfig
from trl_r1.storage import manifest
from trl_r1.storage.structured import one_of, read_mapping, read_names
from trl_r1.text.records import Json


METHODS = ("sft", "on_policy")
SHOWN = {"loss": "divergence", "entropy": "entropy", "completions/mean_length": "length"}


@dataclass
class DistillOptions(SFTOptions):
    """What the stage reads besides the trainer's and the model's own fields; the student is `model_name_or_path`."""

    method: str = field(default="sft", metadata={"help": "sft (the paper's), or on_policy (one vocabulary needed)."})
    teacher_model: str | None = field(
        default=None, metadata={"help": "Whose samples these are. on_policy asks it; sft only counts its parameters."}
    )
    teacher_run: str | None = field(
        default=None,
        metadata={"help": "Its run's folder or an evaluation of it, for the accuracy kept. None: it is sampled here."},
    )
    compare_with: str | None = field(
        default=None,
        metadata={"help": "Runs on the same student, {rl: runs/student_rl}, or a list separated by commas."},
    )
    domain_shares: str | None = field(
        default=None,
        metadata={
            "help": "Of which domain how much is learnt from, {reasoning: 1.0, other: 0.25}: more epochs over rows that "
            "matter in the same time. None: all rows."
        },
    )
    sft_max_length: int = field(
        default=8192, metadata={"help": "max_length where on_policy has to take the SFT road."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("method", self.method, METHODS)
        if self.method == "on_policy" and not self.teacher_model:
            raise ValueError("method: on_policy asks the teacher at every step; name it in teacher_model.")
        self.others = read_others(self.compare_with)
        self.shares = read_shares("domain_shares", self.domain_shares)

    def chosen(self, rows: Dataset, seed: int) -> Dataset:
        return share_of_domains(rows, self.shares, seed, repr(self.dataset_name))


def read_others(value: Any) -> dict[str, str]:
    """`compare_with` as names and places; places without a name are called as their folders.

    Raises:
        ValueError: it is neither a mapping of names to places nor a list of places.
    """
    if value is None:
        return {}
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return {Path(place).name: place for place in read_names("compare_with", value)}
    places = read_mapping("compare_with", value)
    if not all(isinstance(place, str) for place in places.values()):
        raise ValueError(
            f"compare_with={value!r} must be a mapping of names to folders, such as {{rl: runs/student_rl}}."
        )
    return {str(name): place for name, place in places.items()}


def vocabularies_differ(student: str, teacher: str) -> str | None:
    """Why the two cannot be compared token by token, in half a sentence; None when they can.

    Two models may share a tokenizer and still pad their output to different sizes (Qwen2.5: 151,936 up to 3B, 152,064
    from 7B on), which DistillationTrainer refuses as well.
    """
    tokens = [AutoTokenizer.from_pretrained(name).get_vocab() for name in (student, teacher)]
    if tokens[0] != tokens[1]:
        shared = len(tokens[0].items() & tokens[1].items())
        return (
            f"the student has {len(tokens[0]):,} tokens, the teacher {len(tokens[1]):,}, {shared:,} of them the same"
        )
    sizes = [AutoConfig.from_pretrained(name).get_text_config().vocab_size for name in (student, teacher)]
    if sizes[0] != sizes[1]:
        return (
            f"they share a tokenizer, but the student's output has {sizes[0]:,} places and the teacher's {sizes[1]:,}"
        )
    return None


def as_sft(config: DistillationConfig, max_length: int) -> R1SFTConfig:
    """The same training arguments for the SFT road; what only on-policy distillation knows is left behind."""
    shared = {entry.name for entry in fields(DistillationConfig) if entry.init} & {
        entry.name for entry in fields(R1SFTConfig) if entry.init
    }
    chosen = {name: getattr(config, name) for name in shared}
    return R1SFTConfig(**{**chosen, "max_length": max_length})


class R1DistillationTrainer(RenderedPrompts, SameTypes, DistillationTrainer):
    """TRL's `DistillationTrainer` that resumes onto the same trajectory with QLoRA too, and asks what the rows say: an
    opening of the reply at the end of a prompt, and their own `chat_template_kwargs` and `tools`, are honoured."""

    _signature_columns: list[str] | None

    def __init__(self, *positional: Any, **options: Any) -> None:
        super().__init__(*positional, **options)  # type: ignore[safe-super]  # mypy sees our host, not TRL's class
        self._reasoning = TrainerReasoning(self)
        self._reasoning.keep_day()

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns or []
        self._signature_columns = [*dict.fromkeys([*columns, *OF_THE_ROW])]


@dataclass
class PreparedDistillation:
    """What `prepare_on_policy` found in order."""

    student: str
    teacher: str
    tokenizer: PreTrainedTokenizerBase
    prompts: Dataset
    evaluation_rows: Dataset | None
    graders: list[Any]
    folder: RunFolder


def prepare_on_policy(options: DistillOptions, config: DistillationConfig, model: ModelConfig) -> PreparedDistillation:
    """Checks everything a user can get wrong, in the order of cost; the vocabularies are one by now.

    Raises:
        ValueError: one sentence: what was given, what was expected, what to do.
    """
    graders, _ = load_rewards(options.reward_list)
    check_verifier(graders, options.evaluation_verifier)
    rows = options.chosen(spec_of(options).read(config.seed), config.seed)
    prompts = prompts_of(imitated(rows, options, options.dataset_name))
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
    if len(prompts) < batch:
        raise ValueError(
            f"{options.dataset_name!r} has {len(prompts)} different prompts, fewer than one step takes ({batch}); lower "
            "per_device_train_batch_size or gradient_accumulation_steps."
        )
    evaluation_rows = evaluation_problems(options, config.seed)
    check_evaluation(config, why="the held-out problems are answered by the student before and after training")
    folder = RunFolder.look("distill", config, manifest.settings_of(options, model, config))
    student = find_model(model.model_name_or_path, config, model.model_revision)
    check_gates(model, student, options, config)
    check_four_bit(model, student, config)
    tell_before_training("distill", options, config, model, student, evaluation_rows)
    teacher = find_model(options.teacher_model, config, config.teacher_model_revision)
    tokenizer = load_tokenizer(student, model, config)  # type: ignore[arg-type]
    tokenizer.padding_side = "left"
    return PreparedDistillation(student, teacher, tokenizer, prompts, evaluation_rows, graders, folder.take())


def prompts_of(rows: Dataset) -> Dataset:
    """The different prompts of rows to imitate, in the order of their first appearance."""
    first_places: dict[str, int] = {}
    for number, row in enumerate(rows):
        asked = [row["prompt"], own_options(row)]
        first_places.setdefault(json.dumps(asked, sort_keys=True, default=str), number)
    kept = ["prompt", *(column for column in OF_THE_ROW if column in rows.column_names)]
    return rows.select(list(first_places.values())).select_columns(kept)


def run_on_policy(
    options: DistillOptions, config: DistillationConfig, model: ModelConfig, prepared: PreparedDistillation
) -> Json:
    """Evaluates, distils, saves, evaluates and reports; returns the summary it also writes to `summary.json`."""
    run = Run("distill", config)
    if run.summary is not None:
        return run.summary
    config.model_init_kwargs = model_options(model, config.model_init_kwargs)
    stated = config.teacher_model_init_kwargs if isinstance(config.teacher_model_init_kwargs, dict) else {}
    teacher_options = {"dtype": model.dtype, "attn_implementation": model.attn_implementation}
    config.teacher_model_init_kwargs = teacher_options | stated
    trainer = run.quiet(
        R1DistillationTrainer(
            model=prepared.student,
            teacher_model=prepared.teacher,
            args=config,
            train_dataset=prepared.prompts,
            processing_class=prepared.tokenizer,
            **run.trainer_options(model),
        ),
        SHOWN,
    )
    run.train(trainer, prepared.folder.resume, HeldOut(prepared.evaluation_rows, options, prepared.graders))
    note = (
        f"On-policy: the student answered {len(prepared.prompts)} different prompts; the teacher is "
        f"`{options.teacher_model}`."
    )
    settings, title = manifest.settings_of(options, model, config), f"distill: {model.model_name_or_path}"
    return run.finish(
        {"method": "on_policy", "rows": len(prepared.prompts)},
        lambda: write_report(
            run.folder, title, settings, run.before, run.after, [note], first_prompt(trainer, prepared.prompts)
        ),
    )
