"""`trl-r1 answer`: questions to a trained model, with as much thought as each needs.

    trl-r1 answer --model runs/mini-sft --template mini "Compute ①2 ②9 ③4."
    trl-r1 answer --model runs/mini-sft --template mini --questions mini:test --output answers.jsonl
    trl-r1 answer --model runs/mini-sft --template mini --calibrate mini:dev --save router.json
    trl-r1 answer --model Qwen/Qwen3-0.6B --endpoint http://127.0.0.1:8000/v1 --router router.json "How many ...?"

The answer goes to stdout, what was done for it to stderr. See docs/routing.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from trl_r1.routing.router import ROUTES, Routed, Router
from trl_r1.text.records import Problem, Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from trl_r1.routing.setup import add_options

    parser.add_argument("question", nargs="*", help="the question; several words need no quotes")
    parser.add_argument("--questions", metavar="DATA", help="many: .jsonl, .csv, .parquet, hub id or mini:test")
    parser.add_argument("--split", default="train", help="of a hub dataset in --questions or --calibrate (train)")
    parser.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
    parser.add_argument("--question-column", default="question")
    parser.add_argument(
        "--solution-column", default="solution", help="gold answers, if there are any: then they are judged"
    )
    parser.add_argument("--problems", type=int, help="only the first this many rows")
    parser.add_argument("--output", metavar="FILE", help="for --questions: one JSON line per answer")
    parser.add_argument("--calibrate", metavar="DATA", help="choose thresholds on these problems and write --save")
    parser.add_argument("--tolerance", type=float, default=0.005, help="accuracy calibration may give up (0.005)")
    parser.add_argument(
        "--budget",
        type=float,
        help="for --calibrate: instead of the cheapest within the tolerance, the "
        "most accurate within this share of the tokens of all paths",
    )
    parser.add_argument("--save", metavar="FILE", default="router.json", help="for --calibrate (router.json)")
    parser.add_argument("--route", choices=ROUTES, default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="everything about the answer as JSON, all paths included")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Answers, or calibrates.

    Raises:
        ValueError: not one task, or one of its options cannot be.
        EngineError: the server does not answer.
    """
    tasks = [bool(args.question), bool(args.questions), bool(args.calibrate)]
    if sum(tasks) != 1:
        raise ValueError("Give a question, or --questions DATA, or --calibrate DATA: one of the three.")
    if args.questions and not args.output:
        raise ValueError("--questions needs --output FILE for the answers.")
    from trl_r1.routing.setup import asker, router_of, sampler_of

    if not args.endpoint:
        from trl_r1.runs.processor import tell_before_answering

        tell_before_answering("answer", args.model, args.dtype, args.cpu)
    sampler = sampler_of(args)
    router = router_of(args, sampler, sampler if hasattr(sampler, "tokenizer") else None)  # type: ignore[arg-type]
    ask = asker(args, sampler)
    if args.question:
        answer = router.answer(ask(" ".join(args.question)), args.route, args.seed)
        print(
            json.dumps({"text": answer.text, **answer.to_dict(texts=True)}, ensure_ascii=False, indent=1)
            if args.json
            else answer.text
        )
        print(answer.line(), file=sys.stderr)
        return 0
    rows = read_rows(args, args.questions or args.calibrate, ask)
    return answer_rows(args, router, rows) if args.questions else calibrate_on(args, router, rows)


def read_rows(args: argparse.Namespace, name: str, ask: Any) -> list[Row]:
    """Rows with ``question``, ``prompt`` and, where there is one, ``solution``.

    Raises:
        ValueError: no such data or column.
    """
    from trl_r1.data.columns import load_rows

    data = load_rows(name, args.split, args.config)
    if args.question_column not in data.column_names:
        raise ValueError(
            f"{name!r} has no column {args.question_column!r}; it has: {', '.join(data.column_names)}. "
            "Name it with --question-column."
        )
    count = len(data) if args.problems is None else min(len(data), args.problems)
    rows = []
    for row in data.select(range(count)):
        question = str(row[args.question_column])
        rows.append({**row, "question": question, "prompt": ask(question), "solution": row.get(args.solution_column)})
    if not rows:
        raise ValueError(f"{name!r} has no rows.")
    return rows


