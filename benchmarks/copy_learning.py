"""Whether a policy learns as well from the rollouts of a light copy: the same recipe and seeds with each `rollout_copy`.

    python benchmarks/copy_learning.py mini/zero --seeds 0,1,2,3,4 --results runs/copies.jsonl
    python benchmarks/copy_learning.py smollm2/zero --seeds 0,1,2 --problems 64 --results runs/copies.jsonl
    python benchmarks/copy_learning.py --results runs/copies.jsonl --picture docs/assets/rollout_copy.png

Each run is a process of its own with one thread, `rollout: fast`, `batching: fast`, without probes and checkpoints; a line
of --results is a run, and runs that have one are not repeated. The table has pass@1 of held-out problems after training
with its 95 % interval over problems, sampled from the policy itself whatever the copy; the picture has the share of right
rollouts by step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from trl_r1.storage.files import append_json_lines, read_json_lines  # noqa: E402


COPIES = ("none", "merged", "bfloat16")
COLOURS = dict(zip(COPIES, ("#8a8a8a", "#1f6fb4", "#d1711f")))


def run(recipe: str, copy: str, seed: int, problems: int | None) -> None:
    """Trains once and prints what it took, as JSON on the last line."""
    import torch
    from transformers import TrainerCallback

    from trl_r1.grpo.config import R1GRPOConfig
    from trl_r1.models.options import R1ModelConfig
    from trl_r1.runs.options import RLOptions, parse
    from trl_r1.runs.rl import Hooks, prepare, quiet_libraries, run_rl

    torch.set_num_threads(1)
    quiet_libraries()
    curve: list[tuple[int, float, float]] = []  # step, share of right rollouts, mismatch

    class Note(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            right = next((value for name, value in (logs or {}).items() if name == "rewards/accuracy/mean"), None)
            if right is not None:
                curve.append((state.global_step, right, (logs or {}).get("rollout_copy/mismatch", 0.0)))

    class Watch(Hooks):
        def begin(self, trainer):
            trainer.add_callback(Note())

    with tempfile.TemporaryDirectory() as folder:
        argv = ["--config", recipe, "--rollout", "fast", "--batching", "fast", "--rollout_copy", copy, "--seed", str(seed),
                "--probe_every", "0", "--save_strategy", "no", "--disable_tqdm", "true", "--output_dir", folder]  # fmt: skip
        argv += [] if problems is None else ["--evaluation_problems", str(problems)]
        options, config, model = parse((RLOptions, R1GRPOConfig, R1ModelConfig), argv)
        prepared = prepare("zero", options, config, model)
        began = time.process_time()
        summary = run_rl("zero", options, config, model, prepared, Watch())
    after = summary["after"]
    told = {"before": summary["before"]["pass@1"], "after": after["pass@1"], "interval": after["interval"]["pass@1"]}
    print(json.dumps({**told, "cpu": round(time.process_time() - began, 1), "curve": curve}, default=float))


def measure(given: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """The runs that are still missing, each a line of the results."""
    done = {(row["recipe"], row["copy"], row["seed"]) for row in rows}
    for seed in map(int, given.seeds.split(",")):
        for copy in given.copies.split(","):
            if (given.recipe, copy, seed) in done:
                continue
            order = json.dumps([given.recipe, copy, seed, given.problems])
            finished = subprocess.run(
                [sys.executable, __file__, "--order", order],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            )
            rows.append({"recipe": given.recipe, "copy": copy, "seed": seed})
            rows[-1] |= json.loads(finished.stdout.strip().splitlines()[-1])
            given.results.parent.mkdir(parents=True, exist_ok=True)
            append_json_lines(given.results, [rows[-1]])
            print(table([rows[-1]])[-1], flush=True)


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| recipe | `rollout_copy` | seed | pass@1 before | after | CPU seconds |",
        "|---|---|---:|---:|---|---:|",
    ]
    for row in rows:
        low, high = row["interval"]
        lines.append(
            f"| {row['recipe']} | {row['copy']} | {row['seed']} | {row['before']:.1%} | {row['after']:.1%} "
            f"[{low:.1%}, {high:.1%}] | {row['cpu']:.0f} |"
        )
    return lines


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    figure, grid = pyplot.subplots(1, len(recipes), figsize=(5 * len(recipes), 3.4), sharey=True, squeeze=False)
    for axis, recipe in zip(grid[0], recipes):
        for copy in COPIES:
            curves = [row["curve"] for row in rows if (row["recipe"], row["copy"]) == (recipe, copy)]
            if not curves:
                continue
            for one in curves:
                axis.plot(
                    [at for at, *_ in one], [right for _, right, _ in one], color=COLOURS[copy], alpha=0.2, lw=0.8
                )
            steps = [at for at, *_ in curves[0]]
            means = [statistics.fmean(one[i][1] for one in curves) for i in range(len(steps))]
            axis.plot(steps, means, color=COLOURS[copy], lw=2, label=f"{copy} ({len(curves)} seeds)")
        axis.set(title=recipe, xlabel="step")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    grid[0][0].set_ylabel("share of right rollouts")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--copies", default=",".join(COPIES))
    parser.add_argument("--problems", type=int)
    parser.add_argument("--results", type=Path, help="lines of JSON, one per run")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--order", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.order:
        run(*json.loads(given.order))
        return
    if given.results is None:
        parser.error("--results FILE says where the runs are kept.")
    rows = read_json_lines(given.results) if given.results.is_file() else []
    if given.recipe:
        measure(given, rows)
    if given.picture:
        draw(rows, given.picture)
    print("\n".join(table(rows)))
    ends = [{key: row[key] for key in ("recipe", "copy", "seed", "after", "interval")} for row in rows]
    print(json.dumps({"name": "copy_learning", "runs": ends}))


if __name__ == "__main__":
    main()
