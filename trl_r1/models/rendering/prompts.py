"""Prompts that carry what their row says about its own rendering, so that it is honoured wherever the prompt goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from trl_r1.text.records import Json, Message, Prompt


OF_THE_ROW = ("chat_template_kwargs", "tools")  # columns


class RowPrompt(list[Message]):
    """Messages, and their row's own options: ``chat_template_kwargs``, ``tools``."""

    own: Json

    def __init__(self, messages: Any = (), own: Mapping[str, Any] | None = None) -> None:
        super().__init__(messages)
        self.own = dict(own or {})


def prompt_of(row: Mapping[str, Any], column: str = "prompt") -> Prompt:
    """The prompt of a row, with the row's own options where it has any.

    >>> prompt_of({"prompt": [{"role": "user", "content": "2+2?"}], "chat_template_kwargs": '{"thinking": true}'}).own
    {'chat_template_kwargs': {'thinking': True}}
    """
    return with_own(row[column], row)


def with_own(prompt: Prompt, row: Mapping[str, Any]) -> Prompt:
    """A prompt with the own options of its row; text has none."""
    own = {} if isinstance(prompt, str) else own_options(row)
    return RowPrompt(prompt, own) if own else prompt


def own_options(row: Mapping[str, Any]) -> Json:
    """What a row says about its own rendering; {} where it says nothing."""
    read = {column: own_option(row.get(column)) for column in OF_THE_ROW}
    return {column: value for column, value in read.items() if value is not None}


def as_json(own: Json) -> dict[str, str]:
    """A row's own options as texts, so that rows of one column may say different things."""
    return {column: json.dumps(value, ensure_ascii=False) for column, value in own.items()}


def own_option(value: Any) -> Any:
    """A row's `chat_template_kwargs` or `tools`, data or JSON; None where it says nothing."""
    read = json.loads(value) if isinstance(value, str) and value.strip() else value
    return said_only(read) or None


def said_only(value: Any) -> Any:
    """Data without the keys that are None: a dataset gives every row the keys of all rows."""
    if isinstance(value, Mapping):
        return {key: said_only(part) for key, part in value.items() if part is not None}
    return [said_only(part) for part in value] if isinstance(value, list) else value
