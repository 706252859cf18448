"""A step of the recipe zero by stock TRL beside ours, generation included, on the recipe's own mix.

Mix     as the recipe has it: NF4 and LoRA, 8 questions of 16 completions, beta 0.001. Lengths are drawn once, from an
        exponential distribution with a quarter of the longest as its mean, cut there, and the same in both arms; half of the
        groups are dead.
Ours    generates every token; lengths are forced through the logits. `copy` is the same with `rollout_copy: bfloat16`.
Stock   generates 128 tokens for all rows; the time of a token is scaled to the longest completion, and the step goes on with
        completions of the drawn lengths. Scaling leaves out that its cache grows: stock is flattered.
Time    the third step of each arm, after two with 16 tokens: one to warm up, one that says what reading the prompts takes.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

from gpu_sections.catalogue import Note, Setting
from gpu_sections.device import Meter
from gpu_sections.inputs import ask, prepared
from gpu_sections.shapes import END
from gpu_sections.steps import roads
from gpu_sections.watch import Watch, watching


ROOT = Path(__file__).resolve().parents[2]
TIMED = 128  # tokens that stock generates
WARM, STEPS = 16, 3
FAST = {"rollout": "fast", "batching": "fast"}
OPTIONS = {"stock": {}, "ours": FAST, "copy": {**FAST, "rollout_copy": "bfloat16"}}


def measure(setting: Setting, note: Note, arms: tuple[str, ...] = ("ours", "stock")) -> None:
    _, _, settings = prepared("zero", setting, ROOT, whole=True)
    longest = settings["max_completion_length"]
    count = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    lengths = drawn_lengths(count, longest)
    note(rows=count, longest=longest, mean_length=round(sum(lengths) / count, 1), dead_groups="half",
         stock_generation="scaled from 128 tokens" if longest > TIMED else "whole")  # fmt: skip
    seconds = {}
    for arm in arms:
        found = one_arm(arm, setting, settings, lengths)
        seconds[arm] = found["step_seconds"]
        note(**{arm: found})
    if {"ours", "stock"} <= set(seconds):
        note(ratio=round(seconds["stock"] / seconds["ours"], 2))


def drawn_lengths(count: int, longest: int) -> list[int]:
    """Lengths of completions: exponential around a quarter of the longest, one of them the longest."""
    chosen = random.Random(0)
    return [longest, *(max(1, min(longest, round(chosen.expovariate(4 / longest)))) for _ in range(count - 1))]


def one_arm(arm: str, setting: Setting, settings: dict[str, Any], lengths: list[int]) -> dict[str, Any]:
    """Seconds and memory of the second step."""
    meter = Meter(setting.device)
    watch = Watch(meter)
    with watching(watch):
        trainer = make_trainer(arm, setting, settings, lengths)
        trainer.train()
    if arm != "stock" and (trainer._fast_rollout.last is None or not trainer._packs):
        raise RuntimeError(f"Ours took not its own roads here: {roads(trainer)}.")
    step, longest = watch.steps[-1], settings["max_completion_length"]
    generation = step.generation_seconds
    if arm == "stock" and longest > TIMED:
        generation = scaled(watch.steps[-2].generation_seconds, generation, longest)
    rest = step.seconds - step.generation_seconds
    found = {
        "step_seconds": round(generation + rest, 2),
        "generation_seconds": round(generation, 2),
        "training_seconds": round(rest, 2),
        "generated_tokens_per_second": round(sum(lengths) / generation, 1),
        "trained_tokens_per_second": round(step.trained / rest, 1),
        "training_peak_gib": round(step.peak, 2),
        "rollout_peak_gib": round(step.generation_peak, 2),
    }
    watch.trainer, watch.micro_batch = None, {}
    del trainer
    meter.release()
    return found


def scaled(short: float, timed: float, longest: int) -> float:
    """Seconds for `longest` tokens, from those of WARM and of TIMED tokens.

    >>> scaled(2.6, 13.8, 1016)  # 1 s for the prompts, 0.1 s for a token
    102.6
    """
    return round(short + (timed - short) / (TIMED - WARM) * (longest - WARM), 6)


def make_trainer(arm: str, setting: Setting, settings: dict[str, Any], lengths: list[int]) -> Any:
    """A trainer that takes three steps: two with few tokens, one with the drawn lengths."""
    from datasets import Dataset
    from transformers import BitsAndBytesConfig
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1.grpo.config import R1GRPOConfig
    from trl_r1.grpo.trainer import R1GRPOTrainer
    from trl_r1.models.templates import R1_ZERO

    ours = arm != "stock"
    base: Any = R1GRPOTrainer if ours else GRPOTrainer

    class OfDrawnLengths(base):
        generations = 0

        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            self.generations += 1
            warming = self.generations < STEPS
            wanted = [min(length, WARM) for length in lengths] if warming else lengths
            config, whole = self.generation_config, self.generation_config.max_new_tokens
            if ours:
                self._fast_rollout.change_logits = forced(wanted)
                return super()._generate_single_turn(prompt_ids, *args, **kwargs)
            config.max_new_tokens = WARM if warming else min(TIMED, whole)
            drawn = super()._generate_single_turn(prompt_ids, *args, **kwargs)
            config.max_new_tokens = whole
            return ([of_length(row, length, self.model.config.vocab_size) for row, length in zip(drawn[0], wanted)],
                    *drawn[1:])  # fmt: skip

    known = {
        key: settings[key]
        for key in (
            "num_generations", "beta", "temperature", "epsilon", "learning_rate", "per_device_train_batch_size",
            "gradient_accumulation_steps", "max_completion_length", "optim", "max_grad_norm", "gradient_checkpointing",
            "bf16", "loss_type", "use_bias_correction_kl", "seed", "report_to", "disable_tqdm",
        )
        if key in settings
    }  # fmt: skip
    dtype = getattr(torch, settings["dtype"])
    rows = [{"prompt": R1_ZERO.format(question=ask(row)), "dead": row % 2 == 0} for row in range(64)]
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return OfDrawnLengths(
        settings["model_name_or_path"],
        [half_dead],
        (R1GRPOConfig if ours else GRPOConfig)(
            output_dir=str(setting.scratch / f"ratio-{arm}"), save_strategy="no", logging_steps=1,
            shuffle_dataset=False, max_steps=STEPS,
            use_cpu=setting.device == "cpu", model_init_kwargs={"dtype": settings["dtype"]},
            **known, **OPTIONS[arm],
        ),
        train_dataset=Dataset.from_list(rows),
        peft_config=adapter(settings),
        quantization_config=four_bit,
    )  # fmt: skip


def adapter(settings: dict[str, Any]) -> Any:
    """The recipe's LoRA."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings["lora_r"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        target_modules=settings["lora_target_modules"],
        task_type="CAUSAL_LM",
    )


def half_dead(completions: list[str], dead: list[bool], **columns: Any) -> list[float]:
    """1 in the groups that are dead, and 0 or 1 in the others."""
    return [1.0 if no else float(sum(map(ord, text)) % 2) for text, no in zip(completions, dead)]


def forced(lengths: list[int]) -> Any:
    """A function of logits under which row i ends with its token number lengths[i]."""
    wanted: dict[str, torch.Tensor] = {}

    def change(logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        if "on device" not in wanted:
            wanted["on device"] = torch.tensor(lengths, device=logits.device)
        logits[:, END] = -torch.inf
        ending = (wanted["on device"][rows] == step + 1)[:, None]
        only_end = torch.full_like(logits, -torch.inf)
        only_end[:, END] = 0.0
        return torch.where(ending, only_end, logits)

    return change


def of_length(row: list[int], length: int, vocabulary: int) -> list[int]:
    """A completion of this length that ends, its first tokens those given."""
    row = [token for token in list(row)[: length - 1] if token != END]
    more = length - 1 - len(row)
    return [*row, *torch.randint(2, vocabulary, (max(0, more),)).tolist(), END]
