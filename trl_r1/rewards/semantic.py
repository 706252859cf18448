"""Semantic: is the chain coherent and complete, as a sequence-classification model reads it?

The model is yours to choose: any Hugging Face classifier of (question, chain), a cross-encoder, an entailment model
with ``label="entailment"``, or one trained on chains against damaged chains (``trl-r1 rewards train semantic``; the
small one of the mini world is ``mini:semantic``). No model comes with this package, so none is chosen silently.

Source: DeepSeek-R1 uses no neural reward for reasoning ("may suffer from reward hacking", arXiv:2501.12948, Sec. 2.2.2);
this layer is an addition of ours. Give it a small weight and watch ``rewards/accuracy/mean`` beside it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trl_r1.storage.structured import option
from trl_r1.text.completions import reasoning_or_all, reply, visible
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning, checked_tags


MODEL_VARIABLE = "TRL_R1_SEMANTIC_MODEL"
GOOD_LABELS = ("coherent",)  # what `trl-r1 rewards train semantic` calls an undamaged chain


def model_id(model: str | None, variable: str, name: str) -> str:
    """The option's model, or the environment's.

    Raises:
        ValueError: neither names one.
    """
    chosen = model or os.environ.get(variable, "")
    if not chosen:
        raise ValueError(
            f"The reward {name!r} has no model. Set the environment variable {variable} to a model id or a folder, or "
            f"the option model: {{name: {name}, options: {{model: ...}}}}."
        )
    return chosen


def spoken(message: Any) -> str:
    """A message's text, whoever wrote it; "" for None."""
    return reply([{**message, "role": "assistant"}]) if isinstance(message, dict) else reply(message)


def question_of(prompt: Any) -> str:
    """The question in a prompt: the last user message with text, or the text itself; of a text with turns
    ("User: ... Assistant:", the R1-Zero template), the last user's.

    >>> question_of([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 3?"}])
    '2 + 3?'
    """
    if prompt is None or isinstance(prompt, str):
        text = prompt or ""
        return text.rpartition("User:")[2].partition("Assistant:")[0].strip() if "User:" in text else text
    users = [m for m in prompt if isinstance(m, dict) and m.get("role", "user") == "user"]
    return next((text for message in reversed(users) if (text := spoken(message))), "")


@dataclass(frozen=True)
class Semantic(ReadsReasoning):
    """A classifier's probability that the chain is coherent and complete, in [0, 1].

    One logit goes through a sigmoid, several through a softmax of which ``label``'s share is taken. The model reads
    the question (``question_column``, else the prompt's last user turn) and the chain (``reasoning_or_all``); what is longer
    than the model reads keeps the question and the head and tail of the chain (``trl_r1.models.classifier``). A reply
    without a visible chain scores ``missing``. A model whose logits are not finite gives None.

    Raises, on the first call: ValueError for no model, a checkpoint without a trained head, an unknown label.

    Source: ours; see the module. The model is loaded on first use and never pickled.
    """

    model: str | None = option(None, f"Model id or folder; else ${MODEL_VARIABLE}.")
    label: str | int | None = option(None, "The label of a good chain, as in id2label.")
    question_column: str = option("question", "Dataset column with the bare question.")
    missing: float | None = option(0.0, "Score of a reply without a chain.")
    max_length: int = option(2048, "Most tokens of question and chain together.")
    batch_size: int = option(16, "Chains per forward pass.")
    device: str | None = option(None, "Such as cpu or cuda:1; else this process's own.")
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    name: str = option("semantic", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        if self.missing is not None and not 0.0 <= self.missing <= 1.0:
            raise ValueError(f"missing={self.missing} is no score. Give a number in [0, 1], or None.")
        if self.max_length < 32 or self.batch_size < 1:
            raise ValueError(
                f"max_length={self.max_length}, batch_size={self.batch_size}: a pair needs room for 32 tokens or more, "
                "a batch for one pair or more."
            )
        object.__setattr__(self, "think", checked_tags(self.think))

    def bind(self, model: str, label: str | int | None = None) -> Semantic:
        """The same reward with a model: ``semantic_reward.bind("mini:semantic")``."""
        return replace(self, model=model, label=self.label if label is None else label)

    def probabilities(self, questions: Sequence[str], reasonings: Sequence[str]) -> list[float | None]:
        """One probability per (question, chain); None where the model's numbers are not finite."""
        from trl_r1.models.load_classifier import load_classifier

        if not reasonings:
            return []
        classifier = load_classifier(model_id(self.model, MODEL_VARIABLE, self.name), self.device, self.max_length)
        index = classifier.label_index(self.label, usual=GOOD_LABELS)
        logits = classifier.logits(list(zip(questions, reasonings, strict=True)), self.batch_size)  # (N, labels)
        shares = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
        return [share if math.isfinite(share) else None for share in shares[:, index].tolist()]

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        reasonings = [
            reasoning_or_all(reply(completion), *self.reading(completion, prompt))
            for completion, prompt in zip(completions, prompts or [None] * len(completions), strict=True)
        ]
        questions = self._questions(len(reasonings), prompts, columns)
        rows_with_text = [row for row, reasoning in enumerate(reasonings) if visible(reasoning)]
        probabilities = self.probabilities(
            [questions[row] for row in rows_with_text], [reasonings[row] for row in rows_with_text]
        )
        scores: list[float | None] = [self.missing] * len(reasonings)
        for row, score in zip(rows_with_text, probabilities, strict=True):
            scores[row] = score
        if log_extra is not None:
            log_extra(f"{self.name}_chain_characters", [len(reasoning) for reasoning in reasonings])
        if log_metric is not None:
            log_metric(f"{self.name}/no_chain", 1.0 - len(rows_with_text) / max(1, len(scores)))
        return scores

    def _questions(self, count: int, prompts: Sequence[Any] | None, columns: dict[str, Any]) -> list[str]:
        column = columns.get(self.question_column)
        if column is not None:
            return ["" if question is None else str(question) for question in column]
        return [""] * count if prompts is None else [question_of(prompt) for prompt in prompts]


semantic_reward = Semantic()
