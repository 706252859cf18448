"""What a trainer knows of its model's thoughts: completions decoded with their marks, and rewards that are told of them.

TRL decodes with ``skip_special_tokens=True``. Where the marks of a thought are special tokens no reward would see them;
there, and only there, completions are decoded anew before they are rewarded and logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

from trl_r1.models.rendering import Renderer, TemplateReasoningFormat, run_date
from trl_r1.models.rendering.messages import is_text
from trl_r1.text.reasoning_format import tell


class TrainerReasoning:
    """The renderer behind a trainer's prompts and completions.

    Args:
        trainer: a GRPOTrainer that is built: its tokenizer, template, template options and tools count.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.keeps_day = False  # prompts show the day the run began

    @cached_property
    def renderer(self) -> Renderer:
        """Made at the first use: by then the trainer's template is the one it prompts with."""
        trainer = self.trainer
        make = partial(
            Renderer,
            trainer.processing_class,
            chat_template=getattr(trainer, "chat_template", None),
            chat_template_kwargs=getattr(trainer, "chat_template_kwargs", None),
            tools=getattr(trainer, "tools", None) or None,
            stop_token_ids=getattr(trainer, "eos_token_ids", None),
        )
        return run_date.dated(make, self.folder)

    @property
    def folder(self) -> str | None:
        """Of the run."""
        return getattr(getattr(self.trainer, "args", None), "output_dir", None)

    def keep_day(self) -> None:
        """Where prompts show today's date: stores the day the run began, says so, and renders prompts with it."""
        if self.folder is None or not run_date.shows_today(self.renderer):
            return
        main = self.trainer.accelerator.is_main_process
        line = run_date.keep_day(self.folder, self.renderer, main)
        if main and line is not None:
            print(line, flush=True)
        self.keeps_day = True

    def prompt_ids(self, prompts: Sequence[Any]) -> list[list[int]] | None:
        """The ids of conversations that TRL would render otherwise than they are meant: with an opening of the reply at
        the end, with options of their own, or with the day the run began. None: TRL's are right.

        Raises:
            UnfitTemplate: the template does not take one of them.
        """
        if not prompts or any(isinstance(prompt, str) for prompt in prompts):
            return None
        if getattr(self.trainer, "environment_factories", None) is not None or any(map(shows_images, prompts)):
            return None
        if not self.keeps_day and not any(map(is_special, prompts)):
            return None
        return [self.renderer.prompt_ids(prompt) for prompt in prompts]

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


def is_special(prompt: Sequence[Any]) -> bool:
    """Whether a conversation brings options of its own, or ends with an opening of the reply."""
    return bool(getattr(prompt, "own", None)) or bool(prompt and prompt[-1].get("role") == "assistant")


def shows_images(prompt: Sequence[Any]) -> bool:
    """Whether a conversation holds anything but text."""
    contents = (message.get("content") for message in prompt)
    return any(isinstance(content, list) and not all(map(is_text, content)) for content in contents)
