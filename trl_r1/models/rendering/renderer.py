"""One renderer: problems to ids, ids to texts, rows to labels, for everything that trains, samples or judges.

What a template does is found out by rendering probe conversations (probes.py), never from a list of family names.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trl_r1.models.rendering import probes
from trl_r1.models.rendering.chat import PROBE_PROMPT, Chat, RowOptions, Tools
from trl_r1.models.rendering.completions import TargetCompletion, compose
from trl_r1.models.rendering.facts import TemplateFacts, UnfitTemplate
from trl_r1.models.rendering.messages import KEYS, Marks, Messages, ParsedMessage, clean, parse_message, plain_text
from trl_r1.models.rendering.probes import Pieces
from trl_r1.models.rendering.replies import Reply, split
from trl_r1.models.rendering.rows import (
    Ending,
    Part,
    TrainingRow,
    bare,
    continuation,
    encode,
    end_ids,
    special_ids,
    text_of,
)
from trl_r1.text.completions import THINK


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Prompt = str | Messages


class Renderer:
    """Renders prompts and training rows, and reads completions, with one tokenizer and one set of options.

    Every method that takes a prompt also takes what its row brings: ``chat_template_kwargs``, which come on top of the
    renderer's, and ``tools``, which stand in their place. A `RowPrompt` carries them itself.

    Args:
        tokenizer: is not changed. A processor is asked for its tokenizer.
        chat_template: the text of a template, in place of the tokenizer's own.
        chat_template_kwargs: handed to the template (``enable_thinking: false``).
        system_prompt: put before conversations that begin with none.
        tools: functions or JSON schemas.
        prefill: text that opens every reply; it is a part of the prompt.
        date: the day that prompts show, handed in as ``date_string`` and as ``strftime_now``. None: the day this
            renderer was made where the template asks the clock, and nothing is handed in as ``date_string``.
        stop_token_ids: what generation stops at besides the tokenizer's end token (the ids of the model's
            generation_config).
        reasoning_marks: the marks of a thought, as the user states them; None finds them out.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        system_prompt: str | None = None,
        tools: Tools | None = None,
        prefill: str = "",
        date: datetime.date | str | None = None,
        stop_token_ids: int | Sequence[int] | None = None,
        reasoning_marks: Marks | None = None,
    ) -> None:
        self.tokenizer: PreTrainedTokenizerBase = getattr(tokenizer, "tokenizer", tokenizer)
        own = chat_template or getattr(tokenizer, "chat_template", None)
        self.stops = frozenset({*end_ids(self.tokenizer.eos_token_id), *end_ids(stop_token_ids)})
        self.prefill = prefill
        self.chat = Chat(
            self.tokenizer,
            own.get("default") if isinstance(own, dict) else own,
            dict(chat_template_kwargs or {}),
            system_prompt,
            tools,
            datetime.date.fromisoformat(date) if isinstance(date, str) else date,
            stops=self.stops,
            stated_marks=reasoning_marks,
        )

    @property
    def facts(self) -> TemplateFacts:
        """What the template does with this renderer's options, found out by rendering probes once."""
        return self.chat.facts

    @property
    def date(self) -> datetime.date:
        """The day that prompts show, where they show one: to be kept, so that a resumed run sees the same prompts."""
        return self.chat.day or self.chat.today

    # --- prompts

    def prompt_text(self, prompt: Prompt, **row: Any) -> str:
        """The prompt as text: what the model reads before it replies, prefill included.

        Raises:
            UnfitTemplate: a conversation without a template, or one that the template refuses.
        """
        if isinstance(prompt, str):
            return prompt + self.prefill
        messages, prefill = self._split_prefill(prompt)
        options = row_options(prompt, row)
        text = self.chat.render(messages, True, options)
        return text + self.chat.placed_prefill(prefill, messages, text, options)

    def prompt_ids(self, prompt: Prompt, **row: Any) -> list[int]:
        """The ids of the prompt, as TRL's GRPOTrainer makes them: text with the tokenizer's own beginning (BOS), a
        rendered conversation as it is.

        Raises:
            UnfitTemplate: see ``prompt_text``.
            ValueError: the prompt has no tokens.
        """
        text = self.prompt_text(prompt, **row)
        ids = list(self.tokenizer(text)["input_ids"]) if isinstance(prompt, str) else encode(self.tokenizer, text)
        if not ids:
            raise ValueError(f"The prompt ({prompt!r}) has no tokens; a model needs at least one to start from.")
        return ids

    def opens_reasoning(self, prompt: Prompt, **row: Any) -> bool:
        """Whether a reply to this prompt begins inside a thought."""
        if isinstance(prompt, str):
            end = (prompt + self.prefill).rstrip()
            return any(end.endswith(opening) for opening, _ in self._marks)
        messages, prefill = self._split_prefill(prompt)
        options = row_options(prompt, row)
        pieces = self.chat.pieces(messages, options)
        if not prefill:
            return pieces.opens
        text = self.chat.placed_prefill(prefill, messages, self.chat.render(messages, True, options), options)
        return probes.is_reasoning_open(pieces.opens, text, pieces.marks)

    def _split_prefill(self, prompt: Sequence[Mapping[str, Any]]) -> tuple[Messages, str]:
        messages, prefill = self.chat.split_prefill(prompt)
        return messages, prefill + self.prefill

    # --- rows to train on

    def training_row(
        self,
        prompt: Prompt,
        completion: str | Mapping[str, Any] | Messages,
        all_assistant_turns: bool = False,
        reasoning: str | None = None,
        **row: Any,
    ) -> TrainingRow:
        """The row that teaches this completion: prompt and completion tokenized apart, the end token at its end.

        Args:
            prompt: text, or messages.
            completion: text, an assistant's message, or messages that end with one.
            all_assistant_turns: the assistant's turns in the prompt are labels too.
            reasoning: where the row has it in a column of its own.

        Raises:
            UnfitTemplate: training on this row would not be what generation sees; the sentence says how to go on.
        """
        if isinstance(prompt, str):
            return self._text_row(prompt, completion, reasoning)
        turns = clean(as_messages(completion))
        if not turns or turns[-1].get("role") != "assistant":
            raise UnfitTemplate(
                "The completion does not end with an assistant's message, so there is nothing to train on."
            )
        last = turns[-1]
        if reasoning is not None:
            last = {key: value for key, value in last.items() if key not in KEYS} | {"reasoning_content": reasoning}
        options = RowOptions(**row)
        if all_assistant_turns:
            context, _ = self.chat.split_prefill([*prompt, *turns[:-1], {"role": "assistant", "content": ""}])
            return self._all_turns([*context, last], options)
        context, prefill = self._split_prefill([*prompt, *turns[:-1]])
        target = self._completion(context, last, prefill, options)
        return self._checked_row(self.prompt_ids([*prompt, *turns[:-1]], **row), target)

    def _text_row(self, prompt: str, completion: Any, reasoning: str | None) -> TrainingRow:
        """A row whose prompt is text: the completion as it is, an end token behind it."""
        if isinstance(completion, str) and reasoning is None:
            text = completion
        else:
            text = plain_text(clean(as_messages(completion))[-1], reasoning)
        eos, mark = self.tokenizer.eos_token_id, self.tokenizer.eos_token
        if eos is None or not mark:
            raise UnfitTemplate("The tokenizer has no end token, so no text can be taught to end; set eos_token.")
        text = text.removesuffix(str(mark))
        end = (prompt + self.prefill).rstrip()
        doubled = next((m for m, _ in self._marks if end.endswith(m) and text.lstrip().startswith(m)), None)
        if doubled is not None:  # the prompt has opened the thought already
            text = text.lstrip()[len(doubled) :]
        reply = split(text, self._marks, self.opens_reasoning(prompt))
        ending = Ending((eos,), text_of(self.tokenizer, eos), True)
        target = TargetCompletion(text, reply.reasoning or "", reply.answer or "", ending)
        return self._checked_row(self.prompt_ids(prompt), target)

    def _completion(
        self, context: Messages, message: Mapping[str, Any], prefill: str, options: RowOptions
    ) -> TargetCompletion:
        """What a perfect generation emits behind the context to say this message."""
        pieces = self.chat.pieces(context, options)
        ending = self.chat.ending(pieces)
        prompt = self.chat.render(context, True, options)
        placed_prefill = self.chat.placed_prefill(prefill, context, prompt, options)
        parsed = parse_message(message, tuple(dict.fromkeys((pieces.marks, THINK))))
        raw = iter(()) if prefill else self._raw(prompt, context, message, parsed, pieces, options)
        return compose(placed_prefill, message, parsed, pieces, ending, raw, self.chat.switch)

    def _raw(
        self,
        prompt: str,
        context: Messages,
        message: Mapping[str, Any],
        parsed: ParsedMessage,
        pieces: Pieces,
        options: RowOptions,
    ) -> Iterator[str]:
        """What the template itself writes behind the prompt: for the row as it is, and with its thought under the key."""
        candidates = [dict(message)]
        if parsed.reasoning is not None and pieces.key is not None:
            rest = {key: value for key, value in message.items() if key not in (*KEYS, "content")}
            moved = {**rest, **probes.by_key(pieces.key, parsed.reasoning, parsed.answer)}
            candidates = [*candidates, moved] if parsed.place == "content" else [moved, *candidates]
        for one in candidates:
            text = probes.try_render(self.chat.rendering(options), [*context, one])
            if text is not None and text.startswith(prompt):
                yield text[len(prompt) :]

    def _all_turns(self, messages: Messages, options: RowOptions) -> TrainingRow:
        """One row whose labels are every assistant's turn; each must stand as generation would have left it."""
        places = [number for number, message in enumerate(messages) if message.get("role") == "assistant"]
        rows = []
        for place in places:
            context = messages[:place]
            ids = encode(self.tokenizer, self.chat.render(context, True, options))
            rows.append(self._checked_row(ids, self._completion(context, messages[place], "", options)))
        ids, first = rows[-1].input_ids, len(rows[0].prompt_ids)
        labels, parts = [False] * len(ids), []
        for row in rows:
            if ids[: len(row)] != row.input_ids:
                raise UnfitTemplate(
                    "The template renders an earlier assistant's turn otherwise than the model would have written it "
                    "(its thought is dropped, or its end is another), so not all turns of one conversation can be "
                    "trained on. Train on the last turn, or give every turn a row of its own."
                )
            start = len(row.prompt_ids)
            labels[start : len(row)] = [True] * len(row.completion_ids)
            parts += [Part(part.kind, start - first + part.start, start - first + part.end) for part in row.parts]
        return TrainingRow(ids[:first], ids[first:], labels[first:], parts)

    def _checked_row(self, prompt_ids: list[int], target: TargetCompletion) -> TrainingRow:
        """The row of a completion, checked: thought and answer are in the decoded labels, and the last label ends."""
        reply = continuation(self.tokenizer, prompt_ids, target.text)
        completion_ids = [*reply.ids, *target.ending.ids]
        decoded = bare(self.tokenizer.decode(completion_ids, skip_special_tokens=False))
        for what, text in (("thought", target.reasoning), ("answer", target.answer)):
            if bare(text) not in decoded and self._round_trip(text) not in decoded:
                raise UnfitTemplate(
                    f"The {what} {text[:40]!r} is not in the tokens that would be trained on; the tokenizer does not "
                    "give it back. Leave such rows out, or take another tokenizer."
                )
        early = next((token for token in completion_ids[:-1] if token in self.stops), None)
        if early is not None:
            raise UnfitTemplate(
                f"Generation stops at {text_of(self.tokenizer, early)!r}, which stands inside of this reply, before its "
                "end; take it out of the text, or out of the eos_token_id of the generation_config."
            )
        if not completion_ids or completion_ids[-1] not in self.stops:
            raise UnfitTemplate(self.chat.no_stop(target.ending))
        parts = [reply.part(*stretch) for stretch in target.stretches()]
        parts.append(Part("end", len(reply.ids), len(completion_ids)))
        return TrainingRow(prompt_ids, completion_ids, [True] * len(completion_ids), parts)

    def _round_trip(self, text: str) -> str:
        return bare(self.tokenizer.decode(encode(self.tokenizer, text), skip_special_tokens=False))

    # --- replies

    def decode(self, completion_ids: Sequence[int]) -> str:
        """The text of a completion, up to its end token: the marks of a thought stay, even where they are special
        tokens; other special tokens, the end, and what opens the channel of an answer without a thought do not."""
        ids, _ = self._until_end(completion_ids)
        kept = [token for token in ids if token not in self._dropped_ids]
        return without_opening(self.tokenizer.decode(kept, skip_special_tokens=False), self.facts.answer_open)

    def spoken(self, completion: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
        """A completion as TRL hands it over (text, or messages with the thought perhaps taken out of the content), as
        the model said it: in its own marks, the one that its prompt opens left out."""
        if isinstance(completion, str):
            return completion
        opening, closing = self._marks[0]
        texts = []
        for message in clean(as_messages(completion)):
            reasoning = next((message[key] for key in KEYS if isinstance(message.get(key), str)), None)
            if reasoning is not None:
                texts.append(("" if self._opens else opening) + reasoning + closing)
            texts.append(str(message.get("content") or ""))
        return "".join(texts)

    def split(self, completion: Sequence[int] | str, prompt: Prompt | None = None, **row: Any) -> Reply:
        """A completion (ids, or a text that ``decode`` gave) as thought and answer.

        Args:
            prompt: what it replies to; None stands for a conversation with this renderer's options.
        """
        if isinstance(completion, str):
            text, ended = completion, True
        else:
            text, (_, ended) = self.decode(completion), self._until_end(completion)
        opened = self._opens if prompt is None else self.opens_reasoning(prompt, **row)
        answer_open = "" if isinstance(prompt, str) else self.facts.answer_open
        return split(text, self._marks, opened, answer_open, ended)

    def _until_end(self, ids: Sequence[int]) -> tuple[list[int], bool]:
        place = next((number for number, token in enumerate(ids) if int(token) in self._ends), None)
        return [int(token) for token in ids[:place]], place is not None

    @cached_property
    def _ends(self) -> frozenset[int]:
        return self.stops | set(self.facts.end_ids)

    @cached_property
    def _opens(self) -> bool:
        return self.opens_reasoning(PROBE_PROMPT if self.chat.text else "")

    @cached_property
    def _marks(self) -> tuple[Marks, ...]:
        own = (self.facts.reasoning_open or THINK[0], self.facts.reasoning_close or THINK[1])
        return tuple(dict.fromkeys((own, THINK)))

    @cached_property
    def _dropped_ids(self) -> set[int]:
        """Special tokens that a decoded text does not show: all but those of the marks and of the channels."""
        texts = [text for pair in self._marks for text in pair]
        texts += [self.facts.reasoning_to_answer, self.facts.answer_open]
        kept = {token for text in texts for token in encode(self.tokenizer, text)}
        return special_ids(self.tokenizer) - kept


def without_opening(text: str, opening: str) -> str:
    """A text without what opens it; "" where it is only the beginning of that, so that a text that grows never shrinks.

    >>> [without_opening(text, "<to user>") for text in ("<to user>4", "<to", "<to self>5", "")]
    ['4', '', '<to self>5', '']
    """
    start = text.lstrip()
    if not opening or not (start.startswith(opening) or opening.startswith(start)):
        return text
    return start[len(opening) :]


def row_options(prompt: Prompt, row: Mapping[str, Any]) -> RowOptions:
    """A row's own options: those that are stated, over those that its prompt carries."""
    return RowOptions(**{**getattr(prompt, "own", {}), **row})


def as_messages(completion: Any) -> list[Mapping[str, Any]]:
    """A completion as messages: text and a single message become one."""
    if isinstance(completion, str):
        return [{"role": "assistant", "content": completion}]
    return [completion] if isinstance(completion, Mapping) else list(completion)
