"""Two trainers on one tiny random model: do they take the same steps? Used by `trl-r1 doctor`, tests and benchmarks.

The model has 2 layers and about 10,000 random weights, the tokenizer one token per byte; both are made here, so the
comparison needs no network and takes about a second per run on a CPU.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM, TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer


Trace = dict[str, Any]  # {"losses": [...], "grad_norms": [...], "kls": [...], "weights": {name: tensor}}

PROMPTS = ["one", "two and", "three ", "4", "five or six", "seven", "8 9", "ten"]


def tiny_model(folder: str | Path, seed: int = 0, width: int = 16) -> str:
    """Builds the model and tokenizer in `folder` (once) and returns its path, ready for the Auto classes.

    Args:
        width: of the hidden states; NF4 on a CPU needs a multiple of 64.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = Path(folder)
    if (folder / "model.safetensors").is_file():
        return str(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = Qwen3Config(
            vocab_size=len(vocabulary),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=width // 2,
            max_position_embeddings=128,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
            initializer_range=1.2 / width**0.5,
        )
        model = Qwen3ForCausalLM(config).float()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 1, 0
    fast.save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def tiny_prompts(rows: int = 8, seed: int = 0) -> Dataset:
    """`rows` short prompts of different lengths."""
    chosen = random.Random(seed)
    return Dataset.from_list([{"prompt": PROMPTS[i % len(PROMPTS)] + chosen.choice("abc") * i} for i in range(rows)])


def share_of_low_bytes(completions: list[str], **columns) -> list[float]:
    """A reward that any random model varies in: the share of characters below the letter 'n', in [0, 1]."""
    return [sum(character < "n" for character in text) / max(1, len(text)) for text in completions]


def has_a_digit(completions: list[str], **columns) -> list[float | None]:
    """A second reward, which abstains (None) on empty completions."""
    return [float(any(c.isdigit() for c in text)) if text else None for text in completions]


class _Recorder(TrainerCallback):
    def __init__(self):
        self.lines: list[dict[str, float]] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.lines.append({**logs, "step": state.global_step})


def run(
    trainer_class: type[GRPOTrainer],
    config_class: type[GRPOConfig],
    model: str,
    output_dir: str | Path,
    options: dict[str, Any],
    trainer_options: dict[str, Any] | None = None,
    resume_from_checkpoint: str | bool | None = None,
    in_memory: bool = False,
) -> Trace:
    """Trains `trainer_class` for a few steps and returns what it did.

    Args:
        model: path of the model; loaded here when `in_memory`.
        options: fields of the config; the defaults below make 4 quick steps on a CPU.
        trainer_options: further arguments of the trainer (peft_config, callbacks, ...).

    Returns:
        losses, grad_norms, kls per optimizer step (as logged), all logged lines, and the trainable weights at the end.
    """
    settings: dict[str, Any] = {
        "output_dir": str(output_dir),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "learning_rate": 5e-3,
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 7,
        **options,
    }
    recorder = _Recorder()
    set_seed(settings["seed"])  # older TRL draws LoRA's initial weights before it seeds
    extra = dict(trainer_options or {})
    trainer = trainer_class(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32) if in_memory else model,
        [share_of_low_bytes, has_a_digit],
        config_class(**settings),
        train_dataset=tiny_prompts(),
        callbacks=[recorder, *extra.pop("callbacks", [])],
        **extra,
    )
    trainer.remove_callback(_printer())
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    weights = {name: p.detach().float().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    return {
        "losses": [line["loss"] for line in recorder.lines],
        "grad_norms": [float(line["grad_norm"]) for line in recorder.lines],
        "kls": [line["kl"] for line in recorder.lines if "kl" in line],
        "lines": recorder.lines,
        "weights": weights,
        "trainer": trainer,
    }


def _printer() -> type[TrainerCallback]:
    from transformers import PrinterCallback

    return PrinterCallback


def differences(ours: Trace, stock: Trace, digits: int | None = None) -> list[str]:
    """What differs between two traces as short phrases; empty when they are identical.

    Args:
        digits: None compares bit for bit; a number compares that many significant digits (weights: as absolute 1e-digits).
    """

    def numbers(values: list[float]) -> list[float]:
        return values if digits is None else [float(f"{value:.{digits}g}") for value in values]

    unequal = []
    for key in ("losses", "grad_norms", "kls"):
        if numbers(ours[key]) != numbers(stock[key]):
            unequal.append(f"{key} {ours[key]} against {stock[key]}")
    if not stock["losses"]:
        unequal.append("the stock trainer logged no loss")
    if ours["weights"].keys() != stock["weights"].keys():
        unequal.append(f"trained weights: {len(ours['weights'])} against {len(stock['weights'])} tensors")
        return unequal
    for name, weight in stock["weights"].items():
        other = ours["weights"][name]
        same = (
            torch.equal(other, weight) if digits is None else torch.allclose(other, weight, rtol=0, atol=10.0**-digits)
        )
        if not same:
            unequal.append(f"weights of {name}")
            break
    return unequal
