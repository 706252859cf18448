"""What people and judges said of replies: rows of a dataset in, judged pairs or labelled replies out.

    pairs     reply_a, reply_b and what each was given (scores_a, scores_b: a number, or a list of one per look)
              chosen, rejected, with score_chosen and score_rejected where there are such; without a prompt they are
              conversations, and what they have in common is the prompt (TRL's implicit prompt)
              replies: a list, to be judged yet
    labels    completion and label (1 safe, 0 unsafe)
              response_0, response_1, is_response_0_safe, is_response_1_safe (PKU-SafeRLHF), two rows each

The prompt is the column ``prompt`` (text or messages) or, where there is none or another was named as the question, the
question put into the template.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trl_r1.data.columns import is_empty, to_prompt
from trl_r1.models.rendering.messages import clean
from trl_r1.models.templates import Template, find_template, with_system
from trl_r1.stages.reward_model.pairs import Judged, Pair
from trl_r1.text.completions import reply


if TYPE_CHECKING:
    from datasets import Dataset

PAIR_COLUMNS = {
    "first": ("reply_a", "response_a", "answer_a"),
    "second": ("reply_b", "response_b", "answer_b"),
    "first_scores": ("scores_a", "score_a"),
    "second_scores": ("scores_b", "score_b"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "chosen_score": ("score_chosen",),
    "rejected_score": ("score_rejected",),
    "replies": ("replies", "responses"),
}
LABEL_COLUMNS = {
    "reply": ("completion", "response", "reply"),
    "label": ("label", "safe", "is_safe"),
    "reply_0": ("response_0",),
    "reply_1": ("response_1",),
    "safe_0": ("is_response_0_safe", "is_response_0_safer"),
    "safe_1": ("is_response_1_safe", "is_response_1_safer"),
}
PROMPT_COLUMNS = {"prompt": ("prompt",), "question": ("question", "query", "instruction")}


@dataclass(frozen=True)
class Labelled:
    """A reply with whether it is safe."""

    prompt: Any  # text or messages
    text: str
    safe: bool


def columns_of(
    rows: Dataset, usual: Mapping[str, Sequence[str]], names_given: Mapping[str, str] | None, what: str
) -> dict[str, str]:
    """Which column plays which part: as given, else the first usual name that is there; parts without one are left out.

    Raises:
        ValueError: a given part is unknown, or its column is not there.
    """
    names_given = dict(names_given or {})
    unknown = sorted(set(names_given) - set(usual))
    if unknown:
        raise ValueError(f"{what}: {unknown[0]!r} is no part of such a row; the parts are: {', '.join(usual)}.")
    for part, column in names_given.items():
        if column not in rows.column_names:
            raise ValueError(
                f"{what} has no column {column!r}, which was asked for as the {part}. Its columns are: "
                f"{', '.join(rows.column_names)}."
            )
    columns = {
        part: next((name for name in names if name in rows.column_names), None) for part, names in usual.items()
    }
    return {part: name for part, name in {**columns, **names_given}.items() if name is not None}


def prompts_of(
    rows: Dataset,
    template: Template,
    names_given: Mapping[str, str] | None,
    what: str,
    system_prompt: str | None = None,
) -> list[Any]:
    """The prompt of every row, the system prompt before conversations that bring none.

    Raises:
        ValueError: there is neither a prompt nor a question, or one is empty.
    """
    named = {part: name for part, name in (names_given or {}).items() if part in PROMPT_COLUMNS}
    columns = columns_of(rows, PROMPT_COLUMNS, named, what)
    if "question" in named and "prompt" not in named:
        columns.pop("prompt", None)  # the column is called prompt and holds a bare question: it goes into the template
    if not columns:
        raise ValueError(
            f"{what} has neither a prompt nor a question; its columns are: {', '.join(rows.column_names)}. "
            "Name one in its columns: {question: ...}."
        )
    column = columns.get("prompt") or columns["question"]
    values = rows[column]
    empty = next((number for number, value in enumerate(values) if is_empty(value)), None)
    if empty is not None:
        raise ValueError(f"{what}: row {empty} (counted from 0) has nothing in its column {column!r}.")
    if "prompt" in columns:
        return [with_system(value, system_prompt) for value in values]
    template = find_template(template)
    return [to_prompt(template, value, system_prompt) for value in values]


def with_prompts(
    rows: Dataset, columns: Mapping[str, str], names_given: Mapping[str, str] | None, what: str
) -> Dataset:
    """Rows of conversations without a prompt, the messages that chosen and rejected begin with taken out as their prompt;
    other rows as they are.

    Raises:
        ValueError: two conversations that have no message in common.
    """
    named = {part: name for part, name in (names_given or {}).items() if part in PROMPT_COLUMNS}
    if columns_of(rows, PROMPT_COLUMNS, named, what) or not {"chosen", "rejected"} <= set(columns):
        return rows
    chosen, rejected = columns["chosen"], columns["rejected"]
    if not all(isinstance(rows[0][column], list) for column in (chosen, rejected)):
        return rows
    made = []
    for number, row in enumerate(rows):
        shared = common(clean(row[chosen]), clean(row[rejected]))
        if shared == 0:
            raise ValueError(
                f"{what}: in row {number} (counted from 0) chosen and rejected begin with different messages, so there is "
                "no prompt; give the rows a prompt, or leave this one out."
            )
        prompt, pair = row[chosen][:shared], {column: row[column][shared:] for column in (chosen, rejected)}
        made.append({**row, **pair, "prompt": prompt})
    return type(rows).from_list(made)


def common(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    """How many messages two conversations begin with in common; each keeps one of its own.

    >>> common(["hello", "hi"], ["hello", "go away"]), common(["hello", "hi"], ["hello", "hi"])
    (1, 1)
    """
    most = max(0, min(len(chosen), len(rejected)) - 1)
    return next((place for place in range(most) if chosen[place] != rejected[place]), most)


def read_pairs(
    rows: Dataset,
    template: Template,
    names_given: Mapping[str, str] | None = None,
    what: str = "The dataset",
    system_prompt: str | None = None,
) -> tuple[list[Judged], list[Pair], list[tuple[Any, list[str]]]]:
    """Pairs that are judged, pairs that were chosen already, and replies that have to be judged yet; one is not empty.

    Raises:
        ValueError: no columns that could be any of these.
    """
    own_names = {part: name for part, name in (names_given or {}).items() if part not in PROMPT_COLUMNS}
    columns = columns_of(rows, PAIR_COLUMNS, own_names, what)
    rows = with_prompts(rows, columns, names_given, what)
    prompts = prompts_of(rows, template, names_given, what, system_prompt)
    if {"first", "second", "first_scores", "second_scores"} <= set(columns):
        parts = [rows[columns[part]] for part in ("first", "second", "first_scores", "second_scores")]
        return (
            [
                Judged(prompt, text_of(a), text_of(b), differences(a_scores, b_scores, place(what, number)))
                for number, (prompt, a, b, a_scores, b_scores) in enumerate(zip(prompts, *parts, strict=True))
            ],
            [],
            [],
        )
    if {"chosen", "rejected"} <= set(columns):
        texts = [[text_of(value) for value in rows[columns[part]]] for part in ("chosen", "rejected")]
        if {"chosen_score", "rejected_score"} <= set(columns):
            scores = [rows[columns[part]] for part in ("chosen_score", "rejected_score")]
            judged = [
                Judged(prompt, a, b, differences(x, y, place(what, number)))
                for number, (prompt, a, b, x, y) in enumerate(zip(prompts, *texts, *scores, strict=True))
            ]
            return judged, [], []
        pairs = [Pair(prompt, a, b, math.inf) for prompt, a, b in zip(prompts, *texts, strict=True) if a != b]
        return [], pairs, []
    if "replies" in columns:
        for number, replies in enumerate(rows[columns["replies"]]):
            if not isinstance(replies, list):
                raise ValueError(
                    f"{place(what, number)} has {str(replies)[:80]!r} in {columns['replies']!r}; a list of replies belongs "
                    "there."
                )
        return (
            [],
            [],
            [
                (prompt, [text_of(one) for one in replies])
                for prompt, replies in zip(prompts, rows[columns["replies"]], strict=True)
            ],
        )
    if {"first", "second"} <= set(columns):
        both = zip(prompts, rows[columns["first"]], rows[columns["second"]], strict=True)
        return [], [], [(prompt, [text_of(a), text_of(b)]) for prompt, a, b in both]
    raise ValueError(
        f"{what} holds no pairs: it needs reply_a, reply_b, scores_a and scores_b; or chosen and rejected; or replies. Its "
        f"columns are: {', '.join(rows.column_names)}."
    )


def differences(first: Any, second: Any, where: str = "a pair") -> tuple[float | None, ...]:
    """First minus second, look by look; a look that misses a score is None.

    >>> differences([8, 7], [5, None]), differences(9.0, 4.0)
    ((3.0, None), (5.0,))

    Raises:
        ValueError: the two have different numbers of looks, or a score is no number.
    """
    looks = [list(one) if isinstance(one, list | tuple) else [one] for one in (first, second)]
    if len(looks[0]) != len(looks[1]):
        raise ValueError(
            f"{where} has {len(looks[0])} scores of the first reply and {len(looks[1])} of the second; a look scores both."
        )
    for score in (*looks[0], *looks[1]):
        if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
            raise ValueError(f"{where} has the score {score!r}, which is no number; give points, such as 7, or null.")
    return tuple(None if a is None or b is None else float(a) - float(b) for a, b in zip(*looks, strict=True))


def place(what: str, number: int) -> str:
    return f"{what}: row {number} (counted from 0)"


def text_of(value: Any) -> str:
    """A reply as text: itself, or the assistant's last message of a conversation."""
    return value if isinstance(value, str) else reply(value)


