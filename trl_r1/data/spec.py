"""Spec: a dataset and its columns as one small value, which every option class that names a dataset shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from trl_r1.data.columns import load_rows, require_columns


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class DatasetSpec:
    """Where rows lie, and which of their columns mean what."""

    name: str  # as load_rows takes it
    config: str | Mapping[str, Any] | None = None  # of a hub dataset, or the options of one of reasoning-gym
    split: str | None = "train"  # None: test where there is one, else train
    question_column: str = "question"
    solution_column: str | None = "solution"  # None: nothing here can be checked by a rule
    language_column: str | None = None

    def read(self, seed: int = 0) -> Dataset:
        """The rows, whatever their columns.

        Args:
            seed: of the miniature world and of reasoning-gym.

        Raises:
            ValueError: nothing of that name, unreadable, no such split, or empty.
        """
        if self.split is not None:
            return load_rows(self.name, self.split, self.config, seed)
        try:
            return load_rows(self.name, "test", self.config, seed)
        except ValueError as no_test:
            if "has no split 'test'" not in str(no_test):
                raise
        return load_rows(self.name, "train", self.config, seed)

    def load(self, seed: int = 0, what: str = "The dataset", **more: str | None) -> Dataset:
        """The rows, all columns that are named being there.

        Args:
            what: how a refusal calls the dataset.
            more: further columns by purpose.

        Raises:
            ValueError: as ``read``; or a column is missing.
        """
        rows = self.read(seed)
        named = {"question": self.question_column, "solution": self.solution_column, "language": self.language_column}
        require_columns(rows, {**named, **more}, what)
        return rows


def spec_of(options: Any) -> DatasetSpec:
    """What `dataset_name`, `dataset_config`, `dataset_split` and the columns of an option class say.

    An option class without one of them takes the default of `DatasetSpec`.
    """
    keys = {"name": "dataset_name", "config": "dataset_config", "split": "dataset_split"}
    named = {part.name: keys.get(part.name, part.name) for part in fields(DatasetSpec)}
    return DatasetSpec(**{name: getattr(options, key) for name, key in named.items() if hasattr(options, key)})
