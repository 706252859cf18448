"""R1-Zero on SmolLM2 by stock `GRPOTrainer` and by ours: the same recipe, rewards, problems, seed and steps.

    python benchmarks/real_zero.py [--config smollm2/zero] [--seed 0] [--threads 1] [--micro 8] [--steps N] [--problems 200]

Each arm is a process of its own. Stock: TRL's trainer with the fields of the recipe that TRL has, its own rollout and
batching; nothing of ours but the rewards, the prompts and the evaluation. Both take the recipe's completions per step in
micro-batches of `--micro`, so that stock TRL's activations fit into a few GiB. `--arms trl` leaves ours out. CPU seconds of
the training tell more than the wall clock where others share the machine. What the model does before is the same for both,
and the recipe tells it. The last line is JSON; ``ratio`` is stock over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path


os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def run(arm: str, given: argparse.Namespace) -> None:
    """Trains one arm and prints what it took, as JSON on the last line."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import torch
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1.grpo.config import R1GRPOConfig
    from trl_r1.grpo.trainer import R1GRPOTrainer
    from trl_r1.models.options import R1ModelConfig, adapter_config
    from trl_r1.runs.folder import model_options
    from trl_r1.runs.heldout import evaluate_shared
    from trl_r1.runs.options import RLOptions, parse
    from trl_r1.runs.rl import prepare, quiet_libraries

    torch.set_num_threads(given.threads)
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        classes = (RLOptions, R1GRPOConfig, R1ModelConfig)
        asked = ["--config", given.config, "--seed", str(given.seed), "--output_dir", folder, "--save_strategy", "no"]
        asked += ["--disable_tqdm", "true", "--evaluation_problems", str(given.problems)]
        asked += ["--max_steps", str(given.steps)] if given.steps else []
        _, recipe, _ = parse(classes, asked)
        rows = recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps
        if rows % given.micro:
            raise SystemExit(
                f"--micro {given.micro} does not divide the {rows} completions of a step of {given.config}."
            )
        asked += ["--per_device_train_batch_size", str(given.micro)]
        asked += ["--gradient_accumulation_steps", str(rows // given.micro)]
        options, config, model = parse(classes, asked)
        prepared = prepare("zero", options, config, model)
        config.model_init_kwargs = model_options(model, config.model_init_kwargs)
        kind = R1GRPOTrainer
        if arm == "trl":
            kind = GRPOTrainer
            named = {part.name for part in fields(GRPOConfig) if part.init}
            kept = {name: value for name, value in vars(config).items() if name in named}
            kept["generation_batch_size"] = kept["steps_per_generation"] = None  # TRL's own arithmetic once more
            config = GRPOConfig(**kept)
        trainer = kind(
            model=prepared.model,
            reward_funcs=prepared.reward_functions,
            args=config,
            train_dataset=prepared.train_rows,
            peft_config=adapter_config(model),
        )
        assert type(trainer).__mro__[0] is kind
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        after = evaluate_shared(trainer, prepared.evaluation_rows, options, config).to_dict()
    print(
        json.dumps(
            {
                "after": after["pass@1"],
                "interval": after["interval"]["pass@1"],
                "problems": after["problems"],
                "steps": trainer.state.global_step,
                "cpu": round(cpu, 1),
                "wall": round(wall, 1),
                "gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="smollm2/zero")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--micro", type=int, default=8, help="completions in one backward pass")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--arms", nargs="+", choices=("trl", "ours"), default=["trl", "ours"])
    parser.add_argument("--arm", choices=("trl", "ours"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        run(given.arm, given)
        return
    found = {}
    print("| trainer | after | 95 % interval | CPU seconds of training | seconds | peak GiB |")
    print("|---|---:|---|---:|---:|---:|", flush=True)
    for arm in given.arms:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--arm", arm],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": str(given.threads)},
        )
        one = found[arm] = json.loads(done.stdout.strip().splitlines()[-1])
        low, high = one["interval"]
        print(
            f"| {'stock GRPOTrainer' if arm == 'trl' else 'R1GRPOTrainer'} | {one['after']:.3f} | "
            f"[{low:.3f}, {high:.3f}] | {one['cpu']:.0f} | {one['wall']:.0f} | {one['gib']} |",
            flush=True,
        )
    ratio = round(found["trl"]["cpu"] / found["ours"]["cpu"], 2) if len(found) == 2 else None
    print(json.dumps({"name": "real_zero", "seed": given.seed, "ratio": ratio, **found}))


if __name__ == "__main__":
    main()
