"""Structured options: the lists and mappings of a recipe, from YAML or from JSON on the command line, as typed values.

    read_entries("sources", given, Source)      [Source(...), ...]: the dataclass is the schema, `option` says its ranges
    read_names("filters", given)                ["right", "repetition"]
    read_mapping("mix", given)                  {"reasoning": 0.75}
    read_numbers("shots", given)                [0, 4]

A mistake is a ValueError of one sentence that names the option, what was given, what was expected and, where a word is
nearly right, what was perhaps meant.
"""

from __future__ import annotations

import copy
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

from trl_r1.errors import did_you_mean
from trl_r1.text.records import Json


T = TypeVar("T")
WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def option(
    default: Any = MISSING,
    help: str = "",
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    choices: Iterable[str] | None = None,
    like: Any = None,
) -> Any:
    """A field of an entry: its default, what it means, and what it may be.

    Not for the fields that HfArgumentParser reads: it hands all metadata on to argparse.

    Args:
        default: none where the field is required; a list or mapping is copied for each instance.
        ge, gt, le: the range of a number: at least, above, at most.
        choices: the texts it may be.
        like: a value for the example that a refusal shows.
    """
    chosen = None if choices is None else tuple(choices)
    metadata = {"help": help, "ge": ge, "gt": gt, "le": le, "choices": chosen, "like": like}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def one_of(option: str, value: Any, choices: Iterable[str]) -> None:
    """Checks that an option is among its choices.

    Raises:
        ValueError: it is not; with the near miss.
    """
    known = list(choices)
    if value not in known:
        raise ValueError(
            f"{option}={value!r} is unknown.{did_you_mean(value, known)} Choose one of: {', '.join(known)}."
        )


def read_names(option: str, value: Any) -> list[str]:
    """A list of names: from YAML, as JSON, or as a text with commas between them.

    Raises:
        ValueError: it is none, is empty, or holds anything else.

    >>> read_names("filters", "right, repetition"), read_names("filters", '["right"]')
    (['right', 'repetition'], ['right'])
    """
    names = _items(option, value, "a list of names such as [one, another]")
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{option}={value!r} must be a list of names such as [one, another].")
    return names


def read_mapping(option: str, value: Any) -> Json:
    """A mapping: from YAML, or as JSON.

    Raises:
        ValueError: it is none.
    """
    read = _json(option, value, "a mapping such as {name: value}")
    if not isinstance(read, dict):
        raise ValueError(f"{option}={value!r} must be a mapping such as {{name: value}}.")
    return read


def read_numbers(option: str, value: Any, ge: int = 0) -> list[int]:
    """Whole numbers, sorted, each once: one number or a list, or a text with commas between them.

    Raises:
        ValueError: there is none, one is something else, or below ``ge``.

    >>> read_numbers("shots", "4,0"), read_numbers("shots", [0, 4]), read_numbers("shots", 4)
    ([0, 4], [0, 4], [4])
    """
    expected = f"a list of whole numbers of at least {ge}, such as [{ge}, {ge + 4}]"
    numbers = set()
    for item in _items(option, value, expected):
        text = item.strip() if isinstance(item, str) else item
        whole = text.isdecimal() if isinstance(text, str) else isinstance(text, int) and not isinstance(text, bool)
        if not whole or int(text) < ge:
            raise ValueError(f"{option}={value!r} must be {expected}.")
        numbers.add(int(text))
    if not numbers:
        raise ValueError(f"{option}={value!r} must be {expected}.")
    return sorted(numbers)


