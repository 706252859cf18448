"""The pipeline on a real model told: entries of summary.json, a table for the terminal, chapters of the report.

    zero, cold_start, reasoning_rl, rejection_sampling, sft, reward_model, all_scenario_rl, distill   as the miniature's
    zero_tasks    {name: {before, after, problems, steps, interval}}: the three tasks, each held out
    final         R1-Zero's task and the second one by the pipeline's last model, without examples in the prompt

Source  the stages: DeepSeek-R1, arXiv:2501.12948v2, Fig. 2; what is told of each is measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from trl_r1.data.columns import load_rows
from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.evaluation.markdown import inline
from trl_r1.evaluation.metrics import bootstrap_interval
from trl_r1.mini.story import percent, picked
from trl_r1.pipeline.console import clock
from trl_r1.rewards.catalogue import load_rewards, read_rewards
from trl_r1.text.records import Json


Entry = Mapping[str, Json]
STAGES = ("zero", "cold_start", "reasoning_rl", "rejection_sampling", "sft", "reward_model", "all_scenario_rl")
GYM = "zero_gym"
ANSWERS = 5  # shown before and after


def entries(folder: Path, stages: Mapping[str, Json]) -> dict[str, Json]:
    """What summary.json has on top of the stages' own summaries.

    Args:
        folder: of the pipeline; of the task of reasoning-gym the recipe and the stored answers are read.
        stages: of the pipeline's summary.
    """
    told: dict[str, Json] = {name: picked(stages[name], "kept") for name in STAGES}
    told["rejection_sampling"]["before"] = stages["reasoning_rl"]["after"]
    told["distill"] = {
        "sft": picked(stages["distill"], "kept"),
        "rl": picked(stages["student_rl"], "kept"),
        "sampling_seconds": stages["rejection_sampling"].get("seconds"),
    }
    name, gym = gym_task(folder, stages[GYM].get("steps"))
    told["zero_tasks"] = {
        "last": task(stages["zero"]["before"], stages["zero"]["after"], stages["zero"].get("steps")),
        "addition": task(
            stages["cold_start"]["before"], stages["reasoning_rl"]["after"], stages["reasoning_rl"].get("steps")
        ),
        name: gym,
    }
    told["final"] = {
        label: {"after": part["pass@1"], "problems": part["problems"], "interval": part["interval"]["pass@1"]}
        for label, part in stages["evaluate"]["parts"].items()
    }
    return told


def task(before: Entry, after: Entry, steps: int | None) -> Json:
    """A task by exact answers, out of two evaluations."""
    return {
        "before": before["pass@1"],
        "after": after["pass@1"],
        "problems": after["problems"],
        "samples": after["samples"],
        "steps": steps,
        "interval_before": before["interval"]["pass@1"],
        "interval": after["interval"]["pass@1"],
    }


def gym_task(folder: Path, steps: int | None) -> tuple[str, Json]:
    """The name of the task of reasoning-gym, and it by its own ``score_answer``: asked about the stored answers."""
    recipe = yaml.safe_load((folder / "configs" / f"{GYM}.yaml").read_text(encoding="utf-8"))
    rows = load_rows(
        recipe["evaluation_dataset_name"],
        recipe["evaluation_split"],
        recipe.get("evaluation_dataset_config"),
        recipe["seed"],
    )
    (reward,), _ = load_rewards(
        read_rewards([entry for entry in recipe["rewards"] if entry["name"] == "reasoning_gym"])
    )
    told: Json = {"steps": steps}
    for when, interval in (("before", "interval_before"), ("after", "interval")):
        stored = Evaluation.load(folder / GYM / f"evaluation_{when}.json")
        texts = [[sample.completion.text for sample in problem.samples] for problem in stored.problems]
        mean, low, high = bootstrap_interval(scores_of(texts, rows["reasoning_gym"], reward))
        told |= {when: mean, interval: [low, high], "problems": len(texts), "samples": stored.samples}
    return str(recipe["dataset_name"]), told


def scores_of(texts: list[list[str]], rows: Sequence[str], reward: Callable[..., list[float | None]]) -> list[float]:
    """(P,) mean score of each problem's samples.

    Args:
        texts: (P, K) answers, in the order of the rows.
        rows: at least P entries of reasoning-gym as text.
    """
    places = [place for place, group in enumerate(texts) for _ in group]
    scores = reward(
        completions=[text for group in texts for text in group], reasoning_gym=[rows[place] for place in places]
    )
    sums = [0.0] * len(texts)
    for place, score in zip(places, scores, strict=True):
        sums[place] += (score or 0.0) / len(texts[place])
    return sums


# --- for people


def span(values: list[float]) -> str:
    return f"[{100 * values[0]:.1f}, {100 * values[1]:.1f}]"


def zero_table(zero: Entry) -> str:
    """R1-Zero's result, for the terminal, as soon as it is there."""
    return (
        f"R1-Zero on SmolLM2-135M, last of four words: {percent(zero['before']['pass@1'])} -> "
        f"{percent(zero['after']['pass@1'])} of {zero['after']['problems']} held-out problems "
        f"{span(zero['after']['interval']['pass@1'])}"
    )


