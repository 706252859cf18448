"""R1GRPOTrainer: TRL's GRPO with advantages by name, a KL that can be chosen and steered, and a reference that moves.

Every override calls its parent and changes one thing; with the options at their defaults it changes nothing, bit for bit
(benchmarks/identity.py). The maths lives in advantages.py and kl.py, the KL term in loss.py, what we use of TRL in compat/.

In which order the overrides of a method of TRL's run (the first calls the next; TRL's own runs innermost):

| method | order | what each changes |
| --- | --- | --- |
| __init__ | r1, fast | r1 reads the options before, starts its parts after; fast chooses rollout and batching |
| train | r1 | takes the newest complete checkpoint, refuses a broken one |
| create_optimizer | critic | adds the towers' weights |
| _get_train_sampler | r1, curriculum | r1 keeps the sampler; curriculum orders the prompts and then asks nobody else |
| _prepare_inputs | times, fast | fast deals the rows of an optimizer step out to micro-batches anew |
| training_step | times, critic | critic averages the towers' gradients over processes |
| _generate_and_score_completions | r1, prompts, copy, fast | r1 refills after; prompts: rows' options; copy: how it drew |
| _tokenize_prompts | prompts | conversations that TRL would render otherwise than they are meant |
| _generate_single_turn | times, fast | completions come from grpo/rollout |
| _calculate_rewards | r1, times, curriculum, critic, fast | r1: marks; fast: early scores; critic keeps; curriculum counts |
| _compute_loss | times, kl, critic, copy, fast | fast skips rows; copy weighs; critic adds its loss; kl checks its term |
| _get_per_token_logps_and_entropies | times, kl, critic, copy, precision, fast | fast packs, precision casts |
| _save_checkpoint | r1, curriculum, critic, copy | each its own file, before TRL's |
| _load_optimizer_and_scheduler | r1, curriculum, critic, copy | critic its towers before TRL's, the others theirs after |
| save_model | r1 | leaves the reference adapter out of an export |

r1 is R1GRPOTrainer, times StepTimes (times.py: looks at the clock), prompts RenderedPrompts (prompts.py), kl ChosenKL
(loss.py), curriculum GradedPrompts, critic CriticAdvantages (critic/connect.py), copy CopiedRollout (copies/connect.py),
precision LossPrecision (precision.py), fast FastGRPOTrainer.
"""

from __future__ import annotations

import json
import logging
import shutil
import textwrap
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from trl import GRPOConfig

from trl_r1.compat.host import Batch
from trl_r1.compat.sharding import is_sharded
from trl_r1.grpo.advantages import (
    batch_normalized,
    dead_groups,
    find_advantage,
    group_centered,
    group_normalized,
    ungraded_groups,
    weighted_sum,
    weighted_sum_of_normalized,
)
from trl_r1.grpo.checks import check_policy, check_scores, check_weights
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.copies.connect import CopiedRollout
from trl_r1.grpo.critic.connect import CriticAdvantages
from trl_r1.grpo.dynamic_sampling import DynamicSampling
from trl_r1.grpo.fast_trainer import FastGRPOTrainer
from trl_r1.grpo.graded_prompts import GradedPrompts
from trl_r1.grpo.loss import ChosenKL
from trl_r1.grpo.precision import LossPrecision
from trl_r1.grpo.prompts import RenderedPrompts
from trl_r1.grpo.reasoning import TrainerReasoning
from trl_r1.grpo.reference import AdapterReference, ReferencePolicy, RenewReference, WeightsReference
from trl_r1.grpo.replay import VerifiedPaths
from trl_r1.grpo.times import StepTimes
from trl_r1.models.adapters import restore_types, types_of
from trl_r1.models.four_bit import make_trainable_on_cpu
from trl_r1.models.rendering import end_ids
from trl_r1.storage.checkpoints import SaveAtBoundary, checkpoint_folder, resolve_resume
from trl_r1.storage.files import replace_file


logger = logging.getLogger(__name__)

STATE_FILE = "trl_r1_state.json"
SCALED = {"group": group_normalized, "batch": batch_normalized, "none": group_centered}  # TRL's scale_rewards


