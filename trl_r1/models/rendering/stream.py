"""A reply while it is written: pieces of text in; reasoning and content out, up to a stop string outside the reasoning.

    ReplyRule       what to look for: the marks of the reasoning, whether the prompt opened it, the stop strings
    ReplyStream     the same as a state: `feed` pieces in any cut, `finish`; what comes out does not depend on the cut
    TokenText       token ids one by one in, pieces of text out; never half a character

The reasoning stands at the beginning and ends at its first closing mark, since what was sent cannot be taken back
(`split` of replies.py has the whole text and looks for the last one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from trl_r1.models.rendering.messages import Marks
from trl_r1.text.completions import THINK


Kind = Literal["reasoning", "content", "mark"]
Part = tuple[Kind, str]


@dataclass(frozen=True)
class ReplyRule:
    """What a reply is made of.

    Args:
        marks: pairs around the reasoning, the model's own first.
        opened: the prompt ends inside the reasoning, opened with the first pair.
        answer_open: what the model writes before its answer, where it has channels.
        stop: strings that end the content.
        stop_in_reasoning: they end the reasoning too.
    """

    marks: tuple[Marks, ...] = (THINK,)
    opened: bool = False
    answer_open: str = ""
    stop: tuple[str, ...] = ()
    stop_in_reasoning: bool = False

    def parts(self, text: str) -> tuple[list[Part], bool]:
        """A whole text in parts, and whether a stop string ended it."""
        stream = ReplyStream(self)
        parts = [*stream.feed(text), *stream.finish()]
        return parts, stream.stopped

    def cut(self, text: str) -> tuple[str, bool]:
        """The text up to its stop string, marks included, and whether there was one.

        >>> ReplyRule(stop=("3",)).cut("<think>1, 2, 3</think>1, 2, 3, 4")
        ('<think>1, 2, 3</think>1, 2, ', True)
        """
        parts, stopped = self.parts(text)
        return "".join(piece for _, piece in parts), stopped

    def apart(self, text: str) -> tuple[str | None, str]:
        """Reasoning (None: there is none) and content, without white space where they meet.

        >>> ReplyRule(opened=True).apart("is it 3?</think> It is 4.")
        ('is it 3?', 'It is 4.')
        """
        trim = Trim()
        told: dict[str, str] = {"reasoning": "", "content": ""}
        for part in self.parts(text)[0]:
            for kind, piece in trim.add(*part):
                told[kind] += piece
        return (told["reasoning"] if trim.has_reasoning or self.opened else None), told["content"]


@dataclass
class ReplyStream:
    """Takes pieces of one reply; ``stopped`` once a stop string came."""

    rule: ReplyRule
    stopped: bool = False
    _state: Literal["start", "reasoning", "between", "content"] = "start"
    _buffer: str = ""
    _closings: tuple[str, ...] = ()

    def feed(self, piece: str) -> list[Part]:
        """What is certain after this piece."""
        self._buffer += piece
        return list(self._drain(final=False))

    def finish(self) -> list[Part]:
        """The rest: the reply is over."""
        return list(self._drain(final=True))

    def _drain(self, final: bool) -> Iterator[Part]:
        while not self.stopped and self._buffer:
            before = self._state
            if before == "start":
                yield from self._begin(final)
            elif before == "between":
                yield from self._to_answer(final)
            else:
                yield from self._go_on(before, final)
            if self._state == before:
                return

    def _begin(self, final: bool) -> Iterator[Part]:
        """Reasoning or content?"""
        rule = self.rule
        if rule.opened:
            self._state, self._closings = "reasoning", tuple(closing for _, closing in rule.marks)
            return
        text = self._buffer.lstrip()
        begun: dict[str, tuple[str, ...]] = {opening: (closing,) for opening, closing in reversed(rule.marks)}
        begun |= {rule.answer_open: ()} if rule.answer_open else {}
        if not final and any(mark.startswith(text) and mark != text for mark in begun):
            return  # an opening mark may follow
        mark = max((mark for mark in begun if text.startswith(mark)), key=len, default=None)
        if mark is None:
            self._state = "content"
            return
        lead = len(self._buffer) - len(text) + len(mark)
        yield "mark", self._buffer[:lead]
        self._buffer, self._closings = self._buffer[lead:], begun[mark]
        self._state = "reasoning" if self._closings else "content"

    def _to_answer(self, final: bool) -> Iterator[Part]:
        """From the end of the reasoning to the mark of the answer."""
        place = self._buffer.find(self.rule.answer_open)
        if place < 0:
            if final:
                yield "mark", self._buffer
                self._buffer = ""
            return
        end = place + len(self.rule.answer_open)
        yield "mark", self._buffer[:end]
        self._buffer, self._state = self._buffer[end:], "content"

    def _go_on(self, kind: Literal["reasoning", "content"], final: bool) -> Iterator[Part]:
        """What is certain of the reasoning or the content."""
        stops = self.rule.stop if kind == "content" or self.rule.stop_in_reasoning else ()
        closings = self._closings if kind == "reasoning" else ()
        ends = [(place, -len(word), word) for word in (*stops, *closings) if (place := self._buffer.find(word)) >= 0]
        if ends and (final or not _may_come_first(self._buffer, (*stops, *closings), min(ends)[0])):
            place, _, word = min(ends)
            if place:
                yield kind, self._buffer[:place]
            if word in stops:
                self._buffer, self.stopped = "", True
                return
            yield "mark", word
            self._buffer = self._buffer[place + len(word) :]
            self._state = "between" if self.rule.answer_open else "content"
            return
        keep = 0 if final else held_back(self._buffer, (*stops, *closings))
        sure = len(self._buffer) - keep
        if sure:
            yield kind, self._buffer[:sure]
        self._buffer = self._buffer[sure:]


def held_back(text: str, words: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of one of the words.

    >>> held_back("one, tw", ("two", "w"))
    2
    """
    longest = max((len(word) for word in words), default=0)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(len(word) > size and word.startswith(text[-size:]) for word in words):
            return size
    return 0


