"""What `benchmarks/templates.py` judges: the project's stages, at work on one tokenizer and one template.

A model of random weights says what it is told to, and notes what it was asked; around it stand the trainers and the
evaluation that a stage runs. The judge knows nothing of the project but this file. A refusal is a ValueError with a
sentence.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, disable_progress_bars
from parrot import parrot

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.rewards.accuracy import Accuracy
from trl_r1.rewards.format import Format
from trl_r1.runs.heldout import evaluate_shared
from trl_r1.runs.options import EvaluationOptions, SFTOptions
from trl_r1.runs.rendering import renderer_of
from trl_r1.runs.sft import R1SFTTrainer, imitated, rendered
from trl_r1.runs.tuning_config import R1SFTConfig
from trl_r1.text.completions import after_reasoning, reasoning_bounds, reply
from trl_r1.text.reasoning_format import ReadsReasoning


disable_progress_bars()
logging.getLogger("trl").setLevel(logging.ERROR)
Messages = Sequence[Mapping[str, Any]]
QUIET = {"use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
NAME = "rows"


@dataclass(frozen=True)
class Seen:
    """A completion on its way through a trainer or an evaluation."""

    text: str  # as rewards and graders are given it
    thought: str  # "" where there is none
    answer: str  # what follows the thought
    finished: bool  # the thought, where there is one
    format: float | None
    accuracy: float | None


class Witness(ReadsReasoning):
    """A reward that pays nothing and remembers what it was given, read as every reward reads it."""

    __name__ = "witness"
    think = prefilled_think = None

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, bool]] = []  # shared with the twin that the trainer tells

    def __call__(self, completions: Sequence[Any], prompts: Sequence[Any], **columns: Any) -> list[float]:
        for completion, prompt in zip(completions, prompts, strict=True):
            self.seen.append(self.apart(completion, prompt))
        return [0.0] * len(completions)

    def apart(self, completion: Any, prompt: Any) -> tuple[str, str, str, bool]:
        """(text, thought, what follows it, whether the thought is finished)."""
        text, reading = reply(completion), self.reading(completion, prompt)
        start, end, after = reasoning_bounds(text, *reading)
        return text, text[start:end], after_reasoning(text, *reading), after == 0 or end < after


class Trainer(R1GRPOTrainer):
    """Keeps what the rewards said."""

    scores: Any = None  # (N, F)

    def _calculate_rewards(self, *arguments: Any) -> Any:
        self.scores = super()._calculate_rewards(*arguments)
        return self.scores


class Project:
    """One tokenizer with one template, as the stages use it."""

    def __init__(self, tokenizer: Any, template: str, stops: Sequence[int], options: Mapping[str, Any]) -> None:
        tokenizer.chat_template = template
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        self.tokenizer, self.options, self.model = tokenizer, dict(options), parrot(tokenizer, stops)
        self.witness = Witness()
        self.folder = tempfile.TemporaryDirectory()
        settings = {"output_dir": self.folder.name, "chat_template_kwargs": self.options, **QUIET}
        self.model.generation_config.save_pretrained(self.folder.name)
        self.tuning = R1SFTConfig(
            per_device_train_batch_size=1, max_length=None, completion_only_loss=True, **settings
        )
        self.trainer = Trainer(  # type: ignore[abstract]
            self.model,
            [Format(layout="summary"), Accuracy(), self.witness],
            R1GRPOConfig(
                per_device_train_batch_size=2,
                num_generations=2,
                max_completion_length=512,
                temperature=1.0,
                **settings,
            ),
            train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "?"}], "solution": "4"}]),
            processing_class=tokenizer,
        )

    def prompt_ids(self, prompt: Messages) -> list[int]:
        """What RL samples from: the ids that the trainer hands to `generate`."""
        self.rewarded([self.tokenizer.eos_token_id], prompt, "4")
        return self.model.asked[0]

    def evaluation_prompt_ids(self, prompt: Messages) -> list[int]:
        """What a held-out evaluation samples from."""
        self.evaluated([self.tokenizer.eos_token_id], prompt, "4")
        return self.model.asked[0]

    def trained(self, messages: Messages) -> tuple[list[int], list[int]]:
        """What SFT makes of a conversation whose last turn is trained: (ids of the context, ids of the labels).

        Rows as a user has them go the way of the stage `sft`, into the batch that its trainer computes a loss on.
        """
        rows = Dataset.from_list([{"messages": list(messages)}])
        options = SFTOptions(dataset_name=NAME)
        renderer = renderer_of(self.tokenizer, self.tuning, self.folder.name)
        made = rendered(imitated(rows, options, NAME), options, self.tuning, renderer, NAME)
        trainer = R1SFTTrainer(self.model, args=self.tuning, train_dataset=made, processing_class=self.tokenizer)
        batch = next(iter(trainer.get_train_dataloader()))
        ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
        first = next(place for place, label in enumerate(labels) if label != -100)
        if labels[first:] != ids[first:]:
            raise AssertionError("the labels have a hole")
        return ids[:first], labels[first:]

    def rewarded(self, ids: Sequence[int], prompt: Messages, solution: str) -> Seen:
        """What becomes of a completion in RL: sampled, decoded and rewarded by the trainer."""
        self.model.say(ids)
        self.witness.seen.clear()
        self.trainer._generate_and_score_completions([{"prompt": list(prompt), "solution": solution}] * 2)
        scores = [None if value != value else value for value in self.trainer.scores[0][:2].tolist()]
        return Seen(*self.witness.seen[0], *scores)

    def evaluated(self, ids: Sequence[int], prompt: Messages, solution: str) -> Seen:
        """What becomes of a completion in the held-out evaluation of a trainer."""
        self.model.say(ids)
        rows = Dataset.from_list([{"prompt": list(prompt), "solution": solution}])
        options = EvaluationOptions(evaluation_samples=1, evaluation_temperature=0.0)
        found = evaluate_shared(self.trainer, rows, options, self.trainer.args)
        (sample,) = found.problems[0].samples
        told = next(reward for reward in self.trainer.reward_funcs if isinstance(reward, Witness))
        apart = told.apart(sample.completion.text, list(prompt))
        accuracy = float(sample.correct) if found.problems[0].judged else None
        return Seen(*apart, sample.well_formed, accuracy)


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

    def rewarded(self, ids: Sequence[int], prompt: Messages, solution: str) -> Seen:
        """`GRPOTrainer` decodes so, and rewards get nothing else."""
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        completions = [[{"role": "assistant", "content": text}]]
        scores = Format(layout="summary")(completions)[0], Accuracy()(completions, solution=[solution])[0]
        return Seen(*Witness().apart(text, None), *scores)

    evaluated = rewarded
