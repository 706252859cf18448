"""`trl-r1 ablate RECIPE --drop PART ...`: train a recipe whole and without its parts, and say what each is worth.

trl-r1 ablate mini/ablation --drop logic --drop gate --seeds 0 1 2
trl-r1 ablate mini/zero --also 'two towers: {recipe: mini/ppo_two_tower}' --also 'slower: {learning_rate: 4.0e-4}'

Finished runs are kept: started again, or with another part, only what is missing is trained. A run that was killed goes on
from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from trl_r1.pipeline.ablation import PARTS, WHOLE, Arm, drop, outcome, table, write
from trl_r1.storage import manifest
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


STAGES = ("zero", "reasoning_rl", "all_scenario_rl")
MEASURED = (  # runs a stage and leaves its peak memory, which Linux counts in KiB, macOS in bytes
    "import json, resource, runpy, sys\n"
    "cost, module = sys.argv[1:3]\n"
    "sys.argv = [module, *sys.argv[3:]]\n"
    "runpy.run_module(module, run_name='__main__')\n"
    "unit = 2**20 if sys.platform == 'darwin' else 2**10\n"
    "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit\n"
    "open(cost, 'w').write(json.dumps({'peak_mebibytes': round(peak, 1)}))\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a shipped recipe's name, or a path")
    parser.add_argument("--drop", action="append", default=[], metavar="PART", help=f"one of: {', '.join(PARTS)}")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="YAML",
        help="another arm, {NAME: {key: value}}: the recipe with these keys, or with recipe: NAME, another recipe",
    )
    parser.add_argument("--stage", choices=STAGES, default="zero", help="stage the recipe is for (zero)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="0 1 2 for a result worth reading (0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for every arm, as max_steps=40"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time (1)")
    parser.add_argument("--output", type=Path, help="folder (runs/ablate-RECIPE)")


def run(args: argparse.Namespace) -> int:
    """Trains what is missing and compares.

    Raises:
        ValueError: nothing to compare with, or a run failed.
    """
    arms = arms_of(args)
    folder = args.output or Path("runs") / f"ablate-{Path(args.recipe).stem}"
    folder.mkdir(parents=True, exist_ok=True)
    if args.jobs < 1:
        raise ValueError(f"--jobs {args.jobs}: give 1 or more.")
    work = [(arm, seed) for seed in args.seeds for arm in arms]
    lock = manifest.hold(folder)
    try:
        with ThreadPoolExecutor(args.jobs) as pool:
            mistakes = list(pool.map(lambda task: train(task[0], task[1], args.stage, folder), work))
    finally:
        lock.release()
    failed = [mistake for mistake in mistakes if mistake]
    if failed:
        raise ValueError(" ".join(failed))
    folders = {arm.name: [place(folder, arm, seed) for seed in args.seeds] for arm in arms}
    whole = folders[WHOLE]
    outcomes = [outcome(name, runs, None if name == WHOLE else whole) for name, runs in folders.items()]
    report = write(folder, args.recipe, outcomes, args.typed)
    print(table(outcomes))
    print(f"\nReport with curves: {report}")
    return 0


def arms_of(args: argparse.Namespace) -> list[Arm]:
    """The whole recipe, one arm for each part dropped, and those of --also.

    Raises:
        ValueError: a part the recipe does not have, or an arm that is no mapping.
    """
    whole = load(args.recipe)
    more: Json = {}
    for text in args.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text!r} is no KEY=VALUE.")
        more[key.strip()] = number(yaml.safe_load(value))
    arms = [Arm(WHOLE, whole | more)]
    arms += [Arm(f"without {part}", drop(whole, part) | more) for part in dict.fromkeys(args.drop)]
    for text in args.also:
        content = yaml.safe_load(text)
        if not isinstance(content, dict) or not all(isinstance(keys, dict) for keys in content.values()):
            raise ValueError(f"--also {text!r} is no arm. Write: --also 'NAME: {{key: value}}'.")
        for name, keys in content.items():
            keys = {key: number(value) for key, value in keys.items()}
            base = load(keys.pop("recipe")) if "recipe" in keys else whole
            arms.append(Arm(str(name), base | keys | more))
    if len({place(Path(), arm, 0) for arm in arms}) < len(arms):
        raise ValueError("Two arms have the same name; give each its own.")
    if len(arms) == 1:
        raise ValueError("There is nothing to compare the recipe with: give --drop or --also.")
    return arms


def number(value: Any) -> Any:
    """YAML reads 1e-3, without a point, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def load(name: str) -> Json:
    from trl_r1 import recipes

    content = yaml.safe_load(recipes.find(name).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"The recipe {name!r} is no mapping of options.")
    return content


def place(folder: Path, arm: Arm, seed: int) -> Path:
    return folder / f"{''.join(c if c.isalnum() else '_' for c in arm.name)}-seed{seed}"


def train(arm: Arm, seed: int, stage: str, folder: Path) -> str:
    """Trains one arm with one seed unless that is done; what went wrong, in a sentence, or nothing."""
    run_folder = place(folder, arm, seed)
    recipe = {**arm.recipe, "seed": seed, "output_dir": str(run_folder)}
    path = folder / f"{run_folder.name}.yaml"
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    finished = (run_folder / "summary.json").is_file()
    if finished and path.is_file() and path.read_text(encoding="utf-8") != text:
        return f"{run_folder} was trained from another recipe; give another --output, or remove it."
    if finished:
        return ""
    replace_file(path, text)
    print(f"{run_folder.name} starts; it writes to {folder / (run_folder.name + '.log')}", file=sys.stderr, flush=True)
    began = time.monotonic()
    order = [sys.executable, "-c", MEASURED, str(folder / f".{run_folder.name}.cost"), f"trl_r1.stages.{stage}"]
    with open(folder / f"{run_folder.name}.log", "ab") as log:
        done = subprocess.run([*order, "--config", str(path)], stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode or not (run_folder / "summary.json").is_file():
        last = (
            (folder / f"{run_folder.name}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        )
        return f"{run_folder.name} ended with exit code {done.returncode}: {''.join(last)[:300]}"
    (folder / f".{run_folder.name}.cost").replace(run_folder / "cost.json")
    summary = json.loads((run_folder / "summary.json").read_text(encoding="utf-8"))
    after = summary.get("after") or {}
    print(
        f"{run_folder.name}: pass@1 {100 * after.get('pass@1', float('nan')):.1f} %, {time.monotonic() - began:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return ""
