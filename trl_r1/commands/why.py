"""`trl-r1 why RUN ANSWER`: from a model's answer back to the rows, checkpoints and rewards that led to it.

    trl-r1 why runs/pipeline                                which answers there are
    trl-r1 why runs/pipeline sft/evaluation_after/12/3      run, evaluation, problem, sample (from 0)
    trl-r1 why runs/pipeline 3fa94c01b2d7e655               an answer's or a kept row's id, also shortened

RUN is a pipeline's folder, a pipeline file, or one stage's output_dir.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trl_r1.pipeline.report import KINDS
from trl_r1.review.lineage import answers, find, open_run, trace
from trl_r1.review.lineage_steps import checkpoint_line
from trl_r1.review.records import Run, as_text


WIDTH = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a pipeline's folder or file, or a stage's output_dir")
    parser.add_argument("answer", nargs="?", help="place or id; without it the answers are listed")
    parser.add_argument(
        "--rows", type=int, default=3, help="nearest training rows shown of each data set (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")


def run(args: argparse.Namespace) -> int:
    """Lists the answers, or traces one.

    Raises:
        ValueError: no such run or answer.
    """
    runs = open_run(folder_of(args.run))
    if args.answer is None:
        print("\n".join(listing(runs)))
        return 0
    history = trace(runs, find(runs, args.answer), args.rows)
    print(json.dumps(history, indent=1, ensure_ascii=False, default=str) if args.json else "\n".join(text_of(history)))
    return 0


def folder_of(name: str) -> Path:
    """The folder meant by a folder, a pipeline file or a recipe's name."""
    path = Path(name)
    if path.is_dir():
        return path
    from trl_r1.pipeline.plan import read

    return read(name).folder


def listing(runs: list[Run]) -> Iterator[str]:
    """How many answers each run has stored, and how the first ones are called."""
    for run in runs:
        groups: dict[str, list[Any]] = {}
        for answer in answers(run):
            groups.setdefault(answer.place.split("/")[1], []).append(answer)
        for name, members in groups.items():
            first = members[0]
            yield f"{run.name}/{name}: {len(members)} answers, the first is {first.place} ({first.id})"
        if not groups:
            yield f"{run.name}: no answers are stored"


def text_of(history: Mapping[str, Any]) -> Iterator[str]:
    """The lineage as a person reads it."""
    answer = history["answer"]
    yield f"Answer {answer['id']}, {answer['place']}"
    yield from block("asked", as_text(answer["prompt"]))
    yield from block("said", answer["completion"])
    if answer["solution"] is not None:
        yield from block("gold", as_text(answer["solution"]))
    if answer["verdict"]:
        yield from block("verdict", pairs(answer["verdict"]))
    if answer.get("provenance"):
        yield from block("kept", provenance(answer["provenance"]))
    if history["origin"]:
        yield from block("model", history["origin"])
    for number, step in enumerate(history["chain"], start=1):
        what = KINDS.get(step["stage"], (step["stage"], ""))[0]
        yield ""
        yield f"{number}. {step['run']} ({step['folder']}): {what}"
        yield from block("left", checkpoint_line(step))
        for origin in step["made_from"]:
            whence = f", made by {origin['run']}" if origin["run"] else ""
            yield from block("from", f"{origin['option']} = {origin['value']}{whence}")
        if step["settings"]:
            yield from block("with", pairs(step["settings"]))
        for reward in step["rewards"]:
            yield from block("paid", reward_line(reward))
        for data in step["data"]:
            yield from rows_of(data)


def rows_of(data: Mapping[str, Any]) -> Iterator[str]:
    """A data set and its rows nearest to the answer."""
    if "note" in data:
        yield from block("rows", f"{data['file']}: {data['note']}")
        return
    yield from block("rows", f"{data['file']}, {data['rows']} rows; the nearest:")
    for row in data["nearest"]:
        near = row["near"]
        likeness = "same problem" if near["same_prompt"] else f"problem {near['prompt']:.0%} alike"
        if near["completion"] is not None:
            likeness += f", text {near['completion']:.0%} alike"
        yield from block("", f"- {row.get('id', '')} {likeness}: {one_line(row['question'])}".replace("-  ", "- "))
        if row.get("completion"):
            yield from block("", f"    {one_line(row['completion'])}")
        if row.get("provenance"):
            yield from block("", f"    {provenance(row['provenance'])}")
        if row.get("score"):
            yield from block("", f"    score: {pairs(row['score'])}")


def reward_line(reward: Mapping[str, Any]) -> str:
    parts = [f"{reward['name']} x {reward['weight']:g}"]
    if "note" in reward:
        parts.append(reward["note"])
    else:
        parts.append(
            "does not judge this answer" if reward["score"] is None else f"gives this answer {reward['score']:g}"
        )
    if "mean_at_end" in reward:
        parts.append(f"mean in training {reward['mean_at_start']:g} at first, {reward['mean_at_end']:g} at last")
    return "; ".join(parts)


def provenance(origin: Mapping[str, Any]) -> str:
    """Where a kept sample comes from, in words."""
    known = dict(origin)
    words = []
    if known.get("stage") or known.get("model"):
        words.append(
            f"drawn by {known.pop('stage', '')} from {known.pop('model', 'an unnamed model')}".replace("  ", " ")
        )
    if known.get("model_hash"):
        words.append(f"weights {str(known.pop('model_hash'))[:12]}")
    for key in ("seed", "index"):
        if key in known:
            words.append(f"{key} {known.pop(key)}")
    filters = known.pop("filters", None)
    if filters:
        words.append(f"passed {', '.join(map(str, filters))}")
    known.pop("prompt_hash", None)
    if known:
        words.append(pairs(known))
    return "; ".join(words)


def pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
    )


def one_line(text: Any, longest: int = 160) -> str:
    flat = " ".join(as_text(text).split())
    return flat if len(flat) <= longest else flat[: longest - 3] + "..."


def block(label: str, text: str) -> list[str]:
    """A labelled paragraph, control characters made visible."""
    from trl_r1.evaluation.markdown import visible

    lines = [
        part
        for line in visible(str(text)).split("\n")[:40]
        for part in (textwrap.wrap(line, WIDTH - 14, subsequent_indent="  ") or [""])
    ]
    return [f"   {label if number == 0 else '':<9} {line}".rstrip() for number, line in enumerate(lines)]
