"""Everything that the recipes, docs and README wait for, measured on one GPU in minutes; finds what only a GPU shows.

    python benchmarks/gpu.py --minutes 8                    (any CUDA machine; `trl-r1 doctor --gpu` is the same)
    python benchmarks/gpu.py --minutes 5                    (again: goes on with what is missing)
    python benchmarks/gpu.py --write                        (no measuring: figures go to recipes, docs and README)
    python benchmarks/gpu.py --device cpu --tiny            (every section in miniature; what CI runs)

Sections   each in a process of its own, with a time limit; one that dies leaves the others' results and what it had
           measured itself. Planned by priority for the minutes given; what found no place is named.
Models     random weights in the recipes' real shapes, made on the GPU; rows and tokenizer are made here too. Nothing is
           downloaded.
Leaves     in --output (runs/gpu): gpu.json, gpu.md, a log and the figures of every section.
Stock      TRL's own generation is timed on 128 tokens and scaled to the recipe's length; figures say so.

docs/gpu.md describes the sections, the wheels a bare image needs (benchmarks/gpu_wheels.sh) and one prepared command. The
last line is JSON. Exit code 0: everything asked for was measured or had no time; 1: a section failed (in miniature: or was
left out); 2: a mistake in the options.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "benchmarks")) if path not in sys.path]
from gpu_sections.budget import following, limit_of, plan  # noqa: E402
from gpu_sections.catalogue import SECTIONS, Section, Setting  # noqa: E402
from gpu_sections.headers import write_figures  # noqa: E402
from gpu_sections.processes import preload, run_apart  # noqa: E402
from gpu_sections.record import Record, card_of, commit_of, read  # noqa: E402
from gpu_sections.report import markdown  # noqa: E402

from trl_r1.storage.files import replace_file  # noqa: E402


ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TRL_R1_TRACEBACK": "1",  # in a section's log
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking whether there is a GPU starts nothing: a process may fork after it
    "CUDA_VISIBLE_DEVICES": "0",  # several cards would be one data-parallel trainer
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # equal sums in equal runs
}


def measure(
    sections: Sequence[Section],
    record: Record,
    setting: Setting,
    minutes: float,
    again: Sequence[str] = (),
    commit: str | None = None,
) -> list[str]:
    """Runs what fits into the minutes, by priority; returns the names of what was measured now.

    Args:
        commit: that is measured; None: as git tells.
        again: sections to measure anew though they are finished.
    """
    deadline = time.monotonic() + 60 * minutes
    folder, commit = record.path.parent, commit or commit_of(ROOT)
    done = record.finished(again)
    chosen, _ = plan(sections, done, 60 * minutes, setting.tiny)
    print(
        f"{len(done)} kept; {len(chosen)} planned for {minutes:g} minutes: {', '.join(chosen) or 'none'}", flush=True
    )
    start = preload(setting.device) if chosen else "fork"
    measured: list[str] = []
    while (section := following(sections, done, left := deadline - time.monotonic(), setting.tiny)) is not None:
        outcome = run_apart(section, setting, folder, limit_of(section, setting.tiny, left), start)
        record.keep(section.name, outcome, commit)
        replace_file(folder / "gpu.md", markdown(record.content, sections))
        done.add(section.name)
        measured.append(section.name)
        why = f": {outcome.error}" if outcome.error else ""
        print(f"{section.name:<20} {outcome.status:<12} {outcome.seconds:6.1f} s{why}", flush=True)
    record.leave_out([section.name for section in sections if section.name not in done])
    replace_file(folder / "gpu.md", markdown(record.content, sections))
    return measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=8.0, help="planned for; what finds no place is named")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder of gpu.json and gpu.md")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="these sections alone")
    parser.add_argument("--again", nargs="+", default=[], metavar="SECTION", help="measure these anew")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="miniature shapes: tries every section, measures nothing")
    parser.add_argument("--write", action="store_true", help="put kept figures into recipes, docs and README")
    parser.add_argument("--commit", help="what is measured, where the checkout has no .git; default: as git tells")
    parser.add_argument("--list", action="store_true", help="name the sections")


def asked_for(names: Sequence[str] | None) -> tuple[Section, ...]:
    """The sections of these names, by priority.

    Raises:
        ValueError: there is none of such a name.
    """
    known = [section.name for section in SECTIONS]
    for name in names or ():
        if name not in known:
            raise ValueError(f"There is no section {name!r}. Sections: {', '.join(known)}.")
    return tuple(section for section in SECTIONS if not names or section.name in names)


def run(args: argparse.Namespace) -> int:
    """The command.

    Raises:
        ValueError: an option cannot work here; one sentence.
    """
    sections = asked_for([*(args.only or ())])
    asked_for(args.again)
    if args.list:
        print(*[f"{one.name:<20} {one.seconds:4} s  {one.title}" for one in sections], sep="\n")
        return 0
    if args.write:
        changed = write_figures(read(args.output / "gpu.json"), ROOT)
        print("Written:", ", ".join(changed) or "nothing new")
        return 0
    if args.device == "cpu" and not args.tiny:
        raise ValueError("On a CPU the real shapes would take days. Add --tiny, or use a machine with a GPU.")
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"torch {torch.__version__} sees no GPU here. On a machine without one: --device cpu --tiny tries every section."
        )
    identity = {"card": card_of(args.device), "device": args.device, "tiny": args.tiny}
    record = Record(args.output, identity)
    scratch = args.output / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        setting = Setting(args.device, args.tiny, scratch.resolve())
        measured = measure(sections, record, setting, args.minutes, args.again, args.commit)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    failed = [name for name in measured if record.sections[name]["status"] != "finished"]
    print(f"Figures: {args.output / 'gpu.md'}")
    told = {"name": "gpu", "measured": len(measured), "failed": failed, "left_out": record.content["left_out"]}
    print(json.dumps(told))
    return int(bool(failed or (args.tiny and record.content["left_out"])))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except ValueError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    for name, value in ENVIRONMENT.items():  # before anything heavy is imported
        os.environ.setdefault(name, value)
    if "--tiny" in sys.argv:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # miniatures gain nothing from a second thread
    sys.exit(main())
