"""`trl-r1 data`: `check` says which gold answers of a dataset can be used to reward with, `grade` how hard its rows are,
`preview` what a recipe's model would read and be trained on."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from trl_r1.text.records import Row


SHOWN = 5  # unusable rows that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="examine the gold answers; exit code 1 when some are unusable")
    checking.add_argument("rows", help="a data file or folder, a saved dataset, a hub id, or mini:<name>")
    checking.add_argument("--split", default="train", help="split or slice, such as train[:100] (default: train)")
    checking.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
    checking.add_argument(
        "--gold-column",
        "--gold_column",
        "--solution-column",
        "--solution_column",
        help="column of the gold answers; the usual names are tried without",
    )
    checking.add_argument("--quarantine", metavar="FILE", help="write the unusable rows there, as JSON lines")
    checking.add_argument(
        "--repaired", metavar="FILE", help="write the usable rows there, golds repaired, as JSON lines"
    )
    checking.add_argument(
        "--allow", type=int, default=0, metavar="N", help="unusable rows to put up with (default: 0)"
    )
    checking.add_argument("--seconds", type=float, default=2.0, help="time math-verify may take for one comparison")
    grading = commands.add_parser("grade", help="a level of difficulty from 1 to 6 for every row")
    add_grade_arguments(grading)
    previewing = commands.add_parser("preview", help="a recipe's first rows as its model sees them, and their labels")
    previewing.add_argument("--config", required=True, help="a recipe's name or a path to one")
    previewing.add_argument(
        "--stage", help="sft, zero, cold-start, ...: whose recipe it is, whatever else stands in it"
    )
    previewing.add_argument("--rows", type=int, default=2, help="how many rows (default: 2)")
    previewing.add_argument("--json", action="store_true", help="as data")
    previewing.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="options in place of the recipe's"
    )


def run(args: argparse.Namespace) -> int:
    return {"grade": grade, "check": check, "preview": preview}[args.command](args)


def add_grade_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `trl-r1 data grade ROWS OUTPUT`."""
    from trl_r1.data.difficulty import DOMAINS
    from trl_r1.runs.rendering import add_options

    add_options(parser)
    parser.add_argument("rows", help="a data file or folder, a saved dataset, a hub id, or mini:<name>")
    parser.add_argument("output", help="file to write, .jsonl or .parquet")
    parser.add_argument("--split", default="train", help="split or slice, such as train[:100] (default: train)")
    parser.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
    parser.add_argument("--model", help="sample this model (hub id, folder or mini:base) to measure pass rates")
    parser.add_argument("--samples", type=int, help="samples per problem (default with --model: 16)")
    parser.add_argument(
        "--template", help="prompt template for --model (default: the model's chat template, else r1_zero)"
    )
    parser.add_argument("--question-column", default="question")
    parser.add_argument("--solution-column", default="solution")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the sampling (default: 1, as in training)")
    parser.add_argument("--max-tokens", type=int, default=512, help="longest answer (default: 512)")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    for name, about in (
        ("right", "how many samples were right"),
        ("tried", "how many there were"),
        ("pass-rate", "the share right"),
        ("steps", "steps of a solution"),
        ("reasoning", "a text whose steps are counted"),
        ("domain", "the domain"),
    ):
        parser.add_argument(f"--{name}-column", help=f"column with {about}")
    parser.add_argument("--domain", default="maths", help=f"of rows that name none: {', '.join(DOMAINS)}")
    parser.add_argument(
        "--chance", type=float, help="share of right answers that guessing gets (default: the domain's)"
    )
    parser.add_argument("--step-range", type=float, nargs=2, metavar=("FEW", "MANY"), help="default: 5 20")


