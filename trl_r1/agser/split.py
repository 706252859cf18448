"""A prompt in, two sub-queries out: the tokens that mattered most, and the others, in their order.

Only the user's content is split. Chat template, system prompt, few-shot examples, special tokens and the generation
prompt stay in both sub-queries, so that both are questions to the same assistant.

Source  AGSER, arXiv:2501.09997, Sec. 3: two thirds of the query's tokens are attentive. The paper's text leaves rounding,
        order and special tokens open; ours: rounded, at least one token on each side, order kept.
Departure  Tokens that are parts of one character (bytes of a Chinese character, say) are never torn apart: they are one
        unit whose score is their mean. Where every token is a whole character or more, nothing changes.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.agser.consistency import UNSPACED
from trl_r1.models.rendering import Renderer
from trl_r1.text.records import Message, Messages, Prompt


UNITS = {"token": "tokens, those of one character together", "word": "whole words"}
MARK = "\ue000AGSER\ue001"  # stands for the content while the template is looked at; private-use characters


@dataclass(frozen=True)
class Query:
    """A prompt as token ids, and which of them the user wrote.

    ``units`` are the places in ``ids`` of the content's tokens, those of one character (or word) together.
    """

    prompt: Prompt
    question: str  # the content, as text
    ids: tuple[int, ...]
    units: tuple[tuple[int, ...], ...]

    @property
    def places(self) -> list[int]:
        """Places of the content's tokens in ``ids``, in order."""
        return list(itertools.chain.from_iterable(self.units))

    def keep(self, kept: Sequence[bool]) -> tuple[int, ...]:
        """The ids without the units that are not kept."""
        gone = {place for unit, stays in zip(self.units, kept, strict=True) if not stays for place in unit}
        return tuple(token for place, token in enumerate(self.ids) if place not in gone)

    def content(self, kept: Sequence[bool] | None = None) -> list[int]:
        """The content's ids; of the kept units, where given."""
        units = self.units if kept is None else itertools.compress(self.units, kept)
        return [self.ids[place] for unit in units for place in unit]

    def with_question(self, text: str) -> Prompt:
        """The prompt with another content, for engines that read text."""
        if isinstance(self.prompt, str):
            before, _, after = self.prompt.rpartition(self.question)
            return before + text + after
        number = last_user(self.prompt)
        message = self.prompt[number]
        before, _, after = text_of(message, number).rpartition(self.question)
        return [*self.prompt[:number], {**message, "content": before + text + after}, *self.prompt[number + 1 :]]


