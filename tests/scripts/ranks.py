"""What the scripts share that a test starts on two processes: the same small run, and quiet libraries."""

import sys
import warnings

import torch
import transformers

from trl_r1 import R1GRPOConfig
from trl_r1.grpo.identity import tiny_prompts


def trainer_on_two_ranks(trainer_class, rewards, **options):
    """A trainer of four steps on the model and in the folder that the command line names."""
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    model, folder = sys.argv[1:]
    config = R1GRPOConfig(
        folder, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", disable_tqdm=True, seed=3,
        per_device_train_batch_size=6, num_generations=4, max_completion_length=6, max_steps=4, logging_steps=1,
        save_strategy="no", learning_rate=5e-3, ddp_backend="gloo", num_iterations=2, **options,
    )  # fmt: skip
    trainer = trainer_class(model, rewards, config, train_dataset=tiny_prompts())
    assert trainer.accelerator.num_processes == 2
    return trainer
