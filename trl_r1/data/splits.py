"""Splits: one of a dataset's splits, or a slice of it, by the notation of `datasets`; or why it is not there."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trl_r1.errors import first_line


if TYPE_CHECKING:
    from datasets import Dataset


def take_split(splits: Mapping[str, "Dataset"], split: str, name: str) -> "Dataset":
    """One split, or a slice of it, in the notation of ``datasets`` (``test``, ``train[:100]``, ``train[50%:]``)."""
    from datasets import ReadInstruction, concatenate_datasets

    if split in splits:
        return splits[split]
    if not unsliced(split) <= set(splits):
        raise ValueError(no_split(split, name, splits))
    try:
        instructions = ReadInstruction.from_spec(split).to_absolute({key: len(rows) for key, rows in splits.items()})
    except (ValueError, AssertionError) as error:
        raise ValueError(f"split={split!r} cannot be understood: {reason(error)}.") from error
    parts = []
    for part in instructions:
        wanted = range(part.from_ or 0, part.to)
        parts.append(splits[part.splitname].select(wanted if wanted else []))  # select takes no empty range at the end
    return concatenate_datasets(parts) if len(parts) > 1 else parts[0]


def unsliced(split: str) -> set[str]:
    """The splits that a split's notation names: ``train[:100]+test`` are train and test."""
    return {part.split("[")[0].strip() for part in split.split("+")}


def no_split(split: str, name: str, splits: Any) -> str:
    """The sentence for a split that is not there."""
    return f"{name!r} has no split {split!r}; it has: {', '.join(map(repr, splits))}."


def reason(error: BaseException) -> str:
    """The first line of an error, without its full stop, at most 200 characters; its kind when it says nothing."""
    return first_line(error).strip().rstrip(".")[:200]
