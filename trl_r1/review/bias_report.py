"""What slices and counterfactual pairs showed, as Markdown and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trl_r1.evaluation.markdown import inline
from trl_r1.evaluation.metrics import Interval
from trl_r1.review.counterfactual import Gap
from trl_r1.review.slices import MEASURES, SHARES, Slice, excludes_zero
from trl_r1.text.records import Row


def number(value: float, measure: str) -> str:
    """A share in per cent, a length in tokens."""
    if math.isnan(value):
        return ""
    return f"{100 * value:.1f}" if measure in SHARES else f"{value:.1f}"


def gap_cell(gap: Interval, measure: str, is_finding: bool) -> str:
    factor = 100 if measure in SHARES else 1
    text = f"{factor * gap.mean:+.1f} [{factor * gap.low:+.1f}, {factor * gap.high:+.1f}]"
    return f"**{text}**" if is_finding else text


def slices_table(slices: Sequence[Slice]) -> str:
    """One line per slice."""
    head = "| slice | problems | rest |" + "".join(f" {name} | against the rest |" for name in MEASURES)
    lines = [head, "|---|---:|---:|" + "---:|---:|" * len(MEASURES)]
    for s in slices:
        cells = "".join(
            f" {number(s.means[name], name)} | {gap_cell(s.gaps[name], name, excludes_zero(s.gaps[name]))} |"
            if name in s.gaps
            else " | |"
            for name in MEASURES
        )
        lines.append(f"| {inline(s.kind)}: {inline(s.name)} | {s.problems} | {s.rest} |{cells}")
    return "\n".join(lines)


def gaps_table(gaps: Sequence[Gap]) -> str:
    """One line per pair of groups and measure."""
    lines = [
        "| groups | measure | pairs (differ) | first | second | second minus first | sign test |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for gap in gaps:
        lines.append(
            f"| {inline(gap.axis)}: {inline(gap.groups[0])}, {inline(gap.groups[1])} | {gap.measure} | {gap.pairs} "
            f"({gap.differing}) | {number(gap.means[0], gap.measure)} | {number(gap.means[1], gap.measure)} | "
            f"{gap_cell(gap.interval, gap.measure, gap.found)} | {gap.chance:.2g} |"
        )
    return "\n".join(lines)


def headline(entries: Sequence[Slice] | Sequence[Gap]) -> str:
    """The findings in a sentence."""
    sentences = []
    for entry in entries:
        if isinstance(entry, Slice):
            sentences += [f"{entry.kind} {entry.name}: {name}" for name in entry.findings()]
        elif entry.found:
            sentences.append(f"{entry.groups[0]} and {entry.groups[1]} ({entry.axis}): {entry.measure}")
    if sentences:
        count, text = len(sentences), inline("; ".join(sentences), 2000)
        return f"{count} gap{'s' * (count != 1)} whose interval excludes 0: {text}."
    return "No gap's interval excludes 0."


def markdown(title: str, entries: Sequence[Slice] | Sequence[Gap], level: float, notes: Sequence[str] = ()) -> str:
    """The whole report."""
    table = slices_table([s for s in entries if isinstance(s, Slice)])
    if entries and isinstance(entries[0], Gap):
        table = gaps_table([g for g in entries if isinstance(g, Gap)])
    how = (
        f"Shares in per cent, lengths in tokens. The intervals hold together at {level:.0%} (Bonferroni); what excludes 0 "
        "is in bold. An interval that holds 0 is no proof of equal treatment: look at its ends."
    )
    return "\n\n".join([f"# {inline(title)}", headline(entries), how, *notes, table]) + "\n"


def gaps_as_json(gaps: Sequence[Gap]) -> list[Row]:
    """Plain values."""
    return [
        {**vars(gap), "groups": list(gap.groups), "means": list(gap.means), "interval": list(gap.interval)}
        for gap in gaps
    ]
