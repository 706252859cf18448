"""The text of a completion that teaches a reply: put together from what the template shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trl_r1.models.rendering.facts import UnfitTemplate
from trl_r1.models.rendering.messages import ParsedMessage
from trl_r1.models.rendering.probes import Pieces, is_reasoning_open
from trl_r1.models.rendering.rows import Ending


@dataclass(frozen=True)
class TargetCompletion:
    """What a perfect generation emits: a text, and the end behind it."""

    text: str
    reasoning: str
    answer: str
    ending: Ending

    def stretches(self) -> list[tuple[str, int, int]]:
        """(kind, start, end) of thought and answer in the text, in characters."""
        stretches, start = [], 0
        for kind, part in (("thought", self.reasoning), ("answer", self.answer)):
            place = self.text.find(part, start) if part else -1
            if kind == "answer" and part:
                place = self.text.rfind(part, start)
            if place >= 0:
                stretches.append((kind, place, place + len(part)))
                start = place + len(part)
        return stretches


def compose(
    prefill: str,
    message: Mapping[str, Any],
    parsed: ParsedMessage,
    pieces: Pieces,
    ending: Ending,
    raw: Iterable[str],
    switch: Callable[[], Mapping[str, object]],
) -> TargetCompletion:
    """The completion for a row: as the template itself writes it where that is sound, else from its pieces.

    Args:
        prefill: the opening of the reply, as the prompt has it.
        message: the assistant's message of the row.
        parsed: the same, taken apart.
        raw: what the template writes behind the prompt for this row, best first.
        switch: finds the chat_template_kwargs that let the model think.

    Raises:
        UnfitTemplate: in one sentence that says how to go on.
    """
    if message.get("tool_calls"):
        return completion_with_calls(message, parsed, pieces, ending, raw)
    opens = is_reasoning_open(pieces.opens, prefill, pieces.marks)
    own = pieces.style.source != "convention"
    keep_layout = parsed.place == "layout" and not own and not opens
    reasoning = "" if parsed.reasoning is None or keep_layout else parsed.reasoning
    answer = str(message.get("content") or "").strip() if keep_layout else parsed.answer.strip()
    if not reasoning and not answer:
        raise UnfitTemplate("The reply has neither a thought nor an answer; leave such rows out.")
    if pieces.marks[1] in reasoning:
        raise UnfitTemplate(
            f"The thought quotes its own closing mark {pieces.marks[1]!r}, where the model would end it; leave such "
            "rows out."
        )
    for text in raw:
        body = sound_rendering(text, reasoning, answer, pieces, keep_layout)
        if body is not None:
            return TargetCompletion(body, reasoning, answer, ending)
    body = assembled(reasoning, answer, pieces, opens, prefill, switch)
    return TargetCompletion(behind_prefill(body, prefill, opens, pieces), reasoning, answer, ending)


def sound_rendering(text: str, reasoning: str, answer: str, pieces: Pieces, layout: bool) -> str | None:
    """The template's text up to the end of the answer, if nothing but the marks stands around thought and answer."""
    if not answer or text.count(pieces.marks[1]) > (1 if reasoning or pieces.marks[1] in (pieces.lead or "") else 0):
        return None
    place = text.rfind(answer)
    if place < 0 or text[place + len(answer) :].strip() != pieces.end.strip():
        return None
    head = text[:place]
    if not reasoning:
        lead = pieces.lead or ""
        if layout and pieces.marks[1] in lead:
            return None
        return text[: place + len(answer)] if pieces.lead is not None and head.strip() == lead.strip() else None
    start = head.find(reasoning)
    if start < 0 or pieces.open is None:
        return None
    opening = "" if pieces.opens else pieces.marks[0]
    fits = head[:start].strip() in {opening, pieces.open.strip()}
    between = head[start + len(reasoning) :].strip()
    return text[: place + len(answer)] if fits and between in {pieces.marks[1], pieces.between.strip()} else None


def assembled(
    reasoning: str, answer: str, pieces: Pieces, opens: bool, prefill: str, switch: Callable[[], Mapping[str, object]]
) -> str:
    """Thought and answer put together from the pieces of a turn."""
    opening, closing = pieces.marks
    if reasoning:
        if opens and not pieces.opens:  # by the prefill
            return (
                pieces.marks[0] + reasoning + pieces.between + answer
                if not pieces.open
                else pieces.open + reasoning + pieces.between + answer
            )
        if pieces.open is None:
            switches = (
                ", ".join(f"{name}: {str(value).lower()}" for name, value in switch().items()) if pieces.closes else ""
            )
            way = (
                f"set chat_template_kwargs to {{{switches}}}"
                if switches
                else "give a template that lets the model think"
            )
            why = "closes the thought" if pieces.closes else "does not lead to where the template writes a thought"
            raise UnfitTemplate(
                f"The row has a thought, but the prompt {why}: {way}, or train on rows without thoughts."
            )
        return pieces.open + reasoning + pieces.between + answer
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


def completion_with_calls(
    message: Mapping[str, Any], parsed: ParsedMessage, pieces: Pieces, ending: Ending, raw: Iterable[str]
) -> TargetCompletion:
    """A reply that calls tools, as the template writes it; there is no other way to write a call."""
    reasoning, answer = parsed.reasoning or "", parsed.answer.strip()
    names = [call.get("function", call).get("name", "") for call in message["tool_calls"]]
    for text in raw:
        there = all(part in text for part in (reasoning, answer, *names))
        if (
            there
            and (pieces.marks[1] in text) >= bool(reasoning)
            and pieces.end.strip() in text[-len(pieces.end) - 40 :]
        ):
            body = text.rstrip()
            end = pieces.end.strip()
            return TargetCompletion(
                body[: -len(end)] if end and body.endswith(end) else body, reasoning, answer, ending
            )
    raise UnfitTemplate(
        "The template does not render this reply's tool calls (and its thought) as the model would write them; leave such "
        "rows out, or give another template with chat_template_path."
    )
