"""The text of a completion that teaches a reply: put together from what the template shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trl_r1.models.rendering.facts import UnfitTemplate
from trl_r1.models.rendering.messages import Said
from trl_r1.models.rendering.probes import Pieces, state
from trl_r1.models.rendering.rows import Ending


@dataclass(frozen=True)
class Completion:
    """What a perfect generation emits: a text, and the end behind it."""

    text: str
    thought: str
    answer: str
    ending: Ending

    def stretches(self) -> list[tuple[str, int, int]]:
        """(kind, start, end) of thought and answer in the text, in characters."""
        found, start = [], 0
        for kind, words in (("thought", self.thought), ("answer", self.answer)):
            place = self.text.find(words, start) if words else -1
            if kind == "answer" and words:
                place = self.text.rfind(words, start)
            if place >= 0:
                found.append((kind, place, place + len(words)))
                start = place + len(words)
        return found


def compose(
    prefill: str,
    message: Mapping[str, Any],
    words: Said,
    pieces: Pieces,
    ending: Ending,
    raw: Iterable[str],
    switch: Callable[[], Mapping[str, object]],
) -> Completion:
    """The completion for a row: as the template itself writes it where that is sound, else from its pieces.

    Args:
        prefill: the opening of the reply, as the prompt has it.
        message: the assistant's message of the row.
        words: the same, taken apart.
        raw: what the template writes behind the prompt for this row, best first.
        switch: finds the chat_template_kwargs that let the model think.

    Raises:
        UnfitTemplate: in one sentence that says how to go on.
    """
    if message.get("tool_calls"):
        return calling(message, words, pieces, ending, raw)
    opens = state(pieces.opens, prefill, pieces.marks)
    own = pieces.found.source != "convention"
    keep_layout = words.place == "layout" and not own and not opens
    thought = "" if words.thought is None or keep_layout else words.thought
    answer = str(message.get("content") or "").strip() if keep_layout else words.answer.strip()
    if not thought and not answer:
        raise UnfitTemplate("The reply has neither a thought nor an answer; leave such rows out.")
    if pieces.marks[1] in thought:
        raise UnfitTemplate(
            f"The thought quotes its own closing mark {pieces.marks[1]!r}, where the model would end it; leave such "
            "rows out."
        )
    for text in raw:
        body = sound(text, thought, answer, pieces, keep_layout)
        if body is not None:
            return Completion(body, thought, answer, ending)
    body = written(thought, answer, pieces, opens, prefill, switch)
    return Completion(behind_prefill(body, prefill, opens, pieces), thought, answer, ending)


def sound(text: str, thought: str, answer: str, pieces: Pieces, layout: bool) -> str | None:
    """The template's text up to the end of the answer, if nothing but the marks stands around thought and answer."""
    if not answer or text.count(pieces.marks[1]) > (1 if thought or pieces.marks[1] in (pieces.lead or "") else 0):
        return None
    place = text.rfind(answer)
    if place < 0 or text[place + len(answer) :].strip() != pieces.end.strip():
        return None
    head = text[:place]
    if not thought:
        lead = pieces.lead or ""
        if layout and pieces.marks[1] in lead:
            return None
        return text[: place + len(answer)] if pieces.lead is not None and head.strip() == lead.strip() else None
    start = head.find(thought)
    if start < 0 or pieces.open is None:
        return None
    opening = "" if pieces.opens else pieces.marks[0]
    fits = head[:start].strip() in {opening, pieces.open.strip()}
    between = head[start + len(thought) :].strip()
    return text[: place + len(answer)] if fits and between in {pieces.marks[1], pieces.between.strip()} else None


def written(
    thought: str, answer: str, pieces: Pieces, opens: bool, prefill: str, switch: Callable[[], Mapping[str, object]]
) -> str:
    """Thought and answer put together from the pieces of a turn."""
    opening, closing = pieces.marks
    if thought:
        if opens and not pieces.opens:  # by the prefill
            return (
                pieces.marks[0] + thought + pieces.between + answer
                if not pieces.open
                else pieces.open + thought + pieces.between + answer
            )
        if pieces.open is None:
            found = (
                ", ".join(f"{name}: {str(value).lower()}" for name, value in switch().items()) if pieces.closes else ""
            )
            way = f"set chat_template_kwargs to {{{found}}}" if found else "give a template that lets the model think"
            why = "closes the thought" if pieces.closes else "does not lead to where the template writes a thought"
            raise UnfitTemplate(
                f"The row has a thought, but the prompt {why}: {way}, or train on rows without thoughts."
            )
        return pieces.open + thought + pieces.between + answer
    if opens:  # a thought that ends at once
        lead = pieces.lead
        if not prefill and lead is not None and closing in lead:
            return lead + answer
        return pieces.between.lstrip() + answer
    if pieces.lead is None:
        if pieces.closes:
            return answer
        raise UnfitTemplate(
            "The template begins a finished reply otherwise than it begins a prompt for one, so a model trained on it would "
            "be asked in a way it never saw; give another template with chat_template_path."
        )
    lead = pieces.lead
    return lead + answer


def behind_prefill(body: str, prefill: str, opens: bool, pieces: Pieces) -> str:
    """The rest of a completion whose opening is in the prompt."""
    if not prefill:
        return body
    if body.startswith(prefill):
        return body[len(prefill) :]
    mark = prefill.strip()
    if mark and body.lstrip().startswith(mark):
        rest = body.lstrip()[len(mark) :]
        return rest.lstrip() if prefill[-1].isspace() else rest
    opening = pieces.open or ""
    if opens and opening and body.startswith(opening):
        return body[len(opening) :]
    return body


def calling(message: Mapping[str, Any], words: Said, pieces: Pieces, ending: Ending, raw: Iterable[str]) -> Completion:
    """A reply that calls tools, as the template writes it; there is no other way to write a call."""
    thought, answer = words.thought or "", words.answer.strip()
    names = [call.get("function", call).get("name", "") for call in message["tool_calls"]]
    for text in raw:
        there = all(part in text for part in (thought, answer, *names))
        if (
            there
            and (pieces.marks[1] in text) >= bool(thought)
            and pieces.end.strip() in text[-len(pieces.end) - 40 :]
        ):
            body = text.rstrip()
            end = pieces.end.strip()
            return Completion(body[: -len(end)] if end and body.endswith(end) else body, thought, answer, ending)
    raise UnfitTemplate(
        "The template does not render this reply's tool calls (and its thought) as the model would write them; leave such "
        "rows out, or give another template with chat_template_path."
    )
