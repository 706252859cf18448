"""Commands: what one types after `trl-r1`, one file each; stages are started by name from ``cli``.

Belongs here: arguments of a command (``add_arguments``) and the hand-over (``run``, which returns the exit code).
Not: what the command does. A new command is one file here and one line in ``cli.COMMANDS``. Nothing imports this
package.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
from collections.abc import Sequence
from typing import Protocol

from trl_r1 import errors


class Command(Protocol):
    """What a module of this package offers; its docstring is the text of ``--help``."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


def call(name: str, argv: Sequence[str], command: Command | None = None) -> int:
    """Runs a command and returns its exit code; see `errors` for what a mistake becomes.

    Args:
        name: what is typed after ``trl-r1``.
        command: default: the module of that name. ``args.typed`` gives it the whole command line.
    """
    try:
        return errors.tell(name, lambda: _run(name, list(argv), command))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _run(name: str, argv: list[str], command: Command | None) -> int:
    module = command or importlib.import_module(f"{__name__}.{name}")
    parser = argparse.ArgumentParser(
        prog=f"trl-r1 {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    args = parser.parse_args(argv)
    args.typed = shlex.join(["trl-r1", *name.split(), *argv])
    return module.run(args)
