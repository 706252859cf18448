"""What an evaluation file says of thoughts, so that its texts can be judged again without the model's template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.evaluation.graded import GradedProblem
from trl_r1.text.completions import THINK
from trl_r1.text.reasoning_format import ReasoningFormat
from trl_r1.text.records import Json


@dataclass(frozen=True)
class StoredReasoningFormat:
    """What an evaluation file says of a problem's replies: the model's own marks, and those that its prompt opened."""

    marks: tuple[str, str]
    opening: tuple[str, str] | None

    def opened(self, prompt: Any, marks: tuple[str, str]) -> bool:
        """Whether the prompt has opened a thought in these marks."""
        return self.opening == marks


def opened_by(reasoning_format: ReasoningFormat, prompt: Any) -> tuple[str, str] | None:
    """The marks of the thought that a prompt opens: the model's own, else ``<think>``; None where it opens none."""
    pairs = dict.fromkeys((reasoning_format.marks, THINK))
    return next((pair for pair in pairs if reasoning_format.opened(prompt, pair)), None)


def stored_marks(settings: Json) -> tuple[str, str]:
    """The marks of a thought in the texts of an evaluation file."""
    opening, closing = settings.get("reasoning_marks") or THINK
    return str(opening), str(closing)


def found_out(settings: Json, problems: Sequence[GradedProblem]) -> tuple[str, str] | None:
    """The marks that the prompts of a file opened which does not say so, as earlier versions wrote them: ``<think>`` where
    several texts close a thought and none of them opens it. None: no prompt did, or the file says of each what it did."""
    if "reasoning_marks" in settings or any(problem.opened for problem in problems):
        return None
    texts = [one.completion.text for problem in problems for one in problem.samples]
    closing = [text for text in texts if THINK[1] in text]
    return THINK if len(closing) > 1 and not any(THINK[0] in text for text in closing) else None
