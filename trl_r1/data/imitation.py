"""Imitation: rows of any of three shapes in, rows with `prompt` and `completion` out, ready for `SFTTrainer`.

    prompt + completion      text or messages; what rejection sampling and the cold start leave
    question + completion    the question is put into a template
    messages                 a conversation; its last assistant message is the completion

Columns beside the two are left out, except what a row says about its own rendering: `chat_template_kwargs`, `tools`,
and a thought in a column of its own. `tokenized` turns such rows into ids and labels, as `models.rendering` makes them.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trl_r1.data.columns import is_empty, require_columns, to_prompt
from trl_r1.models.rendering import Renderer, TrainingRow, UnfitTemplate
from trl_r1.models.rendering.prompts import OF_THE_ROW, own_options
from trl_r1.models.templates import Template, find_template, with_system
from trl_r1.text.completions import reply
from trl_r1.text.records import Json


if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

REASONING = "reasoning"
MESSAGES, COMPLETION = "messages", "completion"  # as they are usually called
ANSWERS = ("answer", "response", "output", "solution")  # what rows of questions call their answers


def to_imitate(
    rows: Dataset,
    prompt_column: str | None = "prompt",
    completion_column: str = "completion",
    messages_column: str | None = None,
    question_column: str = "question",
    template: Template = "{question}",
    drop_empty: bool = False,
    name: str = "The dataset",
    reasoning_column: str | None = None,
    system_prompt: str | None = None,
) -> Dataset:
    """Rows with the columns `prompt` and `completion`: both text, or both messages; `chat_template_kwargs` and `tools`
    where the rows have them.

    Args:
        prompt_column: taken where the rows have it; else `question_column` is put into `template`.
        messages_column: conversations instead of prompt and completion; None takes the column ``messages`` where the
            rows have it and neither a prompt nor a completion.
        drop_empty: leave out rows without prompt or completion (and say how many) instead of refusing.
        name: the dataset as the user called it, for the sentences.
        reasoning_column: the thought that leads to the completion, where it has a column of its own; it becomes
            `reasoning`.
        system_prompt: put before conversations that bring none of their own.

    Raises:
        ValueError: a missing column, an unusable template, an empty prompt or completion, a conversation without an
            assistant's turn at its end, or text in some rows and messages in others.
    """
    if messages_column is None and completion_column == COMPLETION:
        messages_column = only_messages(rows.column_names, prompt_column)
    if messages_column is not None:
        require_columns(rows, {"messages": messages_column}, name)
    else:
        refuse_answers(rows.column_names, completion_column, question_column, name)
        require_columns(rows, {"completion": completion_column}, name)
        if prompt_column is None or prompt_column not in rows.column_names:
            if question_column not in rows.column_names and prompt_column is not None:
                require_columns(rows, {"prompt": prompt_column}, name)
            require_columns(rows, {"question": question_column}, name)
            prompt_column, template = None, find_template(template)
    if reasoning_column is not None:
        require_columns(rows, {"reasoning": reasoning_column}, name)
    beside = {column: column for column in OF_THE_ROW if column in rows.column_names}
    beside |= {REASONING: reasoning_column} if reasoning_column else {}
    made, skipped = [], 0
    for number, row in enumerate(rows):
        if messages_column is not None:
            prompt, completion = split_conversation(row[messages_column], number)
        else:
            asked = row[prompt_column] if prompt_column else row[question_column]
            prompt = asked if prompt_column or is_empty(asked) else to_prompt(template, asked)
            completion = row[completion_column]
        if is_empty(prompt) or is_empty(completion):
            if not drop_empty:
                raise ValueError(
                    f"{name}: row {number} (counted from 0) has an empty "
                    f"{'prompt' if is_empty(prompt) else 'completion'}. Fill it in, or set drop_empty to leave such "
                    "rows out."
                )
            skipped += 1
            continue
        prompt = with_system(prompt, system_prompt)
        made.append(pair_up(prompt, completion) | {ours: row[theirs] for ours, theirs in beside.items()})
    if not made:
        raise ValueError(f"{name} has no row with both a prompt and a completion; there is nothing to imitate.")
    if skipped:
        logger.warning("Left out %d of %d rows: no prompt or no completion.", skipped, len(rows))
    kinds = {isinstance(row["prompt"], str) for row in made}
    if len(kinds) > 1:
        raise ValueError(
            f"{name} has prompts that are text and prompts that are conversations; one training run takes one kind. "
            "Set prompt_column to null to put the questions of all rows into one template."
        )
    from datasets import Dataset

    return Dataset.from_list(made)


def only_messages(columns: Sequence[str], prompt_column: str | None) -> str | None:
    """The column of conversations where the rows have no other form; None elsewhere.

    >>> only_messages(["id", "messages"], "prompt"), only_messages(["prompt", "messages"], "prompt")
    ('messages', None)
    """
    return MESSAGES if MESSAGES in columns and not {COMPLETION, prompt_column} & set(columns) else None


def refuse_answers(columns: Sequence[str], completion_column: str, question_column: str, name: str) -> None:
    """The advice for rows of questions and answers, which may be texts to imitate or results to be rewarded.

    Raises:
        ValueError: the rows are such, and no completion column was named.
    """
    answers = next((column for column in ANSWERS if column in columns), None)
    if completion_column == COMPLETION and COMPLETION not in columns and question_column in columns and answers:
        raise ValueError(
            f"{name} has no column {COMPLETION!r}, but {question_column!r} and {answers!r}. If {answers!r} holds whole "
            f"replies to imitate, set completion_column to it; if only the results, train with `trl-r1 zero` and "
            f"solution_column: {answers}."
        )


def split_conversation(messages: Any, number: int) -> tuple[Any, Any]:
    """A conversation as what comes before its last message, and that message, which must be the assistant's."""
    if is_empty(messages):
        return None, None
    if not isinstance(messages, list) or not all(isinstance(part, dict) and "role" in part for part in messages):
        raise ValueError(
            f"Row {number} (counted from 0) holds no conversation: a list of messages with role and content."
        )
    clean = [{key: value for key, value in part.items() if value is not None} for part in messages]
    if clean[-1]["role"] != "assistant":
        raise ValueError(
            f"The conversation in row {number} (counted from 0) ends with the role {clean[-1]['role']!r}; there is no "
            "assistant's message to imitate."
        )
    return clean[:-1], clean[-1:]


