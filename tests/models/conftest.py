"""The random byte-level model and its tokenizer."""

from byte_level_model import model, tokenizer


__all__ = ["model", "tokenizer"]
