"""`trl-r1 demo`: all of DeepSeek-R1 in front of you, on a CPU. Builds a small base model, and everything the paper made.

    trl-r1 demo                 runs/demo, seed 0, some minutes on two cores
    trl-r1 demo --seed 1        runs/demo-seed1: another base, other problems, other sampling
    trl-r1 demo --scale tiny    runs/demo-tiny, a minute: the same way with models too small to learn much

The work is done by the pipeline `mini/pipeline`, run as a user would run it. A demo that was killed goes on where it
stopped; a finished one shows its result again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trl_r1 import errors
from trl_r1.mini import story
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


PIPELINE = "mini/pipeline"


def folder_of(seed: int, scale: str) -> Path:
    """`runs/demo`, `runs/demo-seed3`, `runs/demo-tiny`, `runs/demo-tiny-seed3`."""
    name = "demo" + ("" if scale == "demo" else f"-{scale}") + (f"-seed{seed}" if seed else "")
    return Path("runs") / name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="seeds everything: the base model too")
    parser.add_argument("--scale", choices=("demo", "tiny"), default="demo")
    parser.add_argument("--output", type=Path, help="folder instead of runs/demo")


def run(args: argparse.Namespace) -> int:
    """Makes the demo, unless it is made, and shows what came out.

    Raises:
        ValueError: the seed is negative, or the folder is not the demo's.
    """
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed} must be 0 or more.")
    folder = args.output or folder_of(args.seed, args.scale)
    summary = finished(folder)
    if summary is None:
        code = make(folder, args.seed, args.scale)
        summary = finished(folder)
        if code or summary is None:
            return code or 1
    print(f"\n{story.table(summary)}\n\n{summary['seconds']:.0f} seconds. Report with curves: {folder / 'report.md'}")
    return 0


def finished(folder: Path) -> Json | None:
    """The demo's summary; None while there is none."""
    path = folder / "summary.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if "distill" in content else None  # the pipeline's own summary comes first, without these entries


def make(folder: Path, seed: int, scale: str) -> int:
    """Everything up to `summary.json`; returns the pipeline's exit code."""
    from trl_r1.pipeline.plan import read
    from trl_r1.pipeline.run import Run

    print(f"DeepSeek-R1 in miniature: everything is made here, in {folder}. R1-Zero comes first.", flush=True)
    command = "trl-r1 demo" + (f" --seed {seed}" if seed else "") + (f" --scale {scale}" if scale != "demo" else "")
    plan = read(PIPELINE, str(folder), seed, None if scale == "demo" else scale)
    work = Run(
        plan, command=command, describe=lambda name, summary: story.zero_table(summary) if name == "zero" else ""
    )
    work.prepare()
    code = errors.tell("demo", work.go, errors.AT_WORK)
    if code == 0:
        path = folder / "summary.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = story.entries(content["stages"])
        report = (folder / "report.md").read_text(encoding="utf-8")
        text = "\n\n".join(["# DeepSeek-R1 in miniature", *story.chapters(entries)])
        replace_file(folder / "report.md", f"{text}\n\n#{report}")
        replace_file(path, json.dumps({**content, **entries}, indent=1, ensure_ascii=False))
    return code
