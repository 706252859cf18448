"""Choices: a drawn text in, the message that a client gets out; whole, or in deltas while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trl_r1.models.rendering import TemplateFacts
from trl_r1.models.rendering.probes import by_key
from trl_r1.models.rendering.stream import Part, ReplyRule, ReplyStream, TokenText, Trim
from trl_r1.routing.paths import Candidate
from trl_r1.text.completions import REASONING_KEYS, THINK
from trl_r1.text.records import Json, Messages


OnPart = Callable[[int, str, str], Any]
"""Called with (which choice, "reasoning" or "content", a piece of it) while the text is being written."""

UPSTREAM_ENDS = ("stop", "length", "tool_calls", "function_call", "content_filter")


@dataclass(frozen=True)
class Choice:
    """One answer, as it is shown."""

    content: str
    finish_reason: str = "stop"
    reasoning: str | None = None
    tool_calls: list[Json] | None = None
    function_call: Json | None = None
    logprobs: Json | None = None

    def message(self) -> Json:
        """As the body of a chat completion has it."""
        called = self.tool_calls is not None or self.function_call is not None
        message: Json = {"role": "assistant", "content": None if called and not self.content else self.content}
        message["refusal"] = None
        if self.reasoning is not None:
            message |= {"reasoning_content": self.reasoning, "reasoning": self.reasoning}
        message |= {"tool_calls": self.tool_calls} if self.tool_calls is not None else {}
        return message | ({"function_call": self.function_call} if self.function_call is not None else {})


def choice_of(path: Candidate, rule: ReplyRule, chat: bool, separate: bool, asked: Json) -> Choice:
    """What a client gets of a path.

    Args:
        rule: what the text is made of.
        separate: the reasoning beside the content, not in it between tags.
        asked: the fields that were passed on to the path's server.
    """
    upstream = path.choice or {}
    sent = upstream.get("message")
    message: Json = sent if isinstance(sent, dict) else {}
    end = upstream.get("finish_reason")
    finish = end if end in UPSTREAM_ENDS else "length" if path.truncated else "stop"
    more: Json = {name: message.get(name) or None for name in ("tool_calls", "function_call")}
    more["logprobs"] = upstream.get("logprobs") if asked.get("logprobs") else None
    own = next((message[key] for key in REASONING_KEYS if isinstance(message.get(key), str) and message[key]), None)
    text, stopped = rule.cut(path.text)  # a server may not know stop strings
    finish = "stop" if stopped else finish
    if separate and own is not None:  # its server has taken it apart
        content = message.get("content")
        content = content if isinstance(content, str) else ""
        return Choice(ReplyRule((), stop=rule.stop).cut(content)[0], finish, own, **more)
    if not chat:
        return Choice(text, finish, **more)
    if not separate:
        return Choice((rule.marks[0][0] if rule.opened else "") + text, finish, **more)
    reasoning, content = rule.apart(text)
    return Choice(content, finish, reasoning, **more)


def opened_before(text: str, rule: ReplyRule) -> bool:
    """Whether a server's template, which is not known here, opened the reasoning: it is closed and was never opened."""
    return any(closing in text and opening not in text for opening, closing in rule.marks)


@dataclass
class Deltas:
    """Token ids of several texts in, pieces of their reasoning and content out."""

    decode: Callable[[Sequence[int]], str]  # as the whole text is decoded, or the two would not agree
    rule: ReplyRule
    tell: OnPart
    separate: bool = True
    chat: bool = True
    _texts: dict[int, OneText] = field(default_factory=dict)

    def add(self, number: int, token: int) -> None:
        """The next token of one of the texts."""
        text = self._text(number)
        self._tell(number, text.stream.feed(text.tokens.add(token)))

    def finish(self, number: int, whole: str) -> None:
        """The rest of a text, once the whole of it (up to its stop string) is known."""
        text = self._text(number)
        if not text.stream.stopped and whole.startswith(text.tokens.text):
            self._tell(number, text.stream.feed(whole[len(text.tokens.text) :]))
        self._tell(number, text.stream.finish())

    def _text(self, number: int) -> OneText:
        if number not in self._texts:
            self._texts[number] = OneText(TokenText(self.decode), ReplyStream(self.rule), Trim())
            if self.rule.opened and self.chat and not self.separate:
                self.tell(number, "content", self.rule.marks[0][0])
        return self._texts[number]

    def _tell(self, number: int, parts: list[Part]) -> None:
        for kind, piece in parts:
            if not self.separate:
                self.tell(number, "content", piece)
                continue
            for told, rest in self._text(number).trim.add(kind, piece):
                self.tell(number, told, rest)


@dataclass
class OneText:
    """Where one text stands."""

    tokens: TokenText
    stream: ReplyStream
    trim: Trim


def with_reasoning(messages: Messages, facts: TemplateFacts) -> Messages:
    """A conversation as a template takes it: the reasoning of earlier turns, whether it was sent beside the content or in
    it between tags, where the template reads it. A template that reads none gets the content as it was sent."""
    marks = tuple(dict.fromkeys(((facts.reasoning_open or THINK[0], facts.reasoning_close or THINK[1]), THINK)))
    turns = []
    for message in messages:
        plain = {"role": message["role"], "content": message["content"]}
        if message["role"] != "assistant" or facts.reasoning_key is None:
            turns.append(plain)
            continue
        beside = next((message[key] for key in REASONING_KEYS if isinstance(message.get(key), str)), None)
        inside, content = ReplyRule(marks, opened_before(plain["content"], ReplyRule(marks))).apart(plain["content"])
        reasoning = beside if beside is not None else inside
        turns.append(plain if not reasoning else by_key(facts.reasoning_key, reasoning, content))
    return turns
