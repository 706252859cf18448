"""Errors: which exception becomes which sentence and exit code, and "did you mean"; the one page that all rooms share.

0    done
1    looked at and found wanting (an exploit that is paid, golds that cannot be used), or an error of ours: a traceback
2    a mistake in what was given
3    the infrastructure failed: a server, a cluster, the disk; what is finished is kept
4    a person's turn
130  interrupted
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar


MISTAKE, INFRASTRUCTURE, PERSON, INTERRUPTED = 2, 3, 4, 130
TRACEBACK = "TRL_R1_TRACEBACK"  # environment variable: 1 keeps the traceback of what is on the page
EXIT_CODE = "TRL_R1_EXIT_CODE"  # environment variable: a file for the exit code, which a launcher would turn into 1

T = TypeVar("T")
Page = tuple[tuple[tuple[type[BaseException], ...], int], ...]


class InfrastructureError(RuntimeError):
    """What is not ours failed: a server, a cluster, the disk. Starting again later goes on."""


class WaitsForPerson(Exception):
    """Nothing failed: a file waits for a person's decisions. Starting again after that goes on."""


# The first line that fits counts. Before work begins, whatever fails is for the user to mend; at work, an error that is
# not on the page is ours, and keeps its traceback.
BEFORE_WORK: Page = (
    ((WaitsForPerson,), PERSON),
    ((ValueError, OSError, ImportError, NotImplementedError, RuntimeError), MISTAKE),
)
AT_WORK: Page = (
    ((WaitsForPerson,), PERSON),
    ((ValueError,), MISTAKE),
    ((InfrastructureError, OSError), INFRASTRUCTURE),
)


def code_of(error: BaseException, page: Page = BEFORE_WORK) -> int | None:
    """The exit code an exception stands for; None where it is not on the page.

    >>> code_of(ValueError("no such column")), code_of(OSError("disk full"), AT_WORK), code_of(KeyError("x"))
    (2, 3, None)
    """
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return next((code for kinds, code in page if isinstance(error, kinds)), None)


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """The question after a word that is not known, with a space before it; nothing where no known word is near.

    >>> did_you_mean("sampels", ["samples", "template"])
    " Did you mean 'samples'?"
    """
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def sentence(error: BaseException) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """The first line of what an exception says; its kind where it says nothing.

    >>> first_line(ValueError("no such file")), first_line(OSError())
    ('no such file', 'OSError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def tell(name: str, act: Callable[[], T], page: Page = BEFORE_WORK, hint: str = "") -> T:
    """What ``act`` returns; what it raises and is on the page becomes one sentence on stderr.

    Args:
        name: of the command or stage, as typed after ``trl-r1``.
        hint: a sentence after the error's own.

    Raises:
        SystemExit: with the code of the page. A person's turn is said on stdout: nothing failed.
    """
    try:
        return act()
    except SystemExit as end:
        note(end.code)
        raise
    except BaseException as error:
        code = code_of(error, page)
        if code is None or (os.environ.get(TRACEBACK) == "1" and code != PERSON):
            raise
        note(code)
        said = f"{sentence(error).rstrip('.')}. {hint}" if hint else sentence(error)
        if said and (page is not BEFORE_WORK or os.environ.get("RANK", "0") == "0"):  # else every process would say it
            print(f"trl-r1 {name}: {said}", file=sys.stdout if code == PERSON else sys.stderr, flush=True)
        raise SystemExit(code) from None


def note(code: object) -> None:
    """Leaves the exit code for the launcher's parent, if one asked for it."""
    place = os.environ.get(EXIT_CODE)
    if place and isinstance(code, int):
        Path(place).write_text(str(code), encoding="utf-8")


def noted(place: str) -> int:
    """The code that a process started with `EXIT_CODE` set to ``place`` left there; 0 for none."""
    path = Path(place)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return int(text) if text.isdecimal() else 0
