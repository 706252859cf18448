"""Format: is the reply laid out as asked? A pure check of tags, linear in the length of the text.

Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2 (rule-based rewards: "put its thinking process between '<think>' and
'</think>' tags") and the template of Table 1, which also asks for ``<answer>``; Sec. 2.3.1 for the cold-start format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.storage.structured import option
from trl_r1.text.completions import ANSWER, THINK, reply, says, visible
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning


LAYOUTS: dict[str, str] = {
    "answer": "<think>...</think><answer>...</answer>: the R1-Zero template (Table 1)",
    "summary": "<think>...</think>...: a thought, then text for the reader",
    "cold_start": "|special_token|...|special_token|...: reasoning process, then summary (Sec. 2.3.1)",
}
SPECIAL_TOKEN = "|special_token|"


@dataclass(frozen=True)
class Mark:
    """One demanded tag: where it stands, and whether everything that is asked about it holds."""

    start: int
    end: int
    right: bool


def marks(
    text: str,
    layout: str = "answer",
    think: tuple[str, str] = THINK,
    answer: tuple[str, str] = ANSWER,
    special_token: str = SPECIAL_TOKEN,
    prefilled_think: bool = False,
) -> list[Mark]:
    """Every tag the layout demands, in order. The format is strictly right when all of them are.

    A tag is right when it occurs exactly once, at its place (only whitespace before the first and after the last,
    and between ``</think>`` and ``<answer>``), and when the block that it closes says something: a thought has a
    letter or a digit, an answer or a summary a letter, a digit or a symbol; spaces, full stops and zero-width
    characters are neither. A tag that is missing has zero width.

    Args:
        layout: one of ``LAYOUTS``.
        prefilled_think: the template already wrote the opening think tag (or the first special token), so it is not
            demanded; repeating it at the very start is forgiven.
    """
    if layout == "cold_start":
        plan = [(special_token, "starts"), (special_token, "closes")]
    elif layout == "summary":
        plan = [(think[0], "starts"), (think[1], "closes")]
    elif layout == "answer":
        plan = [(think[0], "starts"), (think[1], "closes"), (answer[0], "starts"), (answer[1], "closes")]
    else:
        raise ValueError(f"layout={layout!r} is unknown. Choose one of: {', '.join(LAYOUTS)}.")
    stray = False  # the template opened the thought, and the reply opens it again in the middle
    if prefilled_think:
        first = text.find(plan[0][0])
        if first < 0 or visible(text[:first]):
            stray = first >= 0 and plan[0][0] != plan[1][0]
            plan = plan[1:]

    demanded = Counter(tag for tag, _ in plan)
    occurrences = {tag: text.count(tag) for tag in demanded}
    result: list[Mark] = []
    position = 0  # where the text before the next tag starts
    for tag, role in plan:
        start = text.find(tag, position)
        if start < 0:
            result.append(Mark(len(text), len(text), False))
            continue
        between = text[position:start]
        fits = says(between, symbols=tag == answer[1]) if role == "closes" else not visible(between)
        result.append(Mark(start, start + len(tag), fits and occurrences[tag] == demanded[tag]))
        position = start + len(tag)
    if stray:
        result[0] = Mark(result[0].start, result[0].end, False)
    rest = text[position:]  # nothing after an answer; something after a thought
    if visible(rest) if layout == "answer" else not says(rest, symbols=True):
        result[-1] = Mark(result[-1].start, result[-1].end, False)
    return result


def well_formed(text: str, **options: Any) -> bool:
    """Whether the text is strictly in the layout. Options as in ``marks``.

    >>> well_formed("<think>2 + 2 = 4</think> <answer>4</answer>")
    True
    >>> well_formed("<think></think><answer>4</answer>")
    False
    """
    return all(mark.right for mark in marks(text, **options))


@dataclass(frozen=True)
class Format(ReadsReasoning):
    """1.0 for a reply in the strict layout, else 0.0; ``graded`` pays each demanded tag its equal share, in [0, 1].

    Text outside the blocks, a second block, a block that says nothing (``<think>.</think>``), a missing or misplaced
    tag: not the format. Whitespace around and between blocks is free. Graded or not, 1.0 means strictly right, and
    piling up tags never pays: a tag that occurs twice earns nothing.

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2 and Table 1; cold-start layout Sec. 2.3.1.
    Departure: the paper names tags and gives no rule for repeated, empty or trailing text; we refuse them all.
    """

    layout: str = option("answer", f"One of: {', '.join(LAYOUTS)}.")
    graded: bool = option(False, "Pay each right tag its share instead of all or nothing.")
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    answer: tuple[str, str] = option(ANSWER, "Opening and closing tag of the answer.")
    special_token: str = option(SPECIAL_TOKEN, "The token of the cold_start layout.")
    name: str = option("format", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout={self.layout!r} is unknown. Choose one of: {', '.join(LAYOUTS)}.")
        for name in ("think", "answer"):
            tags = getattr(self, name)
            if tags is None and name == "think":
                continue
            if isinstance(tags, str) or len(tags) != 2 or not all(isinstance(tag, str) and tag for tag in tags):
                raise ValueError(f"{name}={tags!r} is not an opening and a closing tag, for instance {THINK!r}.")
            object.__setattr__(self, name, tuple(tags))  # YAML brings lists; a tuple hashes
        if not self.special_token:
            raise ValueError("special_token is empty. Give the token that opens the reasoning and the summary.")

    def spans(self, completion: Any, prompt: Any = None) -> list[tuple[int, int, float]]:
        """``(start, end, score)`` per demanded tag, as characters of ``reply(completion)``; sums to the score."""
        tags = self._marks(completion, prompt)
        strict = all(mark.right for mark in tags)
        share = 1.0 / len(tags)
        return [(m.start, m.end, share if strict or (self.graded and m.right) else 0.0) for m in tags]

    def score(self, completion: Any, prompt: Any = None) -> float:
        """The score of one completion, in [0, 1]."""
        tags = self._marks(completion, prompt)
        right = sum(mark.right for mark in tags)
        return right / len(tags) if self.graded else float(right == len(tags))

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        return [
            self.score(completion, prompt)
            for completion, prompt in zip(completions, prompts or [None] * len(completions), strict=True)
        ]

    def _marks(self, completion: Any, prompt: Any) -> list[Mark]:
        think, prefilled = self.reading(completion, prompt)
        if self.layout == "cold_start" and self.prefilled_think is None:  # the thought is between special tokens here
            reasoning_format, token = self._reasoning_format, (self.special_token, self.special_token)
            prefilled = reasoning_format is not None and reasoning_format.opened(prompt, token)
        return marks(reply(completion), self.layout, think, self.answer, self.special_token, prefilled)


format_reward = Format()
