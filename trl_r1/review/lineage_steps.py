"""One run as a step of a lineage: what it left, what it learnt from, what it was paid for, as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trl_r1.pipeline.record import products
from trl_r1.review.records import ROWS, SHOWN_SETTINGS, Answer, Edge, Run, as_text, nearest
from trl_r1.storage.files import read_json_lines
from trl_r1.text.records import Json, Row


def step_of(run: Run, links: Iterable[Edge], answer: Answer, rows: int) -> Json:
    """A run on the way to an answer."""
    links = list(links)
    step: Json = {
        "run": run.name,
        "stage": run.stage,
        "folder": str(run.folder),
        "made_from": [
            {"option": edge.option, "value": edge.value, "run": edge.run.name if edge.run else None} for edge in links
        ],
        "settings": {key: run.settings[key] for key in SHOWN_SETTINGS if run.settings.get(key) is not None},
        "products": {name: entry["sha256"] for name, entry in products(run.folder).items()},
        "checkpoints": sorted(
            int(match[1])
            for path in run.folder.glob("checkpoint-*")
            if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
        ),
        "rewards": rewards_of(run, answer),
        "data": [*own_rows(run, answer, rows), *learnt_from(run, links, answer, rows)],
    }
    return step


def own_rows(run: Run, answer: Answer, count: int) -> list[Json]:
    """The rows a stage has made itself, those like the answer."""
    files = []
    for name in ROWS:
        rows = read_json_lines(run.folder / name)
        if rows:
            files.append(
                {
                    "file": str(run.folder / name),
                    "rows": len(rows),
                    "nearest": rows_to_show(nearest(answer, rows, count)),
                }
            )
    return files


def learnt_from(run: Run, links: Iterable[Edge], answer: Answer, count: int) -> list[Json]:
    """The data sets a run names; those other runs made are shown with the run that made them."""
    sources = []
    for edge in links:
        if "model" in edge.option or edge.option.startswith("evaluation"):
            continue
        if edge.run is not None:
            continue  # its own step shows its rows
        if "dataset" not in edge.option and edge.path is None:
            continue
        sources.append(problems(run, edge, answer, count))
    return sources


def problems(run: Run, edge: Edge, answer: Answer, count: int) -> Json:
    """Rows of a data set that is on this disk or in the miniature world; for another, where it is."""
    from trl_r1.data.columns import load_rows

    description: Json = {"file": edge.value, "option": edge.option}
    if edge.path is None and not edge.value.startswith("mini:"):
        return {**description, "note": "on the hub; not looked at here"}
    same = edge.option == "dataset_name"
    try:
        table = load_rows(
            edge.value if edge.path is None else str(edge.path),
            (run.settings.get("dataset_split") or "train") if same else "train",
            run.settings.get("dataset_config") if same else None,
            run.settings.get("seed") or 0,
        )
    except ValueError as error:
        return {**description, "note": f"cannot be read now: {error}"}
    columns = run.settings.get("question_column") or "question", run.settings.get("solution_column") or "solution"
    rows = [{**row, "question": row.get(columns[0]), "solution": row.get(columns[1])} for row in table]
    return {**description, "rows": len(rows), "nearest": rows_to_show(nearest(answer, rows, count))}


KEPT_KEYS = ("id", "question", "solution", "language", "domain", "completion", "score", "provenance", "near")


def rows_to_show(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The columns a reader wants, the prompt only where there is no question."""
    result = []
    for row in rows:
        fields = {key: row[key] for key in KEPT_KEYS if row.get(key) is not None}
        if "question" not in fields:
            fields["question"] = as_text(row.get("prompt"))
        if "completion" in fields:
            fields["completion"] = as_text(fields["completion"])
        result.append(fields)
    return result


def rewards_of(run: Run, answer: Answer) -> list[Json]:
    """What a run was paid for: each reward, its weight, its mean at the end of training, and its score of this answer."""
    if "num_generations" not in run.settings or not run.settings.get("rewards"):
        return []
    from trl_r1.rewards.catalogue import load_rewards, read_rewards
    from trl_r1.runs.folder import quiet_libraries

    quiet_libraries()  # a reward may load a model
    entries = read_rewards(run.settings.get("reward_list") or run.settings["rewards"])  # the first is completed
    logged, problem = read_json_lines(run.folder / "metrics.jsonl"), answer.sample.problem
    rewards = []
    for entry in entries:
        content: Json = {"name": entry["name"], "weight": entry["weight"], "options": entry["options"]}
        try:
            (reward,), _ = load_rewards([entry])
            score = reward(
                prompts=[problem.prompt],
                completions=[completion_as_asked(answer)],
                completion_ids=[[]],
                solution=[problem.solution],
                language=[problem.language],
                question=[answer.prompt],
            )[0]
            content["score"] = None if score is None else round(float(score), 4)
            name = getattr(reward, "__name__", entry["name"])
        except Exception as error:  # a reward of the user's own may need anything; the rest of the lineage stands
            content["note"] = f"cannot judge this answer here: {type(error).__name__}: {error}"
            name = entry["name"]
        values = [row[key] for row in logged if isinstance(row.get(key := f"rewards/{name}/mean"), int | float)]
        if values:
            content["mean_at_start"], content["mean_at_end"] = round(values[0], 4), round(values[-1], 4)
        rewards.append(content)
    return rewards


def completion_as_asked(answer: Answer) -> Any:
    """Text for a text prompt, a message for a conversation."""
    text = answer.sample.completion.text
    return [{"role": "assistant", "content": text}] if isinstance(answer.sample.problem.prompt, list) else text


def checkpoint_line(step: Mapping[str, Any]) -> str:
    """The products and checkpoints of a step in a few words."""
    products = ", ".join(f"{name} {digest[:12]}" for name, digest in step["products"].items())
    checkpoints = f"; checkpoints {', '.join(map(str, step['checkpoints']))}" if step["checkpoints"] else ""
    return (products or "nothing yet") + checkpoints
