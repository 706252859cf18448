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

from trl_r1.runs.options import tell_mistakes


def main(argv: list[str] | None = None) -> int:
    from trl_r1.routing.setup import add_options

    parser = argparse.ArgumentParser(
        prog="trl-r1 bias", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    cut = actions.add_parser("slices", help="accuracy, length, refusal by language, topic and named group")
    cut.add_argument("source", help="an answers file, an evaluation, a run's or a pipeline's folder")
    cut.add_argument("--groups", metavar="FILE", help="YAML or JSON: axis: {group: [words], other group: [words]}")
    cut.add_argument("--least", type=int, default=8, help="problems on either side of a comparison (8)")
    pairs = actions.add_parser("pairs", help="ask the same with another group's words")
    pairs.add_argument("questions", help="data with questions that name a group, or templates with {name}")
    pairs.add_argument("--groups", metavar="FILE", required=True, help="as for slices; words at one place correspond")
    pairs.add_argument("--split", default="train")
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
    chosen = parser.parse_args(argv)
    return int(tell_mistakes("bias", lambda: (of_slices if chosen.action == "slices" else of_pairs)(chosen)))


def of_slices(chosen: argparse.Namespace) -> int:
    from trl_r1.review.bias_report import markdown
    from trl_r1.review.items import read_items
    from trl_r1.review.slices import as_json, read_groups, slices

    items = read_items(chosen.source)
    found = slices(items, read_groups(chosen.groups) if chosen.groups else {}, chosen.level, chosen.least)
    if not found:
        raise ValueError(
            f"No slice of {chosen.source} has {chosen.least} problems on either side; give more, or --least."
        )
    leave(
        chosen, markdown(f"Slices of {chosen.source}", found, chosen.level, [f"{len(items)} answers."]), as_json(found)
    )
    return 0


def of_pairs(chosen: argparse.Namespace) -> int:
    from trl_r1.commands.answer import read_rows
    from trl_r1.review.bias_report import gaps_as_json, markdown
    from trl_r1.review.counterfactual import ask, gaps, pairs_of
    from trl_r1.review.slices import read_groups
    from trl_r1.routing.setup import asker, sampler_of, settings_of

    if chosen.samples < 1:
        raise ValueError(f"--samples {chosen.samples} asks for nothing; give 1 or more.")
    groups = read_groups(chosen.groups)
    settings = settings_of(chosen)
    sampler = sampler_of(chosen)
    rows = read_rows(chosen, chosen.questions, asker(chosen, sampler))
    made = pairs_of(rows, groups)
    if not made:
        raise ValueError(
            f"No question of {chosen.questions} has a word of one group, or {{name}}; see docs/review.md."
        )
    found = gaps(made, ask(made, sampler, asker(chosen, sampler), settings, chosen.samples, chosen.seed), chosen.level)
    notes = [f"{len(made)} pairs, {chosen.samples} answers to each side, temperature {settings.temperature:g}."]
    leave(chosen, markdown(f"Pairs asked of {chosen.model}", found, chosen.level, notes), gaps_as_json(found))
    return 0


def leave(chosen: argparse.Namespace, text: str, content: Any) -> None:
    """The report, into a file or onto the terminal."""
    from trl_r1.storage.files import replace_file

    if not chosen.output:
        print(text)
        return
    path = Path(chosen.output)
    replace_file(path, text)
    replace_file(path.with_suffix(".json"), json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    print(f"{path}: {text.splitlines()[2]}", file=sys.stderr)
