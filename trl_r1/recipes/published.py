"""What DeepSeek-R1 publishes about its stages, field by field in TRL's words, and what it leaves open.

    PAPER         what is published, with its section ("v1" and "v2" are arXiv:2501.12948v1 and v2)
    UNPUBLISHED   fields a recipe needs that the paper does not give, with what stands there instead
    GAPS          what TRL cannot say in one field

How published words become TRL's fields (TRL 1.16; where the names mislead):

- "a rollout generates 8,192 outputs, split in 16 mini-batches": ``steps_per_generation`` counts micro-batches, so it is
  16 x ``gradient_accumulation_steps``, and per_device x steps_per_generation x processes = 8,192.
- "32 questions, 16 outputs each, batch 512": per_device x gradient_accumulation_steps x processes = 512.
- "replace the reference every 400 steps": ``reference_every`` (TRL's ``sync_ref_model`` mixes 0.6 by default, refuses
  adapters, and forgets the reference when it resumes).
- "KL as in Eq. 2": ``use_bias_correction_kl: false``; TRL's default multiplies it by the importance ratio since 1.12.
- "clip ratio 10": ``epsilon`` and ``epsilon_high`` 10. The range is [1 - 10, 1 + 10]: a ratio is never below -9, so only
  the upper side acts.
- "cosine to a tenth": ``cosine_with_min_lr`` with ``min_lr_rate`` 0.1; plain ``cosine`` goes to zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


BASE = "deepseek-ai/DeepSeek-V3-Base"
UPDATES_PER_ROLLOUT = 16  # v2 Sec. 2.1
REFERENCE_EVERY, ZERO_STEPS, LAST_STEPS, PREFERENCE_STEPS = 400, 10_400, 1_700, 400
TENTH = {"min_lr_rate": 0.1}
DISTILLATION_RATES = {  # v2 Table 6: student -> first learning rate
    "Qwen/Qwen2.5-Math-1.5B": 1e-4,
    "Qwen/Qwen2.5-Math-7B": 8e-5,
    "Qwen/Qwen2.5-14B": 7e-5,
    "Qwen/Qwen2.5-32B": 6e-5,
    "meta-llama/Llama-3.1-8B": 5e-5,
    "meta-llama/Llama-3.3-70B-Instruct": 2e-5,
}


@dataclass(frozen=True)
class Entry:
    """One field: its value, where that is published (None: it is not), a remark for the reader."""

    value: Any
    source: str | None
    remark: str = ""


@dataclass(frozen=True)
class Deviation:
    """What is otherwise than in the paper; ``paper`` and ``here`` as a reader would say them."""

    field: str
    paper: str
    here: str
    reason: str


EXACT = {"name": "accuracy", "options": {"sources": ["boxed", "answer"]}}
SHARED_RL = {
    "template": Entry("r1_zero", "v1 Table 1", "its structure in our own words"),
    "advantage": Entry("group_normalized", "v2 Eq. 3"),
    "loss_type": Entry("grpo", "v2 Eq. 1", "mean over completions; TRL's default is dapo"),
    "num_generations": Entry(16, "v2 Sec. 2.1"),
    "per_device_train_batch_size": Entry(16, "v2 Sec. 2.1", "one question's group at a time"),
    "gradient_accumulation_steps": Entry(32, "v2 Sec. 2.1", "32 questions x 16 = 512, on one process"),
    "steps_per_generation": Entry(512, "v2 Sec. 2.1", "16 updates x 32 micro-batches: 8,192 outputs a rollout"),
    "num_iterations": Entry(1, "v2 Sec. 2.1", "a single inner epoch"),
    "learning_rate": Entry(3e-6, "v2 Sec. 2.1"),
    "beta": Entry(0.001, "v2 Sec. 2.1"),
    "kl_estimator": Entry("k3", "v2 Eq. 2"),
    "use_bias_correction_kl": Entry(False, "v2 Eq. 2", "TRL's default is true since 1.12"),
    "reference_every": Entry(REFERENCE_EVERY, "v2 Sec. 2.1", "replaced by the latest policy"),
    "temperature": Entry(1.0, "v2 Sec. 2.1"),
    "max_completion_length": Entry(32_768, "v2 Sec. 2.1"),
}
EVALUATION = {
    "evaluation_temperature": Entry(0.6, "v2 D.1"),
    "evaluation_top_p": Entry(0.95, "v2 D.1"),
    "evaluation_max_tokens": Entry(32_768, "v2 D.1"),
    "evaluation_samples": Entry(64, "v2 D.1", "64 for AIME and GPQA, 16 for MATH, 8 for LiveCodeBench"),
}
SHARED_SFT = {
    "model_name_or_path": Entry(BASE, "v2 B.4.2"),
    "learning_rate": Entry(5e-5, "v2 B.4.2"),
    "lr_scheduler_type": Entry("cosine_with_min_lr", "v2 B.4.2"),
    "lr_scheduler_kwargs": Entry(TENTH, "v2 B.4.2", "5e-5 to 5e-6"),
    "num_train_epochs": Entry(2, "v2 B.4.2", "two or three"),
    "max_length": Entry(32_768, "v2 B.4.2"),
    "per_device_train_batch_size": Entry(1, "v2 B.4.2"),
    "gradient_accumulation_steps": Entry(128, "v2 B.4.2", "batch 128, on one process"),
}
PAPER: dict[str, dict[str, Entry]] = {
    "zero": {
        "model_name_or_path": Entry(BASE, "v2 Sec. 2"),
        "rewards": Entry([EXACT, {"name": "format"}], "v2 Eq. 4", "the same weight"),
        **SHARED_RL,
        "max_steps": Entry(ZERO_STEPS, "v2 Sec. 2.1", "1.6 epochs"),
        **EVALUATION,
    },
    "reasoning_rl": {
        "model_name_or_path": Entry("runs/cold_start", "v2 Fig. 2", "what the cold start left"),
        "rewards": Entry(
            [EXACT, {"name": "format"}, {"name": "language_consistency"}], "v2 Eq. 4 and 7", "added directly"
        ),
        **SHARED_RL,
        "epsilon": Entry(10.0, "v2 Sec. 3.2.1", "clip ratio 10: lower truncates many tokens, higher is unstable"),
        "epsilon_high": Entry(10.0, "v2 Sec. 3.2.1"),
        **EVALUATION,
    },
    "all_scenario_rl": {
        "model_name_or_path": Entry("runs/sft", "v2 Fig. 2", "the base fine-tuned on the 800k samples"),
        "rewards": Entry(
            [EXACT, *({"name": name} for name in ("format", "language_consistency", "helpfulness", "harmlessness"))],
            "v2 Eq. 8-10",
            "summed; a general prompt belongs to one of the last two",
        ),
        **SHARED_RL,
        "temperature": Entry(0.7, "v2 Sec. 3.2.2", "higher was incoherent"),
        "max_steps": Entry(LAST_STEPS, "v2 Sec. 3.2.2"),
        "preference_last_steps": Entry(PREFERENCE_STEPS, "v2 Sec. 3.2.2", "general data and preference rewards"),
        "reward_models": Entry("runs/reward_model", "v2 Sec. 3.2.2", "helpful on the summary, harmless on everything"),
        **EVALUATION,
    },
    "cold_start": {
        **SHARED_SFT,
        "source_temperature": Entry(1.0, "v2 B.3.2"),
    },
    "sft": dict(SHARED_SFT),
    "distill": {
        **SHARED_SFT,
        "model_name_or_path": Entry("Qwen/Qwen2.5-Math-1.5B", "v2 Table 6"),
        "learning_rate": Entry(1e-4, "v2 Table 6"),
        "lr_scheduler_type": Entry("cosine_with_min_lr", "v2 B.4.3"),
        "lr_scheduler_kwargs": Entry(TENTH, "v2 B.4.3"),
        "num_train_epochs": Entry(2, "v2 B.4.3", "two or three"),
        "max_length": Entry(32_768, "v2 B.4.3"),
        "per_device_train_batch_size": Entry(1, "v2 B.4.3"),
        "gradient_accumulation_steps": Entry(64, "v2 B.4.3", "batch 64, on one process"),
    },
    "reward_model": {
        "judge_queries": Entry(4, "v2 Sec. 3.1", "half of them with the order swapped"),
        "margin": Entry(1.0, "v2 Sec. 3.1", "pairs whose mean difference is above it"),
        "learning_rate": Entry(6e-6, "v2 Sec. 3.1"),
        "num_train_epochs": Entry(1, "v2 Sec. 3.1"),
        "max_length": Entry(8_192, "v2 Sec. 3.1", "in training; no limit when it judges"),
        "per_device_train_batch_size": Entry(1, "v2 Sec. 3.1"),
        "gradient_accumulation_steps": Entry(256, "v2 Sec. 3.1", "batch 256, on one process"),
    },
}
NO_DECAY = Entry("constant", None, "the paper names no decay; TRL's default is linear")
UNPUBLISHED: dict[str, dict[str, Entry]] = {  # fields that must stand in a recipe, and that the paper does not give
    "zero": {
        "lr_scheduler_type": NO_DECAY,
        "epsilon": Entry(0.2, None, "no clip range is given for R1-Zero; TRL's default"),
    },
    "reasoning_rl": {
        "lr_scheduler_type": NO_DECAY,
        "max_steps": Entry(ZERO_STEPS, None, '"until convergence"; R1-Zero\'s'),
    },
    "all_scenario_rl": {
        "lr_scheduler_type": NO_DECAY,
        "epsilon": Entry(10.0, None, '"most parameters retained" from the first RL stage'),
        "epsilon_high": Entry(10.0, None, "the same"),
    },
    "cold_start": {"packing": Entry(True, None, "the paper does not say; it fills the context")},
    "sft": {"packing": Entry(True, None, "the paper does not say; it fills the context")},
    "distill": {"packing": Entry(True, None, "the paper does not say; it fills the context")},
    "reward_model": {"lr_scheduler_type": NO_DECAY},
}
LONGER = Deviation(
    "max_completion_length",
    "32,768, and 65,536 after step 8,200",
    "32,768",
    "TRL has one length per run; stop at step 8,200 and start a second run with 65,536 to follow the paper",
)
ONE_PROCESS = Deviation(
    "processes",
    "64 nodes of 8 GPUs",
    "batch sizes written for one process",
    "divide gradient_accumulation_steps (and steps_per_generation with it) by the number of processes",
)
GAPS: dict[str, list[Deviation]] = {
    "zero": [LONGER, ONE_PROCESS],
    "reasoning_rl": [ONE_PROCESS],
    "all_scenario_rl": [
        ONE_PROCESS,
        Deviation(
            "learning_rate, beta, num_generations, batch, reference_every",
            "not restated for this stage",
            "the first RL stage's",
            'the paper says it "retains most of the parameters"',
        ),
    ],
    "cold_start": [ONE_PROCESS],
    "sft": [ONE_PROCESS],
    "distill": [ONE_PROCESS],
    "reward_model": [
        ONE_PROCESS,
        Deviation("model", "a scalar head on the R1 architecture", "the recipe's", "unnamed checkpoint"),
    ],
}
