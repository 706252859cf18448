"""An entry of reasoning-gym as text: how a dataset's row carries what the scoring of an answer needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple


MARK = "~"  # key of a one-key mapping that stands for what JSON has not


class Entry(NamedTuple):
    """One problem of a dataset of reasoning-gym, with what scoring an answer to it needs."""

    dataset: str
    config: dict[str, Any]  # as the dataset was made, without size and seed
    entry: dict[str, Any]  # question, answer, metadata


def to_text(entry: Entry) -> str:
    """An entry as one line of JSON that ``from_text`` makes the same of: tuples stay tuples, numbers as keys numbers.

    Raises:
        TypeError: it holds something other than plain data.
    """
    return json.dumps([entry.dataset, _plain(entry.config), _plain(entry.entry)])


def from_text(text: str) -> Entry:
    """The entry that ``to_text`` wrote.

    Raises:
        ValueError: it is none.
    """
    try:
        dataset, config, entry = _restored(json.loads(text))
        restored = Entry(dataset, dict(config), dict(entry))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"This is no entry of reasoning-gym ({type(error).__name__}): {text[:80]!r}") from error
    if not isinstance(restored.dataset, str):
        raise ValueError(f"This is no entry of reasoning-gym: {text[:80]!r}")
    return restored


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "tolist"):  # numpy
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        pairs = [(_plain(key), _plain(item)) for key, item in value.items()]
        if all(isinstance(key, str) for key, _ in pairs) and MARK not in value:
            return dict(pairs)
        return {MARK: ["dict", pairs]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {MARK: [kind.__name__, [_plain(item) for item in value]]}
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} is no plain data")


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict):
        if set(value) != {MARK}:
            return {key: _restored(item) for key, item in value.items()}
        kind, items = value[MARK]
        make: Any = {"dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset}[kind]
        return make(_restored(items))
    return value
