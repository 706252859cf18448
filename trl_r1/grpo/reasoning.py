"""What a trainer knows of its model's thoughts: completions decoded with their marks, and rewards that are told of them.

TRL decodes with ``skip_special_tokens=True``. Where the marks of a thought are special tokens no reward would see them;
there, and only there, completions are decoded anew before they are rewarded and logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from trl_r1.models.rendering import Renderer, TemplateReasoningFormat
from trl_r1.text.reasoning_format import tell


class TrainerReasoning:
    """The renderer behind a trainer's prompts and completions.

    Args:
        trainer: a GRPOTrainer that is built: its tokenizer, template, template options and tools count.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    @cached_property
    def renderer(self) -> Renderer:
        """Made at the first use: by then the trainer's template is the one it prompts with."""
        trainer = self.trainer
        return Renderer(
            trainer.processing_class,
            chat_template=getattr(trainer, "chat_template", None),
            chat_template_kwargs=getattr(trainer, "chat_template_kwargs", None),
            tools=getattr(trainer, "tools", None) or None,
            stop_token_ids=getattr(trainer, "eos_token_ids", None),
        )

    def tell_rewards(self) -> None:
        """Tells the trainer's rewards, those around others too, where a thought is opened and in which marks."""
        reasoning_format = TemplateReasoningFormat(self.renderer)
        self.trainer.reward_funcs[:] = [tell(reward, reasoning_format) for reward in self.trainer.reward_funcs]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion as the rewards see it."""
        if self.renderer.facts.marks_are_special:
            return self.renderer.decode(ids)
        return str(self.trainer.processing_class.decode(ids, skip_special_tokens=True))

    def keep_marks(self, completions: list[Any], completion_ids: Sequence[Sequence[int]]) -> None:
        """Puts the marks of the thought back into what TRL has decoded, in place, so that its logs show them too.

        Left alone: completions that a response schema has read, and those with calls of tools or their results.
        """
        if self.trainer.tools or not self.renderer.facts.marks_are_special:
            return
        for number, (completion, ids) in enumerate(zip(completions, completion_ids, strict=True)):
            if isinstance(completion, str):
                completions[number] = self.decode(ids)
            elif len(completion) == 1 and not self.reads_schema:
                completions[number] = [{**completion[0], "content": self.decode(ids)}]

    @property
    def reads_schema(self) -> bool:
        """Whether TRL reads conversational completions with a response schema."""
        tokenizer = self.renderer.tokenizer
        return any(getattr(tokenizer, name, None) is not None for name in ("response_template", "response_schema"))
