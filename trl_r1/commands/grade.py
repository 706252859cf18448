"""`trl-r1 data grade ROWS OUTPUT`: a level from 1 to 6 for every problem, by pass rate, steps and what the data state."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from trl_r1.data.difficulty import DOMAINS

    parser.add_argument("rows", help="a data file or folder, a saved dataset, a hub id, or mini:<name>")
    parser.add_argument("output", help="file to write, .jsonl or .parquet")
    parser.add_argument("--split", default="train", help="split or slice, such as train[:100] (default: train)")
    parser.add_argument("--config", help="configuration of a hub dataset")
    parser.add_argument("--model", help="sample this model (hub id, folder or mini:base) to measure pass rates")
    parser.add_argument("--samples", type=int, help="samples per problem (default with --model: 16)")
    parser.add_argument("--template", default="r1_zero", help="prompt template for --model (default: r1_zero)")
    parser.add_argument("--question-column", default="question")
    parser.add_argument("--solution-column", default="solution")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the sampling (default: 1, as in training)")
    parser.add_argument("--max-tokens", type=int, default=512, help="longest answer (default: 512)")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    for name, about in (
        ("right", "how many samples were right"), ("tried", "how many there were"), ("pass-rate", "the share right"),
        ("steps", "steps of a solution"), ("reasoning", "a text whose steps are counted"), ("domain", "the domain"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}-column", help=f"column with {about}")
    parser.add_argument("--domain", default="maths", help=f"of rows that name none: {', '.join(DOMAINS)}")
    parser.add_argument(
        "--chance", type=float, help="share of right answers that guessing gets (default: the domain's)"
    )
    parser.add_argument("--step-range", type=float, nargs=2, metavar=("FEW", "MANY"), help="default: 5 20")


def run(chosen: argparse.Namespace) -> int:
    """Grades and writes; returns the exit code.

    Raises:
        ValueError: something asked for makes no sense, in one sentence.
    """
    from trl_r1.data.columns import load_rows, require_columns
    from trl_r1.data.difficulty import histogram
    from trl_r1.evaluation.grading import Columns, grade_rows

    output = Path(chosen.output)
    if output.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"{str(output)!r}: the graded rows are written as .jsonl or .parquet; choose such a name.")
    if output.exists() and Path(chosen.rows).expanduser().exists() and output.samefile(Path(chosen.rows).expanduser()):
        raise ValueError(f"{str(output)!r} would overwrite the source; name another file.")
    if chosen.samples is not None and chosen.samples < 1:
        raise ValueError(f"--samples {chosen.samples}: give 1 or more.")
    rows = load_rows(chosen.rows, chosen.split, chosen.config, chosen.seed)
    named = {
        name: getattr(chosen, f"{name}_column")
        for name in ("right", "tried", "pass_rate", "steps", "reasoning", "domain")
    }
    require_columns(rows, named, chosen.rows)
    started = time.monotonic()
    problems = _sampled(rows, chosen) if chosen.model else None
    step_range = tuple(chosen.step_range) if chosen.step_range else None
    columns = Columns(**named, samples=chosen.samples)
    graded = grade_rows(rows, columns, problems, chosen.domain, chosen.chance, step_range)
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


def _sampled(rows: Any, chosen: argparse.Namespace) -> list[Any]:
    from trl import ModelConfig

    from trl_r1.data.columns import to_prompts
    from trl_r1.evaluation.benchmark import evaluate
    from trl_r1.models.load import find_policy, load_policy

    prompts = to_prompts(rows, chosen.question_column, chosen.solution_column, chosen.template)
    path = find_policy(chosen.model, chosen.seed)
    policy, tokenizer = load_policy(path, ModelConfig(model_name_or_path=path, dtype="auto"))
    found = evaluate(
        policy, tokenizer, prompts, language_column=None, samples=chosen.samples or 16, temperature=chosen.temperature,
        top_p=1.0, max_new_tokens=chosen.max_tokens, batch_size=chosen.batch_size, seed=chosen.seed, progress=False,
    )  # fmt: skip
    return found.problems
