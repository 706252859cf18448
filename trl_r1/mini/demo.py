"""`trl-r1 demo`: R1-Zero in front of you. Builds a small base model, trains it by reinforcement alone, and reports.

    trl-r1 demo                 runs/demo, seed 0, some minutes on two cores
    trl-r1 demo --seed 1        runs/demo-seed1: another base, other problems, other sampling
    trl-r1 demo --scale tiny    runs/demo-tiny, under a minute: the same way with a model too small to learn much

The work is done by the stage `zero` with the recipe `mini/zero`, started as a user would start it. A demo that was
killed goes on where it stopped; a finished one shows its result again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from trl_r1.files import replace_file


TINY = (
    "--model_name_or_path mini:base-tiny --max_steps 6 --save_steps 3 --evaluation_problems 20 --evaluation_samples 4 "
    "--probe_every 3 --probe_problems 4 --per_device_train_batch_size 32"
).split()
ROWS = (("pass@1", "solved, mean of {k} tries"), ("cons@{k}", "solved, majority of {k}"), ("format", "well-formed"))


def folder_of(seed: int, scale: str) -> Path:
    """`runs/demo`, `runs/demo-seed3`, `runs/demo-tiny`, `runs/demo-tiny-seed3`."""
    name = "demo" + ("" if scale == "demo" else f"-{scale}") + (f"-seed{seed}" if seed else "")
    return Path("runs") / name


def table(summary: dict[str, Any], samples: int) -> str:
    """The result as the terminal shows it."""
    before, after = summary["zero"]["before"], summary["zero"]["after"]
    lines = [f"{'R1-Zero in miniature':<28}{'before':>8}{'after':>8}"]
    for key, label in ROWS:
        name = key.format(k=samples)
        lines.append(f"{label.format(k=samples):<28}{before[name]:>8.1%}{after[name]:>8.1%}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trl-r1 demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="seeds everything: the base model too")
    parser.add_argument("--scale", choices=("demo", "tiny"), default="demo")
    parser.add_argument("--output", type=Path, help="folder instead of runs/demo")
    chosen = parser.parse_args(argv)
    if chosen.seed < 0:
        print(f"trl-r1 demo: --seed {chosen.seed} must be 0 or more.", file=sys.stderr)
        return 2
    folder = chosen.output or folder_of(chosen.seed, chosen.scale)
    path = folder / "summary.json"
    samples = 4 if chosen.scale == "tiny" else 16
    if not path.is_file():
        code = run(folder, chosen.seed, chosen.scale)
        if code:
            return code
    summary = json.loads(path.read_text(encoding="utf-8"))
    report = folder / "zero" / "report.md"
    print(f"\n{table(summary, samples)}\n\n{summary['seconds']:.0f} seconds. Report with curves: {report}")
    return 0


def run(folder: Path, seed: int, scale: str) -> int:
    """Everything up to `summary.json`; returns the exit code of the first step that failed, or 0."""
    from trl_r1.cli import launch

    began, clock = time.time(), folder / "seconds.json"
    earlier = json.loads(clock.read_text())["seconds"] if clock.is_file() else 0.0
    for name, value in (("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE"), ("TOKENIZERS_PARALLELISM", "false")):
        os.environ.setdefault(name, value)
    os.environ["TRL_R1_CACHE"] = str((folder / "models").resolve())
    options = ["--config", "mini/zero", "--output_dir", str(folder / "zero"), "--seed", str(seed)]
    print(f"R1-Zero in miniature: everything is made here, in {folder}.", flush=True)
    try:
        code = launch("zero", [*options, *(TINY if scale == "tiny" else [])])
    finally:
        seconds = earlier + time.time() - began
        replace_file(clock, json.dumps({"seconds": seconds}))
    if code:
        return code
    stage = json.loads((folder / "zero" / "summary.json").read_text(encoding="utf-8"))
    summary = {
        "seconds": round(seconds, 1),
        "seed": seed,
        "scale": scale,
        "zero": {"seconds": stage["seconds"], "before": stage["before"], "after": stage["after"]},
    }
    replace_file(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
