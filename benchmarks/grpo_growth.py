"""How the cost of one GRPO step grows with group size, completion length and prompt length: stock TRL beside ours.

    python benchmarks/grpo_growth.py [--output docs/assets/grpo_growth.png]            (about half an hour on one core)

The mini model of grpo_step.py with random weights; 4 prompts of 32 tokens, groups of 16, completions of at most 256
tokens whose lengths follow the same exponential distribution (mean a quarter of the longest), half of the groups dead,
beta 0, 16 rows per micro-batch in both arms. One quantity moves at a time. CPU seconds of the third step of each arm (the
first two warm up), one thread: they do not depend on what else the machine does. Prints a table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parent))
import grpo_step


os.environ["OMP_NUM_THREADS"] = "1"

PROMPTS, ROWS = 4, 16  # prompts per step, rows per micro-batch
SWEEPS = {
    "group size": ("group", (4, 16, 64)),
    "longest completion, tokens": ("longest", (64, 256, 1024, 2048)),
    "prompt, tokens": ("prompt", (16, 128, 512, 2048)),
}


def mix_of(group: int = 16, longest: int = 256, prompt: int = 32) -> dict[str, Any]:
    """A mix as make_trainer takes it."""
    chosen = random.Random(0)
    draws = [chosen.expovariate(4.0 / longest) for _ in range(PROMPTS * group)]
    rows = min(ROWS, PROMPTS * group)
    return {
        "dead": PROMPTS // 2, "prompts": PROMPTS, "group": group, "longest": longest, "prompt_tokens": (prompt, prompt),
        "lengths": [min(longest, max(1, round(draw))) for draw in draws],
        "options": {
            "per_device_train_batch_size": rows, "gradient_accumulation_steps": PROMPTS * group // rows,
        },
    }  # fmt: skip


def measure(**changed: int) -> dict[str, Any]:
    mix = mix_of(**changed)
    found: dict[str, Any] = {"mean_length": statistics.mean(mix["lengths"])}
    with tempfile.TemporaryDirectory() as folder:
        model = grpo_step.build(Path(folder) / "model", grpo_step.MODELS["mini"]["config"])
        arms = {arm: grpo_step.make_trainer(arm, model, "mini", mix, f"{folder}/{arm}") for arm in ("stock", "ours")}
        for arm, trainer in arms.items():
            for _ in range(3):
                step = grpo_step.step(trainer)
            found[arm] = round(step["cpu"], 3)
            found[f"{arm}_generate"] = round(step["generate"] / step["seconds"], 3)
    found["ratio"] = round(found["stock"] / found["ours"], 2)
    return found


def draw(table: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(table), figsize=(11, 3.4), sharey=True)
    for axis, (name, rows) in zip(axes, table.items()):
        at = [row["at"] for row in rows]
        axis.plot(at, [row["stock"] for row in rows], "o-", color="#8a8a8a", label="stock TRL")
        axis.plot(at, [row["ours"] for row in rows], "o-", color="#1f6fb4", label="rollout, batching: fast")
        axis.set(xscale="log", yscale="log", xlabel=name, xticks=at, xticklabels=at)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("CPU seconds per step")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where to leave the plot")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    table: dict[str, list[dict[str, Any]]] = {}
    for name, (option, values) in SWEEPS.items():
        table[name] = []
        for value in values:
            table[name].append({"at": value, **measure(**{option: value})})
            row = table[name][-1]
            numbers = f"{row['mean_length']:.0f} | {row['stock']:.2f} | {row['ours']:.2f} | {row['ratio']:.2f}"
            print(f"| {name} {value} | {numbers} |", flush=True)
    if given.output:
        draw(table, given.output)
    print(json.dumps({"name": "grpo_growth", "table": table}))


if __name__ == "__main__":
    main()
