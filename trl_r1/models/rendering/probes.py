"""Probes: what a template puts around an assistant's turn, read off conversations with words that no template knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trl_r1.models.rendering.facts import UnfitTemplate
from trl_r1.models.rendering.messages import Marks, Messages
from trl_r1.text.completions import THINK
from trl_r1.text.records import Message


Render = Callable[[Messages, bool], str]
"""(messages, add_generation_prompt) -> text; raises UnfitTemplate where the template does."""

QUESTION, ANSWER, REASONING = "zquestion", "zanswer", "zthought"
LATER, LAST = "zlater", "zlast"
TAG = re.compile(r"<[^<>\n]{1,60}>|\[/?[A-Z_]{2,30}\]|◁[^◁▷\n]{1,30}▷")
CALL = {"type": "function", "function": {"name": "zname", "arguments": {"zkey": "zvalue"}}}


@dataclass(frozen=True)
class MarkStyle:
    """The marks of a thought, what showed them, and how they are written: before the thought, and behind it."""

    marks: Marks
    source: str
    before: str
    behind: str


@dataclass(frozen=True)
class Pieces:
    """The text around a reply, from the end of the generation prompt on."""

    prompt_end: str  # of the generation prompt, from the user's last word on
    opens: bool  # the prompt ends inside a thought
    closes: bool  # the prompt has a thought closed already
    lead: str | None  # before an answer without a thought; None: the template shows none that follows the prompt
    open: str | None  # before a thought; None: no thought can follow this prompt
    between: str  # from the thought to the answer
    end: str  # after the answer, as the last turn has it
    end_earlier: str  # after the answer, up to the user's next word
    style: MarkStyle
    answer_open: str
    key: str | None  # "reasoning_content", "thinking", "parts": where the template takes a thought from

    @property
    def marks(self) -> Marks:
        """The marks of a thought, without white space around them."""
        return self.style.marks


def marks_on_own_lines(marks: Marks, source: str) -> MarkStyle:
    """Marks that stand on lines of their own, as most models write them."""
    return MarkStyle(
        marks, source, marks[0] + "\n", "\n" + marks[1] + ("" if opening_of(marks[1]) is None else "\n\n")
    )


def try_render(render: Render, messages: Messages, generate: bool = False) -> str | None:
    """The rendered text, None where the template refuses it."""
    try:
        return render(messages, generate)
    except UnfitTemplate:
        return None


def turn(**message: Any) -> Message:
    """An assistant's message."""
    return {"role": "assistant", **message}


def by_key(key: str, reasoning: str, answer: str) -> Message:
    """An assistant's message with its thought under a key, or in parts."""
    if key == "parts":
        parts = [{"type": "thinking", "thinking": reasoning}, {"type": "text", "text": answer}]
        return turn(content=parts)
    return turn(content=answer, **{key: reasoning})


def turn_pieces(
    render: Render, context: Messages, source: str, schema: Marks | None = None, known_style: MarkStyle | None = None
) -> Pieces:
    """The pieces of a turn that follows ``context``.

    Args:
        context: messages that a reply may follow.
        source: the template's own text, in which a closing mark is looked up.
        schema: the marks that a response schema names, white space around them as the model writes it.
        known_style: of the marks, where it is known already.

    Raises:
        UnfitTemplate: the template renders no finished reply behind this context.
    """
    prompt = render(context, True)
    without_prompt = render(context, False)
    plain = render([*context, turn(content=ANSWER)], False)
    place = plain.rfind(ANSWER)
    if place < 0:
        raise UnfitTemplate(
            "The chat template leaves out what the assistant says; give another one with chat_template_path."
        )
    before, end = plain[:place], plain[place + len(ANSWER) :]
    lead = before[len(prompt) :] if before.startswith(prompt) else None
    generation_prompt = prompt[len(shared_with(prompt, without_prompt)) :]  # what add_generation_prompt adds
    own_part = generation_prompt or prompt[end_of_context(prompt, context) :]
    key_layout = reasoning_by_key(render, context)  # (key, before the thought, between, end) or None
    style = known_style
    if style is None and key_layout is not None:
        marks = marks_around(key_layout[1], key_layout[2], prompt, own_part, lead or "")
        style = marks_on_own_lines(marks, "key") if marks is not None else None
    style = (
        style
        or marks_of_empty_reasoning(own_part, lead or before[len(common(prompt, before)) :])
        or marks_opened_by_prompt(prompt, before, source)
        or marks_by_schema(schema)
        or marks_before_a_call(render, context, prompt)
        or marks_on_own_lines(THINK, "convention")
    )
    opens, closes = prompt_state(own_part, style.marks)
    opening, between, own_writing = reasoning_pieces(prompt, opens, closes, style, key_layout, lead)
    answer_open = channel_before_answer(lead, style.marks)
    return Pieces(
        prompt_end=prompt[end_of_context(prompt, context) :],
        opens=opens,
        closes=closes,
        lead=lead,
        open=opening,
        between=between + answer_open if own_writing else between,
        end=end,
        end_earlier=after_earlier(render, context),
        style=style,
        answer_open=answer_open,
        key=key_layout[0] if key_layout else None,
    )


