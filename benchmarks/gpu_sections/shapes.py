"""Models with random weights in real shapes, made on the device, with a tokenizer; folders that a recipe can name.

Shapes  as the models' public configurations have them: Qwen2.5 0.5B, 1.5B, 7B; Llama-3.2 1B. `tiny` has one of each family
        with widths that NF4 takes on a CPU.
"""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch


QWEN = {"model_type": "qwen2", "rope_theta": 1000000.0, "rms_norm_eps": 1e-6, "max_position_embeddings": 32768}
LLAMA = {"model_type": "llama", "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "max_position_embeddings": 131072}
SHAPES: dict[str, dict[str, Any]] = {
    "Qwen2.5-0.5B": {
        **QWEN, "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "intermediate_size": 4864, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "Qwen2.5-1.5B": {
        **QWEN, "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
        "intermediate_size": 8960, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "Qwen2.5-7B": {
        **QWEN, "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False,
    },
    "Llama-3.2-1B": {
        **LLAMA, "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 8192, "vocab_size": 128256, "tie_word_embeddings": True,
    },
}  # fmt: skip
TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 2048,
}
PAD, END = 0, 1
WORDS = (
    "find the value of sum all numbers such that integer prime divides product points on a circle triangle with sides and "
    "area if then let be what is largest smallest how many ways are there to choose from each pair real root polynomial "
    "function limit as goes sequence defined by first term ratio probability two red balls"
).split()


def config_of(name: str, tiny: bool, **changes: Any) -> Any:
    """A transformers configuration of that shape.

    Args:
        tiny: the same family in miniature.
        changes: of single entries, such as num_hidden_layers.
    """
    from transformers import AutoConfig

    shape = {**SHAPES[name], **(TINY if tiny else {}), **changes}
    kind, rope_theta = shape.pop("model_type"), shape.pop("rope_theta")
    config = AutoConfig.for_model(
        kind, **shape, bos_token_id=None, eos_token_id=END, pad_token_id=PAD, rope_theta=rope_theta
    )
    return config


def random_model(config: Any, device: str, dtype: torch.dtype, seed: int = 0, sharp: bool = False) -> Any:
    """A causal model with random weights, made on the device in its type.

    Args:
        sharp: weights large enough for logits that differ, as a trained model's do; for greedy comparisons.
    """
    from transformers import AutoModelForCausalLM

    if sharp:
        config.initializer_range = 1.2 / config.hidden_size**0.5
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, PAD
    return model


def folder_of(name: str, scratch: Path, device: str, tiny: bool) -> str:
    """A folder with such a model, in bfloat16 on a GPU, and its tokenizer; made once."""
    folder = scratch / name
    if folder.is_dir():
        return str(folder)
    half_made = folder.with_name(f".{name}")
    shutil.rmtree(half_made, ignore_errors=True)
    config = config_of(name, tiny)
    model = random_model(config, device, torch.float32 if device == "cpu" else torch.bfloat16)
    model.save_pretrained(half_made)
    tokenizer_of(config.vocab_size).save_pretrained(half_made)
    half_made.rename(folder)
    del model
    return str(folder)


@cache
def tokenizer_of(size: int) -> Any:
    """A tokenizer of `size` tokens, about as dense as a real one on our prompts; every id has a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from trl_r1.models.templates import R1_ZERO

    small = Tokenizer(models.BPE())
    small.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    small.train_from_iterator([R1_ZERO, " " + " ".join(WORDS), *map(str, range(100))] * 2, trainer)
    learnt = json.loads(small.to_str())["model"]
    vocabulary = {**learnt["vocab"], **{f"<{id}>": id for id in range(len(learnt["vocab"]), size)}}
    whole = Tokenizer(models.BPE(vocab=vocabulary, merges=[tuple(pair) for pair in learnt["merges"]]))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, pad_token="<pad>", eos_token="<eos>", padding_side="left", model_max_length=131072
    )
