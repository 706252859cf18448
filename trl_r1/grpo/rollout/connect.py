"""The seams to TRL: where R1GRPOTrainer and stock GRPOTrainer ask for completions, the loop answers.

`rollout: fast` in R1GRPOConfig, or for stock TRL::

    GRPOTrainer(..., rollout_func=FastRollout())

Where it cannot serve, TRL's own generation runs and a warning says why, once.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch

from trl_r1.compat.sharding import is_sharded
from trl_r1.grpo.rollout.engine import ChangeLogits, Rollout, generate
from trl_r1.grpo.rollout.sampling import SamplingOptions
from trl_r1.grpo.rollout.support import computing_type, disagreement, sampling_options, why_not_model


logger = logging.getLogger(__name__)

Finished = Callable[[list[int], list[list[int]]], None]


class Sampler(Protocol):
    """Says which model a rollout samples from."""

    def model(self, trainer: Any, policy: Any, prompts: Sequence[Sequence[int]]) -> Any: ...

    def done(self) -> None: ...


class FastRollout:
    """Completions for a GRPO trainer, and what the last of them cost.

    Args:
        change_logits: as in [`~trl_r1.grpo.rollout.generate`].
    """

    def __init__(self, change_logits: ChangeLogits | None = None):
        self.change_logits = change_logits
        self.sampler: Sampler | None = None  # of another model than the policy, in training
        self.last: Rollout | None = None
        self._refusal: str | None = None
        self._judged: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()  # models that were looked at

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
        """As TRL's `rollout_func`: prompts (one per completion) in, token ids and log-probabilities out.

        The log-probabilities are those of `generate`'s docstring; stock TRL reads them only in its off-policy mask.
        Without vLLM it then compares the policy with its sampler; both are the same weights.
        """
        prompt_ids = trainer._tokenize_prompts(prompts)[0]
        rollout = self.complete(trainer, prompt_ids)
        if rollout is not None:
            return {"prompt_ids": prompt_ids, "completion_ids": rollout.completions, "logprobs": rollout.logps}
        generated: list[Any] = [prompt_ids, None, {}]
        if "num_generations" in inspect.signature(trainer._generate_single_turn).parameters:
            generated.append(trainer.num_generations if trainer.model.training else trainer.num_generations_eval)
        completions, logps = trainer._generate_single_turn(*generated)
        return {"prompt_ids": prompt_ids, "completion_ids": completions, "logprobs": logps}

    def complete(
        self,
        trainer: Any,
        prompt_ids: Sequence[Sequence[int]],
        images: Any = None,
        multimodal: Any = None,
        finished: Finished | None = None,
    ) -> Rollout | None:
        """Completes every row, or returns None where TRL's own generation has to (the reason is logged once)."""
        reason = "the prompts hold images" if images or multimodal else _why_not_trainer(trainer)
        options: SamplingOptions | str = "" if reason else self._options(trainer)
        if isinstance(options, str):
            reason = reason or options
        if reason is None:
            with model_for_generation(trainer) as policy, self._sampling_from(trainer, policy, prompt_ids) as model:
                reason = self._why_not(model, prompt_ids, computing_type(model, trainer.accelerator))
                if reason is None:
                    assert isinstance(options, SamplingOptions)
                    config = trainer.generation_config
                    ends = config.eos_token_id
                    # the policy's forward has mixed precision of its own; around it, weights are cast once and not per token
                    spans = trainer.accelerator.autocast() if model is policy else contextlib.nullcontext()
                    with spans:
                        self.last = generate(
                            model,
                            prompt_ids,
                            options,
                            max_new_tokens=config.max_new_tokens,
                            end_tokens=ends if isinstance(ends, list) else [] if ends is None else [ends],
                            pad_token=config.pad_token_id or 0,
                            change_logits=self.change_logits,
                            finished=finished,
                            progress=not trainer.args.disable_tqdm and trainer.accelerator.is_main_process,
                        )
                    return self.last
        if reason != self._refusal:
            self._refusal = reason
            logger.warning("The fast rollout is not used and TRL generates itself: %s.", reason)
        self.last = None
        return None

    def _options(self, trainer: Any) -> SamplingOptions | str:
        return sampling_options(
            trainer.generation_config, trainer.accelerator.unwrap_model(trainer.model).generation_config
        )

    @contextlib.contextmanager
    def _sampling_from(self, trainer: Any, policy: Any, prompt_ids: Sequence[Sequence[int]]) -> Iterator[Any]:
        """The model that generates: the policy, or in training, where it is served at all, the sampler's."""
        if (
            self.sampler is None
            or not trainer.model.training
            or why_not_model(policy)
            or not all(map(len, prompt_ids))
        ):
            yield policy
            return
        try:
            yield self.sampler.model(trainer, policy, prompt_ids)
        finally:
            self.sampler.done()

    def _why_not(self, model: Any, prompt_ids: Sequence[Sequence[int]], dtype: torch.dtype) -> str | None:
        if model not in self._judged:
            unique = list(dict.fromkeys(tuple(prompt) for prompt in prompt_ids if len(prompt)))
            self._judged[model] = why_not_model(model) or disagreement(model, unique, dtype)
        return self._judged[model]


@contextlib.contextmanager
def model_for_generation(trainer: Any) -> Iterator[Any]:
    """The trainer's bare model with gradient checkpointing (and so the ban on caches) switched off meanwhile.

    Wrapped models are served only where every process holds all weights (see `_why_not_trainer`), so nothing is
    gathered. A model under mixed precision keeps its autocast.
    """
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    checkpointing = model.is_gradient_checkpointing
    if checkpointing:
        model.gradient_checkpointing_disable()
    try:
        yield model
    finally:
        if checkpointing:
            model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs
            )


def _why_not_trainer(trainer: Any) -> str | None:
    if trainer.use_vllm:
        return "use_vllm=True generates with vLLM"
    if getattr(trainer, "use_transformers_continuous_batching", False):
        return "use_transformers_continuous_batching=True has a generator of its own"
    if is_sharded(trainer):
        return "under FSDP and DeepSpeed ZeRO-3 no process holds the whole model"
    return None
