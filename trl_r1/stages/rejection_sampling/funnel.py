"""The funnel: how many samples each filter let through, as a table and as a picture; and the report of such a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl_r1.evaluation.markdown import environment_section, fenced, inline, settings_section
from trl_r1.evaluation.pictures import COLOURS
from trl_r1.evaluation.report import prompt_section
from trl_r1.stages.rejection_sampling.job import Entry
from trl_r1.storage.shards import write_or_tell
from trl_r1.text.records import Row


PICTURE = "funnel.png"
DRAWN = "drawn"


@dataclass
class Funnel:
    """What is left after each step, by pool. Steps stand in the order they were first counted."""

    pools: list[str]
    left: dict[str, dict[str, int]] = field(default_factory=dict)  # step -> pool -> samples

    def count(self, step: str, pool: str, samples: int) -> None:
        """``samples`` of a pool came through ``step``."""
        row = self.left.setdefault(step, dict.fromkeys(self.pools, 0))
        row[pool] += samples

    def total(self, step: str) -> int:
        """Left after a step, over all pools."""
        return sum(self.left[step].values())

    def to_list(self) -> list[Row]:
        """The table as JSON rows."""
        return [{"step": step, "left": self.total(step), "pools": dict(row)} for step, row in self.left.items()]

    def markdown(self) -> str:
        """The table for a report."""
        several = self.pools if len(self.pools) > 1 else []
        head = ["step", "dropped", "left", "of drawn", *map(inline, several)]
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" + "---:|" * (len(head) - 1)]
        before, first = 0, 0
        for step, row in self.left.items():
            now = self.total(step)
            first = first or now
            dropped = "" if step == DRAWN else str(before - now)
            share = f"{now / first:.1%}" if first else ""
            cells = [inline(step), dropped, str(now), share, *(str(row[pool]) for pool in several)]
            lines.append("| " + " | ".join(cells) + " |")
            before = now
        return "\n".join(lines)

    def draw(self, path: Path) -> None:
        """A bar per step, the pools side by side in it.

        Raises:
            ShardError: the picture cannot be written.
        """
        from matplotlib.figure import Figure

        steps = list(self.left)
        figure = Figure(figsize=(8.2, 1.3 + 0.42 * len(steps)), layout="constrained", dpi=110)
        axes = figure.add_subplot()
        ends = [0] * len(steps)
        for number, pool in enumerate(self.pools):
            values = [self.left[step][pool] for step in steps]
            colour = COLOURS[number % len(COLOURS)]
            label = pool.replace("$", r"\$")  # a name is no formula
            axes.barh(range(len(steps)), values, left=ends, color=colour, height=0.72, label=label)
            ends = [end + value for end, value in zip(ends, values, strict=True)]
        for place, end in enumerate(ends):
            axes.text(end, place, f"  {end:,}", va="center", fontsize=9, color="#333333")
        axes.set_yticks(range(len(steps)), [step.replace("_", " ") for step in steps])
        axes.invert_yaxis()
        axes.set_xlim(0, max([1, *ends]) * 1.14)
        axes.set_title("Samples left after each step", loc="left", fontsize=13, fontweight="bold", color="#333333")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(True, axis="x", color="#E4E4E4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        if len(self.pools) > 1:
            axes.legend(frameon=False, fontsize=9, loc="lower right")
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
        write_or_tell(path, picture.getvalue())


def write_report(
    folder: Path,
    title: str,
    funnel: Funnel,
    notes: Sequence[str],
    examples: Mapping[str, Sequence[Entry]],
    settings: Mapping[str, Any],
    prompt: str = "",
) -> None:
    """report.md and its picture.

    Args:
        notes: sentences of ours for the top.
        examples: heading -> entries; what a model wrote is fenced.
        prompt: the first one, as the model reads it.

    Raises:
        ShardError: the folder cannot be written.
    """
    funnel.draw(folder / PICTURE)
    parts = [f"# {inline(title)}", *notes, f"## What was kept\n\n{funnel.markdown()}\n\n![funnel]({PICTURE})"]
    for heading, entries in examples.items():
        if entries:
            parts.append(f"## {inline(heading)}")
        for entry in entries:
            why = f"**{inline(entry.dropped_by)}**: {inline(entry.reason)}\n\n" if entry.reason else ""
            sample = entry.sample
            parts.append(f"{why}{fenced(sample.problem.question, 600)}\n\n{fenced(sample.completion.text, 1200)}")
    parts += [prompt_section(prompt), settings_section(settings), environment_section()]
    write_or_tell(folder / "report.md", "\n\n".join(part for part in parts if part) + "\n")
