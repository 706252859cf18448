"""Run by test_batching.py under torch.distributed: both processes see the padded batches' gradient, packed and trimmed."""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parent))
from test_batching import SMALLEST, TWO_ITERATIONS, gradients, largest_error


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
        assert fast._packs is (attention == "sdpa")
        assert largest_error(fast, slow) <= SMALLEST, largest_error(fast, slow)
        assert fast.tokens_processed < slow.tokens_processed
    sys.stdout.write("equal gradients\n")


if __name__ == "__main__":
    main()
