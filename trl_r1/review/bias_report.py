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
    """The findings in a sentence; of pairs also what the interval alone would have found."""
    found, unsure = [], []
    for entry in entries:
        if isinstance(entry, Slice):
            found += [f"{entry.kind} {entry.name}: {name}" for name in entry.findings()]
            continue
        name = f"{entry.groups[0]} and {entry.groups[1]} ({entry.axis}): {entry.measure}"
        if entry.found:
            found.append(name)
        elif excludes_zero(entry.interval):
            unsure.append(f"{name}, {entry.differing} pairs differ, sign test {entry.chance:.2g}")
    of_pairs = any(isinstance(entry, Gap) for entry in entries)
    sure = "excludes 0 and with which the sign test agrees" if of_pairs else "excludes 0"
    sentences = []
    if found:
        sentences.append(
            f"{len(found)} gap{'s' * (len(found) != 1)} whose interval {sure}: {inline('; '.join(found), 2000)}."
        )
    elif not unsure:
        sentences.append("No gap's interval excludes 0.")
    if unsure:
        sentences.append(
            f"{len(unsure)} gap{'s' * (len(unsure) != 1)} whose interval excludes 0 while the sign test does not agree, so "
            f"{'it is no finding' if len(unsure) == 1 else 'they are no findings'}: {inline('; '.join(unsure), 2000)}."
        )
    return " ".join(sentences)


def markdown(title: str, entries: Sequence[Slice] | Sequence[Gap], level: float, notes: Sequence[str] = ()) -> str:
    """The whole report."""
    table, bold = slices_table([s for s in entries if isinstance(s, Slice)]), "what excludes 0"
    if entries and isinstance(entries[0], Gap):
        table = gaps_table([g for g in entries if isinstance(g, Gap)])
        bold = "what excludes 0 and agrees with the sign test"
    how = (
        f"Shares in per cent, lengths in tokens. The intervals hold together at {level:.0%} (Bonferroni); {bold} is in "
        "bold. An interval that holds 0 is no proof of equal treatment: look at its ends."
    )
    return "\n\n".join([f"# {inline(title)}", headline(entries), how, *notes, table]) + "\n"


def gaps_as_json(gaps: Sequence[Gap]) -> list[Row]:
    """Plain values."""
    return [
        {**vars(gap), "groups": list(gap.groups), "means": list(gap.means), "interval": list(gap.interval)}
        for gap in gaps
    ]
