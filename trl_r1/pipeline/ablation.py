"""Ablation: a recipe in, what each of its parts is worth out; it is trained whole, and without one part at a time.

    drop        a recipe without one of its parts
    Arm         a recipe under a name; every arm is trained with every seed
    compare     finished runs -> table, learning curves, report

The parts are those the article names (docs/papers.md); what it claims of them stands beside what is measured.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.evaluation.curves import read_metrics, series
from trl_r1.evaluation.metrics import Interval, bootstrap_interval, paired_difference
from trl_r1.evaluation.pictures import COLOURS, canvas, save
from trl_r1.rewards.catalogue import read_rewards
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


Recipe = Json
WHOLE = "whole"
MASTERED = 0.8  # share of held-out answers that are right
HELD_OUT = "heldout/pass@1"
ARTICLE = {  # what the article says a part is worth; its setting is not described well enough to repeat it
    "logic": "18.7 points of accuracy",
    "dynamic_weights": "12.4 points",
    "path_cache": "9.3 points",
    "gate": "part of: exploration +37 %, convergence 2.1 times as fast",
    "tower": "part of: exploration +37 %, convergence 2.1 times as fast",
}


def _rewards(recipe: Recipe) -> list[Json]:
    """The recipe's rewards, however they are written, each with name, weight and options."""
    return read_rewards(recipe["rewards"]) if recipe.get("rewards") else []


def _without_reward(recipe: Recipe, name: str) -> bool:
    """Takes a reward out of the list, and a layer out of every layered reward; whether there was one."""
    rewards = _rewards(recipe)
    others = [entry for entry in rewards if entry["name"] != name]
    is_present = len(others) < len(rewards)
    for entry in others:
        options = entry["options"]
        layers = options.get("layers")
        if entry["name"] != "layered" or not layers:
            continue
        place = next((n for n, layer in enumerate(layers) if _name(layer) == name), None)
        if place is None:
            continue
        is_present = True
        options["layers"] = [layer for n, layer in enumerate(layers) if n != place]
        if options.get("schedule"):
            options["schedule"] = {at: _less(weights, place, name) for at, weights in options["schedule"].items()}
    recipe["rewards"] = others
    return is_present


def _less(weights: Any, place: int, name: str) -> Any:
    if isinstance(weights, Mapping):
        return {key: value for key, value in weights.items() if key != name}
    return [value for n, value in enumerate(weights) if n != place]


def _name(layer: Any) -> Any:
    return layer.get("name") if isinstance(layer, Mapping) else layer


def _without_schedule(recipe: Recipe) -> bool:
    """Fixes the weights of every layered reward at what the schedule ends with."""
    is_present = False
    recipe["rewards"] = _rewards(recipe)
    for entry in recipe["rewards"]:
        options = entry["options"]
        if entry["name"] != "layered" or not options.get("layers") or not options.get("schedule"):
            continue
        is_present, schedule = True, options.pop("schedule")
        last = schedule[max(schedule, key=float)]
        layers = [dict(layer) if isinstance(layer, Mapping) else {"name": layer} for layer in options["layers"]]
        for place, layer in enumerate(layers):
            layer["weight"] = last[layer["name"]] if isinstance(last, Mapping) else last[place]
        options["layers"] = layers
    return is_present


def _without_cache(recipe: Recipe) -> bool:
    return bool(recipe.pop("verified_paths", 0))


def _without_gate(recipe: Recipe) -> bool:
    """A gated adapter becomes LoRA; gates alone would leave nothing that is trained."""
    is_present = bool(recipe.pop("head_gate", False))
    if is_present and not recipe.get("use_peft"):
        raise ValueError(
            "This recipe trains head gates and nothing else; without them nothing is left. Add use_peft: true to it, so "
            "that LoRA stays."
        )
    return is_present


def _without_tower(recipe: Recipe) -> bool:
    is_present = recipe.get("advantage") == "two_tower"
    if is_present:
        recipe["advantage"] = "one_tower"
    return is_present


PARTS: dict[
    str, tuple[str, Callable[[Recipe], bool]]
] = {  # name -> (what a recipe that has it says, how it is dropped)
    "logic": ("a reward or a layer logic", lambda recipe: _without_reward(recipe, "logic")),
    "dynamic_weights": ("a layered reward with layers and a schedule", _without_schedule),
    "path_cache": ("verified_paths", _without_cache),
    "geometry": ("a reward or a layer geometry", lambda recipe: _without_reward(recipe, "geometry")),
    "gate": ("head_gate: true", _without_gate),
    "tower": ("advantage: two_tower", _without_tower),
}


def drop(recipe: Recipe, part: str) -> Recipe:
    """The recipe without a part.

    >>> drop({"advantage": "two_tower", "seed": 1}, "tower")
    {'advantage': 'one_tower', 'seed': 1}

    Raises:
        ValueError: an unknown part, or one the recipe does not have.
    """
    if part not in PARTS:
        raise ValueError(f"--drop {part!r} is unknown. Choose from: {', '.join(PARTS)}.")
    less = copy.deepcopy(recipe)
    description, take_out = PARTS[part]
    if not take_out(less):
        raise ValueError(f"The recipe has nothing to drop for {part!r}: that would be {description}.")
    return less


