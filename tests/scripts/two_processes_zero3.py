"""Run by test_sharded.py under accelerate with ZeRO-3: stock TRL's training bit for bit; `batching: fast` ends there too."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from trl import GRPOConfig, GRPOTrainer


sys.path.insert(0, str(Path(__file__).parent.parent / "grpo"))
from test_batching import letters

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.fast_trainer import scores_labels
from trl_r1.grpo.identity import tiny_prompts


def trained(trainer_class, config_class, tiny: str, folder: str, **options):
    """A trainer after three steps, and all its weights (None in other processes than the first)."""
    config = config_class(**{
        "output_dir": folder, "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "per_device_train_batch_size": 4, "num_generations": 4, "max_completion_length": 8, "max_steps": 3,
        "learning_rate": 0.5, "optim": "sgd", "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "seed": 7,
        "beta": 0.1, **options,
    })  # fmt: skip
    trainer = trainer_class(tiny, [letters], config, train_dataset=tiny_prompts())
    trainer.train()
    return trainer, trainer.accelerator.get_state_dict(trainer.deepspeed)


def main() -> None:
    tiny, folder = sys.argv[1:3]
    before = load_file(Path(tiny) / "model.safetensors")
    stock, wanted = trained(GRPOTrainer, GRPOConfig, tiny, f"{folder}/stock")
    plugin = stock.accelerator.state.deepspeed_plugin
    assert (plugin.zero_stage, stock.accelerator.num_processes) == (3, 2)
    ours, found = trained(R1GRPOTrainer, R1GRPOConfig, tiny, f"{folder}/ours")
    if wanted is not None:
        assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    for attention in ("sdpa", "eager"):
        options = {"batching": "fast", "rollout": "fast", "model_init_kwargs": {"attn_implementation": attention}}
        fast, found = trained(R1GRPOTrainer, R1GRPOConfig, tiny, f"{folder}/{attention}", **options)
        assert fast._fast_rollout.last is None  # TRL generates
        assert fast._packs is (attention == "sdpa" and scores_labels())
        assert fast.tokens_processed <= ours.tokens_processed
        if wanted is not None:
            for name, tensor in wanted.items():
                error = (found[name] - tensor).norm() / (tensor - before[name]).norm()
                assert error < 1e-4, (name, error)  # of what three steps changed
    options = {
        "batching": "fast",
        "dynamic_sampling_rounds": 2,
        "rollout": "fast",
        "rewards_overlap": True,
        "beta": 0.0,
    }
    more, _ = trained(R1GRPOTrainer, R1GRPOConfig, tiny, f"{folder}/more", **options)
    assert any("dynamic/extra_completions" in line for line in more.state.log_history)
    sys.stdout.write("sharded\n")


if __name__ == "__main__":
    main()