def check(args: argparse.Namespace) -> int:
    """Runs the check; returns the exit code."""
    from trl_r1.data.columns import load_rows
    from trl_r1.data.goldcheck import GOLD_COLUMNS, check_golds, coverage, find_column
    from trl_r1.storage.files import replace_file

    targets = {option: Path(path) for option in ("quarantine", "repaired") if (path := getattr(args, option))}
    for option, path in targets.items():
        _refuse(option, path, args.rows)
    if len({path.resolve() for path in targets.values()}) < len(targets):
        raise ValueError(f"--quarantine and --repaired are the same file {str(targets['repaired'])!r}; name two.")
    if args.allow < 0 or args.seconds <= 0:
        raise ValueError(f"--allow {args.allow} --seconds {args.seconds:g}: neither may be negative, nor the time 0.")
    rows = load_rows(args.rows, args.split, args.config)
    column = find_column(rows.column_names, args.gold_column, GOLD_COLUMNS, "gold answer")
    started = time.monotonic()
    checks = check_golds(rows[column], args.seconds, progress=Progress(len(rows)))
    took = time.monotonic() - started

    print(f"{args.rows}, column {column!r}: {len(rows)} rows in {took:.1f} s")
    print("\n".join(coverage(checks)))
    for note in _notes(args.rows, rows, column, checks):
        print(note)
    bad = [check for check in checks if not check.usable]
    for unusable in bad[:SHOWN]:
        print(f"row {unusable.row}: {_short(rows[unusable.row][column])} {unusable.why}")
    if len(bad) > SHOWN:
        print(
            f"... and {len(bad) - SHOWN} more"
            + ("" if "quarantine" in targets else "; --quarantine FILE writes them all")
        )
    if "quarantine" in targets:
        lines = [_line({**rows[c.row], "trl_r1_row": c.row, "trl_r1_problem": c.why}) for c in bad]
        replace_file(targets["quarantine"], "".join(lines))
        print(f"{len(lines)} unusable rows: {targets['quarantine']}")
    if "repaired" in targets:
        good = [c for c in checks if c.usable]
        replace_file(targets["repaired"], "".join(_line({**rows[c.row], column: c.repaired}) for c in good))
        changed = sum(str(rows[c.row][column]) != c.repaired for c in good)
        print(f"{len(good)} usable rows, {changed} of them repaired: {targets['repaired']}")
    return int(len(bad) > args.allow)


def _notes(name: str, rows: Any, column: str, checks: Any) -> list[str]:
    """What to know of the golds beside whether they are usable."""
    from trl_r1.data.exact_numbers import notes
    from trl_r1.data.goldcheck import PROMPT_COLUMNS, order_notes

    sentences = []
    path = Path(name).expanduser()
    if path.exists() and (why := notes(path).get(column)):
        sentences.append(f"column {column!r} {why}: it is read as text, so that every gold stays as it is written.")
    elif "float64" in str(rows.features[column]):
        sentences.append(
            f"column {column!r} holds doubles: a whole number is read as one, and beyond 2^53 is not to be trusted."
        )
    question = next((one for one in PROMPT_COLUMNS if one in rows.column_names), None)
    if question is not None:
        types = rows["answer_type"] if "answer_type" in rows.column_names else None
        sentences += order_notes(checks, rows[question], types)
    return sentences


