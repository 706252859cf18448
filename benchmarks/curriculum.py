"""Does the order of the problems matter? The miniature R1-Zero with its problems shuffled, by level, and mixed.

    python benchmarks/curriculum.py --work runs/curriculum --seeds 0 1 2 --plot docs/assets/curriculum.png

Per seed: `trl-r1 data grade` measures the base model on all 4,096 training problems (8 samples each), and mini/zero trains
on the graded rows once per arm, alike but for `curriculum`. Every five steps the policy answers 64 held-out problems four
times (temperature 0.6, top-p 0.95); the first of these looks at 80 % or more counts, and the mean over all looks says how
early a run was good. Differences are paired by seed; their 95 % intervals are Student's, over the seeds alone. A run that
is there is not made again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


WANTED = 0.8
ARMS: dict[str, list[str]] = {
    "uniform": [],
    "ordered": ["--curriculum", "ordered"],
    "mixed": ["--curriculum", "mixed"],
}
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}  # 97.5 % point, by number of seeds


def called(*command: str) -> float:
    """Seconds that a command of this Python took; its last words if it fails."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return time.monotonic() - started


def measure(arm: str, seed: int, work: Path) -> dict[str, Any]:
    """Trains one arm, unless it is there, and reads what came of it."""
    graded, folder = work / f"graded-{seed}.jsonl", work / f"{arm}-{seed}"
    if not graded.exists():
        called(
            "trl_r1.cli", "data", "grade", "mini:train", str(graded), "--model", "mini:base", "--template", "mini",
            "--samples", "8", "--max-tokens", "64", "--step-range", "2", "5", "--seed", str(seed),
        )  # fmt: skip
    if not (folder / "summary.json").exists():
        called(
            "trl_r1.stages.zero", "--config", "mini/zero", "--dataset_name", str(graded), "--seed", str(seed),
            "--output_dir", str(folder), "--probe_every", "5", "--probe_problems", "64", "--save_strategy", "no",
            "--disable_tqdm", "true", *ARMS[arm], *(["--curriculum_column", "trl_r1_level"] if ARMS[arm] else []),
        )  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    looks = [(line["step"], line["heldout/pass@1"]) for line in lines if "heldout/pass@1" in line]
    return {
        "looks": looks,
        "reached": next((step for step, share in looks if share >= WANTED), None),
        "mean": statistics.mean(share for _, share in looks),
        "after": json.loads((folder / "summary.json").read_text())["after"]["pass@1"],
    }


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (infinite for one value)."""
    if len(values) < 2:
        return values[0], math.inf
    return statistics.mean(values), STUDENT[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def draw(found: dict[str, dict[int, dict[str, Any]]], path: Path) -> None:
    """The curves: one colour per arm, one thin line per seed, their mean thick."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for colour, (arm, runs) in enumerate(found.items()):
        curves = [run["looks"] for run in runs.values()]
        for curve in curves:
            axes.plot(*zip(*curve, strict=True), color=f"C{colour}", alpha=0.3, linewidth=0.8)
        means = [(looks[0][0], statistics.mean(share for _, share in looks)) for looks in zip(*curves, strict=True)]
        axes.plot(*zip(*means, strict=True), color=f"C{colour}", linewidth=2.0, label=arm)
    axes.axhline(WANTED, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="step", ylabel="held-out pass@1", ylim=(0, 1))
    axes.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/curriculum"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="at most eight")
    parser.add_argument("--plot", type=Path, help="picture to write")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[int, dict[str, Any]]] = {arm: {} for arm in ARMS}
    for seed in chosen.seeds:
        for arm in ARMS:
            found[arm][seed] = run = measure(arm, seed, chosen.work)
            print(
                f"seed {seed}  {arm:16} 80 % at step {run['reached']}, mean {run['mean']:.3f}, end {run['after']}",
                flush=True,
            )
    report: dict[str, Any] = {"name": "curriculum", "seeds": chosen.seeds}
    for arm, runs in found.items():
        report[arm] = {"steps": [run["reached"] for run in runs.values()]}
        for key in ("mean", "reached"):
            pairs = [(runs[seed][key], found["uniform"][seed][key]) for seed in chosen.seeds]
            if arm != "uniform" and all(None not in pair for pair in pairs):
                report[arm][f"{key} against uniform, +-"] = interval([ours - theirs for ours, theirs in pairs])
    if chosen.plot:
        draw(found, chosen.plot)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
