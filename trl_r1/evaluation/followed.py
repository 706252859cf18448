"""What a second process has measured on the checkpoints of a run, for that run's own report.

    <run>/followed.jsonl    one line per checkpoint and dataset: step, part, the numbers and their intervals

The training process never writes here; its report reads what is there when it is written, and ``refresh`` puts what
comes later into a report that exists already.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.evaluation.markdown import with_section
from trl_r1.storage.files import read_json_lines, replace_file
from trl_r1.text.records import Row


FILE_NAME = "followed.jsonl"
HEADING = "## Checkpoints, evaluated while it trained"
METRICS = ("pass@1", "cons@K", "pass@K", "format", "language", "length")


def record(run: str | os.PathLike[str], step: int, evaluations: Mapping[str, Evaluation]) -> None:
    """Adds the evaluations of a step by part, all or none; of two for a step and part the later one counts."""
    fresh = []
    for part, evaluation in evaluations.items():
        numbers = evaluation.to_dict()
        keys = ("interval", "samples", "problems", *(evaluation.key(metric) for metric in METRICS))
        fresh.append({"step": step, "part": part} | {key: numbers[key] for key in keys})
    path = Path(run) / FILE_NAME
    kept = [old for old in read_followed(run) if old["step"] != step or old["part"] not in evaluations]
    lines = sorted([*kept, *fresh], key=lambda row: (row["step"], row["part"]))
    replace_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines))


def read_followed(run: str | os.PathLike[str]) -> list[Row]:
    """The lines, by step."""
    rows = [row for row in read_json_lines(Path(run) / FILE_NAME) if isinstance(row.get("step"), int)]
    return sorted((row for row in rows if isinstance(row.get("part"), str)), key=lambda row: row["step"])


def as_metrics(run: str | os.PathLike[str]) -> list[Row]:
    """The same as lines of a metrics log: ``{"step": 35, "followed/gsm8k/pass@1": 0.31}``."""
    return [
        {"step": row["step"], f"followed/{row['part']}/pass@1": row["pass@1"]}
        for row in read_followed(run)
        if row.get("pass@1") is not None
    ]


def section(run: str | os.PathLike[str]) -> str:
    """The table for the report; "" where nobody followed."""
    rows = read_followed(run)
    if not rows:
        return ""
    several = any((row.get("samples") or 0) > 1 for row in rows)  # one sample is its own majority
    columns = [
        "step",
        "dataset",
        "pass@1",
        *(["majority", "at least one"] if several else []),
        "format",
        "language",
        "tokens",
    ]
    lines = [
        HEADING,
        "",
        "A second process (`trl-r1 evaluate --follow`) sampled these; bootstrap intervals over problems in brackets.",
        "",
        f"| {' | '.join(columns)} |",
        "|---:|---|" + "---:|" * (len(columns) - 2),
    ]
    for row in rows:
        low, high = row.get("interval", {}).get("pass@1", [None, None])
        k = row.get("samples")
        of_k = (f"cons@{k}", f"pass@{k}") if several else ()
        cells = [percent(row.get("pass@1")) + (f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None else "")]
        cells += [percent(row.get(name)) for name in (*of_k, "format", "language")]
        length = row.get("length")
        cells.append("–" if length is None else f"{length:.0f}")
        part = re.sub(r"[^\w.-]+", "-", row["part"])
        lines.append(f"| {row['step']} | {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def percent(share: Any) -> str:
    return f"{100 * share:.1f} %" if isinstance(share, int | float) and math.isfinite(share) else "–"


def put_into(report: str, table: str) -> str:
    """A report with its table of checkpoints renewed, or put before the sample answers where it has none.

    >>> put_into("# R\\n\\n## Sample answers\\n\\nx\\n", "## Checkpoints, evaluated while it trained\\n\\nt")
    '# R\\n\\n## Checkpoints, evaluated while it trained\\n\\nt\\n\\n## Sample answers\\n\\nx\\n'
    """
    return with_section(report, HEADING, table, ("\n## Sample answers", "\n## Settings"))
