"""Do the monitor's alarms sound on planted failures, and on nothing else? Runs of the mini world, one after the other.

    python benchmarks/monitor_alarms.py planted [--seed 0]       six runs of 24 steps (half a minute each on a free core)
    python benchmarks/monitor_alarms.py healthy 10 11 12 13 14   mini/zero as it is, 140 steps each
    python benchmarks/monitor_alarms.py replay RUN ...           the alarms of runs that exist, from their metrics.jsonl

Prints one line per run: its alarms with their steps. Planted are a learning rate of four times the recipe's, a reward that
pays for length, one that pays where the substring 7 is found, and, with beta 0, one that pays for the share of sevens. Two
more are no failures, for comparison: the reward for the gold answer standing anywhere teaches to answer here, and the last
is held by beta 0.5.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


ACCURACY = {"name": "accuracy", "options": {"sources": ["boxed", "answer"]}}
FORMAT = {"name": "format"}


def padded_length(completions: list[Any], **columns: Any) -> list[float]:
    """Pays for length alone: full marks at 200 characters."""
    return [min(1.0, len(str(text)) / 200) for text in completions]


def gold_anywhere(completions: list[Any], solution: list[str], **columns: Any) -> list[float]:
    """Pays when the gold answer's digits stand anywhere in the reply."""
    return [float(str(gold) in str(text)) for text, gold in zip(completions, solution, strict=True)]


def seven_anywhere(completions: list[Any], **columns: Any) -> list[float]:
    """Pays for a seven standing anywhere in the reply."""
    return [float("7" in str(text)) for text in completions]


def sevens(completions: list[Any], **columns: Any) -> list[float]:
    """Pays for the share of sevens."""
    return [str(text).count("7") / max(1, len(str(text))) for text in completions]


def ours(name: str, weight: float = 1.0) -> dict[str, Any]:
    return {"name": f"monitor_alarms:{name}", "weight": weight}


PLANTED: dict[str, tuple[str, list[str]]] = {  # name -> (alarm that is expected, options of mini/zero)
    "learning_rate": ("entropy", ["--learning_rate", "3.2e-3"]),
    "padded_length": ("length_explosion", ["--rewards", json.dumps([ACCURACY, FORMAT, ours("padded_length", 3.0)])]),
    "substring": ("reward_without_accuracy", ["--rewards", json.dumps([ours("seven_anywhere")])]),
    "gold_anywhere": ("none", ["--rewards", json.dumps([ours("gold_anywhere"), FORMAT])]),
    "beta_0": ("kl_runaway", ["--rewards", json.dumps([ours("sevens", 3.0)])]),
    "beta_held": ("none", ["--rewards", json.dumps([ours("sevens", 3.0)]), "--beta", "0.5"]),
}
SHORT = [
    "--max_steps",
    "24",
    "--probe_every",
    "5",
    "--drift_every",
    "5",
    "--evaluation_problems",
    "32",
    "--evaluation_samples",
    "1",
]


def train(folder: Path, seed: int, options: list[str]) -> None:
    from trl_r1.stages import zero

    if not (folder / "summary.json").is_file():
        always = ["--output_dir", str(folder), "--seed", str(seed), "--save_strategy", "no", "--disable_tqdm", "true"]
        zero.main(["--config", "mini/zero", *always, *options])


def alarms_of(folder: Path) -> list[tuple[int, str]]:
    """The alarms that the monitor would raise on a run's log, each at the first step it would."""
    from trl_r1.evaluation.curves import read_metrics
    from trl_r1.monitor.alarms import AlarmThresholds, look
    from trl_r1.monitor.signals import History

    history, found = History(), {}
    for row in read_metrics(folder / "metrics.jsonl"):
        history.add(int(row["step"]), row)
        for finding in look(history, AlarmThresholds()):
            if finding.level == "alarm":
                found.setdefault(finding.name, int(row["step"]))
    return [(step, name) for name, step in found.items()]


def main() -> int:
    sys.path.insert(0, str(Path(__file__).parent))  # where the planted rewards are found
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("planted", "healthy", "replay"))
    parser.add_argument("runs", nargs="*", help="healthy: seeds; replay: folders; planted: names, all without")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/monitor_alarms"))
    chosen = parser.parse_args()
    if chosen.what == "planted":
        for name in chosen.runs or PLANTED:
            expected, options = PLANTED[name]
            folder = chosen.output / f"{name}-{chosen.seed}"
            train(folder, chosen.seed, [*SHORT, *options])
            print(f"{name}, seed {chosen.seed}: expected {expected}, raised {alarms_of(folder)}", flush=True)
        return 0
    false = 0
    for run in chosen.runs:
        folder = Path(run)
        if chosen.what == "healthy":
            folder = chosen.output / f"healthy-{run}"
            train(folder, int(run), [])
        raised = alarms_of(folder)
        false += len(raised)
        print(f"{folder}: {raised or 'no alarm'}", flush=True)
    return int(chosen.what == "healthy" and false > 0)


if __name__ == "__main__":
    sys.exit(main())
