"""`trl-r1 traces`: verified reasoning traces: `make` draws them, `annotate` takes texts that exist, `verify` replays."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Dataset

    from trl_r1.data.traces import LevelledProblem
    from trl_r1.text.records import Prompt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from trl_r1.runs.rendering import add_options

    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="draw traces from a model, aimed at the levels with the fewest")
    taking = commands.add_parser("annotate", help="traces from texts that exist, such as GSM8K's solutions")
    for one in (making, taking):
        one.add_argument("rows", help="graded problems (`trl-r1 data grade`): a file, folder, hub id or mini:<name>")
        one.add_argument("folder", help="where the traces go; what is there counts, and is added to")
        one.add_argument("--split", default="train")
        one.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
        one.add_argument("--question-column", default="question")
        one.add_argument("--solution-column", default="solution")
        one.add_argument("--level-column", default="trl_r1_level")
        one.add_argument("--target", type=int, default=500, help="traces altogether (default: 500)")
        one.add_argument("--title", default="Reasoning traces", help="of the card")
        one.add_argument("--source", help="what the traces' source is called")
    making.add_argument("--model", help="hub id, folder or mini:base, sampled in this process")
    making.add_argument(
        "--endpoint", help="or a server that speaks the OpenAI protocol, with --model as its model's name"
    )
    making.add_argument("--template", help="prompt template (default: the model's chat template, else r1_zero)")
    making.add_argument("--samples", type=int, default=4, help="per problem (default: 4)")
    making.add_argument("--batch", type=int, default=32, help="problems at a time (default: 32)")
    making.add_argument("--temperature", type=float, default=1.0)
    making.add_argument("--max-tokens", type=int, default=512)
    making.add_argument("--wrong-share", type=float, default=0.5, help="most wrong traces, as a share (default: 0.5)")
    making.add_argument("--seed", type=int, default=0)
    add_options(making)
    taking.add_argument("--text-column", required=True, help="column with the reasoning")
    verifying = commands.add_parser("verify", help="replay every formal step; exit code 1 where a verdict differs")
    verifying.add_argument("folder")


def run(args: argparse.Namespace) -> int:
    return {"make": make, "annotate": annotate, "verify": verify}[args.command](args)


def problems_of(args: argparse.Namespace, template: Prompt, *more: str) -> tuple[list[LevelledProblem], Dataset]:
    """The problems of the rows, and the rows."""
    from trl_r1.data.columns import load_rows, require_columns
    from trl_r1.data.traces import LevelledProblem
    from trl_r1.grpo.curriculum import levels_of
    from trl_r1.models.templates import render

    rows = load_rows(args.rows, args.split, args.config)
    levels = levels_of(rows, args.level_column)
    named = {"question": args.question_column, "solution": args.solution_column}
    require_columns(rows, {**named, **{name: getattr(args, f"{name}_column") for name in more}}, args.rows)
    problems = []
    for row, level in zip(rows, levels, strict=True):
        question, gold = str(row[args.question_column]), str(row[args.solution_column])
        language, domain, key = row.get("language"), row.get("domain") or "maths", str(row.get("id") or "")
        prompt = render(template, question)
        problems.append(LevelledProblem(prompt, question, gold, language, domain, level=level, id=key))
    return problems, rows


def make(args: argparse.Namespace) -> int:
    """Draws traces; returns the exit code."""
    from trl_r1.data import traces
    from trl_r1.models.engines import Engine, InProcess, SamplingServer, for_server
    from trl_r1.models.templates import PLACEHOLDER, render, template_for, with_system
    from trl_r1.runs.rendering import read_kwargs, renderer_of

    if not args.model:
        raise ValueError("No model was named; give --model, or --endpoint with the --model that the server knows.")
    template_for(args.template)  # a mistake is told before a model is loaded
    template_options = read_kwargs(args.chat_template_kwargs)
    folder, (problems, _) = Path(args.folder), problems_of(args, PLACEHOLDER)
    engine: Engine
    tokenizer = None
    if args.endpoint:
        engine = SamplingServer(
            args.endpoint,
            args.model,
            temperature=args.temperature,
            max_new_tokens=args.max_tokens,
            extra=for_server(template_options),
        )
        engine.check()
    else:
        from trl import ModelConfig

        from trl_r1.models.load import find_policy, load_policy

        path = find_policy(args.model, args.seed)
        policy, tokenizer = load_policy(path, ModelConfig(model_name_or_path=path, dtype="auto"))
        renderer = renderer_of(tokenizer, args, model=policy)
        engine = InProcess(
            policy, tokenizer, temperature=args.temperature, max_new_tokens=args.max_tokens, renderer=renderer
        )
    template = template_for(args.template, tokenizer)
    result = traces.make(
        [replace(one, prompt=with_system(render(template, one.question), args.system_prompt)) for one in problems],
        engine,
        args.target,
        args.source or args.model,
        args.samples,
        args.batch,
        args.wrong_share,
        args.seed,
        traces.load(folder) if (folder / traces.FILE).is_file() else None,
        lambda so_far: traces.save(folder, so_far, args.title),
    )
    return report_counts(result, folder, args)


def annotate(args: argparse.Namespace) -> int:
    """Takes texts that exist; returns the exit code."""
    from trl_r1.data import traces
    from trl_r1.models.templates import PLACEHOLDER
    from trl_r1.text.steps import without_marks

    folder, (problems, given) = Path(args.folder), problems_of(args, PLACEHOLDER, "text")
    result = traces.load(folder) if (folder / traces.FILE).is_file() else traces.TraceSet()
    questions = {row["question"] for row in result.rows}
    fresh = [(one, text) for one, text in zip(problems, given[args.text_column]) if one.question not in questions]
    problems, texts = [one for one, _ in fresh], [without_marks(str(text)) for _, text in fresh]
    rows, counted = traces.judged(problems, texts, args.source or Path(args.rows).name)
    result.funnel["taken"] += len(rows)
    result.funnel.update({why: count for why, count in counted.items() if " " in why})
    waiting = {
        level: [row for row in rows if row["level"] == level and " " not in row["kind"]] for level in traces.LEVELS
    }
    while len(result.rows) < args.target and (level := traces.thinnest(result.levels(), waiting)) is not None:
        traces.take(result, [waiting[level].pop(0)], args.target, wrong_share=1.0)
    traces.save(folder, result, args.title)
    return report_counts(result, folder, args)


def report_counts(result: Any, folder: Path, args: argparse.Namespace) -> int:
    """Says what there is now; exit code 1 when the target was not reached."""
    from trl_r1.data import traces

    counts = result.levels()
    if not result.rows:
        print(f"No trace was kept, so {folder} holds none. {traces.why_nothing(result)}")
        return 1
    print(f"{len(result.rows)} traces in {folder}: " + ", ".join(f"level {n} {counts[n]}" for n in sorted(counts)))
    print("; ".join(f"{name}: {count}" for name, count in result.funnel.most_common()))
    if len(result.rows) < args.target:
        print(f"That is fewer than {args.target}: the problems are used up.")
    return int(len(result.rows) < args.target)


def verify(args: argparse.Namespace) -> int:
    """Replays; returns the exit code."""
    from trl_r1.data import traces

    rows = traces.load(Path(args.folder)).rows
    differ = traces.replayed(rows)
    count = sum(len(row["steps"]) for row in rows)
    print(f"{count} formal steps of {len(rows)} traces replayed, {len(differ)} differ.")
    for row, step, stored, now in differ[:5]:
        print(f"trace {row}, step {step}: stored as {stored}, is {now}: {rows[row]['steps'][step]['text']!r}")
    return int(bool(differ))