def _may_come_first(text: str, words: Sequence[str], place: int) -> bool:
    """Whether a word that begins at ``place`` or before it may still be completed: "abc" while "b" is there already."""
    keep = held_back(text, words)
    return keep > 0 and len(text) - keep <= place


@dataclass
class Trim:
    """Parts in; reasoning and content out, without the white space around the reasoning and before the answer."""

    has_reasoning: bool = False
    _space: str = ""  # of the reasoning, held back: it may be the last
    _begun: set[str] = field(default_factory=set)

    def add(self, kind: Kind, piece: str) -> list[Part]:
        """What of this part is told."""
        if kind == "mark":
            return []
        self.has_reasoning = self.has_reasoning or kind == "reasoning"
        if kind == "content":
            if self.has_reasoning and kind not in self._begun:
                piece = piece.lstrip()
        else:
            piece = self._space + piece if kind in self._begun else piece.lstrip()
            told = piece.rstrip()
            self._space, piece = piece[len(told) :], told
        if piece:
            self._begun.add(kind)
        return [(kind, piece)] if piece else []


@dataclass
class TokenText:
    """The text of token ids that come one by one."""

    decode: Callable[[Sequence[int]], str]  # as the whole text is decoded, or the two would not agree
    ids: list[int] = field(default_factory=list)
    text: str = ""  # so far
    _start: int = 0
    _read: int = 0

    def add(self, token: int) -> str:
        """What this token adds, "" while it is half a character."""
        self.ids.append(token)
        before = self.decode(self.ids[self._start : self._read])
        now = self.decode(self.ids[self._start :])
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""
        self._start, self._read = self._read, len(self.ids)
        piece = now[len(before) :]
        self.text += piece
        return piece
