"""Numbers of a data file as they are written: what a column of doubles would change is read as text.

A column of JSON or CSV that holds whole numbers and decimals becomes one of doubles, and so does one whose whole numbers
are beyond 64 bits: 9007199254740993 turns into 9007199254740992, 42 into 42.0. Such a column is read as text instead,

    where a number would lose digits       any column
    where 42 would turn into 42.0          a column that holds gold answers, by its name
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Dataset

GOLDS = frozenset(("solution", "answer", "final_answer", "expected_answer", "ground_truth", "gold"))
_LOSES = "holds numbers with more digits than a double keeps"
_MIXES = "mixes whole numbers and decimals"


class Literal(str):
    """A number as the file writes it."""


def read_exactly(path: Path, read: Callable[..., Dataset]) -> Dataset:
    """The rows that a reader makes of a data file, with the columns as text whose numbers would not survive it.

    Raises:
        Exception: what the reader raises, but for a JSON file whose whole numbers are too large for it.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        texts = dict.fromkeys(notes(path), str)
        return read(str(path), **({"converters": texts} if texts else {}))
    if suffix not in (".json", ".jsonl"):
        return read(str(path))
    try:
        rows = read(str(path))
    except Exception:
        kept = notes(path)
        if not kept:
            raise
        return _with_text(path, kept)
    doubles = [name for name, feature in rows.features.items() if "float64" in str(feature)]
    columns = _json_columns(path, doubles) if doubles else {}
    order = rows.column_names
    for name, values in columns.items():
        if len(values) == len(rows) and _why(name, values):
            rows = rows.remove_columns([name]).add_column(name, [_as_text(value) for value in values])  # type: ignore
    return rows.select_columns(order)


def _with_text(path: Path, kept: Iterable[str]) -> Dataset:
    """A JSON file read by Python, which knows no largest number, with some columns as text."""
    from datasets import Dataset

    columns = _json_columns(path, None)
    texts = set(kept)
    made = {
        name: [_as_text(v) if name in texts else _as_number(v) for v in values] for name, values in columns.items()
    }
    return Dataset.from_dict(made)


def _as_number(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_number(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_number(item) for name, item in value.items()}
    return json.loads(value) if isinstance(value, Literal) else value


def notes(path: Path) -> dict[str, str]:
    """Column -> why it is read as text, for a data file (JSON or CSV) or a folder of them."""
    if path.is_dir():
        found: dict[str, str] = {}
        for file in sorted(path.iterdir()):
            if file.is_file():
                found |= notes(file)
        return found
    suffix = path.suffix.lower()
    if suffix == ".csv":
        columns = _csv_columns(path)
    elif suffix in (".json", ".jsonl"):
        columns = _json_columns(path, None)
    else:
        return {}
    return {name: why for name, values in columns.items() if (why := _why(name, values, suffix == ".csv"))}


def _why(name: str, values: list[Any], blanks_part: bool = False) -> str:
    """Why a column is read as text; "" if it need not be. ``blanks_part``: a reader makes doubles of one with blanks."""
    whole = large = beyond = False
    parted = blanks_part and None in values
    for literal in _literals(values):
        if literal is None:
            return ""  # something that is no number: no column of doubles
        if _loses(literal):
            large = True
        if literal.lstrip("+-").isdigit():
            whole = True
            beyond = beyond or len(literal.lstrip("+-0")) > 18
        else:
            parted = True
    if large and (parted or beyond):
        return _LOSES
    parted = parted and not (blanks_part and None in values)
    return _MIXES if whole and parted and name in GOLDS else ""


def _loses(literal: str) -> bool:
    """Whether a column of doubles would change a number; of a column of whole numbers, only one beyond 64 bits does."""
    try:
        number = float(literal)
        return not math.isfinite(number) or Decimal(repr(number)) != Decimal(literal)
    except (ValueError, OverflowError, InvalidOperation):
        return False


def _literals(values: Iterable[Any]) -> Iterator[str | None]:
    for value in values:
        if isinstance(value, Literal):
            yield str(value)
        elif isinstance(value, list):
            yield from _literals(value)
        elif value is not None:
            yield None


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return None if value is None else str(value)


def _json_columns(path: Path, names: list[str] | None) -> dict[str, list[Any]]:
    """The values of some columns (or all) with their numbers as literals; {} for a file that is no table of objects."""
    columns: dict[str, list[Any]] = {name: [] for name in names or ()}
    try:
        for count, row in enumerate(_json_rows(path)):
            if not isinstance(row, dict):
                return {name: [] for name in columns}
            if names is None:
                for name in [name for name in row if name not in columns]:
                    columns[name] = [None] * count
            for name, values in columns.items():
                values.append(row.get(name))
    except (ValueError, OSError, RecursionError):
        return {name: [] for name in columns}  # the reader says what is wrong
    return columns


def _json_rows(path: Path) -> Iterator[Any]:
    with open(path, encoding="utf-8-sig") as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        if start == "[":
            yield from json.load(file, parse_int=Literal, parse_float=Literal)
            return
        for line in file:
            if line.strip():
                yield json.loads(line, parse_int=Literal, parse_float=Literal)


def _csv_columns(path: Path) -> dict[str, list[Any]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            head = next(reader, [])
            columns: dict[str, list[Any]] = {name: [] for name in head}
            for row in reader:
                for name, cell in zip(head, row, strict=False):
                    columns[name].append(_number_of(cell))
    except (ValueError, OSError, csv.Error):
        return {}
    return columns


def _number_of(cell: str) -> Any:
    if not cell.strip():
        return None
    try:
        float(cell)
    except ValueError:
        return cell
    return Literal(cell.strip()) if "_" not in cell else cell
