"""The paper's numbers (`trl_r1.recipes.published`) as a stage's recipe, unscaled or scaled to a card, with every deviation.

    CARDS      what each card gets; the numbers that are ours
    preset     stage and card in, recipe and deviations out

Memory figures of the cards are estimates from the models' shapes, not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from trl_r1.errors import did_you_mean
from trl_r1.recipes.published import (
    BASE,
    DISTILLATION_RATES,
    GAPS,
    PAPER,
    REFERENCE_EVERY,
    UNPUBLISHED,
    UPDATES_PER_ROLLOUT,
    Deviation,
    Entry,
)
from trl_r1.text.records import Json


@dataclass
class Preset:
    """A recipe and what about it is not the paper's."""

    stage: str
    card: str
    fields: dict[str, Entry]
    deviations: list[Deviation] = field(default_factory=list)

    def recipe(self) -> Json:
        return {name: entry.value for name, entry in self.fields.items()}


@dataclass(frozen=True)
class Model:
    """What decides memory. Shapes from the models' published configurations."""

    name: str
    billions: float  # parameters outside the embeddings
    embedding: float  # billions of parameters in embeddings and head, never quantised
    cache: int  # bytes of keys and values per token, bfloat16: 2 x layers x heads x dimension x 2

    def gib(self, four_bit: bool = True) -> float:
        """Weights: NF4 with double quantisation takes 0.53 bytes a parameter (QLoRA, arXiv:2305.14314)."""
        return (self.billions * (0.53 if four_bit else 2.0) + self.embedding * 2.0) * 1e9 / 2**30


SMALL = Model("Qwen/Qwen2.5-1.5B", 1.31, 0.23, 2 * 28 * 2 * 128 * 2)
MIDDLE = Model("Qwen/Qwen2.5-7B", 6.53, 1.09, 2 * 28 * 4 * 128 * 2)


@dataclass(frozen=True)
class Card:
    """One GPU and what it is given; the numbers that are ours stand here and nowhere else."""

    gib: float
    model: Model
    length: int  # longest completion of RL, tokens
    questions: int  # per update
    micro: int  # completions of a forward pass in RL
    sft_length: int
    student: str  # of distill
    work: float  # GiB left for activations, logits, adapter, optimizer


CARDS: dict[str, Card | None] = {
    "none": None,  # the paper, unscaled
    "24GB": Card(24, SMALL, 1_024, 4, 8, 8_192, "Qwen/Qwen2.5-Math-1.5B", 8),
    "48GB": Card(48, MIDDLE, 2_048, 4, 8, 8_192, "Qwen/Qwen2.5-Math-7B", 14),
    "80GB": Card(80, MIDDLE, 4_096, 4, 8, 16_384, "Qwen/Qwen2.5-Math-7B", 22),
}
PROMPT = 256  # tokens allowed for a question when memory is estimated
SHARE = 10  # a scaled run takes a tenth of the paper's steps, and what is counted in steps with it
POSITIONS = {"Qwen/Qwen2.5-Math-": 4_096}  # names that begin so -> positions of the model's configuration
LORA_FACTOR = 10  # "LoRA without regret" (Thinking Machines, 2025): ten times the rate of full fine-tuning

QLORA = {
    "dtype": "bfloat16",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "use_bnb_nested_quant": True,
    "use_peft": True,
    "lora_dropout": 0.0,
    "lora_target_modules": "all-linear",
    "optim": "paged_adamw_8bit",
    "gradient_checkpointing": True,
    "bf16": True,
}


def rollout_gib(card: Card, updates: int) -> float:
    """Keys and values of a whole rollout generated at once, as `generate` does; a fifth on top for growing tensors."""
    completions = updates * card.questions * 16
    return 1.2 * completions * (PROMPT + card.length) * card.model.cache / 2**30


def updates_that_fit(card: Card) -> int:
    """The largest of 16, 8, 4, 2, 1 updates per rollout whose cache fits beside weights and work space."""
    room = card.gib - card.model.gib() - card.work
    return next((updates for updates in (16, 8, 4, 2) if rollout_gib(card, updates) <= room), 1)