def common(a: str, b: str) -> str:
    """The longest common beginning."""
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]


def shared_with(a: str, b: str) -> str:
    """The longest common beginning that cuts no tag of ``a`` in two."""
    length = len(common(a, b))
    return next((a[: tag.start()] for tag in TAG.finditer(a) if tag.start() < length < tag.end()), a[:length])


def end_of_context(prompt: str, context: Messages) -> int:
    """Where the last message's text ends in the prompt (0 where it is not found)."""
    content = context[-1].get("content") if context else None
    text = content.strip() if isinstance(content, str) else ""
    place = prompt.rfind(text) if text else -1
    return place + len(text) if place >= 0 else 0


def reasoning_by_key(render: Render, context: Messages) -> tuple[str, str, str, str] | None:
    """(key, text before the thought, between thought and answer, end), for the first key the template reads."""
    for key in ("reasoning_content", "thinking", "parts"):
        text = try_render(render, [*context, by_key(key, REASONING, ANSWER)])
        parts = apart(text, REASONING, ANSWER)
        if parts is not None and not looks_dumped(parts[1]):
            return key, *parts
    return None


def looks_dumped(between: str) -> bool:
    """Whether parts were printed as data: quotes and braces between thought and answer."""
    return "'" in between or '"' in between


def apart(text: str | None, reasoning: str, answer: str) -> tuple[str, str, str] | None:
    """(before the thought, between, after the answer); None where they are not there once, in this order."""
    if text is None or text.count(reasoning) != 1:
        return None
    before, _, rest = text.partition(reasoning)
    between, separator, after = rest.rpartition(answer)
    return (before, between, after) if separator else None


def closing_of(opening: str) -> str | None:
    """The mark that closes what a tag opens, by its form; None where the form shows none.

    >>> closing_of("<think>"), closing_of("[THINK]"), closing_of("<|START_THINKING|>"), closing_of("◁think▷")
    ('</think>', '[/THINK]', '<|END_THINKING|>', '◁/think▷')
    """
    for start, end in (("START_", "END_"), ("_start|", "_end|"), ("begin_", "end_"), ("BEGIN ", "END ")):
        if start in opening:
            return opening.replace(start, end)
    if opening[1:2] in "|｜/":
        return None
    return (
        opening[0] + "/" + opening[1:] if opening[:1] in "<[◁" and not opening.startswith(opening[0] + "/") else None
    )


def opening_of(closing: str) -> str | None:
    """The mark that opens what a tag closes, by its form.

    >>> opening_of("</think>"), opening_of("<|END_THINKING|>"), opening_of("<channel|>")
    ('<think>', '<|START_THINKING|>', None)
    """
    for start, end in (("START_", "END_"), ("_start|", "_end|"), ("begin_", "end_"), ("BEGIN ", "END ")):
        if end in closing:
            return closing.replace(end, start)
    return closing[0] + closing[2:] if closing[1:2] == "/" else None


