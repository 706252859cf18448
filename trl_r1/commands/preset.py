"""`trl-r1 preset STAGE --gpu none|24GB|48GB|80GB`: the paper's numbers as a recipe, with every deviation and its reason.

trl-r1 preset zero --gpu none               the published numbers as fields, unscaled
trl-r1 preset zero --gpu 24GB > zero.yaml   a recipe for one card; trl-r1 zero --config zero.yaml takes it
trl-r1 preset distill --gpu none --model Qwen/Qwen2.5-32B
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import yaml

from trl_r1.recipes.presets import CARDS, Preset, preset
from trl_r1.recipes.published import PAPER
from trl_r1.storage.files import replace_file


def render(result: Preset) -> str:
    """A recipe in YAML: the table of deviations in its header, the source of each field behind it."""
    stage = result.stage
    target = (
        "the paper's numbers, unscaled"
        if result.card == "none"
        else f"the paper's numbers scaled to one GPU of {result.card}"
    )
    lines = [
        f"# {stage}: {target}",
        "#",
        f"#   trl-r1 {stage.replace('_', '-')} --config FILE       (made by: trl-r1 preset {stage} --gpu {result.card})",
        "#",
        "# Machine   "
        + ("none has been found for it" if result.card == "none" else "memory is estimated, not measured"),
        "# Paper     DeepSeek-R1, arXiv:2501.12948; v1 and v2 name its versions",
        "# Deviations from the paper",
    ]
    for entry in result.deviations:
        sentence = f"{entry.field}: {entry.paper} -> {entry.here}. {entry.reason[:1].upper()}{entry.reason[1:]}."
        lines += textwrap.wrap(
            sentence, 110, initial_indent="#   - ", subsequent_indent="#     ", break_long_words=False
        )
    lines.append("")
    for name, field in result.fields.items():
        flow = None if isinstance(field.value, list | dict) else False
        text = yaml.safe_dump({name: field.value}, default_flow_style=flow, width=10_000, allow_unicode=True).rstrip()
        notes = "; ".join(part for part in (field.source, field.remark) if part)
        if "\n" in text:
            lines += [f"# {notes}", text] if notes else [text]
        else:
            lines.append(f"{text:<47} # {notes}" if notes else text)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help=", ".join(PAPER))
    parser.add_argument("--gpu", default="none", help=f"{', '.join(CARDS)} (default: none, the paper unscaled)")
    parser.add_argument("--model", help="instead of the preset's; a student of the paper brings its own rate")
    parser.add_argument("--output", type=Path, help="write the recipe there instead of printing it")


def run(args: argparse.Namespace) -> int:
    """Prints or writes the recipe.

    Raises:
        ValueError: no such stage or card, or the file is there already.
    """
    text = render(preset(args.stage, args.gpu, args.model))
    if args.output is None:
        print(text, end="")
        return 0
    if args.output.exists():
        raise ValueError(f"{args.output} is already there and is not overwritten.")
    replace_file(args.output, text)
    print(args.output)
    return 0
