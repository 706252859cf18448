"""The act behind the stage `reward_model`: judged pairs and safety labels in, two reward models and their report out.

    <output_dir>/helpfulness     pairs, scalar head, TRL's RewardTrainer; reads question and summary
    <output_dir>/harmlessness    single replies, one logit, binary cross-entropy, transformers' Trainer; reads all

Both read a row exactly as the reward `preference` will (`rewards.classifier.Classifier.encode`), so what is learnt here is
what is asked later. Where the paper is silent: how the head's scores are scaled. The held-out mean and spread of each
model are in the summary; give them to the reward as `center` and `spread`.

Source  DeepSeek-R1, arXiv:2501.12948v2, Sec. 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trl import ModelConfig, RewardConfig

from trl_r1.data.columns import load_rows
from trl_r1.models.four_bit import check_four_bit
from trl_r1.models.options import check_gates
from trl_r1.models.templates import find_template
from trl_r1.rewards.preference import _as_text, summary
from trl_r1.runs.folder import RunFolder, find_model
from trl_r1.runs.heldout import check_evaluation
from trl_r1.runs.options import SystemPrompt, TemplateKwargs
from trl_r1.runs.processor import tell_before_training
from trl_r1.runs.run import Run
from trl_r1.stages.reward_model.pair_judge import PairJudge, judge_pairs
from trl_r1.stages.reward_model.pairs import Pair, all_pairs, drift_of, length_matched, select, split_by_prompt
from trl_r1.stages.reward_model.preferences import Labelled, read_labels, read_pairs
from trl_r1.stages.reward_model.report import Helpful, Safety, write_preference_report
from trl_r1.stages.reward_model.train import HARMLESS, HELPFUL, train_one
from trl_r1.storage import manifest
from trl_r1.storage.structured import read_mapping
from trl_r1.text.records import Json, Row


LEAST_HELD_OUT = 2


@dataclass
class RewardModelOptions(SystemPrompt, TemplateKwargs):
    """What the stage reads besides the trainer's and the model's own fields."""

    helpful_dataset_name: str | None = field(
        default=None,
        metadata={"help": "Pairs for the helpfulness model; as dataset_name elsewhere. None: no such model."},
    )
    helpful_dataset_config: str | None = field(default=None, metadata={"help": "Configuration of that hub dataset."})
    helpful_split: str = field(default="train", metadata={"help": "Its split."})
    helpful_columns: dict | str | None = field(
        default=None,
        metadata={"help": "Which column plays which part, where not found by the usual names: {first: a, second: b}."},
    )
    safety_dataset_name: str | None = field(
        default=None, metadata={"help": "Labelled replies for the harmlessness model. None: no such model."}
    )
    safety_dataset_config: str | None = field(default=None, metadata={"help": "Configuration of that hub dataset."})
    safety_split: str = field(default="train", metadata={"help": "Its split."})
    safety_columns: dict | str | None = field(
        default=None, metadata={"help": "Which column plays which part: {reply: text, label: safe}."}
    )
    template: str = field(
        default="chat", metadata={"help": "How a question becomes a prompt: as in the stage that will use the models."}
    )
    held_out: float = field(default=0.1, metadata={"help": "Share of the prompts kept for the report, in (0, 1)."})
    margin: float = field(default=1.0, metadata={"help": "Points; pairs whose mean difference is above it are kept."})
    most_ratio: float = field(
        default=2.0, metadata={"help": "Pairs with a reply this many times as long as the other are left out."}
    )
    length_drift: float = field(
        default=0.05, metadata={"help": "Largest mean log length ratio of chosen to rejected over the set."}
    )
    least_verdicts: int = field(default=2, metadata={"help": "Looks that have to give a verdict on a pair."})
    judge_endpoint: str | None = field(
        default=None, metadata={"help": "Who judges replies that nobody judged yet, such as http://127.0.0.1:8000/v1."}
    )
    judge_model: str | None = field(default=None, metadata={"help": "The judge's name on that server."})
    judge_queries: int = field(default=4, metadata={"help": "Looks at each pair, half with the order swapped."})
    judge_options: dict | str | None = field(default=None, metadata={"help": "Bounds: see rewards.judge.Judge."})
    pairs_per_prompt: int = field(default=4, metadata={"help": "Most pairs among the replies to one prompt."})

    def __post_init__(self) -> None:
        if self.chat_template_kwargs:
            raise ValueError(
                "chat_template_kwargs: a reward model reads finished replies in its template as it is, in training and as a "
                "reward; leave them out, or give the model's folder a template of its own."
            )
        for name in ("helpful_columns", "safety_columns", "judge_options"):
            if getattr(self, name) is not None:
                setattr(self, name, read_mapping(name, getattr(self, name)))
        if not self.helpful_dataset_name and not self.safety_dataset_name:
            raise ValueError("Nothing to train: set helpful_dataset_name, safety_dataset_name, or both.")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} is not a share between 0 and 1.")
        if self.judge_endpoint and not self.judge_model:
            raise ValueError("judge_endpoint is set, but judge_model does not say which model judges there.")


@dataclass
class PreparedRewardModels:
    """What `prepare` found in order."""

    model: str
    pairs: tuple[list[Pair], list[Pair]] | None  # training, held out
    labels: tuple[list[Labelled], list[Labelled]] | None
    notes: list[str]
    folder: RunFolder


def prepare(options: RewardModelOptions, config: RewardConfig, model: ModelConfig) -> PreparedRewardModels:
    """Checks everything a user can get wrong, and asks the judge where replies are not judged yet.

    Raises:
        ValueError: one sentence: what was given, what was expected, what to do.
        RuntimeError: the judge gave no verdict at all.
    """
    find_template(options.template)
    if options.judge_endpoint:
        judge_of(options)
    notes: list[str] = []
    raw = labels = None
    if options.helpful_dataset_name:
        what = repr(options.helpful_dataset_name)
        rows = load_rows(
            options.helpful_dataset_name, options.helpful_split, options.helpful_dataset_config, config.seed
        )
        raw = read_pairs(rows, options.template, _mapping(options.helpful_columns), what, options.system_prompt)
        if raw[2] and not options.judge_endpoint:
            raise ValueError(f"{what} holds replies that nobody has judged; set judge_endpoint and judge_model.")
    if options.safety_dataset_name:
        what = repr(options.safety_dataset_name)
        rows = load_rows(options.safety_dataset_name, options.safety_split, options.safety_dataset_config, config.seed)
        safety_rows = read_labels(
            rows, options.template, _mapping(options.safety_columns), what, options.system_prompt
        )
        labels = split_by_prompt(safety_rows, lambda row: row.prompt, options.held_out)
        for side, chosen in zip(("training", "held-out"), labels, strict=True):
            if len({row.safe for row in chosen}) < 2:
                raise ValueError(
                    f"{what} has no {side} rows of both kinds, safe and unsafe ({len(chosen)} rows); give more rows, or "
                    "another held_out."
                )
        notes.append(f"{len(labels[0])} labelled replies to train on, {len(labels[1])} held out.")
    check_evaluation(config, why="held_out says which share of the pairs is judged when training is done")
    settings = manifest.settings_of(options, model, config)
    folder = RunFolder.look("reward_model", config, settings)
    path = find_model(model.model_name_or_path, config, model.model_revision)
    check_gates(model, path, options, config)
    check_four_bit(model, path, config)
    tell_before_training("reward_model", options, config, model, path)
    folder.take()
    try:
        pairs = judged_pairs(raw, options, config, notes) if raw is not None else None
    except BaseException:
        folder.let_go()
        raise
    return PreparedRewardModels(path, pairs, labels, notes, folder)


def judged_pairs(
    raw: Any, options: RewardModelOptions, config: RewardConfig, notes: list[str]
) -> tuple[list[Pair], list[Pair]]:
    """Training and held-out pairs; says in `notes` what became of the others."""
    matched, note = chosen_pairs(raw, options, config)
    pairs = split_by_prompt(matched, lambda row: row.prompt, options.held_out)
    if not pairs[0] or len(pairs[1]) < LEAST_HELD_OUT:
        raise ValueError(
            f"{options.helpful_dataset_name!r} leaves {len(pairs[0])} pairs to train on and {len(pairs[1])} held out "
            f"({note}); lower margin, raise most_ratio, or give more rows."
        )
    notes.insert(0, f"Pairs: {note}; {len(pairs[0])} to train on, {len(pairs[1])} held out.")
    return pairs


def _mapping(value: Any) -> Json | None:
    return value if isinstance(value, dict) else None


def chosen_pairs(raw: Any, options: RewardModelOptions, config: RewardConfig) -> tuple[list[Pair], str]:
    """The pairs worth training on, and what became of the others, in words."""
    judged, pairs, waiting = raw
    state = config.distributed_state
    if waiting:
        candidates = [
            (_as_text(prompt), first, second)
            for prompt, replies in waiting
            for _, first, second in all_pairs(prompt, replies, options.pairs_per_prompt, _as_text(prompt))
        ]
        by_text = {_as_text(prompt): prompt for prompt, _ in waiting}
        judge = judge_of(options)

        def show(triples: Sequence[tuple[str, str, str]]) -> Any:
            return judge.compare([(prompt, summary(a), summary(b)) for prompt, a, b in triples])

        with state.main_process_first():  # the others find everything in the store
            answered = judge_pairs(
                candidates,
                show,
                Path(config.output_dir) / "judgements.jsonl",
                options.judge_queries,
                (lambda line: print(line, flush=True)) if state.is_main_process else None,
            )
        judged = [type(one)(by_text[one.prompt], one.first, one.second, one.differences) for one in answered]
    selected = select(judged, options.margin, options.least_verdicts) if judged else pairs
    clean = [Pair(p.prompt, summary(p.chosen), summary(p.rejected), p.difference) for p in selected]
    clean = [pair for pair in clean if pair.chosen != pair.rejected and pair.chosen]
    matched = length_matched(clean, options.most_ratio, options.length_drift)
    note = (
        f"{len(judged) or len(pairs)} given, {len(selected)} above a difference of {options.margin:g}, "
        f"{len(clean)} with different summaries, {len(matched)} of similar length (chosen replies are "
        f"{compared_length(math.exp(drift_of(matched)))})"
    )
    return matched, note


def compared_length(ratio: float) -> str:
    """
    >>> compared_length(0.78), compared_length(1.05), compared_length(1.004)
    ('22% shorter', '5% longer', 'as long as the others')
    """
    change = round(100 * (ratio - 1))
    return f"{abs(change)}% {'longer' if change > 0 else 'shorter'}" if change else "as long as the others"


def judge_of(options: RewardModelOptions) -> PairJudge:
    """
    Raises:
        ValueError: an address that is none, or options that no judge has.
    """
    bounds = _mapping(options.judge_options) or {}
    try:
        return PairJudge(str(options.judge_endpoint), str(options.judge_model), "helpful", **bounds)
    except TypeError as error:
        known = ", ".join(sorted({one.name for one in fields(PairJudge)} - {"endpoint", "model", "criterion"}))
        raise ValueError(f"judge_options={bounds!r} do not fit a judge ({error}); known are: {known}.") from error


def run_reward_models(
    options: RewardModelOptions, config: RewardConfig, model: ModelConfig, prepared: PreparedRewardModels
) -> Json:
    """Trains one model or two, measures them on the held-out rows, and reports; returns the summary."""
    run = Run("reward_model", config)
    if run.summary is not None:
        return run.summary
    helpful = safety = None
    with run.training():
        if prepared.pairs is not None:
            train, held_out = prepared.pairs
            texts = [part for pair in held_out for part in both(pair)]
            models = train_one(HELPFUL, prepared.model, config, model, pair_rows(train), texts)
            helpful = {when: Helpful.of(scores, held_out) for when, scores in models.items()}
        if prepared.labels is not None:
            train_labels, held_labels = prepared.labels
            rows = [{"prompt": r.prompt, "text": r.text, "labels": [float(r.safe)]} for r in train_labels]
            models = train_one(
                HARMLESS, prepared.model, config, model, rows, [(r.prompt, r.text) for r in held_labels]
            )
            safety = {when: Safety.of(scores, held_labels) for when, scores in models.items()}
    measured = {name: one for name, one in ((HELPFUL, helpful), (HARMLESS, safety)) if one}
    settings, title = manifest.settings_of(options, model, config), f"reward_model: {model.model_name_or_path}"

    def report() -> None:
        write_preference_report(run.folder, title, helpful, safety, settings, prepared.notes)
        print(f"The report is {run.folder / 'report.md'}.")

    return run.finish(
        {
            "before": {name: one["before"].to_dict() for name, one in measured.items()},
            "after": {name: one["after"].to_dict() for name, one in measured.items()},
            "models": {name: str(run.folder / name) for name in measured},
        },
        report,
    )


def pair_rows(pairs: Sequence[Pair]) -> list[Row]:
    return [{"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs]


def both(pair: Pair) -> tuple[tuple[Any, str], tuple[Any, str]]:
    """The held-out texts of a pair, chosen first."""
    return (pair.prompt, pair.chosen), (pair.prompt, pair.rejected)
