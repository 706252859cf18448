"""`trl-r1 run PIPELINE`: all stages of a pipeline file, resumable.

trl-r1 run mini/pipeline                     runs what is not finished; the same command resumes
trl-r1 run mini/pipeline --dry-run           the plan: what would run, what is finished, the commands
trl-r1 run status mini/pipeline              how far it is (also --status)
trl-r1 run mini/pipeline --scale tiny        a scale the file names
trl-r1 run my.yaml --set zero.max_steps=20   an option of a stage
trl-r1 run my.yaml --redo sft                sft and what rests on it again; the old folders are kept
"""

from __future__ import annotations

import argparse
import shlex
import sys

from trl_r1.pipeline.plan import Pipeline, read
from trl_r1.pipeline.record import Record, refuse
from trl_r1.text.records import Json


WORDS = ("status", "resume", "plan")  # may stand before the file: trl-r1 run status mini/pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "word", nargs="?", choices=WORDS, help="status and plan look only; resume is what it does anyway"
    )
    parser.add_argument("pipeline", help="a pipeline file, or a recipe's name such as mini/pipeline")
    parser.add_argument("--output_dir", "--output-dir", help="folder instead of the file's")
    parser.add_argument("--seed", type=int, help="of every stage, instead of the file's")
    parser.add_argument("--scale", help="a name of the file's `scales`, such as tiny")
    parser.add_argument("--max_parallel", "--max-parallel", type=int, help="stages beside each other")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="an option of a stage")
    parser.add_argument("--until", metavar="STAGE", help="only this stage and what it rests on")
    parser.add_argument("--redo", metavar="STAGE[,STAGE]", help="run these and what rests on them again")
    parser.add_argument("--dry-run", "--dry_run", action="store_true", help="print the plan, run nothing")
    parser.add_argument("--status", action="store_true", help="print how far it is, run nothing")


def run(args: argparse.Namespace) -> int:
    """Shows how far the pipeline is, or goes on with it.

    Raises:
        ValueError: the file or an option cannot be, or the folder holds another pipeline.
    """
    plan = read(args.pipeline, args.output_dir, args.seed, args.scale, args.max_parallel, args.set)
    plan = plan.until(args.until) if args.until else plan
    typed = shlex.split(args.typed)
    if args.word:
        typed.remove(args.word)
    command = shlex.join(without_redo(typed))
    if args.dry_run or args.word == "plan":
        print(plan_text(plan, command))
        return 0
    if args.status or args.word == "status":
        print(status_text(plan, command))
        return 0
    from trl_r1.pipeline.run import Run

    work = Run(plan, command=command)
    work.prepare(redo=[name for name in (args.redo or "").split(",") if name])
    try:
        return work.go()
    except OSError as error:  # a full disk, say
        print(
            f"trl-r1 run: {error}. What is finished is kept; `{command}` goes on when that is mended.", file=sys.stderr
        )
        return 1


def without_redo(arguments: list[str]) -> list[str]:
    """The command as it was typed, without what asks for something else than running."""
    words, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--redo":
            skip = True
        elif not argument.startswith("--redo=") and argument not in ("--status", "--dry-run", "--dry_run"):
            words.append(argument)
    return words


def state_of(plan: Pipeline, record: Record | None, alive: bool) -> dict[str, str]:
    """One word per stage: finished, running, stopped (a killed run left it), failed, ready, waiting."""
    states: dict[str, str] = {}
    for step in plan.steps:
        entry: Json = record.of(step.name) if record else {}
        noted = entry.get("state")
        if record and record.finished(step):
            states[step.name] = "finished"
        elif noted == "running":
            states[step.name] = "running" if alive else "stopped"
        elif noted == "failed":
            states[step.name] = "failed"
        elif noted == "waits for a person":
            states[step.name] = "asks you"
        else:
            states[step.name] = "ready" if all(states[name] == "finished" for name in step.after) else "waiting"
    return states


def plan_text(plan: Pipeline, command: str) -> str:
    """What would run, what is finished, with the commands; nothing is written."""
    from trl_r1.pipeline.orders import command_line

    record = Record.load(plan.folder)
    changes = {change.stage: change.what for change in record.changes(plan)} if record else {}
    states = state_of(plan, record, alive=False)
    again = set(plan.followers(changes)) if changes else set()
    lines = [
        f"{plan.name}: {len(plan.steps)} stages from {plan.source}, seed {plan.seed}"
        + (f", scale {plan.scale}" if plan.scale else "")
        + f", at most {plan.max_parallel} at a time, into {plan.folder}"
    ]
    words = {
        "finished": "finished",
        "stopped": "goes on",
        "asks you": "goes on",
        "failed": "runs again",
        "ready": "runs",
        "waiting": "runs",
    }
    for step in plan.steps:
        what = (
            "changed"
            if step.name in changes
            else "rests on a change"
            if step.name in again
            else words[states[step.name]]
        )
        after = f" after {', '.join(step.after)}" if step.after else ""
        lines += ["", f"  {step.name}: {what}{after}", f"      {command_line(plan, step)}"]
        if step.changed:
            lines.append(
                f"      {step.config} with {', '.join(f'{key}={value!r}' for key, value in step.changed.items())}"
            )
        else:
            lines.append(f"      {step.config} as it is")
    lines += ["", *[f"Note: {warning}" for warning in plan.warnings]]
    if record and changes:
        lines.append(refuse(record.changes(plan), plan, command))
    return "\n".join(lines).rstrip()


def status_text(plan: Pipeline, command: str) -> str:
    """How far it is: one line per stage."""
    import json

    from trl_r1.pipeline import report
    from trl_r1.pipeline.console import clock, log_lines
    from trl_r1.pipeline.orders import log_path
    from trl_r1.pipeline.record import SUMMARY

    record = Record.load(plan.folder)
    if record is None:
        return f"{plan.folder} does not exist yet: nothing has run. `{command}` starts it."
    alive = is_alive(plan)
    states = state_of(plan, record, alive)
    done = sum(state == "finished" for state in states.values())
    lines = [
        f"{plan.name} in {plan.folder}: {done} of {len(plan.steps)} stages finished, "
        f"{clock(record.content['seconds'])} of work, {'running' if alive else 'not running'}"
    ]
    for step in plan.steps:
        entry, state = record.of(step.name), states[step.name]
        text = ""
        if state == "finished":
            text = report.result_line(step, json.loads((step.folder / SUMMARY).read_text(encoding="utf-8")))
        elif state in ("failed", "asks you"):
            text = entry.get("error", "")
        elif state in ("running", "stopped"):
            text = next(reversed(log_lines(log_path(plan, step))), "")
        elif state == "waiting":
            text = f"for {', '.join(name for name in step.after if states[name] != 'finished')}"
        seconds = clock(entry["seconds"]) if entry else ""
        lines.append(f"  {step.name:<20} {state:<9} {seconds:>8}  {text[:160]}".rstrip())
    for change in record.changes(plan):
        lines.append(f"Changed: {change.what}.")
    if not alive and done < len(plan.steps):
        lines.append(f"`{command}` goes on.")
    return "\n".join(lines)


def is_alive(plan: Pipeline) -> bool:
    """Whether a process holds the pipeline's folder right now."""
    from trl_r1.storage import manifest

    try:
        manifest.hold(plan.folder).release()
    except ValueError:
        return True
    return False
