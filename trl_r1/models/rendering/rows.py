"""Rows to train on: the ids of prompt and completion, which of them are labels, and where thought, answer and end lie."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def end_ids(named: int | Sequence[int] | None) -> list[int]:
    """The end tokens that an ``eos_token_id`` names, one or several, as a list.

    >>> end_ids(None), end_ids(2), end_ids((2, 7))
    ([], [2], [2, 7])
    """
    if named is None:
        return []
    return [int(token) for token in ([named] if isinstance(named, int) else named)]


@dataclass(frozen=True)
class Part:
    """A stretch ``completion_ids[start:end]``: kind is "thought", "answer" or "end"."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class TrainingRow:
    """One row of supervised fine-tuning: a prompt as generation would see it, and what a perfect generation emits.

    ``labels[i]`` says whether ``completion_ids[i]`` is trained on; all are, except between the turns of a conversation
    whose assistant's turns are all trained on.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    labels: list[bool]
    parts: list[Part] = field(default_factory=list)

    @property
    def input_ids(self) -> list[int]:
        """Prompt and completion."""
        return self.prompt_ids + self.completion_ids

    @property
    def completion_mask(self) -> list[int]:
        """1 where `SFTTrainer` trains, as long as ``input_ids``."""
        return [0] * len(self.prompt_ids) + [int(label) for label in self.labels]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class Ending:
    """The ids that end a turn, the last of them the end token. ``rendered``: the template writes them itself."""

    ids: tuple[int, ...] = ()
    text: str = ""
    stops: bool = False
    rendered: bool = True


def find_ending(tokenizer: PreTrainedTokenizerBase, stops: frozenset[int], end: str, earlier: str) -> Ending:
    """What ends a turn, from the texts that follow an answer in the last turn and in an earlier one.

    The first of: the text up to a token that generation stops at; up to its first added token; where the last turn is
    left open, the first added token behind an earlier turn if generation stops at it; the tokenizer's end token.
    """
    added = set(tokenizer.added_tokens_decoder) | special_ids(tokenizer)
    ids = encode(tokenizer, end)
    for wanted in (stops, added):
        place = next((i for i, token in enumerate(ids) if token in wanted), None)
        if place is not None:
            kept = tuple(ids[: place + 1])
            return Ending(kept, text_of(tokenizer, kept[-1]), kept[-1] in stops)
    first = next((token for token in encode(tokenizer, earlier) if token in added), None)
    if first is not None and first in stops:
        return Ending((first,), text_of(tokenizer, first), True, rendered=False)
    eos = tokenizer.eos_token_id
    if eos is not None:
        return Ending((*encode(tokenizer, end.rstrip()), eos), text_of(tokenizer, eos), True, rendered=False)
    return Ending() if first is None else Ending((first,), text_of(tokenizer, first), False, rendered=False)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that ``skip_special_tokens`` leaves out: the named ones, and added ones that are marked as special."""
    marked = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return marked | set(tokenizer.all_special_ids)


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text that continues another: nothing is added to it."""
    if not text:
        return []
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def text_of(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """A token as its text."""
    return str(tokenizer.decode([token], skip_special_tokens=False))


@dataclass(frozen=True)
class Continued:
    """The ids of a text, and the character that each of them begins at."""

    ids: list[int]
    borders: list[int]

    def part(self, kind: str, start: int, end: int) -> Part:
        """The characters ``start`` to ``end`` as a stretch of ids."""
        return Part(kind, bisect_left(self.borders, start), bisect_left(self.borders, end))


def continuation(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], text: str) -> Continued:
    """``text`` as a reply to the prompt: tokenized apart, so that nothing merges with the prompt's last token.

    Tokenizers that put a space before every text (Llama 2) are asked behind a special token instead. A tokenizer that
    does not give back every character (unknown words) keeps its first answer.
    """
    head = list(prompt_ids[-16:])
    length = len(tokenizer.decode(head, skip_special_tokens=False))
    first = None
    for anchor in ("", tokenizer.eos_token or tokenizer.bos_token or ""):
        continued = with_borders(tokenizer, anchor, text)
        if same_text(tokenizer.decode([*head, *continued.ids], skip_special_tokens=False)[length:], text):
            return continued
        first = first or continued
    assert first is not None
    return first


def with_borders(tokenizer: PreTrainedTokenizerBase, anchor: str, text: str) -> Continued:
    """The ids of a text, tokenized behind a special token where ``anchor`` is one."""
    skipped = 1 if anchor else 0
    if not getattr(tokenizer, "is_fast", False):
        ids = encode(tokenizer, anchor + text)[skipped:]
        lengths = [len(tokenizer.decode(ids[:n], skip_special_tokens=False)) for n in range(len(ids))]
        return Continued(ids, lengths)
    encoding = tokenizer(anchor + text, add_special_tokens=False, return_offsets_mapping=True)
    borders = [max(0, start - len(anchor)) for start, _ in encoding["offset_mapping"]]
    return Continued(list(encoding["input_ids"])[skipped:], borders[skipped:])


def same_text(a: str, b: str) -> bool:
    """Whether two texts are one, up to the normal forms of Unicode."""
    return a == b or unicodedata.normalize("NFKC", a) == unicodedata.normalize("NFKC", b)


def bare(text: str) -> str:
    """A text without its white space, in one normal form: what is compared where spaces may be lost."""
    return "".join(unicodedata.normalize("NFKC", text).split())
