"""Rows to train on: the ids of prompt and completion, which of them are labels, and where thought, answer and end lie."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trl_r1.models.rendering.facts import UnfitTemplate


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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


def continuation(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], text: str) -> list[int]:
    """Ids of ``text`` as a reply to the prompt: tokenized apart, so that nothing merges with the prompt's last token.

    Tokenizers that put a space before every text (Llama 2) are asked behind a special token instead.

    Raises:
        UnfitTemplate: no tokenization gives the text back.
    """
    ids = encode(tokenizer, text)
    head = list(prompt_ids[-16:])
    known = bare(tokenizer.decode(head, skip_special_tokens=False))
    for candidate in candidates(tokenizer, ids, text):
        whole = tokenizer.decode([*head, *candidate], skip_special_tokens=False)
        if same_text(whole[len(tokenizer.decode(head, skip_special_tokens=False)) :], text):
            return candidate
    if bare(tokenizer.decode([*head, *ids], skip_special_tokens=False)).startswith(known):
        return ids  # a tokenizer that does not give back every character (unknown words): the ids are what there is
    raise UnfitTemplate(
        f"The tokenizer does not give back {text[:40]!r} when it is tokenized behind the prompt; this model's replies "
        "cannot be put together from prompt and completion."
    )


def candidates(tokenizer: PreTrainedTokenizerBase, ids: list[int], text: str) -> list[list[int]]:
    """Tokenizations of a continuation: by itself, and behind a special token."""
    anchor = tokenizer.eos_token or tokenizer.bos_token
    if anchor is None:
        return [ids]
    anchored = encode(tokenizer, anchor + text)
    return [ids, anchored[1:]] if anchored[1:] != ids else [ids]


def same_text(a: str, b: str) -> bool:
    """Whether two texts are one, up to the normal forms of Unicode."""
    return a == b or unicodedata.normalize("NFKC", a) == unicodedata.normalize("NFKC", b)


def bare(text: str) -> str:
    """A text without its white space, in one normal form: what is compared where spaces may be lost."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def spans(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str, stretches: Sequence[tuple[str, int, int]]
) -> list[Part]:
    """Stretches of characters of ``text`` as stretches of its ids (the ids of a continuation, end token left out)."""
    if getattr(tokenizer, "is_fast", False):
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if encoding["input_ids"] == list(ids):
            borders = [start for start, _ in encoding["offset_mapping"]]
            return [
                Part(kind, first_at(borders, start), first_at(borders, end))
                for kind, start, end in stretches
                if end > start
            ]
    lengths = [len(tokenizer.decode(list(ids[:n]), skip_special_tokens=False)) for n in range(len(ids))]
    return [
        Part(kind, first_at(lengths, start), first_at(lengths, end)) for kind, start, end in stretches if end > start
    ]


def first_at(borders: Sequence[int], place: int) -> int:
    """The number of the first token that begins at a character or behind it."""
    return next((number for number, border in enumerate(borders) if border >= place), len(borders))
