"""Follow a run that is still training: every new complete checkpoint is evaluated once, from a process of its own.

The training never waits for it: the follower runs at the lowest priority, holds no lock of the run, and keeps hard links
to a checkpoint's weights while it works, so that ``save_total_limit`` may delete the checkpoint meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trl_r1.evaluation import followed
from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.evaluation.report import write_report
from trl_r1.models.load import ADAPTER
from trl_r1.storage.checkpoints import WEIGHTS, what_is_broken
from trl_r1.storage.files import replace_file


SUMMARY = "summary.json"
STATE_FILES = ("optimizer.pt", "scheduler.pt", "reference.safetensors")  # only training needs these
HELD = ".held"
LOWEST = 19  # niceness
UNFINISHED = "Written by a follower while the run trains; the run's own report replaces it at the end."


@dataclass(frozen=True)
class Found:
    """Weights to evaluate."""

    step: int
    folder: Path


def lower_priority() -> int:
    """Lets every other process go first; returns the niceness now."""
    return os.nice(LOWEST - os.nice(0))


def complete_checkpoints(run: Path) -> list[Found]:
    """Those that are whole, by step. Half-written ones are passed over in silence: they will be whole the next time."""
    found = []
    for path in run.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and what_is_broken(path) is None:
            found.append(Found(int(match[1]), path))
    return sorted(found, key=lambda one: one.step)


def final_model(run: Path) -> Found | None:
    """The model a finished run has saved, with its last step; None while it trains, or where it left no model."""
    path = run / SUMMARY
    if not path.is_file():
        return None
    steps = json.loads(path.read_text(encoding="utf-8")).get("steps")
    if not isinstance(steps, int) or not any((run / name).is_file() for name in WEIGHTS):
        return None
    return Found(steps, run)


@contextmanager
def held(found: Found, where: Path) -> Iterator[Path | None]:
    """A folder with the checkpoint's model files that nobody deletes meanwhile; None if it went away before."""
    into = where / HELD / f"step-{found.step}"
    shutil.rmtree(into, ignore_errors=True)  # of a follower that was killed
    into.mkdir(parents=True)
    try:
        try:
            for path in found.folder.iterdir():
                if path.is_file() and path.name not in STATE_FILES and not path.name.startswith("rng_state"):
                    link(path, into / path.name)
        except FileNotFoundError:  # rotated away between listing and linking
            yield None
            return
        whole = any((into / name).is_file() for name in WEIGHTS) and (
            (into / "config.json").is_file() or (into / ADAPTER).is_file()
        )
        yield into if whole else None
    finally:
        shutil.rmtree(into, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """The same bytes under another name; a copy where the file system has no hard links.

    Raises:
        FileNotFoundError: the source is gone.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def follow(
    run: Path,
    where: Path,
    evaluate: Callable[[Path, int], dict[str, Evaluation]],
    *,
    parts: Collection[str] = (),
    say: Callable[[str], None] = print,
    poll_seconds: float = 5.0,
    patience_seconds: float = 3600.0,
    newest_first: bool = True,
) -> list[int]:
    """Evaluates checkpoints of ``run`` until it is finished, or nothing new has come for a while.

    Args:
        run: output_dir of the training; it may not exist yet.
        where: the follower's own folder.
        evaluate: (folder with the model, step) to one evaluation per dataset.
        parts: names of what ``evaluate`` returns; a step that lacks one of them is evaluated. Empty: any will do.
        patience_seconds: how long to wait for the next checkpoint of an unfinished run.
        newest_first: of several waiting checkpoints take the newest, so that the curve keeps up; the others follow.

    Returns:
        the steps that are in the run's ``followed.jsonl`` now.
    """
    gone: set[int] = set()
    last_news = time.monotonic()
    while True:
        finished = (run / SUMMARY).is_file()  # before looking for checkpoints: none comes after it
        known = known_steps(run, parts) | gone
        waiting = [one for one in complete_checkpoints(run) if one.step not in known]
        last = final_model(run)
        if last is not None and last.step not in known | {one.step for one in waiting}:
            waiting.append(last)
        if waiting:
            chosen = waiting[-1 if newest_first else 0]
            with held(chosen, where) as folder:
                if folder is None:
                    gone.add(chosen.step)
                    say(f"Step {chosen.step}: the checkpoint was removed before it could be read.")
                else:
                    found = evaluate(folder, chosen.step)
                    followed.record(run, chosen.step, found)
                    for part, evaluation in found.items():
                        say(f"Step {chosen.step}, {part}: pass@1 {evaluation['pass@1']:.1%}")
                    refresh_report(run)
            last_news = time.monotonic()
            continue
        if finished:
            refresh_report(run)
            return sorted({row["step"] for row in followed.read_followed(run)})
        if time.monotonic() - last_news > patience_seconds:
            say(
                f"{run} has written no complete checkpoint for {patience_seconds:.0f} seconds and is not finished; "
                "stopping. Start the same command again when it goes on."
            )
            return sorted(known - gone)
        time.sleep(poll_seconds)


def known_steps(run: Path, parts: Collection[str]) -> set[int]:
    """The steps that every part has been evaluated at."""
    rows = followed.read_followed(run)
    at = {part: {row["step"] for row in rows if row["part"] == part} for part in parts}
    return set.intersection(*at.values()) if at else {row["step"] for row in rows}


def refresh_report(run: Path) -> Path | None:
    """The run's report with the checkpoints in it: while it trains, one made from what is on disk so far."""
    report = run / "report.md"
    finished = (run / SUMMARY).is_file()
    if finished and report.is_file():
        text = report.read_text(encoding="utf-8")
        if UNFINISHED not in text:
            table = followed.section(run)
            if table and table not in text:
                replace_file(report, followed.put_into(text, table))
            return report
        # else: our own report of the unfinished run came to lie over the run's; make it anew from what is on disk
    manifest = run / "run.json"
    if not manifest.is_file():
        return None
    about = json.loads(manifest.read_text(encoding="utf-8"))
    stored = {when: run / f"evaluation_{when}.json" for when in ("before", "after")}
    evaluations = {when: Evaluation.load(path) if path.is_file() else None for when, path in stored.items()}
    return write_report(
        run,
        f"{about['stage']}: {about['settings'].get('model_name_or_path')}",
        about["settings"],
        evaluations["before"],
        evaluations["after"],
        notes=[] if finished else [UNFINISHED],
    )
