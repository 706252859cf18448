"""Replies: a decoded completion as thought and answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trl_r1.models.rendering.messages import Marks
from trl_r1.text.completions import THINK


@dataclass(frozen=True)
class Reply:
    """What a model said.

    ``reasoning`` is None where there is none. ``answer`` is None while the thought is unfinished: a guess inside of it
    is no answer. ``finished``: the thought is closed and, where token ids were given, the completion ended by itself.
    """

    reasoning: str | None
    answer: str | None
    finished: bool
    opened_in_prompt: bool

    def text(self, marks: Marks = THINK) -> str:
        """The reply in other marks: complete, whatever the prompt opened.

        >>> Reply("2 + 2", "4", True, True).text()
        '<think>2 + 2</think>4'
        """
        if self.reasoning is None:
            return self.answer or ""
        if self.answer is None:
            return f"{marks[0]}{self.reasoning}"
        return f"{marks[0]}{self.reasoning}{marks[1]}{self.answer}"


def split(text: str, marks: Sequence[Marks], opened: bool = False, answer_open: str = "", ended: bool = True) -> Reply:
    """Takes a decoded completion apart.

    The thought ends at the last closing mark, so that nothing can be smuggled past it with a second one; a thought
    that is opened again after it ends the answer.

    Args:
        marks: pairs to look for, the model's own first; the first that occurs counts.
        opened: the prompt ends inside a thought, opened with the first pair.
        answer_open: what the model writes before its answer, where it has channels.
        ended: the completion ended by itself.

    >>> split("is it 3?</think>It is 4.", [THINK], opened=True)
    Reply(reasoning='is it 3?', answer='It is 4.', finished=True, opened_in_prompt=True)
    >>> split("<think>still thinking: 4", [THINK]).answer is None
    True
    """
    opening, closing = marks[0]
    if not opened:
        present = (pair for pair in marks if pair[0] in text or pair[1] in text)
        opening, closing = next(present, marks[0])
    elif closing not in text and any(pair[1] in text for pair in marks[1:]):
        opening, closing = next(pair for pair in marks[1:] if pair[1] in text)
    close, first = text.rfind(closing), text.find(opening)
    if close < 0 and (opened or first >= 0):  # a thought that never ended
        start = first + len(opening) if first >= 0 and not text[:first].strip() else 0
        inside = text[start:].strip() if opened or first >= 0 else ""
        return Reply(inside, None, False, opened)
    if close < 0:
        reasoning, rest = None, text
    else:
        start = first + len(opening) if 0 <= first < close else 0
        reasoning = text[start:close].strip() or None
        rest = text[close + len(closing) :]
        again = rest.find(opening)
        rest = rest if again < 0 else rest[:again]
    if answer_open:
        head, found, answer = rest.rpartition(answer_open)
        if found:
            rest = answer
        elif close >= 0:
            return Reply(reasoning, None, False, opened)  # thought over, answer not begun
    return Reply(reasoning, rest.strip(), ended, opened)


def portable(text: str, marks: Sequence[Marks], opened: bool = False, answer_open: str = "") -> str:
    """A decoded completion with its thought in ``<think>`` and ``</think>``, so that filters and other models read it.

    Untouched where its own marks are these, or none of its own occur.

    Args:
        marks, opened, answer_open: see ``split``. Of an opened thought the opening mark is left out, as it was.

    >>> portable("[THINK]2 + 2[/THINK]4", [("[THINK]", "[/THINK]"), THINK])
    '<think>2 + 2</think>4'
    >>> portable("2 + 2[/THINK]4", [("[THINK]", "[/THINK]"), THINK], opened=True)
    '2 + 2</think>4'
    """
    (opening, closing), *_ = marks
    own = (opening, closing) != THINK and (opening in text or closing in text)
    if not own and not (answer_open and answer_open in text):
        return text
    whole = split(text, marks, opened, answer_open).text()
    return whole.removeprefix(THINK[0]) if opened else whole
