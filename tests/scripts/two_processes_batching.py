"""Run by test_batching.py under torch.distributed: both processes see the padded batches' gradient, packed and trimmed."""

import sys
from pathlib import Path

import torch


sys.path.insert(0, str(Path(__file__).parent.parent / "grpo"))
from test_batching import SMALLEST, TWO_ITERATIONS, gradients, largest_error

from trl_r1.grpo.fast_trainer import scores_labels


def main() -> None:
    tiny, folder = sys.argv[1:3]
    for number, (attention, options) in enumerate(
        (
            ("sdpa", {"loss_type": "dapo", "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2}),
            ("eager", {"loss_type": "grpo"}),
        )
    ):
        options = {
            "ddp_backend": "gloo", "per_device_train_batch_size": 4, "model_init_kwargs": {"attn_implementation": attention},
            **TWO_ITERATIONS, **options,
        }  # fmt: skip
        slow = gradients(tiny, f"{folder}/slow{number}", **options)
        fast = gradients(tiny, f"{folder}/fast{number}", batching="fast", **options)
        assert slow.accelerator.num_processes == 2
        assert fast._packs is (attention == "sdpa" and scores_labels())
        assert largest_error(fast, slow) <= SMALLEST, largest_error(fast, slow)
        assert fast.tokens_processed < slow.tokens_processed
    more = {
        "ddp_backend": "gloo", "rollout": "fast", "batching": "fast", "old_logps": "sampled", "rewards_overlap": True,
        "dynamic_sampling_rounds": 2, "verified_paths": 4, "verified_paths_reward": "letters",
    }  # fmt: skip
    trainer = gradients(tiny, f"{folder}/all", per_device_train_batch_size=4, generate=True, **more)
    assert trainer._metrics is not None
    assert trainer._fast_rollout.last is not None
    sums = torch.stack([parameter.detach().double().sum() for parameter in trainer.model.parameters()])
    everywhere = trainer.accelerator.gather(sums[None])
    assert torch.equal(everywhere[0], everywhere[1])  # both processes hold the same weights
    sys.stdout.write("equal gradients\n")


if __name__ == "__main__":
    main()
