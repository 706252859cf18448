"""The card of a folder of reasoning traces: what they hold, how many of each level, and what became of what was drawn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trl_r1.data.difficulty import LEVELS


CARD = """---
configs:
- config_name: default
  data_files: data/traces.parquet
tags:
- reasoning
- trl-r1
---

# {title}

{count} traces: {right} right, {wrong} wrong. Each has three annotations:

1. `trace`: the reasoning in natural language, as its source wrote it.
2. `steps`: those of its steps that could be written in SMT-LIB, with `premises`, `claim`, and the `verdict` that Z3 gave
   them: `right` (the premises leave the claim no way to fail) or `wrong` (no way to hold). `trl-r1 traces verify FOLDER`
   replays them.
3. `counterexample` of a wrong step: a state of affairs that the premises allow and the claim denies, as JSON.

A right trace ends in the gold answer and has no wrong step. A wrong one ends in another answer and has at least one wrong
step. Steps that nobody could formalise are not judged: a right trace may still say something wrong in words.

| level | traces | right | wrong |
|---:|---:|---:|---:|
{levels}

Sources: {sources}. Domains: {domains}. Steps: {steps} judged, {bad} of them wrong.

What became of what was drawn:

| | |
|---|---:|
{funnel}
"""


def card(rows: Sequence[Mapping[str, Any]], funnel: Counter[str], title: str) -> str:
    """The dataset card, in Markdown. ``funnel`` says what became of what was drawn."""
    by_level = "\n".join(
        f"| {level} | {len(part)} | {sum(r['kind'] == 'right' for r in part)} | {sum(r['kind'] == 'wrong' for r in part)} |"
        for level in LEVELS
        for part in [[row for row in rows if row["level"] == level]]
    )
    steps = [step for row in rows for step in row["steps"]]
    return CARD.format(
        title=_line(title),
        count=len(rows),
        right=sum(row["kind"] == "right" for row in rows),
        wrong=sum(row["kind"] == "wrong" for row in rows),
        levels=by_level,
        sources=_named(row["source"] for row in rows),
        domains=_named(row["domain"] for row in rows),
        steps=len(steps),
        bad=sum(step["verdict"] == "wrong" for step in steps),
        funnel="\n".join(f"| {_line(name)} | {count} |" for name, count in funnel.most_common()),
    )


def _named(values: Any) -> str:
    return ", ".join(f"{_line(str(name))} ({count})" for name, count in Counter(values).most_common()) or "none"


def _line(text: str) -> str:
    return " ".join(re.sub(r"[|`<>\[\]]", " ", text).split())
