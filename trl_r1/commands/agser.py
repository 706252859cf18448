"""`trl-r1 agser`: score answers of a model, or evaluate AGSER and its rivals on questions with a truth."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from trl_r1.text.records import Json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from trl_r1.runs.rendering import add_options

    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("score", help="one question: score, sub-queries, contributions")
    scoring.add_argument("--prompt", required=True, help="the question; a chat model gets it as the user's message")
    scoring.add_argument("--answer", help="an answer to judge; without, the model's own is generated")
    scoring.add_argument("--html", metavar="FILE", help="write the heat of the query there")
    scoring.add_argument("--json", action="store_true", help="print everything as JSON")
    evaluating = commands.add_parser("evaluate", help="AUROC, AUPRC and PRR of AGSER beside its rivals")
    evaluating.add_argument(
        "--data", required=True, help="facts, mini:knowledge[-templated], a CSV of --reader, or rows"
    )
    evaluating.add_argument("--reader", help="books, movies, countries; without: rows with question and solution")
    evaluating.add_argument("--split", default="train", help="of rows (default: train)")
    evaluating.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
    evaluating.add_argument("--limit", type=int, help="only the first so many questions")
    evaluating.add_argument("--without-group", nargs="*", default=[], metavar="GROUP", help="leave these groups out")
    evaluating.add_argument(
        "--group-column", help="of rows: what they are grouped by (default: group, if there is one)"
    )
    evaluating.add_argument("--output", default="agser_evaluation", metavar="FOLDER", help="(default: %(default)s)")
    evaluating.add_argument("--samples", type=int, default=5, help="of self-consistency; 0: without (default: 5)")
    evaluating.add_argument("--draws", type=int, default=3, help="random splits (default: 3)")
    evaluating.add_argument("--no-sweep", action="store_true", help="without the sweep of the options")
    hacking = commands.add_parser("hacks", help="what the reward pays to completions that do not deserve it")
    hacking.add_argument("--data", default="mini:train", help="rows with questions (default: %(default)s)")
    hacking.add_argument("--split", default="train", help="of the rows (default: train)")
    hacking.add_argument("--config", help="configuration of a hub dataset, or options of reasoning_gym:NAME")
    hacking.add_argument("--limit", type=int, default=64, help="only the first so many questions (default: 64)")
    hacking.add_argument("--template", default="chat", help="how they are put, as in a recipe (default: chat)")
    for command in (scoring, evaluating, hacking):
        add_options(command)
        command.add_argument("--model", required=True, help="hub id, folder, or mini:knowledge[-templated]")
        command.add_argument("--cpu", action="store_true", help="stay on the CPU though there is a GPU")
        command.add_argument("--units", default="token", help="what is never torn apart: token, word (default: token)")
        command.add_argument("--dtype", default="auto", help="of its weights (default: auto)")
        command.add_argument("--k", type=float, default=2 / 3, help="share of attentive tokens (default: 2/3)")
        command.add_argument("--lam", type=float, default=1.0, help="weight of the attentive agreement (default: 1)")
        command.add_argument("--layers", default="mean", help="mean, first, middle, last, max")
        command.add_argument("--measure", default="norm", help="norm, attention")
        command.add_argument("--consistency", default="unicode", help="unicode, rouge_score, tokens")
        command.add_argument("--max-new-tokens", type=int, default=64, help="of every answer (default: 64)")
        command.add_argument("--batch-size", type=int, default=16, help="(default: 16)")
        command.add_argument("--seed", type=int, default=0, help="of samples, splits and miniatures (default: 0)")
    for command in (scoring, evaluating):
        command.add_argument("--rows", default="last", help="last (the paper), answer")
        command.add_argument(
            "--cut",
            choices=["none", "first_line"],
            help="of answers, before they are judged (default: as the reader has it)",
        )
        command.add_argument("--end-loops", action="store_true", help="end answers that only repeat themselves")
        command.add_argument(
            "--endpoint", help="who answers instead: an OpenAI-compatible server, such as http://.../v1"
        )
        command.add_argument("--endpoint-model", help="the model's name there (default: --model)")
    hacking.set_defaults(rows="last", endpoint=None, cut=None, end_loops=False)  # the reward's


def run(args: argparse.Namespace) -> int:
    return {"score": score, "evaluate": evaluate, "hacks": hacks}[args.command](args)


def build(args: argparse.Namespace, cut: str = "none"):
    """The scorer of the options; ``cut`` is how answers are cut where the options do not say."""
    from trl import ModelConfig

    from trl_r1.agser import AGSERScorer, first_line
    from trl_r1.models.engines import SamplingServer, for_server
    from trl_r1.models.load import find_policy, load_policy
    from trl_r1.runs.folder import quiet_libraries
    from trl_r1.runs.rendering import read_kwargs, renderer_of

    quiet_libraries()
    engine = None
    if args.endpoint:
        name = args.endpoint_model or args.model
        extra = for_server(read_kwargs(args.chat_template_kwargs))
        engine = SamplingServer(args.endpoint, name, temperature=0.0, max_new_tokens=args.max_new_tokens, extra=extra)
        engine.check()
    path = find_policy(args.model, args.seed)
    model, tokenizer = load_policy(path, ModelConfig(model_name_or_path=path, dtype=args.dtype), args.cpu)
    return AGSERScorer(
        model,
        tokenizer,
        args.k,
        args.lam,
        args.layers,
        args.rows,
        args.measure,
        args.consistency,
        engine,
        args.max_new_tokens,
        args.batch_size,
        first_line if (args.cut or cut) == "first_line" else None,
        args.end_loops,
        args.units,
        renderer_of(tokenizer, args, model=model),
    )


def score(args: argparse.Namespace) -> int:
    """Scores one answer and prints what led to it."""
    from trl_r1.agser.pictures import heat_html
    from trl_r1.storage.files import replace_file

    scorer = build(args)
    chat = bool(getattr(scorer.tokenizer, "chat_template", None))
    prompt = [{"role": "user", "content": args.prompt}] if chat else args.prompt
    result = scorer.score([prompt], None if args.answer is None else [args.answer])[0]
    if args.html:
        replace_file(Path(args.html), heat_html([result]))
    if args.json:
        row = {name: None if value != value else value for name, value in result.to_dict().items()}  # JSON has no NaN
        print(json.dumps(row, ensure_ascii=False, allow_nan=False))
        return 0
    if result.refused:
        print(result.refused)
        return 1
    print(
        f"score      {result.score:+.3f} = {scorer.lam:g} * {result.r_att:.3f} - {result.r_non:.3f}   (low: likely made up)"
    )
    print(f"answer     {result.answer}")
    print(f"attentive  {result.attentive}  ->  {result.attentive_answer}")
    print(f"others     {result.non_attentive}  ->  {result.non_attentive_answer}")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Runs the evaluation, writes its folder and prints its table; one that was killed goes on where it stopped."""
    from trl_r1.agser.datasets import read
    from trl_r1.agser.evaluate import answer, detect, with_memory
    from trl_r1.agser.report import groups_table, table, write_report
    from trl_r1.agser.store import AnswerStore
    from trl_r1.storage.files import replace_file

    def progress(step: str) -> None:
        print(f"{step} ...", file=sys.stderr, flush=True)

    started = time.process_time()
    source = read(args.data, args.reader, args.split, args.seed, args.config, args.group_column)
    rows = [row for row in source.asked if row.group not in args.without_group][: args.limit]
    source = type(source)(rows, source.examples, source.right, source.cut)
    scorer = build(args, "first_line" if source.cut else "none")
    prompts = source.prompts()
    questions = [row.question for row in rows]
    if not getattr(scorer.tokenizer, "chat_template", None) and not source.examples:
        prompts = list(questions)
    folder = Path(args.output)
    store = AnswerStore(folder, answer_settings(args))
    scorer = with_memory(scorer, store)
    progress("answers")
    groups = [row.group for row in rows]
    answered = answer(scorer, prompts, source.made_up, questions if source.examples else None, groups)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in answered.rows()]
    progress(f"answers and what they are taken for: {replace_file(folder / 'answers.jsonl', ''.join(lines))}")
    detection = detect(
        scorer, answered, args.samples, args.draws, not args.no_sweep, args.seed, progress, store.sampled
    )
    detection.settings |= {"model": args.model, "data": args.data, "max_new_tokens": args.max_new_tokens}
    numbers = detection.numbers()
    report = write_report(detection, folder, f"AGSER: {args.model} on {args.data}", numbers)
    print(table(numbers, detection))
    print(detection.inversion)
    if found := groups_table(detection):
        print(found)
    print(f"{time.process_time() - started:.0f} CPU seconds; report: {report}")
    return 0