class R1GRPOTrainer(
    StepTimes,
    RenderedPrompts,
    ChosenKL,
    GradedPrompts,
    CriticAdvantages,
    CopiedRollout,
    LossPrecision,
    FastGRPOTrainer,
):
    """[`~trl.GRPOTrainer`] whose advantages, KL, reference and order of problems are chosen in [`R1GRPOConfig`].

    Takes the same arguments as its parent, and a plain `GRPOConfig` as well (then it is its parent).

    The table at the head of this module says which methods of the parent it extends, and in which order.

    Raises:
        RuntimeError: the installed TRL lacks a method that the chosen options need.
        ValueError: the adapter's kind does not allow a rolling reference; 4-bit weights that a CPU cannot train; nothing
            that would be trained; an adapter whose reference would be another model (checks.py).
        NotImplementedError: a rolling reference or verified paths under DeepSpeed ZeRO-3 or FSDP.

    Source: DeepSeek-R1, arXiv:2501.12948, Eq. 1-3; GRPO, arXiv:2402.03300. Departures are listed in docs/papers.md.
    """

    _tag_names = ["trl", "grpo", "trl-r1"]
    _name = "R1-GRPO"
    _paper = {
        "title": "DeepSeek-R1: Incentivizing Reasoning Capability in LLMs via Reinforcement Learning",
        "id": "2501.12948",
        "citation": textwrap.dedent("""\
            @article{deepseekai2025deepseekr1,
                title        = {{DeepSeek-R1: Incentivizing Reasoning Capability in LLMs via Reinforcement Learning}},
                author       = {DeepSeek-AI},
                year         = 2025,
                eprint       = {arXiv:2501.12948},
            }"""),
    }

    # class-level defaults: TRL's own tests and some tools build trainers without __init__
    _scores: Tensor | None = None  # (N, F) gathered scores of the batch just rewarded
    _lengths: Tensor | None = None  # (B,) tokens of the completions just rewarded, of this process
    _moving_reference: ReferencePolicy | None = None
    _train_sampler: Any = None
    _dynamic: DynamicSampling | None = None
    _paths: VerifiedPaths | None = None
    _types: dict[str, torch.dtype] = {}

    def __init__(self, model, reward_funcs=None, args: GRPOConfig | None = None, *positional, **kwargs):
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = R1GRPOConfig(f"{Path(name).name}-R1-GRPO")
        if isinstance(args, R1GRPOConfig):
            self.options = args
        else:
            added = {f.name: f.default for f in fields(R1GRPOConfig) if f.name not in GRPOConfig.__dataclass_fields__}
            self.options = cast(R1GRPOConfig, SimpleNamespace(**added, **vars(args)))
        self._choose_kl()
        super().__init__(model, reward_funcs, args, *positional, **kwargs)
        # Generation stops at the stated ends alone; TRL 1.16 masks, and tells cut completions, by the model's own.
        if ends := end_ids((args.generation_kwargs or {}).get("eos_token_id")):
            self.eos_token_ids = ends
        for model_to_check in (self.model, self.ref_model):
            make_trainable_on_cpu(model_to_check)
        check_policy(self.model, float(self.beta), self.options.reference_every)
        in_reward = self.options.kl_placement == "reward" and float(self.beta) > 0.0
        check_weights(self.reward_weights.tolist(), self.reward_func_names, in_reward)
        self._start_kl()
        self._own_advantages = self.options.advantage != "trl" or self.options.kl_placement == "reward"
        self._start_reference()
        if self.options.dynamic_sampling_rounds > 0:
            self._dynamic = DynamicSampling(self, self.options.dynamic_sampling_rounds)
        if self.options.verified_paths > 0:
            self._paths = VerifiedPaths(self, self.options.verified_paths, self.options.verified_paths_reward)
            self._own_advantages = True  # TRL's are of the groups without the replayed paths
        self._start_curriculum()
        self._start_critic()
        self._start_copy()
        self._start_precision()
        self._start_times()
        if isinstance(self.model, PeftModel):  # loading a checkpoint makes peft raise bfloat16 adapters to float32
            self._types = types_of(self.model)
        self.add_callback(SaveAtBoundary(self._left_over, args.gradient_accumulation_steps))
        self._reasoning = TrainerReasoning(self)
        self._reasoning.tell_rewards()
        self._reasoning.keep_day()
        for reward in self.reward_funcs:  # one that needs the policy (agser) takes it here
            if getattr(reward, "bound", True) is False:
                reward.begin(self.model, self.processing_class, self.args)

    # -- rewards and advantages ------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self._reasoning is not None:
            self._reasoning.keep_marks(completions, completion_ids_list)
        scores = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)  # (N, F), all processes
        check_scores(scores, self.reward_weights, self.reward_func_names, completions, self.state.global_step)
        self._scores = scores
        self._lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=scores.device)
        return scores

    def _generate_and_score_completions(self, inputs):
        batch, dead = self._score(inputs)
        if self._dynamic is not None and self.model.training:
            batch = self._dynamic.refill(batch, dead, self._score)
        return batch

    def _score(self, inputs) -> tuple[Batch, Any]:
        """The parent's batch with our advantages, and (B,) which of its rows lie in dead groups, where that was asked."""
        batch = super()._generate_and_score_completions(inputs)
        mode = "train" if self.model.training else "eval"
        self._log_lengths(batch, mode)
        dead = None
        if self._paths is not None and mode == "train" and self._scores is not None:
            sampled = self._sampled_logps(batch["completion_ids"], batch["completion_ids"].size(1))
            self._scores = self._paths.replay(batch, self._scores, sampled)
        if self._own_advantages or self.options.mask_dead_groups or self._dynamic is not None:
            dead = self._credit(batch, mode)
        self._log_ungraded(mode)
        self._scores = self._lengths = None
        return batch, dead

    def _credit(self, batch: Batch, mode: str) -> Tensor:
        """Replaces the parent's advantages in `batch` and in its logs, and takes dead groups out of the loss mask.

        Returns:
            (B,) bool, rows of this process in dead groups.
        """
        scores = self._scores  # (N, F)
        local = len(batch["advantages"])  # rows of this process; all processes hold equally many
        if scores is None or len(scores) != local * self.accelerator.num_processes:
            raise RuntimeError(
                f"Expected the gathered scores of {local * self.accelerator.num_processes} completions, got "
                f"{None if scores is None else len(scores)}; this TRL gathers rewards differently. Run `trl-r1 doctor`."
            )
        group_size = self.num_generations if mode == "train" else self.num_generations_eval
        weights = self.reward_weights.to(scores.device)
        if self.multi_objective_aggregation == "normalize_then_sum":
            rewards = weighted_sum_of_normalized(scores, weights, group_size)  # (N,)
        else:
            rewards = weighted_sum(scores, weights)  # (N,)
        dead = dead_groups(rewards, group_size)  # (N,)
        here = slice(self.accelerator.process_index * local, (self.accelerator.process_index + 1) * local)

        if self._own_advantages:
            if self._critic is not None:
                advantages = self._credit_tokens(batch, scores[here], mode)  # (N,) means, to be logged
            else:
                if self.options.kl_placement == "reward":
                    rewards = rewards - float(self.beta) * self.accelerator.gather(self._kl_of_completions(batch))
                advantages = self._advantages(rewards, group_size)  # (N,)
                batch["advantages"] = advantages[here]
            logged = self._logs["advantages"]
            for _ in range(min(len(advantages), len(logged))):
                logged.pop()
            logged.extend(advantages.tolist())
        equal = dead & ~ungraded_groups(rewards, group_size)  # TRL counts no group here that nobody could grade
        self._metrics[mode]["frac_reward_zero_std"][-1] = equal.float().mean().item()

        if self.options.mask_dead_groups:
            counted = batch.get("tool_mask", torch.ones_like(batch["completion_mask"]))
            batch["tool_mask"] = counted * (~dead[here]).unsqueeze(1).to(counted.dtype)
            tokens = (batch["completion_mask"] * batch["tool_mask"]).sum()
            batch["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        return dead[here]

    def _advantages(self, rewards: Tensor, group_size: int) -> Tensor:
        """(N,) rewards -> (N,) finite advantages, 0 where a completion has no reward."""
        name = self.options.advantage
        if name == "trl":  # a KL in the reward, or a replayed path: TRL's own advantages are of other rewards
            grouped = self.multi_objective_aggregation == "sum_then_normalize"
            function = SCALED[self.scale_rewards] if grouped else batch_normalized
            options: dict[str, Any] = {}
        else:
            stated = self.options.advantage_options
            function, options = find_advantage(name), stated if isinstance(stated, dict) else {}
        advantages = function(rewards, group_size, **options)
        if not isinstance(advantages, Tensor) or advantages.shape != rewards.shape:
            shape = tuple(advantages.shape) if isinstance(advantages, Tensor) else type(advantages).__name__
            raise ValueError(
                f"advantage={name!r} returned {shape} for rewards of shape {tuple(rewards.shape)}; it must return one "
                "advantage per completion, a tensor of the same shape."
            )
        advantages = torch.where(rewards.isnan(), 0.0, advantages.to(rewards.dtype))
        if not advantages.isfinite().all():
            raise ValueError(
                f"advantage={name!r} returned NaN or infinity for a completion that has a reward "
                f"({rewards[~advantages.isfinite()][0].item()}); guard its division."
            )
        return advantages

    def _log_lengths(self, batch: Batch, mode: str) -> None:
        """The distribution of completion lengths in tokens, where TRL logs mean and extremes.

        Counted as TRL counts: every token sampled, also of a completion that mask_truncated_completions takes out of the
        loss, and none that a tool wrote (of one that is both, the tools' too: TRL has dropped its mask).
        """
        mask, lengths = batch["completion_mask"], self._lengths
        lengths = mask.sum(dim=1) if lengths is None else lengths
        if "tool_mask" in batch:
            lengths = lengths - (mask * (1 - batch["tool_mask"])).sum(dim=1)
        lengths = self.accelerator.gather(lengths).float()
        for percent in (10, 50, 90):
            self._metrics[mode][f"completions/length_p{percent}"].append(torch.quantile(lengths, percent / 100).item())

    def _log_ungraded(self, mode: str) -> None:
        """`frac_reward_ungraded`, beside TRL's `frac_reward_zero_std`: the share of groups that nobody could grade."""
        if self._scores is None:
            return
        group_size = self.num_generations if mode == "train" else self.num_generations_eval
        rewards = weighted_sum(self._scores, self.reward_weights.to(self._scores.device))
        share = ungraded_groups(rewards, group_size).float().mean().item()
        self._metrics[mode]["frac_reward_ungraded"].append(share)

    # -- reference, checkpoints --------------------------------------------------------------------------------------

    def _start_reference(self) -> None:
        every = self.options.reference_every
        if every is None and not (self.args.sync_ref_model and self.ref_model is not None):
            return
        if is_sharded(self):
            if every is None:
                return  # TRL moves its reference there; only ours is refused
            raise NotImplementedError(
                "reference_every is not available under DeepSpeed ZeRO-3 or FSDP, where no process holds the whole "
                "policy. Use one GPU, DDP or ZeRO-1/2, or TRL's sync_ref_model."
            )
        if isinstance(self.model, PeftModel):
            self._moving_reference = AdapterReference(self.model)
        else:
            self._moving_reference = WeightsReference(self.model, self.accelerator.unwrap_model(self.ref_model))
        if every is not None:
            self._moving_reference.take()  # TRL builds the reference from the hub id, not from the model it was given
            self.add_callback(RenewReference(self._moving_reference, every))

    def _left_over(self) -> int:
        """Micro-steps that the rollouts at hand still serve; 0 when the next one generates anew."""
        return -self._step % (self.args.steps_per_generation * self.num_iterations)

    def _save_checkpoint(self, model, trial):
        if self.args.should_save:  # before the parent's files: its trainer_state.json marks a checkpoint as complete
            folder = checkpoint_folder(self, trial)
            if self._moving_reference is not None:
                self._moving_reference.save(folder)
            state = {"beta": float(self.beta), "left_over": self._left_over()}
            replace_file(folder / STATE_FILE, json.dumps(state))
        if self._paths is not None:  # every process its own
            self._paths.save(checkpoint_folder(self, trial))
            self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is not None:  # before the optimizer's state, which takes over its parameters' types
            restore_types(self.model, self._types)
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        if self._moving_reference is not None:
            self._moving_reference.load(checkpoint)
        if self._paths is not None:
            self._paths.load(checkpoint)
        path = Path(checkpoint) / STATE_FILE
        state = json.loads(path.read_text()) if path.is_file() else {}
        if self._beta_controller is not None:
            if not state:
                raise ValueError(
                    f"Cannot resume from {checkpoint}: it holds no {STATE_FILE}, so the beta that kl_target had reached is "
                    "lost. Resume from a checkpoint of R1GRPOTrainer, or start with that beta and no checkpoint."
                )
            self._beta_controller.beta = state["beta"]
            self._set_beta(state["beta"])
        if state.get("left_over"):
            logger.warning(
                "%s lies between two generations: the rollouts of its next %d micro-steps are lost and the run goes on with "
                "fresh ones, so it will differ from one that was not interrupted.",
                checkpoint,
                state["left_over"],
            )
        self._forward_sampler(int(self.state.epoch + 1e-9))

    def _get_train_sampler(self, dataset=None):
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _forward_sampler(self, epochs: int) -> None:
        """Draws the prompt orders of the epochs a resumed run has behind it.

        TRL's sampler draws one order per epoch from its own generator, which no checkpoint holds: without this a run
        resumed after its first epoch sees the first epoch's order again.
        """
        if getattr(self._train_sampler, "generator", None) is not None:
            for _ in range(epochs):
                next(iter(self._train_sampler), None)

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As the parent's, but `True` takes the newest *complete* checkpoint and a broken one is refused (ValueError)."""
        return super().train(
            resume_from_checkpoint=resolve_resume(resume_from_checkpoint, self.args.output_dir), **kwargs
        )

    def save_model(self, output_dir=None, _internal_call=False):
        """As the parent's; the exported model (not a checkpoint) does not carry the reference adapter."""
        super().save_model(output_dir, _internal_call)
        if not _internal_call and self.args.should_save and isinstance(self._moving_reference, AdapterReference):
            shutil.rmtree(Path(output_dir or self.args.output_dir) / "ref", ignore_errors=True)
