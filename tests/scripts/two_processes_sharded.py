"""Run by test_sharded.py under torch.distributed with FSDP2: stock TRL's training bit for bit; padded batches' gradient."""

import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from torch.distributed.tensor import DTensor
from trl import GRPOConfig, GRPOTrainer


sys.path.insert(0, str(Path(__file__).parent.parent / "grpo"))
from sharded_on_cpu import shard_on_cpu
from test_batching import SMALLEST, TWO_ITERATIONS, gradients, largest_error

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.fast_trainer import scores_labels
from trl_r1.grpo.identity import differences, run


def adapter() -> dict:
    torch.manual_seed(0)
    return {"peft_config": LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")}


def main() -> None:
    shard_on_cpu()
    tiny, folder = sys.argv[1:3]
    common = {"ddp_backend": "gloo", "per_device_train_batch_size": 4, "beta": 0.1}
    stock = run(GRPOTrainer, GRPOConfig, tiny, Path(folder) / "stock", common)
    ours = run(R1GRPOTrainer, R1GRPOConfig, tiny, Path(folder) / "ours", common)
    assert differences(ours, stock) == []
    rows: tuple = ("sdpa", {"beta": 0.0}, False), ("eager", {"loss_type": "grpo"}, False), ("sdpa", {}, True)
    for number, (attention, more, lora) in enumerate(rows):
        options = {**common, "model_init_kwargs": {"attn_implementation": attention}, **TWO_ITERATIONS, **more}
        slow = gradients(tiny, f"{folder}/slow{number}", adapter() if lora else None, **options)
        fast = gradients(tiny, f"{folder}/fast{number}", adapter() if lora else None, batching="fast", **options)
        assert fast.is_fsdp_enabled
        assert fast.accelerator.num_processes == 2
        assert all(isinstance(parameter, DTensor) for parameter in fast.model.parameters())
        assert fast._packs is (attention == "sdpa" and scores_labels())
        assert largest_error(fast, slow) <= SMALLEST, largest_error(fast, slow)
        if fast._packs:
            assert fast.tokens_processed < 0.6 * slow.tokens_processed
    more = {"rollout": "fast", "batching": "fast", "rewards_overlap": True, "dynamic_sampling_rounds": 2}
    trainer = gradients(tiny, f"{folder}/all", generate=True, **{**common, "beta": 0.0, **more})
    assert trainer._fast_rollout.last is None  # TRL generates
    assert torch.isfinite(torch.stack([gradient.norm() for gradient in trainer.gradients])).all()
    sampled = {"rollout": "fast", "old_logps": "sampled", "verified_paths": 4, "verified_paths_reward": "letters"}
    for refused in (sampled, {"reference_every": 2}):
        options = {**common, "beta": 0.0 if refused is sampled else 0.1, **refused}
        with pytest.raises(NotImplementedError, match="under DeepSpeed ZeRO-3 or FSDP"):
            gradients(tiny, f"{folder}/refused", generate=True, **options)
    sys.stdout.write("sharded\n")


if __name__ == "__main__":
    main()