def marks_of_empty_reasoning(*texts: str) -> MarkStyle | None:
    """Marks that the prompt or a finished turn closes at once: ``<think>\\n\\n</think>\\n\\n``, or the closing one alone."""
    for text in texts:
        for tag in TAG.findall(text):
            closing = closing_of(tag)
            inside, closed, rest = text.partition(tag)[2].partition(closing or "\0")
            if closing and closed and not inside.strip():
                half = inside[: len(inside) // 2]
                behind = inside[len(half) :] + closing + rest[: len(rest) - len(rest.lstrip())]
                return MarkStyle((tag, closing), "empty thought", tag + half, behind)
    for text in texts:
        for tag in TAG.findall(text):
            opening = opening_of(tag)
            if opening and tag.startswith("</"):
                return marks_on_own_lines((opening, tag), "empty thought")
    return None


def marks_opened_by_prompt(prompt: str, before: str, source: str) -> MarkStyle | None:
    """Marks of which the prompt ends with the opening one, where a finished turn has it not."""
    tags = TAG.findall(prompt[len(shared_with(prompt, before)) :])
    if not tags or not prompt.rstrip().endswith(tags[-1]):
        return None
    closing = closing_of(tags[-1])
    if closing is None or (closing not in source and not re.search("think|thought|reason", tags[-1], re.IGNORECASE)):
        return None
    return marks_on_own_lines((tags[-1], closing), "prompt")


def marks_by_schema(schema: Marks | None) -> MarkStyle | None:
    """Marks that a response schema names, other than ``<think>``: those are ours by convention too."""
    if schema is None or schema[0].strip() == THINK[0]:
        return None
    marks = schema[0].strip(), schema[1].strip()
    apart = marks_on_own_lines(marks, "schema")
    return replace(apart, before=schema[0] if schema[0] != marks[0] else apart.before)


def marks_before_a_call(render: Render, context: Messages, prompt: str) -> MarkStyle | None:
    """Marks that the template writes only where a thought leads to a tool call."""
    message = {**by_key("reasoning_content", REASONING, ""), "tool_calls": [CALL]}
    parts = apart(try_render(render, [*context, message]), REASONING, "zname")
    if parts is None or not parts[0].startswith(prompt):
        return None
    opening, tag = parts[0][len(prompt) :], TAG.search(parts[1])
    if not opening.strip() or tag is None:
        return None
    return MarkStyle((opening.strip(), tag.group()), "tool call", opening, parts[1][: tag.end()])


def marks_around(before: str, between: str, prompt: str, own_part: str, lead: str) -> Marks | None:
    """The marks in the text before a thought and between thought and answer, as a key's rendering shows them."""
    answer_header = lead if not TAG.search(lead) or opening_of(TAG.findall(lead)[-1]) is None else ""
    closing = between
    for header in (own_part + answer_header, answer_header):
        if header.strip() and between.endswith(header) and between != header:
            closing = between[: -len(header)]
            break
    closing = closing.strip()
    mirrored = opening_of(closing)
    if mirrored is not None and mirrored in before:
        return mirrored, closing
    opening = before[len(prompt) :].strip() if before.startswith(prompt) else ""
    if not opening:
        tags = TAG.findall(own_part)
        opening = tags[-1] if tags else own_part.strip().rpartition("\n")[2]
    return (opening, closing) if opening and closing else None


def prompt_state(own_part: str, marks: Marks) -> tuple[bool, bool]:
    """(the prompt opens a thought, the prompt has closed one)."""
    opened, closed = own_part.rfind(marks[0]), own_part.rfind(marks[1])
    return opened > closed, closed >= 0 and closed > opened


def is_reasoning_open(opens: bool, text: str, marks: Marks) -> bool:
    """Whether a thought is open behind a text that follows the prompt."""
    opened, closed = text.rfind(marks[0]), text.rfind(marks[1])
    return opens if opened < 0 and closed < 0 else opened > closed


def reasoning_pieces(
    prompt: str,
    opens: bool,
    closes: bool,
    style: MarkStyle,
    key_layout: tuple[str, str, str, str] | None,
    lead: str | None,
) -> tuple[str | None, str, bool]:
    """(before the thought, between thought and answer, whether that is our writing). No thought: (None, ...)."""
    if closes:
        return None, "", True
    if key_layout is not None:
        _, before, between, _ = key_layout
        if before.startswith(prompt):
            return before[len(prompt) :], between, False
        if opens and prompt.startswith(before.rstrip()):
            return "", between, False
    if opens:
        return "", style.behind, True
    return (None, "", True) if lead is None else (style.before, style.behind, True)


def channel_before_answer(lead: str | None, marks: Marks) -> str:
    """The part of a lead that opens the answer, an empty thought and white space left out."""
    if lead is None:
        return ""
    rest = lead.rpartition(marks[1])[2] if marks[1] in lead else lead
    return rest.strip()


def after_earlier(render: Render, context: Messages) -> str:
    """What stands between an earlier answer and the user's next word; "" where the template refuses such turns."""
    later = [turn(content=ANSWER), {"role": "user", "content": LATER}]
    text = try_render(render, [*context, *later, turn(content=LAST)]) or try_render(render, [*context, *later], True)
    parts = apart(text, ANSWER, LATER)
    return parts[1] if parts else ""


def content_reasoning(render: Render, context: Messages, own: Marks) -> str:
    """What becomes of ``<think>`` tags in the content of the last turn: see ``TemplateFacts.content_reasoning``."""
    content = f"{THINK[0]}\n{REASONING}\n{THINK[1]}\n\n{ANSWER}"
    text = try_render(render, [*context, turn(content=content)])
    if text is None:
        return "refused"
    if REASONING not in text:
        return "dropped"
    reply = text[end_of_context(text, context) :]
    if reply.count(THINK[1]) > 1:
        return "doubled"
    if content in text:
        return "kept" if own == THINK else "left in the answer"
    return "moved"


def earlier_reasoning(render: Render, context: Messages, key: str | None, marks: Marks) -> str:
    """What becomes of the thought of an earlier turn."""
    message = (
        by_key(key, REASONING, ANSWER) if key else turn(content=f"{marks[0]}\n{REASONING}\n{marks[1]}\n\n{ANSWER}")
    )
    text = try_render(render, [*context, message, {"role": "user", "content": LATER}], True)
    return "refused" if text is None else "kept" if REASONING in text else "dropped"


def default_system(render: Render) -> str:
    """The text that the template adds of itself before the first user's message, special tokens left out."""
    conversation = [{"role": "user", "content": QUESTION}]
    bare = render(conversation, True).partition(QUESTION)[0]
    system = try_render(render, [{"role": "system", "content": "zsystem"}, *conversation], True)
    if system is not None and "zsystem" in system:
        head, _, rest = system.partition("zsystem")
        tail = rest.partition(QUESTION)[0]
        between = bare[len(head) : len(bare) - len(tail)] if bare.startswith(head) and bare.endswith(tail) else ""
        if words_of(between):
            return between.strip()
    later = try_render(render, [*conversation, turn(content=ANSWER), {"role": "user", "content": LATER}], True)
    header = (apart(later, ANSWER, LATER) or ("", "", ""))[1]
    reversed_bare = bare[::-1]
    size = len(common(reversed_bare, header[::-1]))
    preamble = TAG.sub(" ", bare[: len(bare) - size] if cuts_no_tag(bare, len(bare) - size) else bare).strip()
    return preamble if len(words_of(preamble)) >= 3 else ""


def cuts_no_tag(text: str, place: int) -> bool:
    """Whether a place in a text lies outside of every tag."""
    return not any(tag.start() < place < tag.end() for tag in TAG.finditer(text))


def words_of(text: str) -> Sequence[str]:
    """The words of a text outside of tags."""
    return re.findall(r"[^\W\d_]{2,}", TAG.sub(" ", text))