def read_entries(
    option: str,
    value: Any,
    kind: type[T],
    key: str | None = "name",
    complete: Callable[[Json], Json] = dict,
    also: Sequence[str] = (),
    least: int = 1,
) -> list[T]:
    """The entries of a recipe's list as instances of a dataclass.

    A blank (null) takes the field's default. YAML reads ``1e-3`` as text; where a number belongs it is one.

    Args:
        option: what the list is called in the recipe.
        given: a list of mappings (or of names, see ``key``), one of them alone, or the same as JSON; names also with
            commas between them.
        kind: the dataclass; its annotations are checked, and what `option` says of its fields.
        key: the field that a bare name stands for; None: an entry is a mapping.
        complete: puts in what an entry leaves out, before its keys are checked.
        also: keys that ``complete`` takes out.
        least: fewest entries.

    Raises:
        ValueError: it is no such list, or an entry has an unknown key, lacks one, or holds what a field cannot be.
    """
    example = _example(kind)
    what = "a list" if key else "a list of mappings"
    expected = f"{what} such as [{example}]"
    items = _items(option, value if key else _json(option, value, expected), expected)
    if len(items) < least or items == [None]:
        raise ValueError(f"{option}={value!r} must be {expected}.")
    read = []
    for item in items:
        entry = {key: item} if key and isinstance(item, str) else item
        if isinstance(entry, Mapping):
            _refuse_unknown(option, entry, [*also, *(part.name for part in fields(kind))], key)  # type: ignore[arg-type]
            entry = complete(dict(entry))
        elif not isinstance(entry, kind):
            raise ValueError(f"{option}={value!r} must be {expected}, and holds {item!r}.")
        read.append(read_entry(option, entry, kind, key))
    return read


def read_entry(option: str, entry: Any, kind: type[T], key: str | None = "name") -> T:
    """One entry; see `read_entries`."""
    if isinstance(entry, kind):
        return entry
    entry = {key: entry} if key and isinstance(entry, str) else entry
    if not isinstance(entry, Mapping):
        raise ValueError(f"{option}: {entry!r} must be a mapping such as {_example(kind)}.")
    parts: tuple[Field[Any], ...] = fields(kind)  # type: ignore[arg-type]
    _refuse_unknown(option, entry, [part.name for part in parts], key)
    hints = typing.get_type_hints(kind)
    values = {}
    for part in parts:
        value = entry.get(part.name)
        if value in (None, "") and part.default is MISSING and part.default_factory is MISSING:
            raise ValueError(f"{option}: {dict(entry)!r} needs a {part.name}, as in {_example(kind)}.")
        if value is None and type(None) not in typing.get_args(hints[part.name]):
            continue
        owner = "" if part.name == key else f" of {_entry_name(entry, key)}"
        values[part.name] = _value(f"{option}: {part.name}", owner, value, hints[part.name], part)
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error


def refuse_twins(option: str, names: Iterable[str], key: str) -> None:
    """Checks that no two entries are called the same.

    Raises:
        ValueError: two are; ``key`` is what tells them apart.
    """
    known: set[str] = set()
    for name in names:
        if name in known:
            raise ValueError(f"{option}: two of them are called {name!r}; give each its own {key}.")
        known.add(name)


# --- how a value is read


def _json(option: str, value: Any, expected: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"{option}={value!r} is not JSON ({error}); write {expected}.") from error


def _items(option: str, value: Any, expected: str) -> list[Any]:
    """What a list holds; one thing alone is a list of it."""
    if isinstance(value, str):
        opens = value.strip()[:1]
        value = _json(option, value, expected) if opens in ("[", "{", '"') else value.split(",")
        if isinstance(value, list):
            value = [part.strip() if isinstance(part, str) else part for part in value]
            value = [part for part in value if part != ""]
    return list(value) if isinstance(value, list | tuple) else [value]


def _refuse_unknown(option: str, entry: Mapping[str, Any], known: Sequence[str], key: str | None) -> None:
    for name in entry:
        if name not in known:
            raise ValueError(
                f"{option}: {_entry_name(entry, key)} has the unknown key {name!r}.{did_you_mean(name, known)} "
                f"Known: {', '.join(known)}."
            )


def _entry_name(entry: Mapping[str, Any], key: str | None) -> str:
    names = [entry[name] for name in ("label", key, "name", "dataset_name") if name is not None and entry.get(name)]
    return repr(names[0] if names else dict(entry))


def _example(kind: type) -> str:
    """An entry as one would write it in YAML."""
    likes_of_fields = {part.name: part.metadata.get("like") for part in fields(kind)}
    first = next(iter(likes_of_fields))
    likes = {name: like for name, like in likes_of_fields.items() if like is not None} or {first: "..."}
    return "{" + ", ".join(f"{name}: {like}" for name, like in likes.items()) + "}"