def answer_rows(args: argparse.Namespace, router: Router, rows: list[Row]) -> int:
    from trl_r1.storage.files import replace_file

    named = getattr(args, "answer_from", None)
    sources = [part.strip() for part in named.split(",") if part.strip()] if named else None
    answers = router.answer_all([row["prompt"] for row in rows], args.route, args.seed)
    lines = [record(row, routed, args.model, sources) for row, routed in zip(rows, answers, strict=True)]
    replace_file(args.output, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    judged = [line["right"] for line in lines if line["right"] is not None]
    right = f", {sum(judged) / len(judged):.1%} of {len(judged)} judged ones right" if judged else ""
    simple = sum(line["route"] == "simple" for line in lines)
    print(
        f"{len(lines)} answers in {args.output}: {simple} simple, {len(lines) - simple} complex, "
        f"{sum(line['tokens'] for line in lines) / len(lines):.0f} tokens each{right}.",
        file=sys.stderr,
    )
    return 0


def record(row: Mapping[str, Any], routed: Routed, model: str, sources: Sequence[str] | None = None) -> Row:
    """One line of an answers file: what `trl-r1 review` reads. ``sources``: where an answer may stand."""
    from trl_r1.answers.types import declared_type
    from trl_r1.data.review import sample_id
    from trl_r1.rewards.accuracy import SOURCES, verdict

    right, gold, shown = None, row.get("solution"), routed.paths[routed.chosen]
    if gold is not None:
        kind, places = declared_type(row), tuple(sources or SOURCES)
        right = verdict(shown.text, gold, answer_type=kind, truncated=shown.truncated, sources=places)
    columns = {key: row[key] for key in ("language", "domain", "topic", "id") if row.get(key) is not None}
    return {
        **{f"row_{key}" if key == "id" else key: value for key, value in columns.items()},
        "id": sample_id(row["prompt"], routed.text),
        "question": row["question"],
        "prompt": row["prompt"],
        "completion": routed.text,
        "solution": gold,
        "model": model,
        "right": right,
        **routed.to_dict(),
    }


def calibrate_on(args: argparse.Namespace, router: Router, rows: list[Row]) -> int:
    from trl_r1.answers.types import declared_type
    from trl_r1.rewards.accuracy import verify
    from trl_r1.routing.calibrate import calibrate, draw_candidate_sets

    if any(row["solution"] is None for row in rows):
        raise ValueError("Calibration needs a gold answer in every row; name its column with --solution-column.")
    problems = [
        Problem(row["prompt"], row["question"], str(row["solution"]), answer_type=declared_type(row)) for row in rows
    ]
    candidate_sets = draw_candidate_sets(router.sampler, problems, router, verify, router.limits.most_paths, args.seed)
    result = calibrate(candidate_sets, router, args.tolerance, args.budget)
    facts = result.facts
    difference = getattr(router.sampler, "difference", None)
    if difference is not None:
        facts["rollout_copy"] = asdict(difference)
    result.save(args.save)
    ends = (
        f"a weighted vote that ends when its leader is right with a chance of {result.limits.sure:g}"
        if result.limits.choose == "weighted"
        else f"a vote, confident at {result.limits.confident:g}, of at least {result.limits.least_paths} paths"
    )
    print(
        f"{args.save}: simple below {result.limits.simple_below:g}, else {ends}. On these {facts['problems']} problems "
        f"{facts['accuracy']:.1%} right with {facts['tokens']:.0f} tokens; a vote over all {result.limits.most_paths} "
        f"paths: {facts['all_paths_accuracy']:.1%} with {facts['all_paths_tokens']:.0f}; "
        f"one: {facts['one_path_accuracy']:.1%}."
        + ("" if facts["within_tolerance"] else " No thresholds kept to that; these came closest."),
        file=sys.stderr,
    )
    return 0