def preset(stage: str, gpu: str, model: str | None = None) -> Preset:
    """The recipe of a stage for a card.

    Args:
        stage: a name of PAPER, with - or _.
        gpu: ``none`` (the paper's numbers, unscaled), or a name of CARDS.
        model: instead of the preset's; a student of ``DISTILLATION_RATES`` brings its own rate.

    Raises:
        ValueError: an unknown stage or card.
    """
    stage = stage.replace("-", "_")
    for kind, name, known in (("stage with published numbers", stage, PAPER), ("card", gpu, CARDS)):
        if name not in known:
            raise ValueError(
                f"There is no {kind} {name!r}.{did_you_mean(name, known)} Choose one of: {', '.join(known)}."
            )
    fields = {**PAPER[stage], **UNPUBLISHED[stage]}
    result = Preset(stage, gpu, fields, list(GAPS[stage]))
    for name, entry in UNPUBLISHED[stage].items():
        result.deviations.append(Deviation(name, "not published", say(entry.value), entry.remark))
    if stage == "distill" and model is not None and model not in DISTILLATION_RATES:
        result.deviations.append(
            Deviation(
                "learning_rate", "Table 6 has no rate for it", say(fields["learning_rate"].value), "the 1.5B student's"
            )
        )
    card = CARDS[gpu]
    if stage == "distill" and card is None and positions(model or fields["model_name_or_path"].value):
        result.deviations.append(
            Deviation(
                "max_length",
                "32,768",
                "32,768",
                "the student's configuration ends at 4,096 positions, and the paper does not say how it was stretched; "
                "raise rope_theta and max_position_embeddings (OpenR1-Qwen-7B: 300,000 and 32,768), or train on 4,096",
            )
        )
    chosen = model or (card.student if card and stage == "distill" else None)
    if chosen is not None and "model_name_or_path" in fields:
        apply_change(result, "model_name_or_path", chosen, "chosen")
        if stage == "distill" and chosen in DISTILLATION_RATES:
            result.fields["learning_rate"] = Entry(DISTILLATION_RATES[chosen], "v2 Table 6")
            result.fields["model_name_or_path"] = Entry(chosen, "v2 Table 6")
            result.deviations = [entry for entry in result.deviations if entry.field != "model_name_or_path"]
    if card is not None:
        scale(result, card, model)
    add_data(result)
    return result


# what a recipe needs besides the paper's numbers; the paper's own data is not public
DATA_KEYS = (
    "model_name_or_path", "dataset", "question_column", "solution_column", "language_column", "prompt_column",
    "completion_column", "evaluation_dataset_", "evaluation_split", "evaluation_question_", "evaluation_solution_",
    "evaluation_problems", "problems", "source", "helpful_", "safety_", "template", "layout", "rewrite_",
    "rows_per_problem", "rewards", "merge_adapter", "overlong", "packing_strategy", "attn_implementation", "output_dir",
    "seed", "logging_steps", "save_", "report_to",
)  # fmt: skip


def add_data(result: Preset) -> None:
    """Data, layout and bookkeeping as the shipped recipe of the stage has them; its rewards in the paper's weights."""
    import yaml

    from trl_r1 import recipes

    if result.stage not in recipes.names():
        return
    shipped = yaml.safe_load(recipes.find(result.stage).read_text(encoding="utf-8"))
    for name, value in shipped.items():
        if name.startswith(DATA_KEYS) and name not in result.fields:
            result.fields[name] = Entry(value, None, f"as in the recipe {result.stage}")
    rewards = result.fields.get("rewards")
    if (
        rewards
        and rewards.source
        and [entry["name"] for entry in shipped["rewards"]] == [e["name"] for e in rewards.value]
    ):
        result.fields["rewards"] = replace(rewards, value=shipped["rewards"])  # with the layout's options
        result.fields["template"] = Entry(
            shipped["template"],
            result.fields["template"].source if shipped["template"] == "r1_zero" else None,
            "v1 Table 1, in our own words" if shipped["template"] == "r1_zero" else f"as in the recipe {result.stage}",
        )
    data = shipped.get("dataset_name")
    if data:
        result.deviations.append(
            Deviation("dataset_name", "its data is not public", str(data), "the shipped recipe's")
        )


def apply_change(result: Preset, name: str, value: Any, reason: str) -> None:
    """Sets a field and, where it differs from the paper, lists that."""
    before = result.fields.get(name)
    if before is not None and before.value == value:
        return
    result.fields[name] = Entry(value, None, reason)
    if before is not None:
        known = say(before.value) if before.source else "not published"
        result.deviations = [entry for entry in result.deviations if entry.field != name]
        result.deviations.append(Deviation(name, known, say(value), reason))


