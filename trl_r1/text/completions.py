"""Completions as TRL hands them over, taken apart: the reply, its thought, and what follows the thought.

Every function is linear in the length of the text: tags are found with ``str.find``, never with a backtracking regex.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any


THINK = ("<think>", "</think>")
ANSWER = ("<answer>", "</answer>")

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")  # where chat parsers put a thought they cut out


def reply(completion: Any) -> str:
    """The final assistant text of a completion.

    Args:
        completion: a plain string; a list of messages (the last assistant message with text counts, so that tool
            calls and tool results after or before it do not hide it); one message; or None.

    Returns:
        The text; "" where the model wrote none (a bare tool call, ``None`` content, an empty list). A thought that a
        chat parser moved to ``reasoning_content``, or to a part of its own, is put back between ``<think>`` and
        ``</think>``.

    Raises:
        TypeError: the completion is neither text nor messages.

    >>> reply([{"role": "assistant", "content": None, "tool_calls": []}, {"role": "assistant", "content": "5"}])
    '5'
    """
    if completion is None:
        return ""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Mapping):
        return _message_text(completion)
    if not isinstance(completion, Sequence):
        raise TypeError(f"A completion is a string or a list of messages, not {type(completion).__name__}.")
    for message in reversed(completion):
        if isinstance(message, str):
            text = message
        elif isinstance(message, Mapping):
            if message.get("role", "assistant") != "assistant":
                continue
            text = _message_text(message)
        else:
            raise TypeError(f"A message is a mapping with 'role' and 'content', not {type(message).__name__}.")
        if text:
            return text
    return ""


def _message_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    text = _content_text(content)
    for reasoning in (*(message.get(key) for key in REASONING_KEYS), _reasoning_in_parts(content)):
        if isinstance(reasoning, str) and reasoning and THINK[1] not in text:
            return f"{THINK[0]}{reasoning}{THINK[1]}{text}"
    return text


def _reasoning_in_parts(content: Any) -> str:
    """The thought in parts such as Mistral's ``{"type": "thinking", "thinking": ...}`` (a text, or parts of text)."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return ""
    inner = [part.get("thinking") for part in content if isinstance(part, Mapping) and part.get("type") == "thinking"]
    return "".join(_content_text(part) for part in inner)


def _content_text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):  # parts: [{"type": "text", "text": "..."}, {"type": "image"}, ...]
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]  # a part may be None
        return "".join(part for part in parts if isinstance(part, str))
    raise TypeError(f"A message's content is text, a list of parts or None, not {type(content).__name__}.")


def reasoning_bounds(text: str, tags: tuple[str, str] = THINK, prefilled: bool = False) -> tuple[int, int, int]:
    """Where the thought lies: ``text[start:end]`` is the thought, ``text[after:]`` is what follows it.

    The thought ends at the last closing tag, so nothing can be smuggled past it with a second one. A closing tag
    without an opening one means that the template prefilled the opening tag: the thought starts with the text. An
    opening tag that is never closed is a thought that never ended: nothing follows it.

    Args:
        prefilled: the template is known to open the thought, so a text without tags is an unfinished thought.
            Otherwise such a text has no thought, and all of it "follows".
    """
    opening, closing = tags
    close = text.rfind(closing)
    if close >= 0:
        first = text.find(opening, 0, close)
        return (first + len(opening) if first >= 0 else 0), close, close + len(closing)
    first = text.find(opening)
    if first >= 0:
        return first + len(opening), len(text), len(text)
    return (0, len(text), len(text)) if prefilled else (0, 0, 0)


def reasoning_of(text: str, tags: tuple[str, str] = THINK, prefilled: bool = False) -> str:
    """The reasoning between the think tags; "" where there is none. See ``reasoning_bounds`` for broken tags.

    >>> reasoning_of("2 + 2 is 4</think> 4")
    '2 + 2 is 4'
    """
    start, end, _ = reasoning_bounds(text, tags, prefilled)
    return text[start:end]


def after_reasoning(text: str, tags: tuple[str, str] = THINK, prefilled: bool = False) -> str:
    """What the reader is meant to see: the text after the thought, up to a thought opened again.

    >>> after_reasoning("<think>is it 3?</think> It is 4.")
    ' It is 4.'
    >>> after_reasoning("<think>still thinking: 4")
    ''
    """
    _, _, after = reasoning_bounds(text, tags, prefilled)
    reopened = text.find(tags[0], after)
    return text[after:] if reopened < 0 else text[after:reopened]


