"""Which section comes next in the minutes that are left."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gpu_sections.catalogue import TINY_LIMIT, TINY_SECONDS, Section


def seconds_of(section: Section, tiny: bool) -> int:
    """What a section is expected to take."""
    return min(section.seconds, TINY_SECONDS) if tiny else section.seconds


def limit_of(section: Section, tiny: bool, left: float) -> float:
    """When a section is ended: never later than the whole."""
    return min(TINY_LIMIT if tiny else section.limit, left)


def following(sections: Sequence[Section], done: Collection[str], left: float, tiny: bool = False) -> Section | None:
    """The first section, by priority, that is not done and fits into the seconds that are left."""
    for section in sections:
        if section.name not in done and seconds_of(section, tiny) <= left:
            return section
    return None


def plan(
    sections: Sequence[Section], done: Collection[str], seconds: float, tiny: bool = False
) -> tuple[list[str], list[str]]:
    """The names of the sections that the seconds are enough for, in order, and of those left out.

    A short section of low priority may fit where a long one does not.
    """
    chosen: list[str] = []
    while (section := following(sections, {*done, *chosen}, seconds, tiny)) is not None:
        chosen.append(section.name)
        seconds -= seconds_of(section, tiny)
    return chosen, [section.name for section in sections if section.name not in {*done, *chosen}]
