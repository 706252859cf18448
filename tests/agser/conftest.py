"""A tiny random model, and a tokenizer that reads any script (one token per byte)."""

import pytest
import torch
from tiny_models import build
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def byte_tokenizer():
    """One token per byte, a chat template whose markers are special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "</s>": 1, "<s>": 2, "<|system|>": 3, "<|user|>": 4, "<|assistant|>": 5}
    vocabulary |= {letter: number + 6 for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", bos_token="<s>", padding_side="left",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
    )  # fmt: skip
    fast.chat_template = CHAT
    return fast


@pytest.fixture(scope="session")
def llama():
    """It writes printable ASCII: only those tokens have logits other than 0."""
    model = build("Llama", dtype=torch.float32)
    model.lm_head.weight.data[100:] = 0.0
    model.lm_head.weight.data[:6] = 0.0
    return model