def completed(text: str, opened: bool | None, opening: str = THINK[0]) -> str:
    """A reply as a whole: with the opening mark that its prompt has written.

    >>> completed("2 + 2</think> 4", True), completed("<think>2 + 2</think> 4", True), completed("4", False)
    ('<think>2 + 2</think> 4', '<think>2 + 2</think> 4', '4')
    """
    return opening + text if opened and text.strip() and not text.lstrip().startswith(opening) else text


def reasoning_or_all(text: str, think: tuple[str, str] = THINK, prefilled_think: bool = False) -> str:
    """The chain of a reply: its thought; of a reply without think tags, all of it.

    >>> reasoning_or_all("<think>2 + 2 is 4</think> 4"), reasoning_or_all("2 + 2 is 4, so 4")
    ('2 + 2 is 4', '2 + 2 is 4, so 4')
    """
    start, end, after = reasoning_bounds(text, think, prefilled_think)
    return text if after == 0 else text[start:end]


_COVER = re.compile(
    r"(?P<comment><!--)"
    r"|<(?P<element>[A-Za-z]{1,20})\s(?=[^<>]{0,200}"
    r"(?:display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0|font-size\s*:\s*0|color\s*:\s*(?:white|transparent)))"
    r"[^<>]{0,300}>"
    r"|(?P<braces>\\[hv]?phantom\s{0,5}\{|\\textcolor\s{0,5}\{\s{0,5}white\s{0,5}\}\s{0,5}\{)"
    r"|(?P<switch>\\color\s{0,5}\{\s{0,5}white\s{0,5}\}|\\tiny(?![A-Za-z]))"
)
_HINTS = ("<!--", "phantom", "white", "\\tiny", "display", "visibility", "opacity", "font-size", "transparent")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def without_hidden(text: str) -> str:
    r"""The text with what a rendered page would not show replaced by spaces; offsets stay what they were.

    Hidden are HTML comments, elements styled away (``display:none``, size 0, white), ``\phantom``, white and ``\tiny``
    LaTeX. What is never closed hides the rest. Linear: every scan for an end goes on where the last one stopped.

    >>> without_hidden(r"it is \boxed{4} <!-- \boxed{5} -->").rstrip()
    'it is \\boxed{4}'
    """
    if not any(hint in text for hint in _HINTS):
        return text
    parts: list[str] = []
    position = 0
    while (cover := _COVER.search(text, position)) is not None:
        start, end = cover.start(), cover.end()
        if cover["comment"]:
            close = text.find("-->", end)
            end = close + 3 if close >= 0 else len(text)
        elif cover["element"]:
            closing = f"</{cover['element']}>"
            close = text.find(closing, end)
            end = close + len(closing) if close >= 0 else len(text)
        else:
            depth = 1  # of the braces of the command, or of the group that the switch stands in
            for brace in _BRACE.finditer(text, end):
                depth += {"{": 1, "}": -1}.get(brace.group(), 0)
                if depth == 0:
                    end = brace.end() if cover["braces"] else brace.start()
                    break
            else:
                end = len(text)
        parts += text[position:start], " " * (end - start)
        position = end
    return "".join(parts) + text[position:]


_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols that are drawn as nothing


def visible(text: str) -> bool:
    """Whether a reader would see anything: some character that is no space, control, format or filler character, and
    that is not hidden (``without_hidden``).

    >>> visible("\\u200b \\n")
    False
    """
    return any(c.isprintable() and not c.isspace() and c not in _BLANKS for c in without_hidden(text))


def says(text: str, symbols: bool = False) -> bool:
    """Whether a text says something: a visible letter or digit of any script; with ``symbols`` a sign such as the empty
    set or infinity will do. Punctuation says nothing.

    >>> says("..."), says("\u2205"), says("\u2205", symbols=True), says("\u6240\u4ee5")
    (False, False, True, True)
    """
    categories = "LNS" if symbols else "LN"
    return any(unicodedata.category(c)[0] in categories and c not in _BLANKS for c in without_hidden(text))
