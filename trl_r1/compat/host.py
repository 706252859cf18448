"""GRPOHost: what our mixins use of `trl.GRPOTrainer`, so that mypy can check them and a changed TRL is named.

Only type checkers see it as a base class. At run time `missing_members` asks the trainer that was built.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Protocol

import trl
from torch import Tensor


Batch = dict[str, Any]  # what TRL hands between its methods: tensors by name, rows first


class GRPOHost(Protocol):
    """The members of `trl.GRPOTrainer` that trl_r1 reads, sets or extends. B rows of a micro-batch, C completion columns."""

    args: Any  # GRPOConfig; Any throughout: what belongs to libraries whose types mypy does not follow here
    model: Any
    ref_model: Any  # None: there is none, or an adapter that is switched off is the reference
    accelerator: Any  # accelerate.Accelerator
    state: Any  # transformers.TrainerState
    optimizer: Any
    processing_class: Any
    train_dataset: Any
    reward_funcs: list[Any]
    reward_func_names: list[str]
    reward_weights: Tensor  # (F,)
    tools: Any
    num_generations: int
    num_generations_eval: int
    num_iterations: int
    beta: float
    loss_type: str
    scale_rewards: str
    multi_objective_aggregation: str
    importance_sampling_level: str
    entropy_coef: float
    temperature: float
    top_entropy_quantile: float
    aux_loss_enabled: bool
    use_vllm: bool
    is_deepspeed_enabled: bool
    is_fsdp_enabled: bool
    current_gradient_accumulation_steps: int
    _entropy_bonus_enabled: bool
    _step: int
    _metrics: dict[str, dict[str, list[float]]]  # "train" or "eval", then the metric
    _logs: dict[str, Any]  # the table of completions: a column, or columns by name

    def __init__(self, model: Any, reward_funcs: Any = None, args: Any = None, *positional: Any, **kwargs: Any): ...

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[list[int]],
    ) -> Tensor: ...

    def _generate_single_turn(
        self, prompt_ids: Any, images: Any, multimodal_fields: Any, *args: Any, **kwargs: Any
    ) -> Any: ...

    def _tokenize_prompts(self, prompts: list[Any]) -> Any: ...

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch: ...

    def _prepare_inputs(self, generation_batch: Any) -> Batch: ...

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]: ...

    def _compute_loss(self, model: Any, inputs: Batch) -> Tensor: ...

    def _save_checkpoint(self, model: Any, trial: Any) -> None: ...

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None: ...

    def _get_train_sampler(self, dataset: Any = None) -> Any: ...

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any: ...

    def training_step(self, model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> Tensor: ...

    def train(self, resume_from_checkpoint: Any = None, **kwargs: Any) -> Any: ...

    def save_model(self, output_dir: Any = None, _internal_call: bool = False) -> None: ...

    def add_callback(self, callback: Any) -> None: ...

    def remove_callback(self, callback: Any) -> None: ...


WHILE_TRAINING = ("current_gradient_accumulation_steps",)  # set by train(); before it, only the source has them
ATTRIBUTES = tuple(GRPOHost.__annotations__)
METHODS = tuple(
    name for name, member in vars(GRPOHost).items() if inspect.isfunction(member) and member.__module__ == __name__
)


source_of = functools.cache(inspect.getsource)  # of a class that is parsed anew each time it is asked (0.1 s and more)


def missing_members(trainer: object) -> list[str]:
    """A sentence if a trainer just built lacks members of `GRPOHost`; empty when it has them all."""
    missing = [name for name in (*ATTRIBUTES, *METHODS) if not hasattr(trainer, name)]
    for name in WHILE_TRAINING:
        sources = (source_of(base) for base in type(trainer).__mro__ if base is not object)
        if name in missing and any(f"self.{name} = " in source for source in sources):
            missing.remove(name)
    if not missing:
        return []
    return [f"trl {trl.__version__}: GRPOTrainer has no {', '.join(missing)}, which trl_r1 uses."]


def check_members(trainer: object) -> None:
    """Raises RuntimeError with the members that a trainer just built lacks."""
    sentences = missing_members(trainer)
    if sentences:
        raise RuntimeError(
            " ".join(sentences) + " Install a TRL that trl_r1 was tested with (docs/index.md), or run `trl-r1 doctor`."
        )
