"""Conflict: two settings of a configuration that do not go together, as data: the sentence about it and the ways out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


DROPPED = object()  # stands for an option that is not given


@dataclass(frozen=True)
class Setting:
    """What an option is set to.

    Args:
        option: its name.
        holds: whether a value is meant.
        words: the values that are meant, for the docs.
        example: one of them.
        allowed: a value that is not meant.
    """

    option: str
    holds: Callable[[Any], bool]
    words: str
    example: Any
    allowed: Any = DROPPED

    def of(self, config: Any) -> bool:
        """Whether it is what `config` says."""
        return self.holds(getattr(config, self.option))


def equal(option: str, value: Any, allowed: Any = DROPPED) -> Setting:
    return Setting(option, lambda present: present == value, repr(value), value, allowed)


def unlike(option: str, value: Any, example: Any) -> Setting:
    return Setting(option, lambda present: present != value, f"not {value!r}", example, value)


def is_set(option: str, example: Any) -> Setting:
    return Setting(option, lambda present: present is not None, "set", example)


def is_on(option: str, example: Any = True) -> Setting:
    return Setting(option, bool, "on", example)


@dataclass(frozen=True)
class Remedy:
    """One way out: how it is said, and which options it changes."""

    words: str
    changes: Mapping[str, Any]


def drop(option: str) -> Remedy:
    return Remedy(f"drop {option}", {option: DROPPED})


@dataclass(frozen=True)
class Conflict:
    """An option that cannot be what it is while any of several others is what it is.

    Args:
        option: the one that was chosen.
        against: the others, each enough by itself.
        because: the rest of the sentence; {against} stands for those that hold, with their values.
        instead: the ways out.
        where: what has to hold besides.
        besides: options that an example of it needs in order to get that far.
        early: looked at before TRL's own checks, which would say it in more general words.
    """

    option: Setting
    against: tuple[Setting, ...]
    because: str
    instead: tuple[Remedy, ...]
    where: tuple[Setting, ...] = ()
    besides: Mapping[str, Any] = field(default_factory=dict)
    early: bool = False

    def sentence(self, config: Any) -> str | None:
        """What is wrong with `config` and what to do; None where nothing is."""
        against = [setting for setting in self.against if setting.of(config)]
        if not against or not self.option.of(config) or not all(setting.of(config) for setting in self.where):
            return None
        because = self.because.format(against=", ".join(describe(setting, config) for setting in against))
        return f"{describe(self.option, config)} {because}. {joined([remedy.words for remedy in self.instead])}."


def describe(setting: Setting, config: Any) -> str:
    return f"{setting.option}={getattr(config, setting.option)!r}"


def joined(ways: list[str]) -> str:
    """`Do this, or that`; `Do this, that, or the other`."""
    sentence = ", ".join([*ways[:-1], f"or {ways[-1]}"] if len(ways) > 1 else ways)
    return sentence[0].upper() + sentence[1:]
