"""What a person sees while stages run beside each other: lines that stay for events, one line per running stage below.

On a terminal the lower block is redrawn in place; anywhere else (a file, CI) a running stage gets a line now and then.
The stages' own output goes to one log file each, from whose end their line is taken.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO


ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
TAIL_BYTES = 16_384


def log_lines(path: Path) -> list[str]:
    """The last lines of a log as a terminal would have left them: of a redrawn bar the last state, no escapes."""
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    lines = [next((part for part in reversed(line.split("\r")) if part.strip()), "") for line in text.split("\n")]
    return [ESCAPES.sub("", line).rstrip() for line in lines if line.strip()]


def clock(seconds: float) -> str:
    """65 as 1:05, 3700 as 1:01:40."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class Console:
    """Events and the state of what runs, on a terminal or in a file.

    Args:
        every: seconds between two lines of one stage where nothing can be redrawn.
    """

    def __init__(self, stream: TextIO | None = None, every: float = 30.0):
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.every = every
        self.drawn = 0
        self.said: dict[str, float] = {}  # stage -> when its line was last written

    def event(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        print(text, file=self.stream, flush=True)

    def running(self, rows: list[tuple[str, float, str]]) -> None:
        """The state of what runs: name, seconds, the end of its log."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.clear()
            for name, seconds, text in rows:
                print(f"  {name:<18} {clock(seconds):>7}  {text}"[:width], file=self.stream)
            self.drawn = len(rows)
            self.stream.flush()
            return
        for name, seconds, text in rows:
            if time.monotonic() - self.said.setdefault(name, time.monotonic()) >= self.every:
                self.said[name] = time.monotonic()
                print(f"  {name:<18} {clock(seconds):>7}  {text[:160]}", file=self.stream, flush=True)

    def clear(self) -> None:
        """Takes the lower block away."""
        if self.drawn:
            self.stream.write(f"\x1b[{self.drawn}A\x1b[J")
            self.drawn = 0
