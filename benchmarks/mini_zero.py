"""The miniature R1-Zero (recipes/mini/zero.yaml) with TRL's rollout and batching beside the fast ones: time to 80 % pass@1.

    python benchmarks/mini_zero.py [--seed 0] [--threads 2]            (about four minutes on one core)

Each arm is a process of its own with one thread, or as many as are asked for; the recipe is the same but for `rollout`
and `batching`, whose `trl` is bit-identical to stock TRL (benchmarks/identity.py). Every ten steps the policy answers 100
held-out problems four times at temperature 0.6, top-p 0.95, off the clock; the first of these looks at 80 % or more stops
the first clock, the end of the recipe the second. CPU seconds are the process's own and tell more than wall clock where
others share the machine.

The last line is JSON; ``ratio`` is trl over fast in CPU seconds to 80 %, ``wall`` the same by the wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

WANTED, EVERY, PROBLEMS, SAMPLES = 0.8, 10, 100, 4


def run(arm: str, seed: int, threads: int) -> None:
    """Trains one arm and prints what it took, as JSON on the last line."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import torch
    from transformers import TrainerCallback
    from trl import ModelConfig

    from trl_r1.grpo.config import R1GRPOConfig
    from trl_r1.runs.heldout import evaluate_shared
    from trl_r1.runs.options import RLOptions, parse
    from trl_r1.runs.rl import Hooks, prepare, quiet_libraries, run_rl

    torch.set_num_threads(threads)
    quiet_libraries()
    looks: list[dict[str, float]] = []

    class Clock(TrainerCallback):
        def __init__(self, trainer: Any, rows: Any):
            self.trainer, self.rows, self.wall, self.cpu = trainer, rows, 0.0, 0.0

        def on_step_begin(self, *args, **kwargs):
            self.since = time.perf_counter(), time.process_time()

        def on_step_end(self, args, state, control, **kwargs):
            self.wall += time.perf_counter() - self.since[0]
            self.cpu += time.process_time() - self.since[1]
            if state.global_step % EVERY == 0:
                found = evaluate_shared(self.trainer, self.rows, options, args, samples=SAMPLES)["pass@1"]
                looks.append({"step": state.global_step, "pass@1": found, "wall": self.wall, "cpu": self.cpu})
                print(looks[-1], flush=True)

    class Watch(Hooks):
        def begin(self, trainer):
            trainer.callback_handler.callbacks.insert(
                0, Clock(trainer, prepared.evaluation_rows.select(range(PROBLEMS)))
            )

    with tempfile.TemporaryDirectory() as folder:
        options, config, model = parse((RLOptions, R1GRPOConfig, ModelConfig), [
            "--config", "mini/zero", "--rollout", arm, "--batching", arm, "--seed", str(seed), "--probe_every", "0",
            "--save_strategy", "no", "--disable_tqdm", "true", "--output_dir", folder,
        ])  # fmt: skip
        prepared = prepare("zero", options, config, model)
        summary = run_rl("zero", options, config, model, prepared, Watch())
    reached = next((look for look in looks if look["pass@1"] >= WANTED), None)
    print(json.dumps({"reached": reached, "end": looks[-1], "after": summary["after"]["pass@1"]}, default=float))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arm", choices=("trl", "fast"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        run(given.arm, given.seed, given.threads)
        return
    found = {}
    for arm in ("trl", "fast"):
        done = subprocess.run(
            [sys.executable, __file__, "--arm", arm, "--seed", str(given.seed), "--threads", str(given.threads)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": str(given.threads)},
        )
        found[arm] = json.loads(done.stdout.strip().splitlines()[-1])
        look, end = found[arm]["reached"], found[arm]["end"]
        reached = (
            f"80 % at step {look['step']} ({look['cpu']:.0f} CPU s, {look['wall']:.0f} s)" if look else "80 % never"
        )
        print(f"{arm:5} {reached}; {end['step']} steps {end['cpu']:.0f} CPU s, {end['wall']:.0f} s", flush=True)
        print(f"      pass@1 at the end {found[arm]['after']}", flush=True)
    pair = [found[arm]["reached"] for arm in ("trl", "fast")]
    ratio = {key: round(pair[0][key] / pair[1][key], 2) if all(pair) else None for key in ("cpu", "wall")}
    whole = round(found["trl"]["end"]["cpu"] / found["fast"]["end"]["cpu"], 2)
    measured = {"ratio": ratio["cpu"], "wall": ratio["wall"], "whole": whole}
    print(json.dumps({"name": "mini_zero", "seed": given.seed, "threads": given.threads, **measured}))


if __name__ == "__main__":
    main()
