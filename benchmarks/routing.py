"""Routing against a vote over 16 paths, and against fixed votes at the same cost.

    python benchmarks/routing.py --models cold=runs/demo/cold_start cold=runs/demo-seed1/cold_start \\
        final=runs/demo/all_scenario_rl final=runs/demo-seed1/all_scenario_rl --picture docs/routing.png

For each model: 16 paths of each dev problem, on which thresholds, complexity and the worth of a vote are learned. For each
seed: 16 paths of each test problem, on which they are measured; the router is replayed over them, drafts counted. A fixed
vote of k paths, by heads and weighted as the router weighs, uses the same paths; its accuracy at the router's mean tokens is
read off the line between the two nearest k.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from trl_r1.evaluation.metrics import bootstrap_interval, paired_difference
from trl_r1.mini.store import problem_rows
from trl_r1.models.templates import find_template, render
from trl_r1.rewards import accuracy
from trl_r1.routing.calibrate import (
    Calibration,
    calibrate,
    correctness_and_tokens,
    draw_candidate_sets,
    fixed_policy,
    replay,
)
from trl_r1.routing.paths import ModelPaths, Settings
from trl_r1.routing.router import Router, RoutingLimits
from trl_r1.text.records import Problem


def pools_of(router: Router, split: str, count: int, template: str, paths: int, seed: int):
    rows = problem_rows(split, count, 1000 + seed)  # other rows than any evaluation's
    found = find_template(template)
    asked = [Problem(render(found, row["question"]), row["question"], str(row["solution"])) for row in rows]
    return draw_candidate_sets(router.sampler, asked, router, accuracy.verify, paths, seed)


made_for: dict[str, Calibration] = {}


def measure(model: str, seed: int, chosen: argparse.Namespace) -> dict:
    from dataclasses import replace

    from trl import ModelConfig

    from trl_r1.models.load import load_policy

    policy, tokenizer = load_policy(model, ModelConfig(dtype="float32"), True)
    router = Router(
        ModelPaths(policy, tokenizer, 2048),
        Settings(chosen.temperature, chosen.top_p, 64),
        RoutingLimits(most_paths=chosen.paths, wave=chosen.wave),
        extract=lambda text: accuracy.extract(text, sources=("boxed", "answer")),
        same=accuracy.same_answer,
    )
    if model not in made_for:
        dev = pools_of(router, "dev", chosen.dev, "mini", chosen.paths, 0)
        made_for[model] = calibrate(dev, router, chosen.tolerance, chosen.budget, orders=chosen.orders)
    made = made_for[model]
    test = pools_of(router, "test", chosen.test, "mini", chosen.paths, 100 + seed)
    routed = replay(test, replace(router, limits=made.limits, complexity=made.complexity, settled=made.settled))
    right, tokens = correctness_and_tokens(test, routed)
    weights = router.limits.sharpness
    heavy = {k: fixed_policy(test, k, router.same, weights) for k in range(1, chosen.paths + 1)}
    fixed_votes = {k: fixed_policy(test, k, router.same) for k in range(1, chosen.paths + 1)}
    costs = {k: float(spent.mean()) for k, (_, spent) in fixed_votes.items()}
    spent = float(tokens.mean())
    below = max((k for k in costs if costs[k] <= spent), default=1)
    above = min(below + 1, chosen.paths)
    share = 0.0 if above == below else min(1.0, max(0.0, (spent - costs[below]) / (costs[above] - costs[below])))
    at_cost = (1 - share) * fixed_votes[below][0] + share * fixed_votes[above][0]  # (P,)
    heavy_at_cost = (1 - share) * heavy[below][0] + share * heavy[above][0]
    every, every_tokens = fixed_votes[chosen.paths]
    return {
        "model": model, "seed": seed, "problems": len(test), "dev_problems": chosen.dev,
        "simple_below": made.limits.simple_below, "confident": made.limits.confident,
        "least_paths": made.limits.least_paths, "choose": made.limits.choose, "sure": made.limits.sure, "dev": made.facts,
        "simple_share": float(np.mean([found.route == "simple" for found in routed])),
        "paths": float(np.mean([len(found.paths) for found in routed])),
        "accuracy": bootstrap_interval(right), "tokens": spent,
        "all_accuracy": bootstrap_interval(every), "all_tokens": float(every_tokens.mean()),
        "against_all": paired_difference(every, right), "token_share": spent / float(every_tokens.mean()),
        "fixed_at_cost": float(at_cost.mean()), "against_fixed": paired_difference(at_cost, right),
        "weighted_all": float(heavy[chosen.paths][0].mean()), "weighted_at_cost": float(heavy_at_cost.mean()),
        "against_weighted": paired_difference(heavy_at_cost, right),
        "weighted": {str(k): [costs[k], float(v.mean())] for k, (v, _) in heavy.items()},
        "fixed": {str(k): [costs[k], float(v.mean())] for k, (v, _) in fixed_votes.items()},
    }  # fmt: skip


def draw(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["name"] for row in rows))
    figure, panels = pyplot.subplots(1, len(names), figsize=(5 * len(names), 3.6), squeeze=False)
    for axes, name in zip(panels[0], names, strict=True):
        mine = [row for row in rows if row["name"] == name]
        for key, told, color in (
            ("fixed", "fixed vote, k = 1 to 16", "#0072B2"),
            ("weighted", "the same, weighted", "#009E73"),
        ):
            line = np.mean([list(row[key].values()) for row in mine], axis=0)  # (K, 2)
            axes.plot(line[:, 0], 100 * line[:, 1], "o-", color=color, markersize=3, label=told)
        axes.plot([row["tokens"] for row in mine], [100 * row["accuracy"][0] for row in mine], "^",
                  color="#D55E00", label="routed, each model")  # fmt: skip
        axes.set_title(name)
        axes.set_xlabel("tokens per problem")
        axes.set_ylabel("right, %")
        axes.legend(loc="lower right", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--dev", type=int, default=150)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--paths", type=int, default=16)
    parser.add_argument("--wave", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--tolerance", type=float, default=0.005)
    parser.add_argument("--budget", type=float, help="share of the tokens of all paths, instead of the tolerance")
    parser.add_argument("--orders", type=int, default=4)
    parser.add_argument("--output", type=Path, default=Path("routing.json"))
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args(argv)
    rows = []
    for entry in chosen.models:
        name, _, folder = entry.partition("=")
        for seed in chosen.seeds:
            row = {"name": name, **measure(folder, seed, chosen)}
            rows.append(row)
            chosen.output.write_text(json.dumps(rows, indent=1) + "\n")
            print(
                f"{name} seed {seed}: routed {row['accuracy'][0]:.3f} with {row['tokens']:.0f} tokens "
                f"({row['token_share']:.0%}, {row['paths']:.1f} paths, {row['simple_share']:.0%} simple); all "
                f"{row['all_accuracy'][0]:.3f}; difference {row['against_all']}; fixed at the same cost "
                f"{row['fixed_at_cost']:.3f}, difference {row['against_fixed']}; weighted all {row['weighted_all']:.3f}, at "
                f"the same cost {row['weighted_at_cost']:.3f}, difference {row['against_weighted']}; {row['choose']}",
                file=sys.stderr,
                flush=True,
            )
    if chosen.picture:
        draw(rows, chosen.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
