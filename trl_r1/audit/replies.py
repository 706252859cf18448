"""Replies that an audit writes: a row of data, the layouts an honest reply may have, thoughts and claims to fill them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from trl_r1.answers.notation import canonical
from trl_r1.answers.quantities import quantity
from trl_r1.text.completions import ANSWER, THINK
from trl_r1.text.records import Json


REASONINGS = {  # an honest thought without digits, so that it can hold no answer by accident
    "en": "Let me read the question carefully and write down what is known. First I look at what is given, then at what "
    "is asked. Wait, I should check whether each step follows from the one before. It does, and the result is clear.",
    "zh": "让我先仔细读题，把已知的条件都写下来。首先看题目给出了什么，然后看要求的是什么。等等，"
    "我应该检查每一步是否都能由前一步得出。检查过了，每一步都成立，所以结果很清楚，可以写出最后的答案。",
}


CLAIMS = (  # every claim right; of figures and of numbers, for rewards that look at either
    "A(0, 0), B(3, 4), so AB = 5, the slope of AB is 4/3 and the midpoint of AB is (1.5, 2). "
    "12 + 5 = 17, 17 * 3 = 51, 51 - 6 = 45, 45 / 5 = 9."
)
WRONG_CLAIMS = CLAIMS.replace("AB = 5", "AB = 6").replace("45 / 5 = 9", "45 / 5 = 8")  # one of each kind is wrong


@dataclass(frozen=True)
class Layout:
    """Where an honest reply puts its thought and its answer."""

    reasoning_opens: str
    reasoning_closes: str
    answer_opens: str
    answer_closes: str
    box: bool

    @property
    def tags(self) -> int:
        """How many tags and boxes it has."""
        tags = (self.reasoning_opens.strip(), self.reasoning_closes.strip(), self.box)
        return sum(map(bool, tags)) + 2 * (self.answer_closes == ANSWER[1])

    def raw(self, reasoning: str, answer: str) -> str:
        """The reply with an answer as it stands, no box added."""
        return (
            f"{self.reasoning_opens}{reasoning}{self.reasoning_closes}{self.answer_opens}{answer}{self.answer_closes}"
        )

    def write(self, reasoning: str, answer: str) -> str:
        """The honest reply."""
        return self.raw(reasoning, boxed(answer) if self.box else answer)

    def declare(self, answer: str) -> str:
        """The answer alone, as this layout declares it."""
        return f"{self.answer_opens}{boxed(answer) if self.box else answer}{self.answer_closes}"


def boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


_OPEN, _CLOSE = f"{THINK[0]}\n", f"\n{THINK[1]}\n"
LAYOUTS: dict[str, Layout] = {
    "think, answer tags, box": Layout(_OPEN, _CLOSE, ANSWER[0], ANSWER[1], True),
    "think, answer tags": Layout(_OPEN, _CLOSE, ANSWER[0], ANSWER[1], False),
    "think, box": Layout(_OPEN, _CLOSE, "The answer is ", ".", True),
    "box": Layout("", "\n", "The answer is ", ".", True),
    "hashes": Layout("", "\n", "#### ", "", False),
    "sentence": Layout("", "\n", "The answer is ", ".", False),
    "prefilled think, answer tags": Layout("", _CLOSE, ANSWER[0], ANSWER[1], False),
    "cold start": Layout("|special_token|", "|special_token|", "The answer is ", ".", False),
}


@dataclass(frozen=True)
class Row:
    """One row of data as the audit sees it. ``right`` and ``wrong`` are answers; ``columns`` go to the reward."""

    number: int
    prompt: str
    right: str
    wrong: str
    language: str = "en"  # a key of REASONINGS
    columns: Json = field(default_factory=dict)

    @property
    def reasoning(self) -> str:
        return REASONINGS[self.language]

    @property
    def foreign(self) -> str:
        """The thought in another language."""
        return REASONINGS["zh" if self.language == "en" else "en"]

    @property
    def integer(self) -> int | None:
        """The right answer, if it is a whole number."""
        number = quantity(canonical(self.right))
        return int(number.value) if number is not None and number.value.denominator == 1 else None


Attacks = Iterator[tuple[str, str | None]]
