"""The marks of a thought as a tokenizer's response schema names them, its own or the one that TRL knows for a template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from trl_r1.models.rendering.messages import KEYS, Marks


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def schema_marks(tokenizer: PreTrainedTokenizerBase, chat_template: str | None) -> Marks | None:
    """(opening, closing) with the white space that the model writes; None where no schema names them literally."""
    schema = getattr(tokenizer, "response_template", None) or known_to_trl(chat_template)
    fields = schema.get("fields") if isinstance(schema, Mapping) else None
    for key in KEYS:
        field = (fields or {}).get(key)
        if isinstance(field, Mapping) and isinstance(field.get("open"), str):
            closing = field.get("close") or literal(field.get("close_pattern"))
            if isinstance(closing, str) and closing:
                return field["open"], closing
    return None


def known_to_trl(chat_template: str | None) -> Any:
    """The response template that TRL has for this very chat template; None where it has none."""
    if chat_template is None:
        return None
    from trl.chat_template_utils import add_response_schema

    holder = SimpleNamespace(chat_template=chat_template)
    try:
        add_response_schema(holder)
    except (ValueError, AttributeError):
        return None
    return getattr(holder, "response_template", None)


def literal(pattern: Any) -> str | None:
    r"""The text that a pattern stands for, white space at its end left out; None where it stands for several.

    >>> literal(r"<channel\|>\s*")
    '<channel|>'
    """
    if not isinstance(pattern, str):
        return None
    bare = pattern.removesuffix(r"\s*")
    text = re.sub(r"\\(\W)", r"\1", bare)
    return text if re.escape(text) == re.escape(re.sub(r"\\(\W)", r"\1", bare)) and re.fullmatch(bare, text) else None
