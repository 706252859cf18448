"""Run by test_connect.py under torch.distributed: rollouts from a copy leave both processes with the same weights."""

import os
import sys

import torch
from peft import LoraConfig

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.copies import sampler
from trl_r1.grpo.identity import run


def main() -> None:
    tiny, folder = sys.argv[1:3]
    rank = int(os.environ["RANK"])
    sampler.tokens_per_second = lambda model, prompts: (
        100.0 + rank * 50.0 * ("Light" in repr(model))
    )  # only rank 1 gains
    options = {
        "ddp_backend": "gloo",
        "rollout": "fast",
        "batching": "fast",
        "per_device_train_batch_size": 4,
        "max_steps": 2,
    }
    lora = {"peft_config": LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0, init_lora_weights=False)}
    for number, (kind, adapter) in enumerate((("bfloat16", lora), ("bfloat16", {}), ("auto", lora))):
        trace = run(
            R1GRPOTrainer, R1GRPOConfig, tiny, f"{folder}/run{number}",
            {**options, "rollout_copy": kind, "loss_head": "one_pass", "loss_precision": "bfloat16"}, dict(adapter),
        )  # fmt: skip
        trainer = trace["trainer"]
        assert trainer.accelerator.num_processes == 2
        sums = torch.stack([weight.double().sum() for weight in trace["weights"].values()])
        everywhere = trainer.accelerator.gather(sums[None])
        assert torch.equal(everywhere[0], everywhere[1])
        if kind == "auto":
            assert trainer._copies.kind == "none"  # the main process's choice
        elif trainer.accelerator.is_main_process:
            assert trace["lines"][-1]["rollout_copy/mismatch"] > 0.0
    sys.stdout.write("same weights\n")


if __name__ == "__main__":
    main()
