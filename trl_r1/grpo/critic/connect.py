"""How a critic reaches into TRL's trainer: a mixin that does nothing while the advantage has no towers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from trl_r1.compat import trl as compat
from trl_r1.compat.host import Batch
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.critic.critic import Critic, check_checkpoint
from trl_r1.grpo.critic.options import CriticOptions
from trl_r1.grpo.critic.token_rewards import TokenPlaces, spans_of, token_rewards
from trl_r1.grpo.critic.towers import NAMES, final_norm
from trl_r1.grpo.fast_trainer import loss_mask
from trl_r1.grpo.kl import kl_to_reference
from trl_r1.grpo.mixin import Host
from trl_r1.grpo.reasoning import TrainerReasoning
from trl_r1.storage.checkpoints import checkpoint_folder


UNSEEN = "without a forward pass through the policy's final norm, so the critic saw nothing. Run `trl-r1 doctor`."


class TrainTowers(TrainerCallback):
    """Before an optimizer step: clips the towers' gradient, and in the warm-up takes the policy's away. After it: zeroes."""

    def __init__(self, trainer: Any):
        self.trainer = trainer

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        critic = self.trainer._critic
        if critic.options.max_grad_norm > 0:
            norm = torch.nn.utils.clip_grad_norm_(critic.parameters, critic.options.max_grad_norm)
            self.trainer._metrics["train"]["critic/grad_norm"].append(norm.item())
        if self.trainer._critic_alone():
            towers = {id(parameter) for parameter in critic.parameters}
            for group in self.trainer.optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) not in towers:
                        parameter.grad = None  # not zero: weight decay and Adam's step count stay out too

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.trainer._critic.towers.zero_grad()  # the trainer does so for the model's own weights only


class CriticAdvantages(Host):
    """Advantages per token from a critic: what a GRPO trainer needs for `one_tower` and `two_tower`."""

    options: R1GRPOConfig
    _critic: Critic | None = None
    _seen: tuple[Any, ...] = ()  # inputs, prompts, completions and ids of the batch just rewarded, of this process
    _reasoning: TrainerReasoning | None = None  # from the end of the trainer's __init__ on
    _read: list[tuple[Tensor, Tensor | None]]  # (log-probabilities, tower outputs) of forward passes since `_seen`
    _shape: tuple[int, int] = (0, 0)  # (B, C) of the batch that is being read

    def _start_critic(self) -> None:
        """Builds the towers, where the advantage has some.

        Raises:
            NotImplementedError: under DeepSpeed or FSDP.
            ValueError: a policy without a known final norm.
            RuntimeError: a TRL that does not take one advantage per token.
        """
        name = self.options.advantage
        if name not in NAMES:
            return
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise NotImplementedError(
                f"advantage={name!r} is not available under DeepSpeed or FSDP, whose optimizers take no weights beside "
                "the policy's. Use one GPU or DDP, or advantage='group_normalized'."
            )
        stated = self.options.advantage_options
        compat.check_token_advantages(self.args.use_liger_kernel)
        options = CriticOptions.of(name, stated if isinstance(stated, dict) else {})
        norm, size = final_norm(self.accelerator.unwrap_model(self.model))
        self._critic = Critic(name, options, norm, size, self.args.seed, self.accelerator.device)
        self._read = []
        self._every_row_counts = True  # a row whose advantages are 0 still has a value to learn
        self.add_callback(TrainTowers(self))

    def _critic_alone(self) -> bool:
        return self._critic is not None and self.state.global_step < self._critic.options.warmup

    def _total(self, values: Tensor) -> Tensor:
        return self.accelerator.reduce(values, reduction="sum")

    # -- reading along --------------------------------------------------------------------------------------------------

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        read = super()._get_per_token_logps_and_entropies
        if self._critic is None:
            return read(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        self._shape = len(input_ids), logits_to_keep
        with self._critic.ear.listening():
            out = read(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        self._read.append((out[0], self._critic.outputs(self._shape)))
        return out

    def _forward_done(self, rows: Tensor, columns: Tensor, places: Tensor | None = None) -> None:
        if self._critic is not None:
            self._critic.place(self._shape, rows, columns, places)

    def _packing_agrees(self, *args: Any) -> bool:
        if self._critic is None:
            return super()._packing_agrees(*args)
        with self._critic.ear.listening(False):
            return super()._packing_agrees(*args)

    # -- rewards to advantages ------------------------------------------------------------------------------------------

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        scores = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._critic is not None:
            self._seen, self._read = (inputs, prompts, completions, completion_ids_list), []
        return scores

    def _rewards_by_token(self, scores: Tensor, mask: Tensor) -> Tensor:
        """(B, F) scores of this process, and which tokens are the policy's -> (B, T) weighted rewards of each token."""
        inputs, prompts, completions, ids = self._seen
        rewards, weights = torch.zeros(mask.shape, dtype=torch.float64), self.reward_weights.tolist()

        for row, values in enumerate(scores.tolist()):
            actions = mask[row].nonzero().squeeze(1).tolist()
            places = None
            for function, weight, score in zip(self.reward_funcs, weights, values, strict=True):
                if score != score or weight == 0.0:  # NaN: this function had nothing to say
                    continue
                spans = spans_of(function, completions[row], prompts[row], inputs[row])
                if spans and places is None and self._reasoning is not None:
                    places = TokenPlaces(ids[row], self._reasoning.decode, completions[row])
                earned = token_rewards(score, spans, mask.size(1), places, actions)
                rewards[row] += weight * earned
        return rewards.to(mask.device, torch.float32)

    def _credit_tokens(self, batch: Batch, scores: Tensor, mode: str) -> Tensor:
        """Puts (B, T) advantages and what the value loss needs into `batch`.

        Args:
            scores: (B, F) of this process's completions; a row of NaN is unscored: advantage 0, no value to learn.

        Returns:
            (N,) mean advantage of each completion of all processes, for the table of completions.
        """
        mask = loss_mask(batch) * (~scores.isnan().all(dim=1, keepdim=True)).to(batch["completion_mask"].dtype)
        rewards = self._rewards_by_token(scores, mask)
        self._seen = ()
        old: Any = batch.get("old_per_token_logps")
        outputs = next((outputs for logps, outputs in self._read if logps is old), None)
        if outputs is None:  # TRL made no pass over these completions, or took its numbers from the rollout
            old = self._logps_of_completions(batch)
            outputs = self._read[-1][1]
        self._read = []
        if self._critic is None or outputs is None:
            raise RuntimeError(f"TRL's log-probabilities came {UNSEEN}")
        if self.options.kl_placement == "reward":
            kl = kl_to_reference(self.options.kl_estimator, "token", old, batch["ref_per_token_logps"], mask)
            rewards = rewards - float(self.beta) * kl * mask
        advantages, more, metrics = self._critic.credit(rewards, outputs, mask, self._total, mode == "train")
        batch.update(more, advantages=advantages)
        for name, value in metrics.items():
            self._metrics[mode][f"critic/{name}"].append(value)
        return self.accelerator.gather(advantages.sum(dim=1) / mask.sum(dim=1).clamp(min=1))

    # -- loss -------------------------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: Batch) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        if self._critic is None or not self.model.training:
            return loss
        outputs = self._read[-1][1]
        self._read = []
        if outputs is None:
            raise RuntimeError(f"TRL computed its loss {UNSEEN}")
        value_loss, metrics = self._critic.loss(outputs, inputs, self._total)
        for name, value in metrics.items():
            self._metrics["train"][f"critic/{name}"].append(value)
        tokens = (
            inputs["critic_tokens"].clamp(min=1.0) / self.accelerator.num_processes
        )  # of a generation, per process
        tokens = tokens * self.current_gradient_accumulation_steps / self.args.steps_per_generation  # of one step
        if self._critic_alone():
            loss = loss.detach() if self.accelerator.num_processes == 1 else 0.0 * loss
        return loss + value_loss / tokens

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        optimizer = super().create_optimizer(*args, **kwargs)
        if self._critic is not None:
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            towers = self._critic.parameters
            if id(towers[0]) not in held:
                learning_rate = self._critic.options.learning_rate
                optimizer.add_param_group({"params": towers, "lr": learning_rate, "weight_decay": 0.0})
        return optimizer

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        if self._critic is not None and self.accelerator.sync_gradients and self.accelerator.num_processes > 1:
            for parameter in self._critic.parameters:  # not the policy's, so DDP does not know them
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="mean")
        return loss

    # -- over a resume --------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self._critic is not None and self.args.should_save:
            self._critic.save(checkpoint_folder(self, trial))
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        if checkpoint is not None:
            check_checkpoint(checkpoint, self.options.advantage)
            if self._critic is not None:
                self._critic.load(checkpoint)
        super()._load_optimizer_and_scheduler(checkpoint)
