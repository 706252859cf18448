"""Splits of datasets that are drawn without end: their sizes, their options, and which split owns a question.

A question is owned by one split, by the question alone (five eighths are train, a quarter test, an eighth few_shot), so
that the splits share none, whatever the seeds, sizes and options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


SIZES = {"train": 1000, "test": 200, "few_shot": 16}  # rows of a split where no size is given
OWNERS = ("train",) * 5 + ("test",) * 2 + ("few_shot",)  # by the question's digest


def owner(key: str) -> str:
    """The split that a question belongs to, by its digest in hexadecimal."""
    return OWNERS[int(key[-8:], 16) % len(OWNERS)]


def read_config(config: str | Mapping[str, Any] | None) -> Any:
    """What a dataset's config says: its text read as YAML or JSON, or as it is where that cannot be read."""
    if not isinstance(config, str):
        return config
    try:
        return yaml.safe_load(config)
    except yaml.YAMLError:
        return config


def check_size(name: str, size: Any) -> None:
    """Raises ValueError unless `size` is a whole number of at least 1."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"{name}: size={size!r} must be a whole number of at least 1.")
