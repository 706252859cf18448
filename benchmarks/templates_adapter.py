"""What `benchmarks/templates.py` judges: the project, asked what its stages would do with one tokenizer and one template.

The judge knows nothing of the project but this file. A refusal is a ValueError with a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, disable_progress_bars

from trl_r1.data.imitation import ids_and_mask, to_imitate
from trl_r1.models.rendering import Renderer
from trl_r1.rewards.accuracy import Accuracy
from trl_r1.rewards.format import Format
from trl_r1.text.completions import reasoning_bounds


disable_progress_bars()
Messages = Sequence[Mapping[str, Any]]


class Project:
    """One tokenizer with one template, as the stages use it."""

    def __init__(self, tokenizer: Any, template: str, stops: Sequence[int], options: Mapping[str, Any]) -> None:
        make = {"chat_template": template, "chat_template_kwargs": dict(options), "stop_token_ids": list(stops)}
        self.training, self.evaluation = Renderer(tokenizer, **make), Renderer(tokenizer, **make)

    def prompt_ids(self, prompt: Messages) -> list[int]:
        """What RL samples from."""
        return list(self.training.prompt_ids(prompt))

    def evaluation_prompt_ids(self, prompt: Messages) -> list[int]:
        """What a held-out evaluation samples from."""
        return list(self.evaluation.prompt_ids(prompt))

    def trained(self, messages: Messages) -> tuple[list[int], list[int]]:
        """What SFT makes of a conversation whose last turn is trained: (ids of the context, ids of the labels).

        The supervised stages' own two steps: rows of the user's shape in, what `SFTTrainer` is handed out.
        """
        rows = to_imitate(Dataset.from_list([{"messages": list(messages)}]), messages_column="messages")
        row = ids_and_mask(rows[0], 0, self.training, False, "The row")  # what `tokenized` maps over all rows
        ids, mask = row["input_ids"], row["completion_mask"]
        first = mask.index(1)
        if not all(mask[first:]):
            raise AssertionError("the labels have a hole")
        return ids[:first], ids[first:]

    def decoded(self, ids: Sequence[int]) -> str:
        """The text of a completion that rewards are given."""
        return str(self.training.decode(ids))

    def taken_apart(self, ids: Sequence[int], prompt: Messages) -> tuple[str, str, bool]:
        """A completion's thought and answer ("" where there is none), and whether it is finished."""
        reply = self.training.split(ids, prompt)
        return reply.reasoning or "", reply.answer or "", reply.finished

    def paid(self, ids: Sequence[int], prompt: Messages, solution: str) -> tuple[float | None, float | None]:
        """Rewards of a completion: (format of a thought and then text, accuracy)."""
        facts, text = self.training.facts, self.decoded(ids)
        marks = (facts.reasoning_open or "<think>", facts.reasoning_close or "</think>")
        opened = self.training.opens_reasoning(prompt)
        formatted = Format(layout="summary", think=marks, prefilled_think=opened)
        right = Accuracy(think=marks, prefilled_think=opened)
        completions = [[{"role": "assistant", "content": text}]]
        return formatted(completions)[0], right(completions, solution=[solution])[0]


class Stock:
    """The same without the project: what TRL 1.16's trainers do with a conversation, and our rewards at their defaults."""

    def __init__(self, tokenizer: Any, template: str, stops: Sequence[int], options: Mapping[str, Any]) -> None:
        self.tokenizer = tokenizer
        self.render = {"chat_template": template, "return_dict": False, **options}

    def prompt_ids(self, prompt: Messages) -> list[int]:
        return list(self.tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, **self.render))

    evaluation_prompt_ids = prompt_ids

    def trained(self, messages: Messages) -> tuple[list[int], list[int]]:
        """`SFTTrainer` on prompt and completion: what follows as many tokens as the prompt has is trained."""
        whole = list(self.tokenizer.apply_chat_template(list(messages), **self.render))
        size = len(self.prompt_ids(messages[:-1]))
        return whole[:size], whole[size:]

    def decoded(self, ids: Sequence[int]) -> str:
        """`GRPOTrainer` decodes so, and rewards get nothing else."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def taken_apart(self, ids: Sequence[int], prompt: Messages) -> tuple[str, str, bool]:
        text = self.decoded(ids)
        start, end, after = reasoning_bounds(text)
        return text[start:end].strip(), text[after:].strip(), after == 0 or end < after

    def paid(self, ids: Sequence[int], prompt: Messages, solution: str) -> tuple[float | None, float | None]:
        completions = [[{"role": "assistant", "content": self.decoded(ids)}]]
        return Format(layout="summary")(completions)[0], Accuracy()(completions, solution=[solution])[0]
