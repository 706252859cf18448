"""FastGRPOTrainer: TRL's GRPO with a rollout and a batching that do less work, each switched on by name.

With both at 'trl' it is its parent. The loss itself is the parent's in every case: it gets the same (B, C) tensors of
log-probabilities, with values wherever the loss looks.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import torch
import trl.trainer.utils
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from trl import GRPOTrainer

from trl_r1.compat.host import Batch, GRPOHost, check_members
from trl_r1.grpo.batching import (
    ATTENTION,
    Packed,
    batches_by_length,
    lengths_of,
    pack,
    packed_attention,
    packing_fault,
    recorded_windows,
    regrouped,
)
from trl_r1.grpo.dropout import without_dropout
from trl_r1.grpo.head import OnePassHead, returning_hidden_states
from trl_r1.grpo.passes import GenerationPass, LossPass, holding
from trl_r1.grpo.rollout.connect import FastRollout
from trl_r1.grpo.rollout.overlap import EarlyRewards
from trl_r1.grpo.rollout.support import computing_type


logger = logging.getLogger(__name__)

VISION_KEYS = (  # of a batch, what a forward pass over images needs besides the tokens
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}  # of packed log-probabilities, in nats; other types are coarser
COARSE = 0.25
SUMS_OF_ROWS = {"grpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"}  # whichever micro-batch a row is in


def scores_labels() -> bool:
    """Whether the installed TRL computes log-probabilities of given labels, which packing needs (1.16 does)."""
    head = getattr(trl.trainer.utils, "add_fused_lm_head", None)
    return head is not None and "shift_labels" in inspect.getsource(head)


if TYPE_CHECKING:
    Parent = GRPOHost  # so that mypy knows its members; it does not follow TRL's own imports
else:
    Parent = GRPOTrainer


class FastGRPOTrainer(Parent):
    """[`~trl.GRPOTrainer`] with `rollout`, `batching`, `old_logps` and `rewards_overlap` of [`R1GRPOConfig`].

    Raises:
        ValueError: old_logps='sampled' together with vLLM or tools.
    """

    # class-level defaults: TRL's own tests and some tools build trainers without __init__
    _fast_rollout: FastRollout | None = None
    _fast_batching: bool = False
    _sampled_old: bool = False
    _early_rewards: EarlyRewards | None = None
    _head: OnePassHead | None = None  # in place of TRL's fused one, for packed rows
    _every_row_counts: bool = False  # a subclass learns from rows whose advantages are 0 as well
    _packs: bool | None = False  # None: may be tried
    _rotary: bool = False  # the model's positions may begin anywhere
    _generation_pass: GenerationPass | None = None  # while a batch is generated and scored
    _loss_pass: LossPass | None = None  # while a loss is computed
    tokens_processed: int = 0  # tokens that went through the policy for a loss, padding included
    tokens_useful: Any = 0  # completion tokens among them that carry a gradient; an int, or a tensor ()

    def __init__(self, model, reward_funcs=None, args=None, *positional, **kwargs):
        super().__init__(model, reward_funcs, args, *positional, **kwargs)
        check_members(self)
        self._fast_batching = getattr(args, "batching", "trl") == "fast"
        self._sampled_old = getattr(args, "old_logps", "policy") == "sampled"
        if getattr(args, "rollout", "trl") == "fast":
            self._fast_rollout = FastRollout()
        if self._sampled_old and (self.use_vllm or self.tools):
            raise ValueError(
                "old_logps='sampled' takes the log-probabilities of rollout='fast', which neither vLLM nor tool calls "
                "pass through. Drop old_logps, or use_vllm and tools."
            )
        if self._fast_batching:
            self._start_packing()
        if getattr(args, "rewards_overlap", False):
            self._early_rewards = EarlyRewards(self)

    # -- rollout -----------------------------------------------------------------------------------------------------

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, *args, **kwargs):
        if self._fast_rollout is not None:
            early = (
                self._early_rewards
                if self._generation_pass is not None and self._generation_pass.scores_early
                else None
            )
            finished = None if early is None else early.finished
            rollout = self._fast_rollout.complete(self, prompt_ids, images, multimodal_fields, finished)
            if rollout is not None:
                return rollout.completions, None
        return super()._generate_single_turn(prompt_ids, images, multimodal_fields, *args, **kwargs)

    def _generate_and_score_completions(self, inputs):
        # the parent's own rule for asking at all; it asks before it asks for the reference's
        every = self.args.steps_per_generation * self.num_iterations
        asks = self._sampled_old and self.args.gradient_accumulation_steps % every != 0
        size = self.num_generations if self.model.training else self.num_generations_eval
        early = self._early_rewards is not None and self._early_rewards.begin(inputs, size)
        with holding(self, "_generation_pass", GenerationPass(old_is_next=asks, scores_early=early)):
            return super()._generate_and_score_completions(inputs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self._early_rewards is None or self._generation_pass is None or not self._generation_pass.scores_early:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        functions = list(self.reward_funcs)
        for number, answer in self._early_rewards.ready(completions).items():
            self.reward_funcs[number] = answer
        try:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        finally:
            self.reward_funcs[:] = functions
            mode = "train" if self.model.training else "eval"
            self._metrics[mode]["rewards/seconds_waited"].append(self._early_rewards.waited)

    def _sampled_logps(self, ids: Tensor, columns: int) -> Tensor | None:
        """(B, columns) log-probabilities as last sampled, 0 behind a row's end; None where TRL generated."""
        rollout = None if self._fast_rollout is None else self._fast_rollout.last
        if rollout is None or len(rollout.logps) != len(ids):
            return None
        logps = torch.zeros(len(ids), columns)
        for row, values in enumerate(rollout.logps):
            logps[row, : len(values)] = torch.tensor(values)
        return logps.to(ids.device)

    # -- micro-batches -----------------------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch):
        before = getattr(self, "_buffered_inputs", None)
        inputs = super()._prepare_inputs(generation_batch)
        batches = getattr(self, "_buffered_inputs", None)
        if not self._fast_batching or not self.model.training or batches is None or batches is before:
            return inputs
        several = self._micro_batches_of_a_step(len(batches))
        if several > 1:
            self._buffered_inputs = batches = [
                batch
                for first in range(0, len(batches), several)
                for batch in self._deal_out(batches[first : first + several])
            ]
        return batches[self._step % len(batches)]

    def _micro_batches_of_a_step(self, count: int) -> int:
        """How many of `count` consecutive micro-batches go into one optimizer step whose loss is a sum over their rows."""
        if self._every_token_counts() or self.aux_loss_enabled or self.args.use_liger_kernel:
            return 1
        steps = self.args.gradient_accumulation_steps
        if self.loss_type not in SUMS_OF_ROWS or (count % steps and steps % count):
            return 1
        return min(count, steps)

    def _every_token_counts(self) -> bool:
        """Whether the loss has a term over all tokens of a micro-batch, those without an advantage too."""
        return self._entropy_bonus_enabled or self._every_row_counts or self.top_entropy_quantile < 1.0

    def _deal_out(self, batches):
        first = batches[0]
        if self._packs is None and first.get("pixel_values") is None:  # before the first rows are dealt out: all alike
            ids, mask = (
                torch.cat([first[f"prompt_{kind}"], first[f"completion_{kind}"]], dim=1) for kind in ("ids", "mask")
            )
            self._packs = self._packing_agrees(self.model, ids, mask, first["completion_ids"].size(1))
        moves = torch.cat([self._moves_the_loss(batch) for batch in batches])
        return regrouped(batches, moves, together=self._packs is not False)

    def _moves_the_loss(self, batch) -> Tensor:
        """(B,) bool, which rows can move the loss."""
        moves = loss_mask(batch).any(dim=1)
        return moves if self.beta != 0.0 or self._every_token_counts() else moves & has_advantage(batch)

    # -- log-probabilities -------------------------------------------------------------------------------------------

    def _start_packing(self) -> None:
        """Makes packing possible where the model runs on SDPA and this TRL scores given labels; else rows are trimmed."""
        policy = self.accelerator.unwrap_model(self.model)
        self._rotary = any("rotary" in name for name, _ in policy.named_modules())
        models = [self.model] if self.ref_model is None else [self.model, self.ref_model]
        configs = [self.accelerator.unwrap_model(model).config.get_text_config() for model in models]
        if not scores_labels() or any(config._attn_implementation != "sdpa" for config in configs):
            return
        self._packs = None
        AttentionInterface.register(ATTENTION, packed_attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        for config in configs:
            config._attn_implementation = ATTENTION  # which is SDPA wherever no packing is handed over

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **kwargs
    ):
        if self._generation_pass is not None and self._generation_pass.old_is_next:
            self._generation_pass.old_is_next = False
            sampled = self._sampled_logps(input_ids, logits_to_keep)
            if sampled is not None:
                return sampled, None, None
        prompt_columns = input_ids.size(1) - logits_to_keep
        more = any(value is not None and value is not False for value in kwargs.values())  # images, auxiliary loss
        lengths = None if more or not self._fast_batching else lengths_of(attention_mask, prompt_columns)
        if lengths is None or not bool((lengths[0] > 0).all()):
            self.tokens_processed += 0 if self._loss_pass is None else input_ids.numel()
            out = super()._get_per_token_logps_and_entropies(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                batch_size=batch_size,
                compute_entropy=compute_entropy,
                **kwargs,
            )
            if self._loss_pass is not None:
                self._loss_pass.entropies = out[1]
            return out
        keep = lengths[1] > 0
        skipped = None if self._loss_pass is None else self._loss_pass.skipped
        if skipped is not None:
            keep = keep & ~skipped
        rows = keep.nonzero().squeeze(1)
        if len(rows) == 0:  # one stays, so that every process has a backward pass and every weight a gradient
            lengths = lengths[0], lengths[1].clamp(min=1)
            rows = lengths[1].argmin()[None]
        if self._packs is None:
            self._packs = self._packing_agrees(model, input_ids, attention_mask, logits_to_keep)
        compute = self._packed if self._packs else self._trimmed
        passes = -(-len(input_ids) // (batch_size or len(input_ids)))  # the parent's number
        logps = torch.zeros(len(input_ids), logits_to_keep, device=input_ids.device)
        entropies = torch.zeros_like(logps) if compute_entropy else None
        for part in rows.tensor_split(passes):
            if len(part) or self.accelerator.num_processes > 1:  # wrapped models synchronise in every forward pass
                part = part if len(part) else rows[:1]
                logps, entropies = compute(model, input_ids, attention_mask, lengths, part, logps, entropies)
        if self._loss_pass is not None:
            self._loss_pass.entropies = entropies
            if (
                skipped is not None and self._loss_pass.old_logps is not None
            ):  # a ratio of 1 where nothing was computed
                logps = torch.where(skipped[:, None], self._loss_pass.old_logps, logps)
        return logps, entropies, None

    def _packed(self, model, ids, mask, lengths, rows, logps, entropies):
        """Fills `rows` of the (B, C) logps and entropies from one forward pass over those rows, packed."""
        packed = pack(ids, lengths[0], lengths[1], ids.size(1) - logps.size(1), rows)
        with self.accelerator.autocast():
            found, spread = self._scored(model, packed)  # (K,)
        self.tokens_processed += 0 if self._loss_pass is None else packed.ids.numel()
        self._forward_done(packed.rows, packed.columns, packed.places)
        at = packed.rows, packed.columns
        logps = logps.index_put(at, found.to(logps.dtype))
        if entropies is not None:
            assert spread is not None
            entropies = entropies.index_put(at, spread.to(entropies.dtype))
        return logps, entropies

    def _scored(self, model, packed: Packed) -> tuple[Tensor, Tensor | None]:
        """(K,) log-probabilities and entropies of the predicted tokens, from one forward pass."""
        given = packed.inputs()
        if self._head is None:
            outputs = model(**given, shift_labels=packed.labels, fused_lm_head=True)
            entropy = outputs.entropy
            return outputs.log_probs[0, packed.places], None if entropy is None else entropy[0, packed.places]
        layer = self.accelerator.unwrap_model(model).get_output_embeddings()
        with returning_hidden_states(layer):
            hidden = model(**given, logits_to_keep=packed.places, use_cache=False).logits[0]  # (K, E)
        return self._head.scores(layer, hidden, packed.labels[0, packed.places])

    def _trimmed(self, model, ids, mask, lengths, rows, logps, entropies):
        """The same with the parent's own forward pass, over rows of similar length cut to what they hold."""
        (before, after), columns = lengths, logps.size(1)
        prompt_columns = ids.size(1) - columns
        for batch in batches_by_length(before + after, rows, several=self.accelerator.num_processes == 1):
            # learned positions count from column 0
            padding = int(before[batch].max()) if self._rotary else prompt_columns
            right = int(after[batch].max())
            cut = slice(prompt_columns - padding, prompt_columns + right)
            scored = super()._get_per_token_logps_and_entropies(
                model, ids[batch, cut], mask[batch, cut], right, compute_entropy=entropies is not None
            )
            self.tokens_processed += 0 if self._loss_pass is None else len(batch) * (padding + right)
            at = batch[:, None], torch.arange(right, device=ids.device)[None]
            self._forward_done(*at)
            logps = logps.index_put(at, scored[0].to(logps.dtype))
            if entropies is not None:
                entropies = entropies.index_put(at, scored[1].to(entropies.dtype))
        return logps, entropies

    def _forward_done(self, rows: Tensor, columns: Tensor, places: Tensor | None = None) -> None:
        """Called after each forward pass of batching 'fast', for a subclass that reads along: the rows and completion
        columns that were predicted, and, of a packed row, the tokens that predict them."""

    def _packing_agrees(self, model, ids: Tensor, mask: Tensor, columns: int) -> bool:
        """Tries packing on two short rows with one prompt, against the parent's padded forward pass, without dropout."""
        bare = self.accelerator.unwrap_model(model)
        text, processed = bare.config.get_text_config(), self.tokens_processed
        prompt, reply = min(4, ids.size(1) - columns), min(6, columns)
        first = ids.size(1) - columns - prompt
        ids = torch.cat([ids[[0, 0], first : first + prompt], ids[[0, -1], -columns:][:, :reply]], dim=1)
        mask = torch.ones_like(ids)
        mask[1, prompt + reply // 2 + 1 :] = 0
        lengths = mask[:, :prompt].sum(dim=1), mask[:, prompt:].sum(dim=1)
        rows = torch.arange(2, device=ids.device)
        zeros = torch.zeros(2, reply, device=ids.device)
        windows: list[int | None] = []
        reason = None
        with torch.no_grad(), without_dropout(bare), recorded_windows(windows):
            plain, _, _ = super()._get_per_token_logps_and_entropies(bare, ids, mask, reply)
            try:
                packed, _ = self._packed(bare, ids, mask, lengths, rows, zeros, None)
            except (TypeError, ValueError, RuntimeError) as error:
                reason = f"its forward pass refuses packed rows ({error})"
        if reason is None:
            change = ((packed - plain) * mask[:, prompt:]).abs().max().item()
            reason = packing_fault(text, change, TOLERANCE.get(self._computing_type(bare), COARSE), windows)
        self.tokens_processed = processed
        if reason is not None:
            logger.warning("Rows are trimmed but not packed for this model: %s.", reason)
            text._attn_implementation = "sdpa"
        return reason is None

    def _computing_type(self, model: torch.nn.Module) -> torch.dtype:
        """In which log-probabilities are computed, which says how exact they can be."""
        return computing_type(model, self.accelerator)

    def _logps_of_completions(self, batch: Batch) -> Tensor:
        """(B, T) log-probabilities of this process's completions under the policy as it is, without a gradient."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        training = self.model.training
        size = self.args.per_device_train_batch_size if training else self.args.per_device_eval_batch_size
        vision = {key: batch[key] for key in VISION_KEYS if key in batch}
        with torch.no_grad():
            return self._get_per_token_logps_and_entropies(
                self.model, ids, attention, batch["completion_ids"].size(1), batch_size=size, **vision
            )[0]

    # -- loss --------------------------------------------------------------------------------------------------------

    def _compute_loss(self, model, inputs):
        mode = "train" if self.model.training else "eval"
        may_skip = self._fast_batching and mode == "train" and not self.aux_loss_enabled
        counted = loss_mask(inputs)  # (B, C)
        moves = self._moves_the_loss(inputs)
        if mode == "train":
            # a tensor: no wait for the device
            self.tokens_useful = self.tokens_useful + (counted * has_advantage(inputs)[:, None]).sum()
        skipped = ~moves if may_skip else None
        with holding(self, "_loss_pass", LossPass(skipped, inputs.get("old_per_token_logps"))) as now:
            loss = super()._compute_loss(model, inputs)
            if may_skip and now.entropies is not None:  # the parent averaged over zeros too
                loss_tokens = counted * moves[:, None]
                here = torch.stack([(now.entropies.detach() * loss_tokens).sum(), loss_tokens.sum().float()])
                total = self.accelerator.reduce(here, reduction="sum")
                self._metrics[mode]["entropy"][-1] = (total[0] / total[1]).item() if total[1] > 0 else float("nan")
        return loss


def loss_mask(batch: Batch) -> Tensor:
    """(B, C), 1 where a completion token counts in the loss; TRL's own rule."""
    mask = batch["completion_mask"]
    return mask * batch["tool_mask"] if "tool_mask" in batch else mask


def has_advantage(batch: Batch) -> Tensor:
    """(B,) bool, which rows have an advantage other than 0, per completion or at any token."""
    advantages = batch["advantages"]
    return advantages.reshape(len(advantages), -1).ne(0.0).any(dim=1)
