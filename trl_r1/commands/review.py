"""`trl-r1 review`: answers worth a person's look, as a file and a page; decisions back in, for the next cold start.

    trl-r1 review make answers.jsonl --output runs/review     (of `trl-r1 answer --questions`, or a run, or a pipeline)
    trl-r1 review take runs/review                            (after review.jsonl or review.csv was filled in)
    trl-r1 review take runs/review --file ~/Downloads/review.jsonl    (what the page saved)

See docs/review.md.
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    make = actions.add_parser("make", help="choose answers and write the queue")
    make.add_argument("source", help="an answers file, an evaluation, a run's or a pipeline's folder")
    make.add_argument("--output", required=True, metavar="FOLDER")
    make.add_argument("--csv", action="store_true", help="the file to fill in is a table for spreadsheets")
    make.add_argument("--most", type=int, default=100, help="answers in the queue (100)")
    make.add_argument("--per-problem", type=int, default=1, help="answers of one problem (1)")
    make.add_argument(
        "--low-agreement", type=float, default=0.5, help="agreement below which an answer is doubtful (0.5)"
    )
    make.add_argument("--groups", metavar="FILE", help="named groups, for the slices that raise an alarm")
    take = actions.add_parser("take", help="take decisions in and write reviewed.jsonl")
    take.add_argument("folder")
    take.add_argument("--file", help="a filled-in copy from elsewhere, such as the one the page saved")
    take.add_argument("--held-out", action="store_true", help="keep answers to an evaluation's problems too")


def run(args: argparse.Namespace) -> int:
    return (make_queue if args.action == "make" else take_in)(args)


def make_queue(args: argparse.Namespace) -> int:
    from trl_r1.review.items import read_items
    from trl_r1.review.queue import Desk, Rules, choose
    from trl_r1.review.slices import alarms, read_groups, slices

    items = read_items(args.source)
    groups = read_groups(args.groups) if args.groups else {}
    rules = Rules(low_agreement=args.low_agreement, most=args.most, per_problem=args.per_problem)
    looks = choose(items, rules, alarms(slices(items, groups)))
    desk = Desk.make(args.output, looks, args.csv)
    counts: dict[str, int] = {}
    for look in looks:
        for name, _ in look.reasons:
            counts[name] = counts.get(name, 0) + 1
    wording = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))
    print(
        f"{len(looks)} of {len(items)} answers wait in {desk.queue().path} and {desk.folder / 'index.html'}: {wording}.",
        file=sys.stderr,
    )
    return 0


def take_in(args: argparse.Namespace) -> int:
    from trl_r1.review.queue import RESULT, Desk

    desk = Desk.open(args.folder)
    rows, waiting = desk.take(args.file, args.held_out)
    out = sum(bool(row.get("held_out")) for row in desk.rows)
    note = (
        f" Of the {len(desk.rows)} answers {out} are to held-out problems and stay out."
        if out and not args.held_out
        else ""
    )
    print(f"{rows} rows in {desk.folder / RESULT}, {waiting} still wait.{note}", file=sys.stderr)
    return 0