class _Unfit(Exception):
    """A value that a type does not take."""


def _value(place: str, owner: str, value: Any, hint: Any, part: Field[Any]) -> Any:
    """A field's value, checked.

    Args:
        place: option and field, as ``sources: samples``.
        owner: whose field it is, as ``of 'zero'`` with a space before it; or nothing.
    """
    limits = part.metadata
    try:
        fit = _fit(f"{place}{owner}", value, hint)
        _check_range(fit, limits)
        return fit
    except _Unfit:
        choices = limits.get("choices") or [str(choice) for choice in _choices(hint)]
        near = did_you_mean(value, choices) if choices and isinstance(value, str) else ""
        quotes = ""
        if _takes(hint, str) and isinstance(value, bool | int | float):
            quotes = " Put it in quotes if it is meant as text."
        expected = _expectation(hint, limits)
        if isinstance(value, float) and not math.isfinite(value):
            expected = expected.replace("a number", "a finite number")
        raise ValueError(f"{place}={value!r}{owner} must be {expected}.{near}{quotes}") from None


def _check_range(value: Any, limits: Mapping[str, Any]) -> None:
    if value is None:
        return
    ge, gt, le = (limits.get(name) for name in ("ge", "gt", "le"))
    if (ge is not None and value < ge) or (gt is not None and value <= gt) or (le is not None and value > le):
        raise _Unfit
    if limits.get("choices") and value not in limits["choices"]:
        raise _Unfit


def _fit(place: str, value: Any, hint: Any) -> Any:
    """The value as the type has it.

    Raises:
        _Unfit: the type does not take it.
        ValueError: it is an entry of its own, and that has a mistake.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _fit_one(place, value, inner)
    if origin is Literal:
        return _require(value, value in inner)
    if is_dataclass(hint):
        return read_entry(place, value, typing.cast(type, hint))
    if origin in (list, tuple, Sequence):
        items = [_fit(place, item, inner[0]) for item in (value if isinstance(value, list | tuple) else [value])]
        return tuple(items) if origin is tuple else items
    if origin in (dict, Mapping):
        return _require(value, isinstance(value, Mapping))
    if hint is float:
        return _number(value)
    return _require(value, isinstance(value, hint) and (hint is bool or not isinstance(value, bool)))


def _fit_one(place: str, value: Any, hints: Sequence[Any]) -> Any:
    if value is None and type(None) in hints:
        return None
    for hint in hints:
        if hint is not type(None):
            try:
                return _fit(place, value, hint)
            except _Unfit:
                continue
    raise _Unfit


def _require(value: Any, fits: bool) -> Any:
    if not fits:
        raise _Unfit
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _Unfit from None
    return _require(value, isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


# --- how a type is said


def _expectation(hint: Any, limits: Mapping[str, Any]) -> str:
    """What a field takes, in words: ``a whole number of at least 1, or null``."""
    null = ", or null" if type(None) in typing.get_args(hint) else ""
    if limits.get("choices"):
        return f"one of: {', '.join(limits['choices'])}{null}"
    bounds = [
        f"{word} {limits[name]}"
        for name, word in (("ge", "of at least"), ("gt", "above"), ("le", "of at most"))
        if limits.get(name) is not None
    ]
    return " ".join([_type_in_words(hint), " and ".join(bounds)]).strip() + null


def _type_in_words(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_in_words(part) for part in inner if part is not type(None))
    if origin is Literal:
        return f"one of: {', '.join(map(str, inner))}"
    if is_dataclass(hint):
        return f"a mapping such as {_example(typing.cast(type, hint))}"
    if origin in (dict, Mapping):
        return "a mapping such as {key: value}"
    if origin in (list, tuple, Sequence):
        return f"a list, each {_type_in_words(inner[0])}"
    return WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _choices(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return tuple(choice for part in typing.get_args(hint) for choice in _choices(part))


def _takes(hint: Any, kind: type) -> bool:
    return hint is kind or any(_takes(part, kind) for part in typing.get_args(hint))
