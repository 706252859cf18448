"""`trl-r1 demo`: all of DeepSeek-R1 in front of you, on a CPU. Builds a small base model, and everything the paper made.

    trl-r1 demo                 runs/demo, seed 0, some minutes on two cores
    trl-r1 demo --seed 1        runs/demo-seed1: another base, other problems, other sampling
    trl-r1 demo --scale tiny    runs/demo-tiny, a minute: the same way with models too small to learn much
    trl-r1 demo --model smollm2         runs/smollm2: the same on a real model, SmolLM2-135M (docs/real_model.md)

The work is done by the pipeline `mini/pipeline` or `smollm2/pipeline`, run as a user would run it. A demo that was killed
goes on where it stopped; a finished one shows its result again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from trl_r1 import errors
from trl_r1.mini import story
from trl_r1.storage.files import replace_file
from trl_r1.storage.folders import cache_folder
from trl_r1.text.records import Json


REAL_MODELS = ("smollm2:135m-instruct", "smollm2:135m-20-layers")  # of smollm2/pipeline; trl_r1.models.gguf makes them


@dataclass(frozen=True)
class Show:
    """One model's demo: where its work is written down, and what is told of it."""

    pipeline: str
    folder: str  # below runs/
    title: str
    head: str  # said before it starts
    zero_table: Callable[[Json], str]
    table: Callable[[Json], str]
    entries: Callable[[Path, Json], dict[str, Json]]
    chapters: Callable[[Path, dict[str, Json]], Iterable[str]]
    ready: Callable[[], None] = lambda: None  # raises ValueError or SystemExit where something is not there


def shows(model: str) -> Show:
    """The demo of a model."""
    if model == "mini":
        return Show(
            "mini/pipeline",
            "demo",
            "DeepSeek-R1 in miniature",
            "DeepSeek-R1 in miniature: everything is made here",
            story.zero_table,
            story.table,
            lambda folder, stages: story.entries(stages),
            lambda folder, entries: story.chapters(entries),
        )
    from trl_r1.pipeline import real_model

    return Show(
        "smollm2/pipeline",
        "smollm2",
        "DeepSeek-R1 on SmolLM2-135M",
        "DeepSeek-R1 on a real model, SmolLM2-135M: fetched and converted once",
        real_model.zero_table,
        real_model.table,
        real_model.entries,
        real_model.chapters,
        fetch_real,
    )


def fetch_real() -> None:
    """What the real model's stages need, before the first of them starts: a sentence of one's own, not one per stage.

    A process of its own converts, as the one that watches the stages stays small.

    Raises:
        ValueError: the extra is not installed.
        SystemExit: the model cannot be had; the sentence was said.
    """
    from trl_r1.rewards.reasoning_gym import MISSING

    if importlib.util.find_spec("reasoning_gym") is None:
        raise ValueError(MISSING)
    there = {path.name for path in (cache_folder() / "models").glob("smollm2-*") if path.is_dir()}
    names = [name for name in REAL_MODELS if not any(found.startswith(name.replace(":", "-")) for found in there)]
    if names:
        done = subprocess.run([sys.executable, "-m", "trl_r1.models.gguf", *names], stdout=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(done.returncode)


def folder_of(seed: int, scale: str, model: str = "mini") -> Path:
    """`runs/demo`, `runs/demo-seed3`, `runs/demo-tiny`, `runs/demo-tiny-seed3`, `runs/smollm2`."""
    name = "demo" if model == "mini" else model
    return Path("runs") / (name + ("" if scale == "demo" else f"-{scale}") + (f"-seed{seed}" if seed else ""))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="seeds everything: the miniature's base model too")
    parser.add_argument("--scale", choices=("demo", "tiny"), default="demo")
    parser.add_argument("--model", choices=("mini", "smollm2"), default="mini", help="smollm2: a real one, from PyPI")
    parser.add_argument("--output", type=Path, help="folder instead of runs/demo or runs/smollm2")


def run(args: argparse.Namespace) -> int:
    """Makes the demo, unless it is made, and shows what came out.

    Raises:
        ValueError: the seed is negative, or the folder is not the demo's.
    """
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed} must be 0 or more.")
    folder = args.output or folder_of(args.seed, args.scale, args.model)
    show = shows(args.model)
    summary = finished(folder)
    if summary is None:
        show.ready()
        code = make(show, folder, command_of(args), args.seed, args.scale)
        summary = finished(folder)
        if code or summary is None:
            return code or 1
    print(f"\n{show.table(summary)}\n\n{summary['seconds']:.0f} seconds. Report with curves: {folder / 'report.md'}")
    return 0


def command_of(args: argparse.Namespace) -> str:
    """What was typed, as short as it can be."""
    return (
        "trl-r1 demo"
        + (f" --model {args.model}" if args.model != "mini" else "")
        + (f" --seed {args.seed}" if args.seed else "")
        + (f" --scale {args.scale}" if args.scale != "demo" else "")
    )


def finished(folder: Path) -> Json | None:
    """The demo's summary; None while there is none."""
    path = folder / "summary.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if "distill" in content else None  # the pipeline's own summary comes first, without these entries


def make(show: Show, folder: Path, command: str, seed: int, scale: str) -> int:
    """Everything up to `summary.json`; returns the pipeline's exit code."""
    from trl_r1.pipeline.plan import read
    from trl_r1.pipeline.run import Run

    print(f"{show.head}, in {folder}. R1-Zero comes first.", flush=True)
    plan = read(show.pipeline, str(folder), seed, None if scale == "demo" else scale)
    work = Run(
        plan, command=command, describe=lambda name, summary: show.zero_table(summary) if name == "zero" else ""
    )
    work.prepare()
    code = errors.tell("demo", work.go, errors.AT_WORK)
    if code == 0:
        path = folder / "summary.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = show.entries(folder, content["stages"])
        report = (folder / "report.md").read_text(encoding="utf-8")
        text = "\n\n".join([f"# {show.title}", *show.chapters(folder, entries)])
        replace_file(folder / "report.md", f"{text}\n\n#{report}")
        replace_file(path, json.dumps({**content, **entries}, indent=1, ensure_ascii=False))
    return code
