"""Gradients of one GRPO step against float32: packed batching, a rollout's own log-probabilities, a copy, NF4.

Model      four layers of Qwen2.5-1.5B's widths with a small vocabulary, random weights; two layers of the miniature under
           `tiny`. Completions of many lengths are given, so that all arms see the same; where the rollout itself is
           compared, the policy's gradient is that of the completions it drew.
Error      |a - b| / |b| over the whole gradient, and 1 - cosine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_sections.catalogue import Note, Setting
from gpu_sections.device import Meter
from gpu_sections.shapes import WORDS, config_of, random_model, tokenizer_of


def measure(setting: Setting, note: Note) -> None:
    folder = cut_model(setting)
    reference, _ = gradient(setting, folder, "float32")
    found: dict[str, Any] = {}
    for name, dtype, options in (
        ("float32, packed", "float32", {"batching": "fast"}),
        ("bf16, padded", "bfloat16", {}),
        ("bf16, packed", "bfloat16", {"batching": "fast"}),
    ):
        found[name] = errors(gradient(setting, folder, dtype, **options)[0], reference)
        note(against_float32=found)
    del reference
    drawn: dict[str, Any] = {}
    fast = {"rollout": "fast", "num_iterations": 2}  # so that the old policy's log-probabilities are asked for
    for name, options in (
        ("old_logps: sampled", {"old_logps": "sampled"}),
        ("rollout_copy: merged", {"rollout_copy": "merged"}),
        ("rollout_copy: bfloat16", {"rollout_copy": "bfloat16"}),
    ):
        sampled, written = gradient(setting, folder, "float32", draw=True, **fast, **options)
        policys, _ = gradient(setting, folder, "float32", given=written, num_iterations=2)
        drawn[name] = errors(sampled, policys)
        note(against_the_policys_own=drawn)


def measure_nf4(setting: Setting, note: Note) -> None:
    """LoRA's gradient on NF4 weights against float32: with the weights NF4 stands for, and with the original ones."""
    folder = cut_model(setting)
    four_bit = quantisation(setting)
    decoded = decoded_model(setting, folder, four_bit)
    exact = gradient(setting, decoded, "float32", lora=True)[0]
    original = gradient(setting, folder, "float32", lora=True)[0]
    note(what_nf4_leaves_out=errors(exact, original))
    found = {}
    dtype = "bfloat16" if setting.device == "cuda" else "float32"
    for batching in ("trl", "fast"):
        ours = gradient(setting, folder, dtype, lora=True, quantization=four_bit, batching=batching)[0]
        found["packed" if batching == "fast" else "padded"] = errors(ours, exact)
        note(against_the_weights_it_stands_for=found)


# -- arms -----------------------------------------------------------------------------------------------------------------


