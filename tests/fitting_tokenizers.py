"""A byte-level tokenizer for every template that TRL ships: no file but TRL's is read."""

import functools
import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


ENDS = {  # by the beginning of the template's name: the token that generation stops at
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "gemma4": "<turn|>",
    "gemma": "<end_of_turn>",
    "glm": "<|user|>",
    "gptoss": "<|return|>",
    "llama3": "<|eot_id|>",
    "muse": "<|eot|>",
    "phi": "<|end|>",
}
TOKEN = re.compile(r"<\|?[A-Za-z_｜▁]+\|?>")


def template_text(name: str) -> str:
    """A template of TRL's, by its name."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def byte_level(specials=(), plain=(), merges=(), eos="<|im_end|>", bos=None) -> PreTrainedTokenizerFast:
    """256 bytes, a few merges, and added tokens (``plain`` ones are no special tokens, as Qwen3's <think>)."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in dict.fromkeys([*specials, eos])])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in plain])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, bos_token=bos)


@functools.cache
def fitting(name: str, think_is_special: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with the added tokens that a template names."""
    text = template_text(name)
    found = dict.fromkeys(TOKEN.findall(text))
    specials = [token for token in found if ("|" in token or "｜" in token or "_" in token)]
    plain = [] if think_is_special else ["<think>", "</think>"]
    specials += ["<think>", "</think>"] if think_is_special else []
    eos = next((end for start, end in ENDS.items() if name.startswith(start)), "<|im_end|>")
    return byte_level(["<bos>", *specials], plain, eos=eos, bos="<bos>")