class Progress:
    """A count on standard error: rewritten in place on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.spoken_at = time.monotonic()

    def __call__(self, done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= self.total else ""
            print(f"\rchecked {done} of {self.total} rows", end=end, file=sys.stderr, flush=True)
        elif time.monotonic() - self.spoken_at >= 10:
            self.spoken_at = time.monotonic()
            print(f"checked {done} of {self.total} rows", file=sys.stderr, flush=True)


def _refuse(option: str, path: Path, source: str) -> None:
    if path.suffix.lower() != ".jsonl":
        raise ValueError(f"--{option} {str(path)!r}: it is written as JSON lines, so give a name that ends in .jsonl.")
    origin = Path(source).expanduser()
    inside = origin.is_dir() and path.resolve().is_relative_to(origin.resolve())
    if inside or (origin.exists() and path.exists() and path.samefile(origin)):
        raise ValueError(f"--{option} {str(path)!r} would overwrite the source; name another file.")


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _short(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def grade(args: argparse.Namespace) -> int:
    """Grades every problem with a level from 1 to 6 and writes them; returns the exit code.

    Raises:
        ValueError: something asked for makes no sense, in one sentence.
    """
    from trl_r1.data.columns import load_rows, require_columns
    from trl_r1.data.difficulty import histogram
    from trl_r1.evaluation.grading import Columns, grade_rows

    output = Path(args.output)
    if output.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"{str(output)!r}: the graded rows are written as .jsonl or .parquet; choose such a name.")
    if output.exists() and Path(args.rows).expanduser().exists() and output.samefile(Path(args.rows).expanduser()):
        raise ValueError(f"{str(output)!r} would overwrite the source; name another file.")
    if args.samples is not None and args.samples < 1:
        raise ValueError(f"--samples {args.samples}: give 1 or more.")
    rows = load_rows(args.rows, args.split, args.config, args.seed)
    named = {
        name: getattr(args, f"{name}_column")
        for name in ("right", "tried", "pass_rate", "steps", "reasoning", "domain")
    }
    require_columns(rows, named, args.rows)
    started = time.monotonic()
    problems = _sampled(rows, args) if args.model else None
    step_range = tuple(args.step_range) if args.step_range else None
    columns = Columns(**named, samples=args.samples)
    graded = grade_rows(rows, columns, problems, args.domain, args.chance, step_range)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".parquet":
        graded.to_parquet(str(output))
    else:
        graded.to_json(str(output), force_ascii=False)
    unread = sum(not problem.judged for problem in problems or ())
    if unread:
        print(
            f"{unread} gold answers cannot be read, so their rows are graded by steps and what they state; "
            "`trl-r1 data check` names them."
        )
    counts = histogram(graded["trl_r1_level"])
    print(f"{len(graded)} rows graded in {time.monotonic() - started:.1f} s: {output}")
    for level, count in counts.items():
        print(f"level {level}: {count:>6}  {'#' * round(40 * count / max(1, len(graded)))}".rstrip())
    return 0


def _sampled(rows: Any, args: argparse.Namespace) -> list[Any]:
    from trl import ModelConfig

    from trl_r1.data.columns import to_prompts
    from trl_r1.evaluation.benchmark import evaluate
    from trl_r1.models.load import find_policy, load_policy
    from trl_r1.models.templates import template_for
    from trl_r1.runs.rendering import renderer_of

    template_for(args.template)  # a mistake is told before a model is loaded
    path = find_policy(args.model, args.seed)
    policy, tokenizer = load_policy(path, ModelConfig(model_name_or_path=path, dtype="auto"))
    template = template_for(args.template, tokenizer)
    prompts = to_prompts(rows, args.question_column, args.solution_column, template, system_prompt=args.system_prompt)
    evaluation = evaluate(
        policy,
        tokenizer,
        prompts,
        language_column=None,
        samples=args.samples or 16,
        temperature=args.temperature,
        top_p=1.0,
        max_new_tokens=args.max_tokens,
        batch_size=args.batch_size,
        seed=args.seed,
        progress=False,
        renderer=renderer_of(tokenizer, args, model=policy),
    )
    return evaluation.problems


def preview(args: argparse.Namespace) -> int:
    """Prints the first rows of a recipe as its model sees them; returns 1 where one of them cannot be trained on.

    Raises:
        ValueError: the recipe cannot be read, is none of a stage that can be shown, or its rows or tokenizer are wrong.
    """
    from trl_r1.models.load import find_policy
    from trl_r1.runs import preview as shown
    from trl_r1.runs.recipe_rows import read_recipe
    from trl_r1.runs.rendering import renderer_of
    from trl_r1.runs.sft import load_tokenizer

    if args.rows < 1:
        raise ValueError(f"--rows {args.rows}: give 1 or more.")
    recipe = read_recipe(args.config, args.stage, args.set)
    config, model = recipe.config, recipe.model
    if recipe.unread:
        keys = ", ".join(recipe.unread)
        print(f"Not looked at, as they change no row that is shown: {keys}.", file=sys.stderr)
    rows, labels = recipe.rows(args.rows)
    if not labels and recipe.stage == "cold-start":
        print("The rows to train on are made when the stage runs; these are the prompts.", file=sys.stderr)
    path = find_policy(model.model_name_or_path, config.seed)
    tokenizer = load_tokenizer(path, model, config)
    renderer = renderer_of(tokenizer, config, path, options=recipe.options)
    if labels:
        found = shown.preview_rows(rows, renderer, bool(config.assistant_only_loss))
    else:
        found = shown.preview_prompts(rows, renderer)
    if args.json:
        print(json.dumps(shown.as_json(found, renderer, recipe.stage), ensure_ascii=False, indent=2))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print("\n".join(shown.lines(found, renderer, colour)))
    return int(any(one.refused for one in found))