def gradient(
    setting: Setting, folder: str, dtype: str, draw: bool = False, given: list[list[int]] | None = None,
    lora: bool = False, quantization: Any = None, **options: Any,
) -> tuple[Tensor, list[list[int]]]:  # fmt: skip
    """The gradient of one optimizer step, flat in float32, and the completions it is of.

    Args:
        draw: the completions are the rollout's own.
        given: these completions; default: random ones of many lengths.
    """
    from datasets import Dataset
    from peft import LoraConfig

    from trl_r1.grpo.config import R1GRPOConfig

    columns, gpu = (24 if setting.tiny else 256), setting.device == "cuda"
    chosen = random.Random(1)
    prompts = [" ".join(chosen.choices(WORDS, k=chosen.randint(4, 40))) for _ in range(4)]
    more = (
        {"peft_config": LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", lora_dropout=0.0)} if lora else {}
    )
    trainer = keeping_trainer()(
        folder,
        [length_reward],
        R1GRPOConfig(
            **{
                "output_dir": str(setting.scratch / "gradients"), "use_cpu": not gpu, "bf16": gpu and dtype == "bfloat16",
                "model_init_kwargs": {"dtype": dtype}, "gradient_checkpointing": False, "report_to": "none",
                "per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": columns,
                "max_steps": 1, "learning_rate": 1e-6, "save_strategy": "no", "disable_tqdm": True, "max_grad_norm": 0.0,
                "loss_type": "grpo", "seed": 7, "dataloader_pin_memory": False, **options,
            }
        ),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        **more,
        **({} if quantization is None else {"quantization_config": quantization}),
    )  # fmt: skip
    if not draw:
        trainer.given = given or given_completions(16, columns, trainer.model.config.vocab_size)
    if lora:
        same_adapters(trainer.model)
    trainer.train()
    kept, written = trainer.gradient, trainer.written
    del trainer
    Meter(setting.device).release()
    return kept, written


def keeping_trainer() -> Any:
    """R1GRPOTrainer that takes given completions, if there are any, and keeps its gradient."""
    from transformers import TrainerCallback

    from trl_r1.grpo.trainer import R1GRPOTrainer

    class Keeping(R1GRPOTrainer):
        given: list[list[int]] | None = None
        written: list[list[int]] = []
        gradient: Any = None

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

            class Keep(TrainerCallback):
                def on_pre_optimizer_step(_, *args, **kwargs):
                    of_all = [p.grad.float().flatten() for p in self.model.parameters() if p.grad is not None]
                    self.gradient = torch.cat(of_all)

            self.add_callback(Keep())

        def _generate_single_turn(self, prompt_ids, *args, **kwargs):
            drawn = (self.given, None) if self.given else super()._generate_single_turn(prompt_ids, *args, **kwargs)
            self.written = [list(row) for row in drawn[0]]
            return drawn

    return Keeping


def given_completions(rows: int, columns: int, vocabulary: int) -> list[list[int]]:
    """Random completions of many lengths, most of which end."""
    chosen = random.Random(3)
    lengths = [columns, 1, *(chosen.randint(2, columns) for _ in range(rows - 2))]
    return [[chosen.randrange(2, vocabulary) for _ in range(length - 1)] + [1] for length in lengths]


def length_reward(completions: Sequence[str], **columns: Any) -> list[float]:
    """Differs within a group, and not between two runs."""
    return [float(sum(map(ord, text)) % 7) for text in completions]


def same_adapters(model: Any) -> None:
    """Adapters with equal random values in every arm, in both factors, exact in bfloat16."""
    source = torch.Generator().manual_seed(5)
    for _, weight in sorted((n, p) for n, p in model.named_parameters() if p.requires_grad):
        values = 0.02 * torch.randn(weight.shape, generator=source)
        weight.data.copy_(values.bfloat16())


def errors(ours: Tensor, reference: Tensor) -> dict[str, float]:
    """Relative error and 1 - cosine of two flat gradients."""
    if ours.shape != reference.shape:
        raise RuntimeError(f"The arms train {ours.numel()} and {reference.numel()} weights; they cannot be compared.")
    ours, reference = ours.double(), reference.double()
    cosine = torch.dot(ours, reference) / (ours.norm() * reference.norm())
    return {
        "relative_error": float(f"{((ours - reference).norm() / reference.norm()).item():.3g}"),
        "one_minus_cosine": float(f"{1 - cosine.item():.3g}"),
    }


# -- models ---------------------------------------------------------------------------------------------------------------


def cut_model(setting: Setting) -> str:
    """A folder with four layers of Qwen2.5-1.5B's widths, exact in bfloat16; made once."""
    folder = setting.scratch / "cut"
    if not folder.is_dir():
        changes = {} if setting.tiny else {"num_hidden_layers": 4, "vocab_size": 8192}
        config = config_of("Qwen2.5-1.5B", setting.tiny, **changes)
        model = random_model(config, setting.device, torch.bfloat16, sharp=True)
        save(model, folder)
    return str(folder)


def decoded_model(setting: Setting, folder: str, quantization: Any) -> str:
    """The same with the weights that NF4 stands for, in float32."""
    import bitsandbytes
    from transformers import AutoModelForCausalLM

    from trl_r1.models.four_bit import four_bit_layers

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=quantization,
        dtype=torch.float32,
        device_map={"": "cuda:0" if setting.device == "cuda" else "cpu"},
    )
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name, layer in four_bit_layers(model):
        values = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        linear = plain.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        linear.weight.data.copy_(values)
    target = setting.scratch / "cut-decoded"
    save(plain, target)
    del model
    Meter(setting.device).release()
    return str(target)


def save(model: Any, folder: Path) -> None:
    """Model and tokenizer."""
    model.save_pretrained(folder)
    tokenizer_of(model.config.vocab_size).save_pretrained(folder)


def quantisation(setting: Setting) -> Any:
    """NF4 as the recipes have it."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if setting.device == "cuda" else torch.float32,
    )