def say(value: Any) -> str:
    """A value as a table shows it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def scale(result: Preset, card: Card, model: str | None) -> None:
    """Brings a preset onto one card: QLoRA, a smaller base, shorter texts; every ratio that fits stays."""
    starts = result.fields.get("model_name_or_path")
    if starts and starts.value == BASE and model is None:
        apply_change(result, "model_name_or_path", card.model.name, f"671B parameters do not fit on {card.gib:g} GB")
    rl = "num_generations" in result.fields
    judge = result.stage == "reward_model"
    rank, alpha = (32, 32) if rl else (64, 64) if judge else (256, 32)
    for name, value in {**QLORA, "lora_r": rank, "lora_alpha": alpha}.items():
        source = "QLoRA, arXiv:2305.14314" if "4bit" in name or "quant" in name else ""
        result.fields[name] = Entry(value, None, source)
    result.deviations.append(
        Deviation(
            "weights",
            "all trained, in FP8 and BF16",
            f"NF4 with LoRA adapters of rank {rank} on all linear layers",
            "memory; rank 1 to 32 is enough for RL, SFT wants a high one (LoRA without regret)",
        )
    )
    if rl or judge:
        rate = float(f"{LORA_FACTOR * result.fields['learning_rate'].value:g}")
        apply_change(
            result, "learning_rate", rate, "ten times the full fine-tuning rate for LoRA (LoRA without regret)"
        )
    else:
        apply_change(
            result, "learning_rate", 2e-4, "for adapters of a model up to 13B (QLoRA, arXiv:2305.14314, Table 9)"
        )
    if rl:
        scale_rl(result, card)
    else:
        length = min(card.sft_length, result.fields["max_length"].value)
        why = f"memory of {card.gib:g} GB"
        context = (
            positions(result.fields["model_name_or_path"].value) if "model_name_or_path" in result.fields else None
        )
        if context is not None and context < length:
            length, why = context, "the student's configuration ends there; longer samples are dropped, not cut"
        apply_change(result, "max_length", length, why)


def positions(model: str) -> int | None:
    """
    >>> positions("Qwen/Qwen2.5-Math-7B"), positions("Qwen/Qwen2.5-7B")
    (4096, None)
    """
    return next((number for prefix, number in POSITIONS.items() if model.startswith(prefix)), None)


def scale_rl(result: Preset, card: Card) -> None:
    """Batch, rollout, length and steps of an RL stage on one card."""
    group = result.fields["num_generations"].value
    accumulation = card.questions * group // card.micro
    updates = updates_that_fit(card)
    apply_change(result, "per_device_train_batch_size", card.micro, f"memory of {card.gib:g} GB")
    batch = f"{card.questions} questions x {group} = {card.questions * group} an update instead of 512"
    apply_change(result, "gradient_accumulation_steps", accumulation, f"{batch}: time on one card")
    why = f"{updates} updates a rollout ({updates * card.questions * group} outputs)"
    if updates < UPDATES_PER_ROLLOUT:
        why += (
            f" instead of 16: the cache of {UPDATES_PER_ROLLOUT * card.questions * group:,} outputs at once would take "
            f"{rollout_gib(card, UPDATES_PER_ROLLOUT):.0f} GiB, this takes {rollout_gib(card, updates):.0f} (estimated)"
        )
    apply_change(result, "steps_per_generation", updates * accumulation, why)
    result.deviations = [entry for entry in result.deviations if entry.field != "max_completion_length"]
    apply_change(
        result,
        "max_completion_length",
        card.length,
        "memory and time; the paper's growth of thoughts beyond it is cut off",
    )
    apply_change(result, "evaluation_max_tokens", card.length, "as in training")
    apply_change(result, "evaluation_samples", 4, "time")
    steps = result.fields["max_steps"].value
    apply_change(result, "max_steps", steps // SHARE, "time; a tenth")
    if "preference_last_steps" in result.fields:
        last = result.fields["preference_last_steps"].value // SHARE
        apply_change(result, "preference_last_steps", last, f"a tenth as well: the last {last} of {steps // SHARE}")
    apply_change(
        result,
        "reference_every",
        REFERENCE_EVERY // SHARE,
        f"a tenth as well: the reference is renewed {steps // REFERENCE_EVERY} times in either run",
    )
