"""`trl-r1 watch RUN`: a run's numbers and alarms in the terminal, refreshed while it trains, from any other process."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path


CLEAR = "\x1b[H\x1b[2J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="output_dir of a run, or of a pipeline")
    parser.add_argument("--once", action="store_true", help="show it once and end; exit code 1 if an alarm was raised")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two looks (default: 2)")


def run(args: argparse.Namespace) -> int:
    try:
        return watch(Path(args.run), args.once, args.every)
    except KeyboardInterrupt:
        return 0


def watch(folder: Path, once: bool = False, every: float = 2.0) -> int:
    """Shows the run until it is finished. On a terminal in place, elsewhere a block whenever something is new.

    Raises:
        ValueError: no such folder, no run in it, or a time that is none.
    """
    from trl_r1.monitor.record import every_alarm
    from trl_r1.monitor.terminal import find_run, screen
    from trl_r1.runs.folder import SUMMARY

    if not every > 0:
        raise ValueError(f"--every {every:g} is no time to wait; give a number of seconds above 0.")
    if not folder.is_dir():
        raise ValueError(f"There is no folder {str(folder)!r}; give the output_dir of a run.")
    last_page = ""
    while True:
        run = find_run(folder)
        finished = (folder / SUMMARY).is_file()  # of a pipeline: of all its stages
        text = screen(run, shutil.get_terminal_size((100, 24)).columns)
        if text != last_page:
            print(f"{CLEAR if sys.stdout.isatty() and not once else ''}{text}", flush=True)
            last_page = text
        if once:
            return int(any(row["level"] == "alarm" for row in every_alarm(run)))
        if finished:
            print(f"Finished; its report is {os.path.join(folder, 'report.md')}.")
            return 0
        time.sleep(every)
