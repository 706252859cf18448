"""R1GRPOConfig: what trl_r1 adds to TRL's GRPOConfig. Which options do not go together: conflicts.py."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field
from typing import Any

from trl import GRPOConfig

from trl_r1.grpo.advantages import ADVANTAGES, PER_TOKEN, compares_nothing, find_advantage
from trl_r1.grpo.conflicts import refuse
from trl_r1.grpo.copies.kinds import check_kind
from trl_r1.grpo.critic.options import CriticOptions
from trl_r1.grpo.curriculum import CURRICULA
from trl_r1.grpo.kl import KL_ESTIMATORS
from trl_r1.grpo.schedules import ENTROPY_SCHEDULES
from trl_r1.storage.structured import one_of


RATIO_LEVELS = ("token", "sequence", "sequence_product")


@dataclass
class R1GRPOConfig(GRPOConfig):
    """[`~trl.GRPOConfig`] plus the choices trl_r1 adds. Inherited fields keep TRL's meaning and default.

    Every added field's default means "what TRL does", so `R1GRPOTrainer` with this config trains bit-identically to
    `GRPOTrainer` with the same values (benchmarks/identity.py).

    Raises:
        ValueError: in `__post_init__`, for an unknown name, a value out of range, or a combination that cannot work.
    """

    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "advantage_options"]

    importance_sampling_level: str = field(
        default="token",
        metadata={
            "help": "Level of the policy ratio. 'token' and 'sequence' (mean over the completion, GSPO) are TRL's; "
            "'sequence_product' multiplies over the completion, the ratio of DeepSeek-R1 Eq. 1 as printed, and needs "
            "loss_type='grpo'. See docs/kl.md."
        },
    )
    advantage: str = field(
        default="trl",
        metadata={
            "help": "How rewards become advantages: 'trl' (what scale_rewards and multi_objective_aggregation say), "
            f"{', '.join(ADVANTAGES)}, your own function by dotted path, or a critic (PPO): {', '.join(PER_TOKEN)}. "
            "See docs/advantages.md."
        },
    )
    advantage_options: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Options of the advantage: {'k': 4} for pass_at_k, {'lam': 0.95} for two_tower."},
    )
    mask_dead_groups: bool = field(
        default=False,
        metadata={
            "help": "Take groups whose rewards are all equal out of the loss, the KL, the entropy bonus and the token "
            "denominator. They carry no comparison, yet their KL still pulls and their tokens still dilute."
        },
    )
    kl_estimator: str = field(
        default="k3",
        metadata={"help": f"KL estimator: {', '.join(KL_ESTIMATORS)}. See docs/kl.md for their gradients."},
    )
    kl_placement: str = field(
        default="loss",
        metadata={"help": "Where beta * KL goes: 'loss' (TRL, DeepSeek-R1) or 'reward' (as in PPO and RLOO)."},
    )
    kl_level: str = field(
        default="token",
        metadata={
            "help": "'token' (TRL) or 'sequence': the estimator applied once to the completion's log-probability, "
            "DeepSeek-R1 Eq. 2 as printed."
        },
    )
    kl_target: float | None = field(
        default=None,
        metadata={"help": "KL to the reference to hold, in nats per token. None keeps `beta` fixed."},
    )
    kl_gain: float = field(
        default=0.1,
        metadata={
            "help": "Share of beta that one optimizer step may move it per unit of relative error (with kl_target)."
        },
    )
    reference_every: int | None = field(
        default=None,
        metadata={
            "help": "Replace the reference policy by the current policy every this many optimizer steps (DeepSeek-R1: "
            "400). Works for full weights, LoRA and QLoRA, and survives a resume. None keeps it fixed."
        },
    )
    entropy_schedule: str = field(
        default="constant",
        metadata={
            "help": f"How entropy_coef moves with the optimizer step: {', '.join(ENTROPY_SCHEDULES)}. 'step' takes "
            "entropy_decrement off every entropy_every steps."
        },
    )
    entropy_coef_end: float = field(
        default=0.0, metadata={"help": "Where the entropy coefficient ends (floor of 'step')."}
    )
    entropy_decrement: float = field(
        default=0.01, metadata={"help": "What entropy_schedule='step' takes off the coefficient each time."}
    )
    entropy_every: int = field(
        default=10_000, metadata={"help": "Optimizer steps between two decrements of entropy_schedule='step'."}
    )
    curriculum: str = field(
        default="none",
        metadata={
            "help": "Order of the problems: 'none' (TRL's shuffle), 'ordered' (easiest first), 'mixed' (batches whose "
            "level rises over the run). Needs graded rows: docs/difficulty.md."
        },
    )
    curriculum_column: str = field(
        default="trl_r1_level",
        metadata={
            "help": "Column with each row's level from 1 to 6; without it `level`, `difficulty` or a solve rate is read."
        },
    )
    curriculum_regrade: bool = field(
        default=False, metadata={"help": "Let a row's level follow the right answers that this run measures."}
    )
    curriculum_reward: str = field(
        default="accuracy", metadata={"help": "The reward that says whether an answer is right (for re-grading)."}
    )

    rollout: str = field(
        default="trl",
        metadata={
            "help": "How completions are generated: 'trl' (transformers or vLLM, as TRL's options say) or 'fast': one "
            "prefill per prompt, finished rows leave the batch. Same distribution. See docs/performance.md."
        },
    )
    rollout_copy: str = field(
        default="none",
        metadata={
            "help": "What generates with rollout='fast': 'none' (the policy), or a generation-only copy of it with the "
            "adapter merged in: 'merged' (the policy's own number type), 'bfloat16' (lighter; the loss weighs each token by "
            "how likely the policy finds it), 'auto' (measures). See docs/performance.md."
        },
    )
    rollout_copy_keep: bool = field(
        default=True,
        metadata={"help": "Keep the copy's memory between rollouts; false frees it and builds it anew each time."},
    )
    batching: str = field(
        default="trl",
        metadata={
            "help": "How log-probabilities are computed: 'trl' (padded to the longest completion) or 'fast': without "
            "padding, shared prompts once, rows without a gradient left out. Same gradient. See docs/performance.md."
        },
    )
    loss_precision: str = field(
        default="policy",
        metadata={
            "help": "In what the log-probabilities of the loss are computed: 'policy' (as the policy is) or 'bfloat16' "
            "(autocast; weights and optimizer stay as they are). See docs/performance.md."
        },
    )
    loss_head: str = field(
        default="trl",
        metadata={
            "help": "What turns hidden states into log-probabilities with batching='fast': 'trl' (its fused head, over all "
            "tokens of a batch) or 'one_pass' (over predicted tokens, once). Same values but for rounding."
        },
    )
    old_logps: str = field(
        default="policy",
        metadata={
            "help": "Where the old policy's log-probabilities come from, where TRL needs them: 'policy' (a forward pass) or "
            "'sampled' (those of the rollout; needs rollout='fast'). Saves the pass, rounds differently."
        },
    )

    rewards_overlap: bool = field(
        default=False,
        metadata={
            "help": "Call the reward functions for each group as soon as it is generated (needs rollout='fast'), in a "
            "thread per reward. For rewards that wait outside Python and judge a group by itself. See docs/performance.md."
        },
    )
    dynamic_sampling_rounds: int = field(
        default=0,
        metadata={
            "help": "How often the groups of a batch whose rewards are all equal may be replaced by groups of other prompts "
            "(dynamic sampling, DAPO). Each time costs their rollout; 0 switches it off. See docs/performance.md."
        },
    )

    verified_paths: int = field(
        default=0,
        metadata={
            "help": "Prompts whose last right completion is remembered, to take one place in a later group of that prompt "
            "that is all wrong. Needs old_logps='sampled'; 0 switches it off. See docs/performance.md."
        },
    )
    verified_paths_reward: str = field(
        default="accuracy",
        metadata={"help": "Name of the reward whose score 1 makes a completion right, for verified_paths."},
    )

    def __post_init__(self):
        one_of("rollout", self.rollout, ("trl", "fast"))
        check_kind(self.rollout_copy)
        one_of("batching", self.batching, ("trl", "fast"))
        one_of("loss_head", self.loss_head, ("trl", "one_pass"))
        one_of("loss_precision", self.loss_precision, ("policy", "bfloat16"))
        one_of("old_logps", self.old_logps, ("policy", "sampled"))
        one_of("curriculum", self.curriculum, CURRICULA)
        one_of("importance_sampling_level", self.importance_sampling_level, RATIO_LEVELS)
        one_of("kl_estimator", self.kl_estimator, KL_ESTIMATORS)
        one_of("kl_placement", self.kl_placement, ("loss", "reward"))
        one_of("kl_level", self.kl_level, ("token", "sequence"))
        one_of("entropy_schedule", self.entropy_schedule, ENTROPY_SCHEDULES)
        self._numbers()
        refuse(self, early=True)
        super().__post_init__()
        self._check_advantage()
        self._check_sampling()
        refuse(self)
        for option in ("dynamic_sampling_rounds", "verified_paths"):
            if getattr(self, option):
                self._check_whole_groups(option)

    def _numbers(self) -> None:
        """YAML hands over `1e-3` as text and `400.0` as a float; a number of the wrong kind is named here."""
        for name, kind in (
            ("beta", float),
            ("kl_target", float),
            ("kl_gain", float),
            ("reference_every", int),
            ("entropy_coef", float),
            ("entropy_coef_end", float),
            ("entropy_decrement", float),
            ("entropy_every", int),
            ("dynamic_sampling_rounds", int),
            ("verified_paths", int),
        ):
            number = getattr(self, name)
            if number is None and name in ("kl_target", "reference_every"):
                continue
            try:
                value = kind(float(number))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}={number!r} is not a number; give one, for instance {name}: 1.") from error
            if isinstance(number, bool) or value != float(number):
                raise ValueError(f"{name}={number!r} must be {'a whole number' if kind is int else 'a number'}.")
            setattr(self, name, value)
        if self.beta < 0.0:
            raise ValueError(f"beta={self.beta} would reward distance from the reference; give 0 or more.")
        if not 0.0 < self.kl_gain <= 1.0:
            raise ValueError(f"kl_gain={self.kl_gain} must lie in (0, 1]; 0.1 is the published value.")
        if self.kl_target is not None and self.kl_target <= 0.0:
            raise ValueError(f"kl_target={self.kl_target} must be positive (nats per token), for instance 0.05.")
        if self.reference_every is not None and self.reference_every < 1:
            raise ValueError(f"reference_every={self.reference_every} must be 1 or more steps (DeepSeek-R1: 400).")
        if self.entropy_every < 1 or self.entropy_decrement < 0.0:
            raise ValueError(
                f"entropy_every={self.entropy_every} must be 1 or more steps and "
                f"entropy_decrement={self.entropy_decrement} 0 or more."
            )
        for name in ("dynamic_sampling_rounds", "verified_paths"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 or more.")

    def _check_advantage(self) -> None:
        """Reads advantage_options and tries them on the function, or on the critic, that they are for."""
        if isinstance(self.advantage_options, str):
            self.advantage_options = json.loads(self.advantage_options)
        options: Any = self.advantage_options or {}
        if not isinstance(options, dict):
            raise ValueError(f"advantage_options={options!r} must be a mapping such as {{k: 4}}.")
        if self.advantage == "trl":
            return
        if self.advantage in PER_TOKEN:
            CriticOptions.of(self.advantage, options)
            return
        function = find_advantage(self.advantage)
        try:
            inspect.signature(function).bind(None, self.num_generations, **options)
        except TypeError as error:
            raise ValueError(
                f"advantage_options={options} do not fit {self.advantage}{inspect.signature(function)}: {error}."
            ) from error
        size = options.get("k", 4)
        if self.advantage == "pass_at_k" and not (isinstance(size, int) and 1 <= size <= self.num_generations):
            raise ValueError(
                f"advantage='pass_at_k' draws subsets of k={size} from groups of num_generations={self.num_generations}; "
                "set advantage_options: {k: ...} to a whole number from 1 to num_generations - 1."
            )
        try:
            nothing = compares_nothing(function, self.num_generations, options)
        except Exception as error:
            raise ValueError(
                f"advantage={self.advantage!r} fails on plain rewards of 0 and 1 in groups of {self.num_generations} "
                f"({type(error).__name__}: {error}). Mend the function, or choose one of: trl, {', '.join(ADVANTAGES)}."
            ) from error
        if nothing:
            why = f"in groups of num_generations={self.num_generations} every completion gets 0, whatever its reward"
            advice = "Return credit that differs within a group"
            if self.advantage == "pass_at_k":
                why = f"k={size} of num_generations={self.num_generations} is one subset, compared with no other"
                advice = (
                    f"Set advantage_options: {{k: ...}} to 1 to {self.num_generations - 1}, or raise num_generations"
                )
            raise ValueError(f"advantage={self.advantage!r} would train nothing: {why}. {advice}.")

    def _check_sampling(self) -> None:
        """Refuses sampling that draws one completion for a whole group, whose advantages are 0 by construction."""
        if self.advantage in PER_TOKEN:
            return  # compares with a critic, not with siblings
        for name, single in (("temperature", 0.0), ("top_k", 1), ("top_p", 0.0), ("min_p", 1.0)):
            if getattr(self, name) == single:
                raise ValueError(
                    f"{name}={single} always draws the likeliest token, so all completions of a group are the same and "
                    f"every advantage is 0. Drop {name}, or choose an advantage with a critic ({', '.join(PER_TOKEN)})."
                )

    def _check_whole_groups(self, option: str) -> None:
        rows = self.per_device_train_batch_size * self.steps_per_generation
        if rows % self.num_generations:
            raise ValueError(
                f"{option} needs whole groups in every process: per_device_train_batch_size x steps_per_generation = {rows} "
                f"is not a multiple of num_generations={self.num_generations}. Change one."
            )
