"""A trainer of two steps on the tiny model."""

from transformers import AutoModelForCausalLM

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.identity import has_a_digit, share_of_low_bytes, tiny_prompts


def make(tiny, folder, rewards=None, model=None, dtype=None, **options):
    settings = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8, "max_steps": 2,
        "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, **options,
    }  # fmt: skip
    if dtype is not None:
        model = AutoModelForCausalLM.from_pretrained(tiny, dtype=dtype)
    return R1GRPOTrainer(
        model if model is not None else tiny,
        rewards or [share_of_low_bytes, has_a_digit],
        R1GRPOConfig(**settings),
        train_dataset=tiny_prompts(),
    )