def pair_up(prompt: Any, completion: Any) -> Json:
    """Both as text, or both as messages: the prompt decides."""
    if isinstance(prompt, str):
        return {"prompt": prompt, "completion": completion if isinstance(completion, str) else reply(completion)}
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    return {"prompt": prompt, "completion": completion}


def tokenized(
    rows: Dataset,
    renderer: Renderer,
    max_length: int | None = None,
    all_assistant_turns: bool = False,
    processes: int | None = None,
    name: str = "The dataset",
) -> Dataset:
    """Rows of `to_imitate` as `SFTTrainer` takes them: `input_ids`, and `completion_mask` (1 where it trains).

    Args:
        max_length: longer rows are left out, and how many is logged; None keeps them all.
        all_assistant_turns: the assistant's turns in the prompt are trained on too.
        processes: that share the work; None is one.

    Raises:
        ValueError: no row is short enough, or one cannot be trained on as generation would see it.
    """
    whole = rows.map(
        lambda row, number: ids_and_mask(row, number, renderer, all_assistant_turns, name),
        with_indices=True,
        remove_columns=rows.column_names,
        num_proc=processes,
        load_from_cache_file=False,
        new_fingerprint=uuid.uuid4().hex,  # else it is computed from the whole tokenizer, which takes seconds
        desc="Rendering",
    )
    return whole if max_length is None else fitting(whole, max_length, name)


def ids_and_mask(
    row: Mapping[str, Any], number: int, renderer: Renderer, all_assistant_turns: bool, name: str
) -> dict[str, list[int]]:
    """A row's ids and the mask of what is trained on.

    Raises:
        ValueError: the row's number, and why it cannot be trained on.
    """
    try:
        made = training_row(row, renderer, all_assistant_turns)
    except UnfitTemplate as error:
        raise ValueError(f"{name}: row {number} (counted from 0) cannot be trained on. {error}") from error
    return {"input_ids": made.input_ids, "completion_mask": made.completion_mask}


def training_row(row: Mapping[str, Any], renderer: Renderer, all_assistant_turns: bool = False) -> TrainingRow:
    """A row of `to_imitate`, rendered with its own options."""
    return renderer.training_row(
        row["prompt"], row["completion"], all_assistant_turns, reasoning=row.get(REASONING), **own_options(row)
    )


def fitting(rows: Dataset, max_length: int, name: str = "The dataset") -> Dataset:
    """The rows of at most `max_length` tokens (`input_ids`, end token included); how many others there were is logged.

    Raises:
        ValueError: none fits.
    """
    lengths = [len(ids) for ids in rows["input_ids"]]
    kept = [number for number, length in enumerate(lengths) if length <= max_length]
    if not kept:
        raise ValueError(
            f"{name}: all {len(rows)} rows are longer than max_length={max_length} tokens (the shortest has "
            f"{min(lengths)}). Raise max_length, or set overlong to cut."
        )
    if len(kept) < len(rows):
        logger.warning(
            "Left out %d of %d rows that are longer than max_length=%d tokens (the longest has %d).",
            len(rows) - len(kept),
            len(rows),
            max_length,
            max(lengths),
        )
    return rows.select(kept)
