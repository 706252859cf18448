"""The day of a run whose prompts show today's date: kept in its folder, so that prompts are the same after midnight and
after a resume."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

from trl_r1.models.rendering import dates
from trl_r1.models.rendering.renderer import Renderer
from trl_r1.storage.files import replace_file


FILE_NAME = "prompt_date.txt"


def dated(make: Callable[..., Renderer], folder: str | Path | None) -> Renderer:
    """A renderer whose prompts show one day for good where they show today's date: that of the folder's run, else today.

    Args:
        make: the renderer's class with its other options; it takes ``date``.
        folder: of a run; None where there is none, and then nothing is changed.
    """
    renderer = make()
    if folder is None or not shows_today(renderer):
        return renderer
    return make(date=stored_day(folder) or renderer.date)


def shows_today(renderer: Renderer) -> bool:
    """Whether prompts change at midnight, as far as the template is asked."""
    return dates.asks_for_today(renderer.chat.source or "") and renderer.facts.has_todays_date


def stored_day(folder: str | Path) -> datetime.date | None:
    """The day that a run keeps; None where it keeps none.

    Raises:
        ValueError: the file holds something else.
    """
    path = Path(folder) / FILE_NAME
    try:
        return datetime.date.fromisoformat(path.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} does not hold a date such as 2026-03-01; mend it.") from error


def keep_day(folder: str | Path, renderer: Renderer, main: bool = True) -> str | None:
    """Stores the day that a renderer's prompts show, if they show today's and none is stored.

    Args:
        main: this process writes.

    Returns:
        a line for the log; None where prompts show no date of today.
    """
    if not shows_today(renderer):
        return None
    before, day = stored_day(folder), renderer.date
    if before is None and main:
        replace_file(Path(folder) / FILE_NAME, day.isoformat() + "\n")
    since = (
        "the day this run began"
        if before is None or before == datetime.date.today()
        else "as on the day this run began"
    )
    return f"The chat template shows the date in every prompt: {day.isoformat()}, {since}, is kept to its end."
