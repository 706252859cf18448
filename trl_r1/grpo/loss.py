"""ChosenKL: a GRPO trainer's loss with another KL than TRL's, a beta that is steered, an entropy coefficient that moves.

The estimators live in kl.py, the schedules in schedules.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trl_r1.compat import trl as compat
from trl_r1.compat.host import Batch
from trl_r1.grpo.config import R1GRPOConfig
from trl_r1.grpo.fast_trainer import loss_mask
from trl_r1.grpo.kl import (
    AdaptiveBeta,
    as_product,
    importance_log_weight,
    k3,
    kl_to_reference,
    sequence_sum,
    weighted_kl,
)
from trl_r1.grpo.mixin import Host
from trl_r1.grpo.passes import KLPass, holding
from trl_r1.grpo.schedules import ENTROPY_SCHEDULES


class SteeredBeta(float):
    """A beta that, multiplied with TRL's per-token KL, answers with our KL term instead.

    TRL's loss contains the KL in one expression, ``self.beta * per_token_kl``, in every release from 1.0 to 1.16, and
    otherwise only compares beta with 0. Standing in for that product leaves clipping, masks, entropy bonus, auxiliary
    loss and every loss type's normaliser to TRL. The trainer checks after each loss that it was used exactly once.
    """

    term: Any

    def __new__(cls, beta: float, term):
        steered = super().__new__(cls, beta)
        steered.term = term
        return steered

    def __mul__(self, stock_kl):
        return self.term(float(self), stock_kl)


class ChosenKL(Host):
    """The options' KL term and entropy coefficient in TRL's own loss: a mixin, idle at TRL's defaults."""

    options: R1GRPOConfig
    _kl_pass: KLPass | None = None  # while a loss is computed
    _kl_window: Tensor | None = None  # [sum of k3, tokens] since the last optimizer step, this process
    _beta_controller: AdaptiveBeta | None = None

    def _choose_kl(self) -> None:
        """Reads the options; called before the trainer is built.

        Raises:
            RuntimeError: the installed TRL lacks a method that they need.
            ValueError: with Liger's loss, in a TRL where none of them would act.
        """
        self._steers_kl = (
            self.options.kl_estimator != "k3"
            or self.options.kl_placement == "reward"
            or self.options.kl_level == "sequence"
            or (self.options.importance_sampling_level == "sequence_product" and self.options.beta != 0.0)
        )
        compat.check_seams(custom_kl=self._steers_kl)
        needs_beta = self._steers_kl or self.options.kl_target
        if needs_beta and self.options.use_liger_kernel and compat.bypasses_compute_loss():
            raise ValueError(
                "use_liger_kernel=True computes the loss outside _compute_loss in this TRL, so no KL option of trl_r1 "
                "would act. Drop use_liger_kernel, or upgrade to trl>=1.14."
            )

    def _start_kl(self) -> None:
        """Starts the control of beta; called once the trainer is built."""
        self._as_product = self.options.importance_sampling_level == "sequence_product"
        if self._as_product:
            self.importance_sampling_level = "sequence"  # TRL averages what as_product prepared: a product
        if self.options.kl_target is not None:
            self._beta_controller = AdaptiveBeta(self.beta, self.options.kl_target, self.options.kl_gain)
        self._set_beta(self.beta)

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        out = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        now = self._kl_pass
        if now is None:
            return out
        now.logps = out[0]
        if not self._as_product:
            return out
        return (as_product(out[0], now.batch.get("old_per_token_logps"), loss_mask(now.batch)), *out[1:])

    def _compute_loss(self, model, inputs):
        mode = "train" if self.model.training else "eval"
        if self.options.entropy_schedule != "constant":
            self.entropy_coef = self._entropy_coef_at(self.state.global_step)
        with holding(self, "_kl_pass", KLPass(inputs)) as now:
            loss = super()._compute_loss(model, inputs)
            self._nothing_is_no_measure(inputs, mode)
            if self._steers_kl and self.beta != 0.0 and now.terms != 1:
                raise RuntimeError(
                    f"TRL asked for the KL term {now.terms} times in one loss instead of once, so the chosen KL did "
                    "not act. Run `trl-r1 doctor`."
                )
            if self.beta != 0.0:
                self._observe_kl(now, mode)
        return loss

    def _kl_term(self, beta: float, stock_kl: Tensor) -> Tensor:
        """What takes the place of ``beta * per_token_kl``: (B, T) or (B, 1)."""
        now = self._kl_pass
        if now is None or now.logps is None:
            raise RuntimeError(
                "TRL asked for the KL term outside a loss or before its log-probabilities. Run `trl-r1 doctor`."
            )
        now.terms += 1
        options, batch, logps = self.options, now.batch, now.logps
        if options.kl_placement == "reward":
            return torch.zeros_like(stock_kl)
        mask = loss_mask(batch)
        kl = kl_to_reference(options.kl_estimator, options.kl_level, logps, batch["ref_per_token_logps"], mask)
        if options.use_bias_correction_kl:
            old = batch.get("old_per_token_logps")
            old = logps.detach() if old is None else old
            level = "sequence_product" if options.kl_level == "sequence" else options.importance_sampling_level
            kl = weighted_kl(options.kl_estimator, kl, importance_log_weight(logps, old, mask, level))
        return beta * kl

    def _nothing_is_no_measure(self, batch: Batch, mode: str) -> None:
        """Where dead groups leave no token in a loss, TRL logs an entropy and a KL of 0; NaN is left out of the log."""
        if not self.options.mask_dead_groups:
            return
        if self.accelerator.reduce(loss_mask(batch).sum(), reduction="sum") == 0:
            for name in ("entropy", "kl"):
                if self._metrics[mode].get(name):
                    self._metrics[mode][name][-1] = float("nan")

    def _observe_kl(self, now: KLPass, mode: str) -> None:
        """Keeps the logged `kl` true where TRL computed it from prepared log-probabilities, and moves beta."""
        if not self._as_product and self._beta_controller is None:
            return
        if now.logps is None:
            raise RuntimeError("TRL computed a loss without the policy's log-probabilities. Run `trl-r1 doctor`.")
        mask = loss_mask(now.batch)
        kl = k3(now.logps.detach(), now.batch["ref_per_token_logps"])
        here = torch.stack([(kl * mask).sum(), mask.sum().to(kl.dtype)])  # [nats, tokens]
        if self._as_product:
            total = self.accelerator.reduce(here, reduction="sum")
            self._metrics[mode]["kl"][-1] = (total[0] / total[1]).item()  # NaN, and left out, where no token counts
        if self._beta_controller is None or mode != "train":
            return
        self._kl_window = here if self._kl_window is None else self._kl_window + here
        if self.accelerator.sync_gradients:  # the last micro-batch before an optimizer step
            total = self.accelerator.reduce(self._kl_window, reduction="sum")
            self._kl_window = None
            self._metrics[mode]["beta"].append(float(self.beta))
            if total[1] > 0:
                self._set_beta(self._beta_controller.update((total[0] / total[1]).item()))

    def _set_beta(self, beta: float) -> None:
        self.beta = SteeredBeta(beta, self._kl_term) if self._steers_kl and beta != 0.0 else float(beta)

    def _entropy_coef_at(self, step: int) -> float:
        options = self.options
        return ENTROPY_SCHEDULES[options.entropy_schedule](
            step,
            self.state.max_steps,
            options.entropy_coef,
            options.entropy_coef_end,
            options.entropy_every,
            options.entropy_decrement,
        )

    def _kl_of_completions(self, batch: Batch) -> Tensor:
        """(B,) KL of this process's completions to the reference, summed over tokens, in nats."""
        mask = loss_mask(batch)
        logps = batch.get("old_per_token_logps")
        if logps is None:  # TRL skips them where the first update follows at once; the policy is still the sampler
            logps = self._logps_of_completions(batch)
        options = self.options
        kl = kl_to_reference(options.kl_estimator, options.kl_level, logps, batch["ref_per_token_logps"], mask)
        return kl.squeeze(1) if options.kl_level == "sequence" else sequence_sum(kl, mask).squeeze(1)
