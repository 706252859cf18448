"""What rewards and graders know of a template's reasoning: a renderer as a `ReasoningFormat` of `trl_r1.text`."""

from __future__ import annotations

from typing import Any

from trl_r1.models.rendering.facts import UnfitTemplate
from trl_r1.models.rendering.messages import Marks
from trl_r1.models.rendering.renderer import Renderer
from trl_r1.models.rendering.replies import portable
from trl_r1.text.completions import THINK
from trl_r1.text.records import Prompt


class TemplateReasoningFormat:
    """The marks of a thought as a renderer has found them out, and whether a prompt opens it."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer

    @property
    def marks(self) -> Marks:
        """The model's own marks; ``<think>`` where nothing shows that it has some. Where the answer has a channel, the
        closing one goes on to its beginning: what another channel holds is no answer."""
        facts = self.renderer.facts
        return facts.reasoning_open or THINK[0], facts.reasoning_to_answer or THINK[1]

    def opened(self, prompt: Any, marks: Marks) -> bool:
        """Whether a reply to this prompt begins inside a thought in these marks.

        False where the template does not take the prompt.
        """
        if prompt is None:
            return marks == self.marks and self.renderer.facts.prompt_opens_reasoning
        try:
            if not isinstance(prompt, str) and marks == self.marks:
                return self.renderer.opens_reasoning(prompt)
            return self.renderer.prompt_text(prompt).rstrip().endswith(marks[0].rstrip())
        except UnfitTemplate:
            return False

    def portable(self, text: str, prompt: Prompt) -> tuple[str, bool]:
        """A decoded reply with its thought in ``<think>`` and ``</think>``, whatever marks the model has, and whether the
        prompt has opened that thought; then the text has no opening mark."""
        facts, opened = self.renderer.facts, self.opened(prompt, self.marks)
        if not opened and self.marks != THINK and self.opened(prompt, THINK):
            return text, True
        own = facts.reasoning_open or THINK[0], facts.reasoning_close or THINK[1]
        answer_open = "" if isinstance(prompt, str) else facts.answer_open
        return portable(text, tuple(dict.fromkeys((own, THINK))), opened, answer_open), opened
