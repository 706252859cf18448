"""A section in a process of its own: with a time limit, figures on disk as they come, and an end that is told."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from gpu_sections.catalogue import Section, Setting
from trl_r1.storage.files import replace_file


PRELOADED = (
    "torch",
    "datasets",
    "transformers.models.qwen2.modeling_qwen2",
)  # starts no CUDA: a process may fork after it
PRELOADED_ON_CPU = (
    *PRELOADED,
    "trl",
    "trl_r1.runs.rl",
    "trl_r1.runs.sft",
)  # bitsandbytes, which peft loads, starts CUDA


@dataclass
class Outcome:
    """How a section ended, and what it had measured by then."""

    status: str  # finished, failed, killed, out of time
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    error: str | None = None  # one line


class Notes:
    """Figures of a section, kept in a file as they come."""

    def __init__(self, path: Path):
        self.path, self.figures = path, dict[str, Any]()

    def __call__(self, **figures: Any) -> None:
        self.figures.update(figures)
        replace_file(self.path, json.dumps(self.figures, default=str))


def preload(device: str) -> str:
    """Imports what sections share, and says how their processes are to be started: fork, or spawn.

    Fork spares every section the imports; it is taken where a trial process can still use the device.
    """
    for name in PRELOADED if device == "cuda" else PRELOADED_ON_CPU:
        import_module(name)
    gc.collect()
    gc.freeze()  # what was imported stays; a section's process need not walk it
    trial = multiprocessing.get_context("fork").Process(target=_touch, args=(device,))
    trial.start()
    trial.join(60)
    if trial.exitcode == 0:
        return "fork"
    trial.kill()
    return "spawn"


def _touch(device: str) -> None:
    import torch

    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    torch.zeros(1, device=device).sum().item()


def run_apart(section: Section, setting: Setting, folder: Path, limit: float, start: str = "fork") -> Outcome:
    """Measures in a process of its own; whatever happens to it, an Outcome comes back.

    Args:
        folder: gets NAME.json (figures) and NAME.log (what was printed, with the traceback of a failure).
        limit: seconds, after which the process and those it started are killed.
        start: how the process is started, fork or spawn.
    """
    figures, log = folder / f"{section.name}.json", folder / f"{section.name}.log"
    figures.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    process = multiprocessing.get_context(start).Process(target=_body, args=(section, setting, figures, log))
    process.start()
    process.join(limit)
    late = process.is_alive()
    _end_group(process.pid)
    if late:
        process.kill()  # it may have had no group yet
    process.join(10)
    seconds, code = time.monotonic() - began, process.exitcode
    if late:
        status, error = "out of time", f"ended after {limit:.0f} s"
    elif code == 0:
        status, error = "finished", None
    elif code is not None and code < 0:
        status, error = "killed", f"by {signal.Signals(-code).name}"
    else:
        status, error = "failed", _last_line(log)
    known = json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {}
    return Outcome(status, round(seconds, 1), known, error)


def _body(section: Section, setting: Setting, figures: Path, log: Path) -> None:
    os.setsid()  # so that its own processes can be ended with it
    file = open(log, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # closed by the process's end
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = file
    try:
        section.measure(setting, Notes(figures))
    except SystemExit:  # a stage's, which has said why
        os._exit(1)
    except BaseException as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        os._exit(1)
    os._exit(0)  # threads of libraries are not waited for


def _end_group(group: int | None) -> None:
    """Kills what is left of a section and the processes it started."""
    if group is not None:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:  # none is left
            return


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