@dataclass(frozen=True)
class Arm:
    """A recipe under a name."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Outcome:
    """One arm over its seeds."""

    name: str
    accuracy: Interval  # pass@1, over the problems of all seeds
    against: Interval | None  # the arm minus the whole recipe, problem by problem
    each: tuple[float, ...]  # pass@1 per seed
    mastered: tuple[int | None, ...]  # per seed: first step at which held-out answers were right often enough
    seconds: tuple[float, ...]  # of training, per seed
    mebibytes: tuple[float | None, ...]  # peak resident memory of the process, per seed
    curves: tuple[tuple[np.ndarray, np.ndarray], ...]  # held-out pass@1 over steps, per seed


def mastered_at(steps: Sequence[float], values: Sequence[float], enough: float = MASTERED) -> int | None:
    """
    >>> mastered_at([10, 20, 30], [0.5, 0.85, 0.7])
    20
    """
    return next((int(step) for step, value in zip(steps, values, strict=True) if value >= enough), None)


def outcome(name: str, folders: Sequence[Path], whole: Sequence[Path] | None) -> Outcome:
    """What an arm's finished runs show, against those of the whole recipe with the same seeds.

    Raises:
        ValueError: a run has no evaluation after training.
    """

    def after(folder: Path) -> np.ndarray:
        path = folder / "evaluation_after.json"
        if not path.is_file():
            raise ValueError(f"{folder} has no evaluation after training; set evaluation_dataset_name in the recipe.")
        return Evaluation.load(path).per_problem("pass@1")

    rates = [after(folder) for folder in folders]
    curves = tuple(series(read_metrics(folder / "metrics.jsonl"), HELD_OUT) for folder in folders)
    summaries = [json.loads((folder / "summary.json").read_text(encoding="utf-8")) for folder in folders]
    costs = [json.loads(path.read_text()) if (path := folder / "cost.json").is_file() else {} for folder in folders]
    against = None
    if whole is not None:
        against = paired_difference(np.concatenate([after(folder) for folder in whole]), np.concatenate(rates))
    return Outcome(
        name,
        bootstrap_interval(np.concatenate(rates)),
        against,
        tuple(float(np.nanmean(rate)) for rate in rates),
        tuple(mastered_at(steps.tolist(), values.tolist()) for steps, values in curves),
        tuple(float(summary["training_seconds"]) for summary in summaries),
        tuple(cost.get("peak_mebibytes") for cost in costs),
        curves,
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown."""
    columns = (
        "arm",
        "pass@1, %",
        "of each seed",
        "against the whole, points",
        "steps to 80 %, each seed",
        "seconds of training",
        "MiB",
        "the article",
    )
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for outcome in outcomes:
        part = outcome.name.removeprefix("without ")
        article = ARTICLE.get(part, "") if part != outcome.name else ""
        points = (
            "" if outcome.against is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in outcome.against))
        )
        mebibytes = [value for value in outcome.mebibytes if value is not None]
        cells = (
            outcome.name,
            "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * x for x in outcome.accuracy)),
            ", ".join(f"{100 * rate:.1f}" for rate in outcome.each),
            points,
            ", ".join("never" if step is None else str(step) for step in outcome.mastered),
            ", ".join(f"{seconds:.0f}" for seconds in outcome.seconds),
            f"{max(mebibytes):.0f}" if mebibytes else "",
            article,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(outcomes: Sequence[Outcome], path: Path) -> Path:
    """Held-out pass@1 over steps: a line per arm, the mean of its seeds, and their range around it."""
    axes = canvas("Held-out pass@1: mean of the seeds, and their range", "training step", 4.2)
    for outcome, colour in zip(outcomes, COLOURS * (1 + len(outcomes) // len(COLOURS)), strict=False):
        shared = (
            sorted(set.intersection(*(set(map(int, steps)) for steps, _ in outcome.curves))) if outcome.curves else []
        )
        if not shared:
            continue
        rows = np.array([[dict(zip(map(int, s), v, strict=True))[step] for step in shared] for s, v in outcome.curves])
        axes.plot(shared, 100 * rows.mean(axis=0), color=colour, label=outcome.name)
        axes.fill_between(
            shared, 100 * rows.min(axis=0), 100 * rows.max(axis=0), color=colour, alpha=0.15, linewidth=0
        )
    axes.axhline(100 * MASTERED, color="grey", linewidth=0.8, linestyle=":")
    axes.set_ylabel("right answers, %")
    axes.set_ylim(0, 102)
    return save(axes, path)


def write(folder: Path, title: str, outcomes: Sequence[Outcome], command: str) -> Path:
    """The report with its table and curves, and the same as JSON."""
    draw(outcomes, folder / "curves.png")
    text = (
        f"# Ablation of {title}\n\n{table(outcomes)}\n\nIn brackets: 95 % bootstrap intervals over the problems of all "
        "seeds; they speak of the problems drawn, not of other seeds. The shaded range in the picture is that of the "
        f"seeds.\n\n![held-out pass@1](curves.png)\n\nMade by `{command}`.\n"
    )
    plain = [
        {
            "name": o.name,
            "pass@1": list(o.accuracy),
            "each": list(o.each),
            "steps_to_80": list(o.mastered),
            "against_whole": None if o.against is None else list(o.against),
            "training_seconds": list(o.seconds),
            "peak_mebibytes": list(o.mebibytes),
        }
        for o in outcomes
    ]
    replace_file(folder / "ablation.json", json.dumps(plain, indent=1) + os.linesep)
    return replace_file(folder / "report.md", text)