def locate(
    tokenizer: Any,
    prompt: Prompt,
    question: str | None = None,
    number: int = 0,
    units: str = "token",
    renderer: Renderer | None = None,
) -> Query:
    """Finds the user's content in a prompt.

    Args:
        tokenizer: a fast one (its offsets are needed).
        prompt: a text, taken as it is (all of it is content without ``question``), or a conversation, whose content is
            the last user message.
        question: the part of that which is content, where examples or instructions stand around it; its last
            occurrence counts.
        number: of the prompt, for messages.
        units: what is never torn apart, a key of ``UNITS``.
        renderer: of conversations; None is one with the tokenizer's own template and no options.

    Raises:
        ValueError: no tokens, no user message, no chat template, ``question`` not in the prompt, slow tokenizer.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} tells no offsets, which AGSER needs to find the question among the tokens; load "
            "the fast tokenizer (AutoTokenizer does)."
        )
    if isinstance(prompt, str):
        text, start, end = prompt, 0, len(prompt)
    else:
        text, start, end = rendered(tokenizer, prompt, number, renderer)
    if question is not None:
        found = text.rfind(question, start, end) if question else -1
        if found < 0:
            raise ValueError(f"Prompt {number} does not hold its question {short(question)}, so it cannot be split.")
        start, end = found, found + len(question)
    coded = tokenizer(text, add_special_tokens=isinstance(prompt, str), return_offsets_mapping=True)
    ids, offsets = coded["input_ids"], coded["offset_mapping"]
    if not ids:
        raise ValueError(f"Prompt {number} ({short(text)}) has no tokens; AGSER needs a question to split.")
    special = set(tokenizer.all_special_ids)
    found_units: list[list[int]] = []
    reach = -1  # end of the last unit's text
    ends = word_ends(text) if units == "word" else {}
    for place, (token, (left, right)) in enumerate(zip(ids, offsets, strict=True)):
        bare = text[left:right]
        if bare.strip():  # a token often brings the space before its word
            left, right = right - len(bare.lstrip()), left + len(bare.rstrip())
        if token in special or left < start or left >= end or right > end:
            continue  # a token that also holds template stays with the template
        if found_units and left < reach and found_units[-1][-1] == place - 1:
            found_units[-1].append(place)
        else:
            found_units.append([place])
        reach = max(reach, ends.get(right - 1, right))
    return Query(prompt, text[start:end], tuple(ids), tuple(map(tuple, found_units)))


def word_ends(text: str) -> dict[int, int]:
    """Place of a character -> where its word ends: at the next space; in scripts without spaces, at the next character.

    >>> word_ends("a bc 鲁迅")
    {0: 1, 2: 4, 3: 4, 5: 6, 6: 7}
    """
    words = re.finditer(rf"[{UNSPACED}]|[^\s{UNSPACED}]+", text)
    return {place: word.end() for word in words for place in range(word.start(), word.end())}


def rendered(
    tokenizer: Any, messages: Messages, number: int = 0, renderer: Renderer | None = None
) -> tuple[str, int, int]:
    """A conversation as the chat template writes it, and where the last user message's text stands in it."""
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"Prompt {number} is a conversation, but the tokenizer has no chat template. Give the prompt as text, or set "
            "tokenizer.chat_template."
        )
    place = last_user(messages, number)
    content = text_of(messages[place], number)
    marked = [*messages[:place], {**messages[place], "content": MARK}, *messages[place + 1 :]]
    renderer = renderer or Renderer(tokenizer)
    text, around = (renderer.prompt_text(one, **getattr(messages, "own", {})) for one in (messages, marked))
    if around.count(MARK) == 1:
        before, after = around.split(MARK)
        for shown in (content, content.strip()):  # many templates strip
            if text == before + shown + after:
                return text, len(before), len(before) + len(shown)
    raise ValueError(
        f"The chat template does not write the user's message of prompt {number} as it stands, so its tokens cannot be "
        "told from the template's; give the prompt as text and the question beside it."
    )


def last_user(messages: Sequence[Message], number: int = 0) -> int:
    for place in range(len(messages) - 1, -1, -1):
        if isinstance(messages[place], dict) and messages[place].get("role") == "user":
            return place
    raise ValueError(f"Prompt {number} has no user message, so there is no question to split.")


def text_of(message: Message, number: int = 0) -> str:
    """The text of a message; of one made of parts, that of its only part."""
    content = message.get("content")
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        content = content[0].get("text")
    if not isinstance(content, str):
        raise ValueError(f"The user's message of prompt {number} is not plain text; AGSER splits text only.")
    return content


def unit_scores(query: Query, scores: Sequence[float]) -> list[float]:
    """One score per unit from one per content token: their mean."""
    given = iter(scores)
    return [math.fsum(itertools.islice(given, len(unit))) / len(unit) for unit in query.units]


def split_by_share(scores: Sequence[float], k: float = 2 / 3) -> list[bool]:
    """Which of M units are attentive: the ``k * M`` of the highest scores, rounded, from 1 to M - 1; ties to the earlier.

    >>> split_by_share([0.1, 0.9, 0.4])
    [False, True, True]

    Raises:
        ValueError: fewer than two units, or ``k`` outside (0, 1).
    """
    if not 0.0 < k < 1.0:
        raise ValueError(f"k={k} is no share between 0 and 1; the paper takes 2/3.")
    if len(scores) < 2:
        raise ValueError(f"A query of {len(scores)} tokens cannot be split in two.")
    count = min(max(math.floor(k * len(scores) + 0.5), 1), len(scores) - 1)
    chosen = set(sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count])
    return [place in chosen for place in range(len(scores))]


def short(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else f"{text[:most]}...")
