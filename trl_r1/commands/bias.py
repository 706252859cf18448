"""`trl-r1 bias`: does a model treat its askers alike? Slices of what it answered, and pairs that differ in a group's words.

    trl-r1 bias slices runs/pipeline/sft --groups groups.yaml --output bias.md
    trl-r1 bias pairs questions.jsonl --groups groups.yaml --model runs/pipeline/sft --template mini --output pairs.md

See docs/review.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from trl_r1.routing.setup import add_options

    actions = parser.add_subparsers(dest="action", required=True)
    cut = actions.add_parser("slices", help="accuracy, length, refusal by language, topic and named group")
    cut.add_argument("source", help="an answers file, an evaluation, a run's or a pipeline's folder")
    cut.add_argument("--groups", metavar="FILE", help="YAML or JSON: axis: {group: [words], other group: [words]}")
    cut.add_argument("--least", type=int, default=8, help="problems on either side of a comparison (8)")
    pairs = actions.add_parser("pairs", help="ask the same with another group's words")
    pairs.add_argument("questions", help="data with questions that name a group, or templates with {name}")
    pairs.add_argument("--groups", metavar="FILE", required=True, help="as for slices; words at one place correspond")
    pairs.add_argument("--split", default="train")
    pairs.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
    pairs.add_argument("--question-column", default="question")
    pairs.add_argument("--solution-column", default="solution")
    pairs.add_argument("--problems", type=int, help="only the first this many rows")
    pairs.add_argument("--samples", type=int, default=4, help="answers to each side (4)")
    pairs.add_argument("--seed", type=int, default=0)
    add_options(pairs)
    for action in (cut, pairs):
        action.add_argument("--level", type=float, default=0.95, help="of all intervals together (0.95)")
        action.add_argument(
            "--output", metavar="FILE", help="Markdown; a .json beside it (default: Markdown to stdout)"
        )


def run(args: argparse.Namespace) -> int:
    return (of_slices if args.action == "slices" else of_pairs)(args)


def of_slices(args: argparse.Namespace) -> int:
    from trl_r1.review.bias_report import markdown
    from trl_r1.review.items import read_items
    from trl_r1.review.slices import as_json, read_groups, slices

    items = read_items(args.source)
    table = slices(items, read_groups(args.groups) if args.groups else {}, args.level, args.least)
    if not table:
        raise ValueError(f"No slice of {args.source} has {args.least} problems on either side; give more, or --least.")
    leave(args, markdown(f"Slices of {args.source}", table, args.level, [f"{len(items)} answers."]), as_json(table))
    return 0


def of_pairs(args: argparse.Namespace) -> int:
    from trl_r1.commands.answer import read_rows
    from trl_r1.review.bias_report import gaps_as_json, markdown
    from trl_r1.review.counterfactual import ask, gaps, pairs_of
    from trl_r1.review.slices import read_groups
    from trl_r1.routing.setup import asker, sampler_of, settings_of

    if args.samples < 1:
        raise ValueError(f"--samples {args.samples} asks for nothing; give 1 or more.")
    groups = read_groups(args.groups)
    settings = settings_of(args)
    sampler = sampler_of(args)
    rows = read_rows(args, args.questions, asker(args, sampler))
    pairs = pairs_of(rows, groups)
    if not pairs:
        raise ValueError(f"No question of {args.questions} has a word of one group, or {{name}}; see docs/review.md.")
    results = gaps(pairs, ask(pairs, sampler, asker(args, sampler), settings, args.samples, args.seed), args.level)
    notes = [f"{len(pairs)} pairs, {args.samples} answers to each side, temperature {settings.temperature:g}."]
    leave(args, markdown(f"Pairs asked of {args.model}", results, args.level, notes), gaps_as_json(results))
    return 0


def leave(args: argparse.Namespace, text: str, content: Any) -> None:
    """The report, into a file or onto the terminal."""
    from trl_r1.storage.files import replace_file

    if not args.output:
        print(text)
        return
    path = Path(args.output)
    replace_file(path, text)
    replace_file(path.with_suffix(".json"), json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    print(f"{path}: {text.splitlines()[2]}", file=sys.stderr)
