"""Imitation: rows of any of three shapes in, rows with `prompt` and `completion` out, ready for `SFTTrainer`.

    prompt + completion      text or messages; what rejection sampling and the cold start leave
    question + completion    the question is put into a template
    messages                 a conversation; its last assistant message is the completion

TRL's prompt/completion form brings the completion-only loss by itself. Columns beside the two are left out: some of
their names (`messages`, `text`, `images`) mean something to the trainer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from trl_r1.data.columns import is_empty, require_columns, to_prompt
from trl_r1.models.templates import Template, find_template
from trl_r1.text.completions import reply


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def to_imitate(
    rows: Dataset,
    prompt_column: str | None = "prompt",
    completion_column: str = "completion",
    messages_column: str | None = None,
    question_column: str = "question",
    template: Template = "{question}",
    drop_empty: bool = False,
    name: str = "The dataset",
) -> Dataset:
    """Rows with the columns `prompt` and `completion`: both text, or both messages.

    Args:
        prompt_column: taken where the rows have it; else `question_column` is put into `template`.
        messages_column: conversations instead of prompt and completion.
        drop_empty: leave out rows without prompt or completion (and say how many) instead of refusing.
        name: the dataset as the user called it, for the sentences.

    Raises:
        ValueError: a missing column, an unusable template, an empty prompt or completion, a conversation without an
            assistant's turn at its end, or text in some rows and messages in others.
    """
    if messages_column is not None:
        require_columns(rows, {"messages": messages_column}, name)
    else:
        require_columns(rows, {"completion": completion_column}, name)
        if prompt_column is None or prompt_column not in rows.column_names:
            if question_column not in rows.column_names and prompt_column is not None:
                require_columns(rows, {"prompt": prompt_column}, name)
            require_columns(rows, {"question": question_column}, name)
            prompt_column, template = None, find_template(template)
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
        made.append(pair_up(prompt, completion))
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


def pair_up(prompt: Any, completion: Any) -> dict[str, Any]:
    """Both as text, or both as messages: the prompt decides."""
    if isinstance(prompt, str):
        return {"prompt": prompt, "completion": completion if isinstance(completion, str) else reply(completion)}
    if isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]
    return {"prompt": prompt, "completion": completion}


def fitting(rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, name: str = "The dataset") -> Dataset:
    """The rows of at most `max_length` tokens, end token included; how many others there were is logged.

    Raises:
        ValueError: none fits, or the rows are conversations and the tokenizer has no chat template.
    """
    conversations = not isinstance(rows[0]["prompt"], str)
    if conversations and not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"{name} holds conversations, but the tokenizer has no chat template. Set prompt_column to null and "
            "template to a text template such as r1_zero, or give a model with a chat template."
        )
    lengths: list[int] = []
    for start in range(0, len(rows), 1000):
        batch = rows[start : start + 1000]
        if conversations:
            texts = [
                tokenizer.apply_chat_template(prompt + completion, tokenize=False)
                for prompt, completion in zip(batch["prompt"], batch["completion"], strict=True)
            ]
        else:
            texts = [p + c for p, c in zip(batch["prompt"], batch["completion"], strict=True)]
        lengths += [len(ids) + (not conversations) for ids in tokenizer(texts)["input_ids"]]
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