def answer_settings(args: argparse.Namespace) -> Json:
    """The options that decide what a model says to a prompt."""
    from trl_r1.models.load import find_policy, model_digest

    return {
        "model": args.model,
        "weights": model_digest(find_policy(args.model, args.seed)),
        "dtype": args.dtype,
        "max_new_tokens": args.max_new_tokens,
        "end_loops": args.end_loops,
        "endpoint": args.endpoint,
        "endpoint_model": args.endpoint_model,
        "seed": args.seed if args.model.startswith("mini:") else None,
    }


def hacks(args: argparse.Namespace) -> int:
    """Prints what each family of hacks earns."""
    from trl_r1.agser.hacks import pay
    from trl_r1.agser.reward import AGSERReward
    from trl_r1.data.columns import load_rows
    from trl_r1.data.goldcheck import PROMPT_COLUMNS, find_column
    from trl_r1.models.templates import find_template, render, with_system

    rows = load_rows(args.data, args.split, args.config)
    column = find_column(rows.column_names, None, PROMPT_COLUMNS, "question")
    questions = [str(question) for question in rows[column][: args.limit]]
    template = find_template(args.template)
    scorer = build(args)
    reward = AGSERReward(
        scorer.greedy.model,
        scorer.tokenizer,
        k=args.k,
        lam=args.lam,
        layers=args.layers,
        measure=args.measure,
        consistency=args.consistency,
        max_new_tokens=args.max_new_tokens,
        batch_size=args.batch_size,
    )
    prompts = [with_system(render(template, question), args.system_prompt) for question in questions]
    print("\n".join(pay(reward, prompts, questions).lines()))
    return 0
