"""A chat template with its options: conversations rendered, and what rendering them shows."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trl_r1.models.rendering import dates, probes
from trl_r1.models.rendering.facts import TemplateFacts, UnfitTemplate
from trl_r1.models.rendering.messages import KEYS, Marks, Messages, clean, is_text, reasoning_part
from trl_r1.models.rendering.probes import Pieces
from trl_r1.models.rendering.rows import Ending, encode, find_ending, special_ids, text_of
from trl_r1.models.rendering.schemas import schema_marks
from trl_r1.text.completions import THINK
from trl_r1.text.records import Message


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tools = Sequence[Mapping[str, Any] | Callable[..., Any]]
PROBE_PROMPT: Messages = [{"role": "user", "content": probes.QUESTION}]
SWITCHES = (("enable_thinking", True), ("thinking", True), ("reasoning_effort", "high"))


@dataclass(frozen=True)
class RowOptions:
    """What a row may bring: its own template options, which come on top of the run's, and its own tools."""

    chat_template_kwargs: Mapping[str, Any] | None = None
    tools: Tools | None = None


NOTHING = RowOptions()


@dataclass
class Chat:
    """Renders conversations with one template and one set of options; see `Renderer` for what they mean."""

    tokenizer: PreTrainedTokenizerBase
    source: str | None  # the template as it was given
    options: Mapping[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None
    tools: Tools | None = None
    day: datetime.date | None = None  # handed in as date_string too
    today: datetime.date = field(default_factory=lambda: datetime.date.today())
    stops: frozenset[int] = frozenset()
    stated_marks: Marks | None = None  # the marks of a thought, as the user states them

    def __post_init__(self) -> None:
        self.text = None if self.source is None else dates.on_day(self.source, self.day or self.today)
        self._pieces: dict[str, Pieces] = {}

    def render(self, messages: Messages, generate: bool, row: RowOptions = NOTHING) -> str:
        """The conversation as text, with a generation prompt or without.

        Raises:
            UnfitTemplate: there is no template, or it does not take this conversation.
        """
        import jinja2

        if self.text is None:
            raise UnfitTemplate(
                "The prompt is a conversation, but the tokenizer has no chat template. Use a text template such as "
                "r1_zero, or set tokenizer.chat_template."
            )
        options = {**self.options, **(row.chat_template_kwargs or {})}
        if self.day is not None:
            options.setdefault("date_string", self.day.strftime(dates.DATE_STRING))
        tools: Any = list(row.tools or self.tools or ()) or None
        options |= {"tools": tools, "chat_template": self.text, "add_generation_prompt": generate, "tokenize": False}
        try:
            return str(self.tokenizer.apply_chat_template(messages, **options))
        except (jinja2.TemplateError, TypeError, AttributeError, LookupError, ArithmeticError, ValueError) as error:
            raise UnfitTemplate(
                f"The chat template does not take this conversation ({type(error).__name__}: {str(error)[:120]}); "
                "change its messages, or give another template with chat_template_path."
            ) from error

    def rendering(self, row: RowOptions = NOTHING) -> probes.Render:
        """``render`` with a row's options, as the probes call it."""
        return lambda messages, generate: self.render(messages, generate, row)

    def split_prefill(self, prompt: Sequence[Mapping[str, Any]]) -> tuple[Messages, str]:
        """A conversation ready to be rendered, and the opening of the reply that its last message gives ("" without).

        The system prompt is put in, keys that are None and thoughts in parts are taken out.
        """
        messages = [with_reasoning_under_key(message) for message in clean(prompt)]
        if self.system_prompt and (not messages or messages[0].get("role") not in ("system", "developer")):
            messages = [{"role": "system", "content": self.system_prompt}, *messages]
        if messages and messages[-1].get("role") == "assistant":
            return messages[:-1], plain_opening(messages[-1])
        return messages, ""

    def pieces(self, context: Messages, row: RowOptions = NOTHING) -> Pieces:
        """What stands around a reply: learnt once for every set of options, and from the conversation itself where it
        ends in an unusual way (with a tool's result).

        Raises:
            UnfitTemplate: the template renders no finished reply.
        """
        render = self.rendering(row)
        system = [{**message, "content": "zsystem"} for message in context[:1] if message.get("role") == "system"]
        key = json.dumps([row.chat_template_kwargs, bool(row.tools), bool(system)], sort_keys=True, default=str)
        if key not in self._pieces:
            self._pieces[key] = probes.turn_pieces(
                render, [*system, *PROBE_PROMPT], self.text or "", known_style=self._marks
            )
        usual = self._pieces[key]
        if not context or context[-1].get("role") == "user":
            return usual
        return probes.turn_pieces(render, context, self.text or "", known_style=usual.style)

    @cached_property
    def _marks(self) -> probes.MarkStyle | None:
        """The marks that the template shows with these options, or with another thinking switch; None: it shows none."""
        if self.stated_marks is not None:
            return probes.marks_on_own_lines(self.stated_marks, "option")
        schema = schema_marks(self.tokenizer, self.source)
        context, _ = self.split_prefill(PROBE_PROMPT)
        switches: list[dict[str, Any]] = [{}, *({name: value} for name, value in SWITCHES), {"enable_thinking": False}]
        for switch in switches:
            try:
                pieces = probes.turn_pieces(self.rendering(RowOptions(switch)), context, self.text or "", schema)
            except UnfitTemplate:
                continue
            if pieces.style.source != "convention":
                return pieces.style
        return None

    def placed_prefill(self, prefill: str, messages: Messages, prompt: str, row: RowOptions = NOTHING) -> str:
        """The opening of a reply as this model writes it: in its own marks, in the channel of the answer.

        Raises:
            UnfitTemplate: it opens a thought behind a prompt that has closed it.
        """
        if not prefill:
            return ""
        pieces = self.pieces(messages, row)
        for opening, _ in dict.fromkeys((pieces.marks, THINK)):
            if not prefill.lstrip().startswith(opening):
                continue
            rest = prefill.lstrip()[len(opening) :]
            if pieces.opens:
                return rest.lstrip() if prompt[-1:].isspace() else rest
            if pieces.open is None:
                raise UnfitTemplate(
                    f"The prefill opens a thought with {opening!r}, but the prompt has closed it; let the model think "
                    "with chat_template_kwargs, or take the mark out of the prefill."
                )
            return prefill if opening == pieces.marks[0] else pieces.open + rest.lstrip()
        return prefill if pieces.opens or pieces.lead is None else pieces.lead + prefill

    def ending(self, pieces: Pieces) -> Ending:
        """What ends a turn.

        Raises:
            UnfitTemplate: generation would not stop there.
        """
        ending = find_ending(self.tokenizer, self.stops, pieces.end, pieces.end_earlier)
        if not ending.stops:
            raise UnfitTemplate(self.no_stop(ending))
        return ending

    def no_stop(self, ending: Ending) -> str:
        """Why a turn would not end, and the cure."""
        if not ending.ids:
            return (
                "Neither the template nor the tokenizer ends a reply, so the model would never learn to stop; set "
                "eos_token."
            )
        stops = ", ".join(repr(text_of(self.tokenizer, token)) for token in sorted(self.stops)) or "nothing"
        return (
            f"The template ends a turn with {ending.text!r}, but generation stops at {stops} only, so the model would "
            f"never learn to stop: set eos_token to {ending.text!r}, or name {ending.ids[-1]} among the eos_token_id of "
            "its generation_config."
        )

    def switch(self) -> dict[str, object]:
        """The chat_template_kwargs that let the model think where the prompt closes the thought; {} if none does."""
        context, _ = self.split_prefill(PROBE_PROMPT)
        for name, value in SWITCHES:
            try:
                if not self.pieces(context, RowOptions({name: value})).closes:
                    return {name: value}
            except UnfitTemplate:
                continue
        return {}

    def is_special(self, marks: Marks) -> bool:
        """Whether a plain decode would lose a mark."""
        special = special_ids(self.tokenizer)
        return any(token in special for mark in marks for token in encode(self.tokenizer, mark))

    @cached_property
    def facts(self) -> TemplateFacts:
        """What the template does with these options."""
        if self.text is None:
            return self._facts_of_text()
        context, _ = self.split_prefill(PROBE_PROMPT)
        try:
            pieces = self.pieces(context)
        except UnfitTemplate as error:
            return replace(self._facts_of_text(), unfit=str(error))
        ending = find_ending(self.tokenizer, self.stops, pieces.end, pieces.end_earlier)
        render, to_answer = self.rendering(), pieces.between.strip()
        if not pieces.answer_open or not to_answer.endswith(pieces.answer_open):
            to_answer = pieces.marks[1]
        return TemplateFacts(
            reasoning_open=pieces.marks[0],
            reasoning_close=pieces.marks[1],
            marks_from=pieces.style.source,
            marks_are_special=self.is_special((pieces.marks[0], to_answer)),
            reasoning_to_answer=to_answer,
            prompt_opens_reasoning=pieces.opens,
            prompt_closes_reasoning=pieces.closes,
            answer_open=pieces.answer_open,
            end_ids=ending.ids[-1:],
            end_text=ending.text,
            end_is_rendered=ending.rendered,
            stops_generation=ending.stops,
            content_reasoning=probes.content_reasoning(render, context, pieces.marks),
            reasoning_key=pieces.key,
            earlier_turns=probes.earlier_reasoning(render, context, pieces.key, THINK),
            default_system="" if self.system_prompt else probes.default_system(render),
            has_date=self._shows_date(also_string=True),
            has_todays_date=self._shows_date(also_string=False),
            prompt_end=pieces.prompt_end,
            thinking_switch=self.switch() if pieces.closes else {},
            unfit="" if ending.stops else self.no_stop(ending),
        )

    def _facts_of_text(self) -> TemplateFacts:
        marks, eos = self.stated_marks or THINK, self.tokenizer.eos_token_id
        return TemplateFacts(
            reasoning_open=marks[0],
            reasoning_close=marks[1],
            marks_from="option" if self.stated_marks else "convention",
            marks_are_special=self.is_special(marks),
            reasoning_to_answer=marks[1],
            end_ids=() if eos is None else (eos,),
            end_text="" if eos is None else text_of(self.tokenizer, eos),
            stops_generation=eos is not None,
            unfit="the tokenizer has no chat template",
        )

    def _shows_date(self, also_string: bool) -> bool:
        shown = set()
        for day in (datetime.date(1999, 1, 2), datetime.date(2001, 3, 14)):
            other = replace(self, day=day) if also_string else replace(self, day=None, today=day)
            shown.add(other.render(self.split_prefill(PROBE_PROMPT)[0], True))
        return len(shown) > 1


def with_reasoning_under_key(message: Message) -> Message:
    """An assistant's message whose thought in parts has moved to ``reasoning_content``, its text to the content."""
    parts = message.get("content")
    if message.get("role") != "assistant" or not isinstance(parts, list) or not any(map(reasoning_part, parts)):
        return message
    reasoning = "".join(filter(None, map(reasoning_part, parts)))
    text = "".join(part if isinstance(part, str) else part["text"] for part in parts if is_text(part))
    return {**message, "content": text, "reasoning_content": reasoning}


def plain_opening(message: Mapping[str, Any]) -> str:
    """The opening that an unfinished assistant's message gives, a thought under a key in ``<think>``."""
    reasoning = next((message[key] for key in KEYS if isinstance(message.get(key), str)), None)
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content)
    if reasoning is None:
        return content
    return f"{THINK[0]}\n{reasoning}" + (f"\n{THINK[1]}\n\n{content}" if content else "")
