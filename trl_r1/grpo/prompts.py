"""Prompts of a TRL trainer that generates: conversations are rendered as they are meant (see `TrainerReasoning.prompt_ids`),
and rows' own `chat_template_kwargs` and `tools` are honoured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl_r1.grpo.reasoning import TrainerReasoning
from trl_r1.models.rendering.prompts import own_options, prompt_of
from trl_r1.text.records import Row


if TYPE_CHECKING:
    from trl_r1.compat.host import GRPOHost as Host
else:
    Host = object


class RenderedPrompts(Host):
    """For GRPOTrainer and DistillationTrainer of TRL."""

    _reasoning: TrainerReasoning | None = None  # from the end of the trainer's __init__ on

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        ids = None if self._reasoning is None else self._reasoning.prompt_ids(prompts)
        if ids is None:
            tokenized: tuple[Any, Any, Any] = super()._tokenize_prompts(prompts)
            return tokenized
        return ids, None, {}

    def _generate_and_score_completions(self, inputs: list[Row]) -> Any:
        return super()._generate_and_score_completions(with_own_options(inputs))


def with_own_options(inputs: list[Row]) -> list[Row]:
    """The rows of a batch, each prompt with what its row says about its rendering."""
    if not any(isinstance(row.get("prompt"), list) and own_options(row) for row in inputs):
        return inputs
    return [{**row, "prompt": prompt_of(row)} for row in inputs]
