"""A sequence-classification checkpoint as a function: (context, text) pairs in, one logit per label and pair out.

Two rewards stand on it: ``semantic`` (is a chain coherent?) and ``preference`` (what does a reward model say?).
``trl_r1.models.load_classifier`` finds and loads one by its name.

    markup      a special token written out in a text ("[SEP]", "<|im_end|>") is broken by a space: whoever is judged
                must not write in the judge's own hand
    length      a pair longer than the model reads keeps the ends of both: the context a quarter of the room (more, if
                the text leaves some), the text the rest, half of it from its head and half from its tail
    numbers     float32 logits; batches are sorted by length, so padding moves a score by rounding alone (about 1e-6)
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from trl_r1.models.rendering import Renderer
from trl_r1.text.completions import THINK
from trl_r1.text.records import Message


GAP = " … "  # stands for what was left out
MAX_LENGTH = 2048  # tokens; a model that reads less sets its own limit
_SLACK = 8  # tokens that joining two cut ends may add
_MOST_CHARACTERS_PER_TOKEN = 16  # what is further from both ends than this allows is not even tokenized

_LOCK = threading.RLock()


def _forget_in_child() -> None:
    """A forked child has the parent's lock in an unknown state."""
    global _LOCK
    _LOCK = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


class Classifier:
    """A model with its tokenizer; ``logits`` is all it does. Safe to call from several threads, one at a time runs."""

    def __init__(self, model: Any, tokenizer: Any, device: str = "cpu", max_length: int = MAX_LENGTH) -> None:
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        self.model = model.to(device).eval()
        self.tokenizer = tokenizer
        self.labels: dict[int, str] = {int(index): str(name) for index, name in model.config.id2label.items()}
        reads = getattr(model.config, "max_position_embeddings", None) or max_length
        self.max_length = int(min(max_length, reads, tokenizer.model_max_length))
        self._accepted = set(inspect.signature(model.forward).parameters)
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special = sorted(token for token in special | set(tokenizer.all_special_tokens) if len(token) > 1)

    def label_index(self, label: str | int | None, usual: Sequence[str] = ()) -> int:
        """Which logit a label is.

        Args:
            label: a name in the model's ``id2label``, in any case, or its number. None: the only one there is, or
                else the only one called as in ``usual``.

        Raises:
            ValueError: there is no such label, or there are several to choose from.
        """
        names = {name.lower(): index for index, name in self.labels.items()}
        if label is None:
            if len(self.labels) == 1:
                return 0
            labels = [names[name] for name in usual if name in names]
            if len(labels) == 1:
                return labels[0]
        elif isinstance(label, int) and label in self.labels:
            return label
        elif str(label).lower() in names:
            return names[str(label).lower()]
        mistake = "No label was given" if label is None else f"The model has no label {label!r}"
        raise ValueError(f"{mistake}. Choose label from: {', '.join(self.labels.values())}.")

    def logits(self, pairs: Sequence[tuple[Any, str]], batch_size: int = 16, chat: bool = False) -> Tensor:
        """``(N, labels)`` float32 logits on the CPU, one row per (context, text); NaN for a pair without any token.

        Args:
            pairs: see ``encode``.
            batch_size: pairs per forward pass.
        """
        result = torch.full((len(pairs), len(self.labels)), float("nan"))
        with _LOCK, torch.inference_mode():
            rows = [self.encode(context, text, chat) for context, text in pairs]
            order = sorted(
                (i for i, row in enumerate(rows) if row["input_ids"]), key=lambda i: len(rows[i]["input_ids"])
            )
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                batch = self.tokenizer.pad([rows[i] for i in chosen], return_tensors="pt").to(self.model.device)
                result[chosen] = self.model(**batch).logits.float().cpu()  # (B, labels)
        return result

    def encode(self, context: Any, text: str, chat: bool = False) -> dict[str, list[int]]:
        """The model's input for one pair, at most ``max_length`` tokens.

        Args:
            context: the question, as text; with ``chat`` also messages (role and content are read).
            text: what is judged.
            chat: put both into the tokenizer's chat template, ``text`` as the assistant's turn. Otherwise a tokenizer
                with a separator makes a pair of segments, and any other reads ``context``, a line end, ``text``.
        """
        text = self._plain(text)
        if chat:
            return self._encode_chat(context, text)
        context = self._plain(context)
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True) - _SLACK
        (context,), text = self._fit([context], text, room)
        if self.tokenizer.sep_token is not None:
            return self._tokenize(context, text)
        return self._tokenize(f"{context}\n{text}" if context else text)

    def _encode_chat(self, context: Any, text: str) -> dict[str, list[int]]:
        turns = [{"role": "user", "content": context}] if isinstance(context, str) else list(context)
        if turns and turns[-1]["role"] == "assistant":  # the opening of the reply
            opening = turns.pop()["content"]
            text = text if text.startswith(opening) else opening + text
        roles = [turn["role"] for turn in turns]
        spoken = [self._plain(turn["content"]) for turn in turns]

        def render(contents: list[str], last: str) -> str:
            messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
            return self._whole_turn(messages, last)

        frame = len(self.tokenizer(render([""] * len(turns), ""), add_special_tokens=False)["input_ids"])
        contents, last = self._fit(spoken, text, self.max_length - frame - _SLACK)
        return self._tokenize(render(contents, last), add_special_tokens=False)

    def _whole_turn(self, messages: list[Message], last: str) -> str:
        """A conversation with the judged text as the assistant's last turn. Where the template leaves a part of it out, as
        some do with a thought, the text stands behind the generation prompt as the model would have written it."""
        answered = [*messages, {"role": "assistant", "content": last}]
        rendered: str = self.tokenizer.apply_chat_template(answered, tokenize=False)
        if "".join(last.split()) in "".join(rendered.split()):
            return rendered
        prompt = self._renderer.prompt_text(messages)
        opened = next((mark for mark in self._openings if prompt.rstrip().endswith(mark)), None)
        if opened is not None and last.lstrip().startswith(opened):
            last = last.lstrip().removeprefix(opened)
        return prompt + last + self._renderer.facts.end_text

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.tokenizer)

    @cached_property
    def _openings(self) -> tuple[str, ...]:
        return tuple(filter(None, dict.fromkeys((self._renderer.facts.reasoning_open, THINK[0]))))

    def _tokenize(self, *texts: str, **options: Any) -> dict[str, list[int]]:
        encoded = self.tokenizer(*texts, truncation=True, max_length=self.max_length, **options)
        return {name: ids for name, ids in encoded.items() if name in self._accepted}

    def _fit(self, contexts: list[str], text: str, room: int) -> tuple[list[str], str]:
        """Context and text shortened to ``room`` tokens together."""
        room = max(room, 8)
        most = _MOST_CHARACTERS_PER_TOKEN * room
        contexts, text = [_ends_of_text(part, most) for part in contexts], _ends_of_text(text, most)
        if sum(map(len, contexts)) + len(text) <= room // 4:
            return contexts, text  # at most four tokens a character
        long = self._ids(text)
        lengths = [len(self._ids(part)) for part in contexts]
        if sum(lengths) + len(long) <= room:
            return contexts, text
        for_context = max(room // 4, room - len(long))
        if sum(lengths) > for_context:
            each = max(4, for_context // max(1, len(contexts)))
            contexts = [self._shorten(part, each) for part in contexts]
        used = sum(min(length, for_context) for length in lengths) if len(contexts) == 1 else for_context
        return contexts, self._shorten(text, room - min(used, for_context))

    def _shorten(self, text: str, most: int) -> str:
        """The text, or the ends of it that make ``most`` tokens with the gap between them."""
        ids = self._ids(text)
        if len(ids) <= most:
            return text
        room = max(2, most - len(self._ids(GAP)))
        head, tail = ids[: room - room // 2], ids[-(room // 2) :]
        return self.tokenizer.decode(head) + GAP + self.tokenizer.decode(tail)

    def _plain(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode("utf-8")  # half a character (a lone surrogate) is no text
        for token in self._special:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _ends_of_text(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - most // 2] + GAP + text[-(most // 2) :]
