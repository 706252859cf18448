"""Puts measured figures where readers look: recipe headers, docs/performance.md, README. Writing twice changes nothing.

In a recipe the line `# Measured` and the lines that continue it are replaced; in a page, what stands between the marks
`<!-- gpu -->` and `<!-- /gpu -->`. Every figure stands with card, date and commit.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_sections.report import figures_of, ratio, recipes, sampling
from trl_r1.storage.files import replace_file


Figures = Mapping[str, Any]
HEADER = re.compile(r"^# Measured .*\n(?:# {11}.*\n)*", re.M)
MARKED = re.compile(r"(<!-- gpu -->\n).*?(<!-- /gpu -->)", re.S)
WIDTH = 125  # of a line
FIGURES = "docs/performance.md#on-a-gpu"
SAMPLED_BY = {"cold_start": "teacher"}  # recipe -> the section of a model it samples


def write_figures(content: Figures, root: Path) -> list[str]:
    """Writes every finished section's figures; returns the files that changed.

    Args:
        content: of gpu.json.
        root: of the checkout.

    Raises:
        ValueError: the figures are a CPU's or in miniature, or a file has no place for them.
    """
    if content["device"] != "cuda" or content["tiny"]:
        raise ValueError(f"These figures are of {content['card']}, in miniature; only a GPU's are written.")
    changed = []
    for path in sorted((root / "recipes").glob("*.yaml")):
        told = header_of(path.stem, content)
        if told is not None:
            changed += _replaced(path, HEADER, "# Measured".ljust(12) + told, root)
    for name, text in (("docs/performance.md", page(content)), ("README.md", sentence(content))):
        if text:
            changed += _replaced(root / name, MARKED, text, root)
    return changed


def _replaced(path: Path, place: re.Pattern[str], text: str, root: Path) -> list[str]:
    """Puts the text into its place; [its name] where that changed the file."""
    before = path.read_text(encoding="utf-8")
    if len(place.findall(before)) != 1:
        raise ValueError(
            f"{path.relative_to(root)} has no place for figures, or several: expected one {place.pattern!r}."
        )
    if place is HEADER:
        lines = textwrap.wrap(text, WIDTH, initial_indent="", subsequent_indent="#" + " " * 11, break_on_hyphens=False)
        after = place.sub(lambda _: "\n".join(lines) + "\n", before)
    else:
        after = place.sub(lambda match: f"{match[1]}{text}\n{match[2]}", before)
    if after == before:
        return []
    replace_file(path, after)
    return [path.relative_to(root).as_posix()]


def source(content: Figures, name: str) -> str:
    """Card, date and commit of a section's figures."""
    kept = content["sections"][name]
    return f"{content['card']}, {kept['date']}, {kept['commit'] or 'no commit'}"


def is_finished(content: Figures, name: str) -> bool:
    return content["sections"].get(name, {}).get("status") == "finished"


# -- recipes --------------------------------------------------------------------------------------------------------------


def header_of(recipe: str, content: Figures) -> str | None:
    """What stands behind `# Measured`; None where nothing was measured."""
    if recipe == "pipeline":
        return of_the_pipeline(content)
    if not is_finished(content, recipe):
        return None
    figures = figures_of(content, recipe)
    told = of_training(figures) if "training_peak_gib" in figures else of_sampling(figures)
    other = SAMPLED_BY.get(recipe, "")
    if is_finished(content, other):
        told += f"; sampling {of_sampling(figures_of(content, other))}"
    return f"{source(content, recipe)}, random weights: {told}"


def of_training(figures: Figures) -> str:
    """Memory, time and the largest micro-batch."""
    parts = [f"training takes {figures['training_peak_gib']} GiB"]
    scaled = figures.get("rollout_scaled_from")
    if scaled:
        parts.append(f"a rollout {figures['rollout_peak_computed_gib']} (computed)")
    elif "rollout_peak_gib" in figures:
        parts.append(f"a rollout {figures['rollout_peak_gib']}")
    seconds = figures["recipe_step_seconds"]
    shorter = figures["accumulated"] != figures["accumulated_by_recipe"]
    how = f" (its generation scaled from {scaled} tokens)" if scaled else " (scaled)" if shorter else ""
    parts.append(
        f"a step of its whole length {seconds:.0f} s{how}" if seconds >= 10 else f"a step {seconds:.1f} s{how}"
    )
    if figures.get("max_steps"):
        parts.append(f"{figures['max_steps']:,} steps about {seconds * figures['max_steps'] / 3600:.1f} h")
    found = figures.get("largest_micro_batch", {})
    batches = [f"{found[card]} on {card}" for card in ("24 GB", "48 GB", "80 GB") if card in found]
    if batches:
        parts.append(f"largest micro-batch {', '.join(batches)}")
    return "; ".join(parts)


def of_sampling(figures: Figures) -> str:
    """Memory and speed of one batch."""
    return (
        f"{figures['rows']} rows of {figures['longest']:,} tokens with {figures['model']} take "
        f"{figures['peak_gib_computed']} GiB (computed from {figures['scaled_from']} tokens), "
        f"{figures['generated_tokens_per_second']:,.0f} tokens/s"
    )


def peaks(content: Figures) -> dict[str, float]:
    """Section -> GiB that it needs."""
    keys = ("training_peak_gib", "rollout_peak_gib", "rollout_peak_computed_gib", "peak_gib_computed")
    return {
        name: max(kept["figures"][key] for key in keys if key in kept["figures"])
        for name, kept in content["sections"].items()
        if kept["status"] == "finished" and any(key in kept["figures"] for key in keys)
    }


def of_the_pipeline(content: Figures) -> str | None:
    """Its stages' recipes say theirs; here the largest, once all are known."""
    stages = ("cold_start", "teacher", "reasoning_rl", "rejection_sampling", "sft", "reward_model", "all_scenario_rl",
              "distill")  # fmt: skip
    known = peaks(content)
    if not set(stages) <= set(known):
        return None
    most = max(stages, key=lambda name: known[name])
    return f"{source(content, most)}: at most {known[most]} GiB ({most}); hours: see each stage's recipe"


# -- pages ----------------------------------------------------------------------------------------------------------------


def page(content: Figures) -> str:
    """The tables of docs/performance.md; empty where nothing of them was measured."""
    parts = []
    if is_finished(content, "ratio"):
        parts.append([f"A step of `zero` ({source(content, 'ratio')}):", "", *ratio(content)])
    if recipes(content):
        dates = sorted({f"{kept['date']}, {kept['commit']}" for kept in content["sections"].values()})
        parts.append([f"Recipes ({content['card']}; {'; '.join(dates)}):", "", *recipes(content)])
    if sampling(content):
        parts.append(sampling(content))
    return "\n\n".join("\n".join(part) for part in parts)


def sentence(content: Figures) -> str:
    """README's line; empty before zero's step was compared with stock's."""
    if not is_finished(content, "ratio"):
        return ""
    times = f"On a GPU a step of `zero` is {figures_of(content, 'ratio')['ratio']} times as fast as stock TRL's"
    how = figures_of(content, "ratio")["stock_generation"]
    memory = f", in {peaks(content)['zero']} GiB" if "zero" in peaks(content) else ""
    told = f"{times}{memory} ({source(content, 'ratio')}; stock's generation {how}; [all figures]({FIGURES}))."
    return textwrap.fill(told, 119, break_on_hyphens=False)