def read_labels(
    rows: Dataset,
    template: Template,
    names_given: Mapping[str, str] | None = None,
    what: str = "The dataset",
    system_prompt: str | None = None,
) -> list[Labelled]:
    """Replies with their labels.

    Raises:
        ValueError: no columns that could be these, or a label that is neither true nor false.
    """
    own_names = {part: name for part, name in (names_given or {}).items() if part not in PROMPT_COLUMNS}
    columns = columns_of(rows, LABEL_COLUMNS, own_names, what)
    prompts = prompts_of(rows, template, names_given, what, system_prompt)
    if {"reply", "label"} <= set(columns):
        sides = [("reply", "label")]
    elif {"reply_0", "reply_1", "safe_0", "safe_1"} <= set(columns):
        sides = [("reply_0", "safe_0"), ("reply_1", "safe_1")]
    else:
        raise ValueError(
            f"{what} holds no safety labels: it needs completion and label (1 safe, 0 unsafe), or PKU-SafeRLHF's columns. "
            f"Its columns are: {', '.join(rows.column_names)}."
        )
    return list(labelled(rows, prompts, [(columns[a], columns[b]) for a, b in sides], what))


def labelled(rows: Dataset, prompts: list[Any], sides: list[tuple[str, str]], what: str) -> Iterator[Labelled]:
    values = [(rows[reply_column], rows[label_column]) for reply_column, label_column in sides]
    for number, prompt in enumerate(prompts):
        for (texts, labels), (_, label_column) in zip(values, sides, strict=True):
            if labels[number] not in (0, 1, True, False):
                raise ValueError(
                    f"{what}: row {number} (counted from 0) has {labels[number]!r} in {label_column!r}; 1 or true is safe, "
                    "0 or false unsafe."
                )
            yield Labelled(prompt, text_of(texts[number]), bool(labels[number]))