def table(told: Mapping[str, Json]) -> str:
    """Tasks, the last model and the student, before -> after."""
    lines = [f"{'task, held out':<38}{'before':>8}{'after':>8}  95 % interval   steps"]
    for name, one in told["zero_tasks"].items():
        lines.append(
            f"{name:<38}{percent(one['before']):>8}{percent(one['after']):>8}  {span(one['interval']):<15} {one['steps']}"
        )
    for name, one in told["final"].items():
        lines.append(f"{'last model, ' + name:<38}{'':>8}{percent(one['after']):>8}  {span(one['interval'])}")
    for name, title in (("sft", "student, distilled"), ("rl", "student, RL instead")):
        one = told["distill"][name]
        lines.append(
            f"{title:<38}{percent(one['before']['pass@1']):>8}{percent(one['after']['pass@1']):>8}  "
            f"{span(one['after']['interval']['pass@1']):<15} {one['training_seconds']:.0f} s of training"
        )
    return "\n".join(lines)


def chapters(folder: Path, told: Mapping[str, Json]) -> Iterator[str]:
    """What was learnt, five answers before and after, and what it cost, in Markdown."""
    zero, cold, reasoning = (told[name] for name in ("zero", "cold_start", "reasoning_rl"))
    taught, instead = told["distill"]["sft"], told["distill"]["rl"]
    yield "## What was learnt"
    yield f"```\n{table(told)}\n```"
    yield (
        f"**R1-Zero: reinforcement alone.** {zero['steps']} steps take the last of four words from "
        f"{percent(zero['before']['pass@1'])} to {percent(zero['after']['pass@1'])}. The prompt shows two examples, because "
        f"the untrained model writes no tags unasked."
    )
    yield (
        f"**A cold start gives reinforcement something to hold.** Two-digit addition with a written thought: "
        f"{percent(cold['before']['pass@1'])} untrained, {percent(cold['after']['pass@1'])} after a cold start, "
        f"{percent(reasoning['after']['pass@1'])} after {reasoning['steps']} steps of reinforcement."
    )
    yield (
        "**Both in one model.** The base, taught the kept samples of both tasks and reinforced once more, solves "
        + ", ".join(f"{percent(one['after'])} of {name}" for name, one in told["final"].items())
        + f" without an example in the prompt; R1-Zero with two of them solved {percent(zero['after']['pass@1'])}."
    )
    yield (f"**A student with 20 of the 30 layers.** {student(reasoning, taught, instead)}")
    yield "## Five answers before and after"
    yield "\n".join(answers(folder / "zero"))
    yield "## What it cost"
    yield "\n".join(
        ["| stage | minutes | of it training |", "|---|---:|---:|"]
        + [
            f"| {name} | {clock(one.get('seconds') or 0)} | {clock(one.get('training_seconds') or 0)} |"
            for name, one in [*((name, told[name]) for name in STAGES), ("distill", taught), ("student_rl", instead)]
        ]
    )


def student(teacher: Json, taught: Json, instead: Json) -> str:
    """What imitation and reinforcement made of the student, in which seconds of training, and what it keeps."""
    right, held = taught["after"]["pass@1"], teacher["after"]["pass@1"]
    kept = f", {percent(right / held)} of its teacher's {percent(held)}" if held else ""
    said = (
        f"It adds {percent(right)} right after {taught['training_seconds']:.0f} seconds of imitation{kept}; "
        f"{percent(instead['after']['pass@1'])} after {instead['training_seconds']:.0f} seconds of reinforcement."
    )
    if instead["training_seconds"] < taught["training_seconds"]:
        said += " Reinforcement had fewer seconds than imitation here: the two do not compare."
    return said


def answers(run: Path) -> Iterator[str]:
    """The first held-out problems of a run, as it answered them before and after."""
    before, after = (Evaluation.load(run / f"evaluation_{when}.json") for when in ("before", "after"))
    yield "| question | gold | before | after |"
    yield "|---|---|---|---|"
    for earlier, later in list(zip(before.problems, after.problems, strict=True))[:ANSWERS]:
        question = str(earlier.problem.prompt).strip().rpartition("\n")[2]
        first, last = (inline(problem.samples[0].completion.text.strip()) for problem in (earlier, later))
        yield f"| {inline(question)} | {inline(str(earlier.gold))} | {first} | {last} |"
