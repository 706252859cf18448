"""`trl-r1 data`: `check` says which gold answers of a dataset can be used to reward with, `grade` how hard its rows are."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from trl_r1.commands import grade as grade_command


SHOWN = 5  # unusable rows that are printed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="trl-r1 data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="examine the gold answers; exit code 1 when some are unusable")
    checking.add_argument("rows", help="a data file or folder, a saved dataset, a hub id, or mini:<name>")
    checking.add_argument("--split", default="train", help="split or slice, such as train[:100] (default: train)")
    checking.add_argument("--config", help="configuration of a hub dataset")
    checking.add_argument("--gold-column", help="column of the gold answers; the usual names are tried without")
    checking.add_argument("--quarantine", metavar="FILE", help="write the unusable rows there, as JSON lines")
    checking.add_argument(
        "--repaired", metavar="FILE", help="write the usable rows there, golds repaired, as JSON lines"
    )
    checking.add_argument(
        "--allow", type=int, default=0, metavar="N", help="unusable rows to put up with (default: 0)"
    )
    checking.add_argument("--seconds", type=float, default=2.0, help="time math-verify may take for one comparison")
    grading = commands.add_parser("grade", help="a level of difficulty from 1 to 6 for every row")
    grade_command.add_arguments(grading)
    chosen = parser.parse_args(argv)
    try:
        return grade_command.run(chosen) if chosen.command == "grade" else check(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"trl-r1 data: {error}", file=sys.stderr)
        return 2


def check(chosen: argparse.Namespace) -> int:
    """Runs the check; returns the exit code."""
    from trl_r1.data.columns import load_rows
    from trl_r1.data.goldcheck import GOLD_COLUMNS, check_golds, coverage, find_column
    from trl_r1.storage.files import replace_file

    targets = {option: Path(path) for option in ("quarantine", "repaired") if (path := getattr(chosen, option))}
    for option, path in targets.items():
        _refuse(option, path, chosen.rows)
    if len({path.resolve() for path in targets.values()}) < len(targets):
        raise ValueError(f"--quarantine and --repaired are the same file {str(targets['repaired'])!r}; name two.")
    if chosen.allow < 0 or chosen.seconds <= 0:
        raise ValueError(
            f"--allow {chosen.allow} --seconds {chosen.seconds:g}: neither may be negative, nor the time 0."
        )
    rows = load_rows(chosen.rows, chosen.split, chosen.config)
    column = find_column(rows.column_names, chosen.gold_column, GOLD_COLUMNS, "gold answer")
    started = time.monotonic()
    checks = check_golds(rows[column], chosen.seconds, progress=Progress(len(rows)))
    took = time.monotonic() - started

    print(f"{chosen.rows}, column {column!r}: {len(rows)} rows in {took:.1f} s")
    print("\n".join(coverage(checks)))
    for note in _notes(chosen.rows, rows, column, checks):
        print(note)
    bad = [found for found in checks if not found.usable]
    for found in bad[:SHOWN]:
        print(f"row {found.row}: {_short(rows[found.row][column])} {found.why}")
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
    return int(len(bad) > chosen.allow)


def _notes(name: str, rows: Any, column: str, checks: Any) -> list[str]:
    """What to know of the golds beside whether they are usable."""
    from trl_r1.data.exact_numbers import notes
    from trl_r1.data.goldcheck import PROMPT_COLUMNS, order_notes

    said = []
    path = Path(name).expanduser()
    if path.exists() and (why := notes(path).get(column)):
        said.append(f"column {column!r} {why}: it is read as text, so that every gold stays as it is written.")
    elif "float64" in str(rows.features[column]):
        said.append(
            f"column {column!r} holds doubles: a whole number is read as one, and beyond 2^53 is not to be trusted."
        )
    question = next((one for one in PROMPT_COLUMNS if one in rows.column_names), None)
    if question is not None:
        types = rows["answer_type"] if "answer_type" in rows.column_names else None
        said += order_notes(checks, rows[question], types)
    return said


class Progress:
    """A count on standard error: rewritten in place on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.said = time.monotonic()

    def __call__(self, done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= self.total else ""
            print(f"\rchecked {done} of {self.total} rows", end=end, file=sys.stderr, flush=True)
        elif time.monotonic() - self.said >= 10:
            self.said = time.monotonic()
            print(f"checked {done} of {self.total} rows", file=sys.stderr, flush=True)


def _refuse(option: str, path: Path, source: str) -> None:
    if path.suffix.lower() != ".jsonl":
        raise ValueError(f"--{option} {str(path)!r}: it is written as JSON lines, so give a name that ends in .jsonl.")
    origin = Path(source).expanduser()
    inside = origin.is_dir() and path.resolve().is_relative_to(origin.resolve())
    if inside or (origin.exists() and path.exists() and path.samefile(origin)):
        raise ValueError(f"--{option} {str(path)!r} would overwrite the source; name another file.")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _short(value: Any, most: int = 80) -> str:
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
