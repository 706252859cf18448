"""A few rows of a recipe as its model would see them: the stretches of context, thought, answer and end, as text.

preview_rows(rows, renderer, ...)   rows to imitate: their labels
preview_prompts(rows, renderer)     problems: their prompts
lines(...)                          the same for a person
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trl_r1.data.imitation import training_row
from trl_r1.models.rendering import Renderer, TrainingRow, UnfitTemplate
from trl_r1.models.rendering.prompts import prompt_of
from trl_r1.runs.rendering import renderer_of
from trl_r1.text.records import Json, Row


CONTEXT, MARK = "context", "mark"
COLOURS = {CONTEXT: "2", MARK: "33", "thought": "36", "answer": "32", "end": "35"}  # of a terminal (ECMA-48)
WIDTH = max(map(len, COLOURS))


@dataclass(frozen=True)
class Stretch:
    """Neighbouring tokens of one kind: context (read, not trained on), thought, answer, end, or a mark between them."""

    kind: str
    text: str  # with all special tokens
    tokens: int


@dataclass(frozen=True)
class Preview:
    """One row. ``refused`` is the sentence that says why it cannot be trained on; it has no stretches then."""

    row: int
    stretches: list[Stretch] = field(default_factory=list)
    refused: str = ""


def stretches(rendered: TrainingRow, renderer: Renderer) -> list[Stretch]:
    """A row to train on in stretches, in order; decoded together they are its whole text.

    What is trained on and neither thought, answer nor end is a mark.
    """
    kinds = [CONTEXT] * len(rendered.prompt_ids) + [MARK if label else CONTEXT for label in rendered.labels]
    for part in rendered.parts:
        for place in range(len(rendered.prompt_ids) + part.start, len(rendered.prompt_ids) + part.end):
            kinds[place] = part.kind
    ids, row_stretches, start = rendered.input_ids, [], 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or kinds[place] != kinds[start]:
            row_stretches.append(Stretch(kinds[start], decoded(renderer, ids[start:place]), place - start))
            start = place
    return row_stretches


def decoded(renderer: Renderer, ids: Sequence[int]) -> str:
    """Ids as text, special tokens and all."""
    return str(renderer.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def as_read(path: str | None, options: Any, row: Row | None) -> str:
    """The prompt of a row as a model reads it, as text with all special tokens; "" where no local model was asked, or its
    tokenizer or template refuses: a report is written at the end of long work, and goes without it then.

    Args:
        path: of the model, as `find_model` returned it.
        options: of the run, as `renderer_of` reads them.
    """
    if row is None or path is None or not Path(path).is_dir():
        return ""
    from transformers import AutoTokenizer

    try:
        renderer = renderer_of(AutoTokenizer.from_pretrained(path), options, path)
        return decoded(renderer, renderer.prompt_ids(prompt_of(row)))
    except (OSError, ValueError):
        return ""


def preview_rows(rows: Iterable[Row], renderer: Renderer, all_assistant_turns: bool = False) -> list[Preview]:
    """Rows of `data.imitation.to_imitate`, rendered as `sft` renders them."""
    previews = []
    for number, row in enumerate(rows):
        try:
            rendered = training_row(row, renderer, all_assistant_turns)
        except UnfitTemplate as error:
            previews.append(Preview(number, refused=str(error)))
        else:
            previews.append(Preview(number, stretches(rendered, renderer)))
    return previews


def preview_prompts(rows: Iterable[Row], renderer: Renderer) -> list[Preview]:
    """Problems (rows with ``prompt``): what generation reads before it begins."""
    previews = []
    for number, row in enumerate(rows):
        try:
            ids = renderer.prompt_ids(prompt_of(row))
        except ValueError as error:
            previews.append(Preview(number, refused=str(error)))
        else:
            previews.append(Preview(number, [Stretch(CONTEXT, decoded(renderer, ids), len(ids))]))
    return previews


def end_tokens(renderer: Renderer) -> list[str]:
    """What generation stops at, as text."""
    return [decoded(renderer, [token]) for token in sorted(renderer.stops)]


def as_json(previews: Iterable[Preview], renderer: Renderer, stage: str) -> Json:
    """Everything that `lines` says, as data."""
    return {
        "stage": stage,
        "end_tokens": end_tokens(renderer),
        "found": dict(renderer.facts.table()),
        "rows": [asdict(one) for one in previews],
    }


def lines(previews: Iterable[Preview], renderer: Renderer, colour: bool = False) -> list[str]:
    """The preview for a person; every text is quoted, so that spaces and line breaks are seen.

    Args:
        colour: for a terminal.
    """
    text_lines = []
    for one in previews:
        if one.refused:
            text_lines.append(f"row {one.row}: refused. {one.refused}")
            continue
        read = sum(part.tokens for part in one.stretches if part.kind == CONTEXT)
        trained = sum(part.tokens for part in one.stretches) - read
        text_lines.append(f"row {one.row}: {read} tokens of context" + (f", {trained} of labels" if trained else ""))
        text_lines += [
            f"  {part.kind:<{WIDTH}}  {painted(repr(part.text), part.kind, colour)}" for part in one.stretches
        ]
    text_lines.append("generation stops at " + (", ".join(map(repr, end_tokens(renderer))) or "nothing"))
    return text_lines + ["the template:", *table(renderer.facts.table())]


def table(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What the renderer found, in two columns."""
    width = max(len(what) for what, _ in pairs)
    return [f"  {what:<{width}}  {finding}" for what, finding in pairs]


def painted(text: str, kind: str, colour: bool) -> str:
    """A text in the colour of its kind."""
    return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m" if colour and kind in COLOURS else text


def fitting_stage(keys: Iterable[str], known: Mapping[str, set[str]]) -> str | None:
    """The first stage that knows every key of a recipe.

    >>> fitting_stage({"a", "b"}, {"sft": {"a"}, "zero": {"a", "b"}})
    'zero'
    """
    wanted = set(keys) - {"env"}
    return next((stage for stage, names in known.items() if wanted <= names), None)


def first(rows: Any, count: int) -> Any:
    """The first rows of a dataset."""
    return rows.select(range(min(count, len(rows))))
