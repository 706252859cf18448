"""Messages as rows bring them: cleaned, and an assistant's message taken apart into thought and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.models.rendering.facts import UnfitTemplate
from trl_r1.text.completions import THINK
from trl_r1.text.records import Messages


Marks = tuple[str, str]

KEYS = ("reasoning_content", "thinking", "reasoning")
LAYOUT_MARK = "|special_token|"  # DeepSeek-R1's cold start: |special_token|thought|special_token|summary


@dataclass(frozen=True)
class ParsedMessage:
    """What an assistant's message says. ``place`` is where the thought stood: "content", "key", "parts", "layout"."""

    reasoning: str | None
    answer: str
    place: str | None = None
    opened: bool = True  # False: the content begins inside the thought, as a template that opens it leaves it


def clean(messages: Sequence[Mapping[str, Any]]) -> Messages:
    """Messages without the keys that are None (a dataset fills them in); text in parts becomes text."""
    cleaned = []
    for message in messages:
        kept = {key: value for key, value in message.items() if value is not None}
        parts = kept.get("content")
        if isinstance(parts, list | tuple) and parts and all(is_text(part) for part in parts):
            kept["content"] = "".join(part if isinstance(part, str) else part["text"] for part in parts)
        cleaned.append(kept)
    return cleaned


def is_text(part: Any) -> bool:
    """Whether a part of a content is text: a string, or ``{"type": "text", "text": ...}``."""
    return isinstance(part, str) or (
        isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)
    )


def reasoning_part(part: Any) -> str | None:
    """The text of a part ``{"type": "thinking", "thinking": ...}`` (Mistral: a text, or text parts); None for others."""
    if not isinstance(part, Mapping) or part.get("type") not in ("thinking", "reasoning"):
        return None
    inner = part.get("thinking", part.get("reasoning", part.get("text")))
    if isinstance(inner, list | tuple):
        return "".join(piece if isinstance(piece, str) else str(piece.get("text") or "") for piece in inner)
    return str(inner or "")


def parse_message(message: Mapping[str, Any], marks: Sequence[Marks], reasoning: str | None = None) -> ParsedMessage:
    """Takes an assistant's message apart.

    Args:
        message: content (text or parts), perhaps with ``reasoning_content``, ``thinking`` or ``reasoning``.
        marks: pairs of marks to look for in the content, the model's own first.
        reasoning: from a column of its own; wins over a key.

    Raises:
        UnfitTemplate: a thought that is never closed, or that stands in two places.
    """
    content = message.get("content")
    reasoning_in_parts = None
    if isinstance(content, list | tuple):
        reasonings = [text for text in map(reasoning_part, content) if text is not None]
        reasoning_in_parts = "".join(reasonings) if reasonings else None
        if not all(is_text(part) or reasoning_part(part) is not None for part in content):
            raise UnfitTemplate(
                "The reply holds a part that is neither text nor a thought (an image?); rows of text are trained on here. "
                "Leave such rows out."
            )
        content = "".join(part if isinstance(part, str) else part["text"] for part in content if is_text(part))
    content = content or ""
    if reasoning is None:
        reasoning = next(
            (message[key] for key in KEYS if isinstance(message.get(key), str) and message[key].strip()), None
        )
    if reasoning is None and reasoning_in_parts is not None:
        return ParsedMessage(reasoning_in_parts.strip(), content, "parts")
    parsed = parse_content(content, marks)
    if reasoning is not None and reasoning.strip():
        if parsed.reasoning:
            if parsed.reasoning != reasoning.strip():
                raise UnfitTemplate(
                    "The reply carries two different thoughts, one in its content and one beside it; keep one of them."
                )
            return ParsedMessage(reasoning.strip(), parsed.answer, "key")
        return ParsedMessage(reasoning.strip(), content if parsed.place is None else parsed.answer, "key")
    return parsed


def parse_content(content: str, marks: Sequence[Marks]) -> ParsedMessage:
    """The thought at the beginning of a content, between the first pair of marks that is found, or in our layout."""
    for opening, closing in marks:
        before, close, answer = content.partition(closing)
        if close:
            lead, opened, inside = before.partition(opening)
            if opened and lead.strip():
                continue  # a thought in the middle of an answer is part of the answer
            return ParsedMessage((inside if opened else before).strip(), answer.strip(), "content", bool(opened))
        if content.lstrip().startswith(opening):
            raise UnfitTemplate(
                f"The reply opens a thought with {opening!r} and never closes it with {closing!r}; it was cut, perhaps. "
                "Leave such rows out, or complete them."
            )
    if content.count(LAYOUT_MARK) == 2 and content.lstrip().startswith(LAYOUT_MARK):
        _, inside, answer = content.split(LAYOUT_MARK)
        return ParsedMessage(inside.strip(), answer.strip(), "layout")
    return ParsedMessage(None, content)


def plain_text(message: Mapping[str, Any], reasoning: str | None = None) -> str:
    """An assistant's message as one text, a thought from elsewhere put before it between ``<think>`` and ``</think>``."""
    parsed = parse_message(message, (THINK,), reasoning)
    if parsed.reasoning is None or parsed.place in ("content", "layout"):
        content = message.get("content")
        return content if isinstance(content, str) else parsed.answer
    return f"{THINK[0]}{parsed.reasoning}{THINK[1]}{parsed.answer}"
