"""Forward and backward of one packed GRPO loss on SmolLM2-135M with LoRA, by `loss_precision` and `loss_head`. One thread.

    python benchmarks/loss_half.py [--model FOLDER] [--data FOLDER] [--rows 8] [--tokens 48]

Two questions by the model's chat template, `--rows` random completions of `--tokens` tokens; CPU seconds of the second of
two passes, and the cosine of its gradient with that of `policy`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path


os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))
warnings.filterwarnings("ignore")

import torch  # noqa: E402
from grpo_smollm2 import questions  # noqa: E402
from peft import LoraConfig  # noqa: E402

from trl_r1 import R1GRPOConfig, R1GRPOTrainer  # noqa: E402
from trl_r1.compat.host import Batch  # noqa: E402
from trl_r1.grpo.head import OnePassHead  # noqa: E402
from trl_r1.models.cpu import processor  # noqa: E402
from trl_r1.models.gguf import SMOLLM2, resolve_gguf  # noqa: E402


ARMS = {
    "policy": ("policy", False),
    "one_pass": ("policy", True),
    "bfloat16": ("bfloat16", False),
    "bfloat16, one_pass": ("bfloat16", True),
}


def batch_of(tokenizer, texts: list[str], rows: int, tokens: int) -> Batch:
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"]
        for text in texts
    ]
    width = max(map(len, prompts))
    torch.manual_seed(0)
    completions = torch.randint(3, 40_000, (rows, tokens))
    padded = [([0] * (width - len(ids)), ids) for ids in prompts for _ in range(rows // len(prompts))]
    return {
        "prompt_ids": torch.tensor([pad + ids for pad, ids in padded]),
        "prompt_mask": torch.tensor([pad + [1] * len(ids) for pad, ids in padded]),
        "completion_ids": completions,
        "completion_mask": torch.ones_like(completions),
        "advantages": torch.randn(rows),
        "num_items_in_batch": torch.tensor(rows * tokens),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    given = parser.parse_args()
    torch.set_num_threads(1)
    from datasets import Dataset

    texts, source = questions(given.data)
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in texts[:2]])
    with tempfile.TemporaryDirectory() as folder:
        config = R1GRPOConfig(
            folder, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", rollout="fast",
            batching="fast", per_device_train_batch_size=8, model_init_kwargs={"dtype": "float32"},
        )  # fmt: skip
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
        model = given.model or resolve_gguf(SMOLLM2)
        trainer = R1GRPOTrainer(
            model, [lambda completions, **columns: [0.0] * len(completions)], config, rows, peft_config=lora
        )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    batch = batch_of(trainer.processing_class, texts[:2], given.rows, given.tokens)
    print(f"{given.rows} rows of {given.tokens} tokens; {source}; {processor()}")
    told: dict[str, float | str] = {"name": "loss_half"}
    first = None
    for name, (precision, one_pass) in ARMS.items():
        trainer.options.loss_precision, trainer._head = precision, OnePassHead(1.0) if one_pass else None
        for _ in range(2):
            trainer.model.zero_grad()
            began = time.process_time()
            loss = trainer._compute_loss(trainer.model, batch)
            between = time.process_time()
            loss.backward()
            ended = time.process_time()
        trained = [part.grad.flatten().double() for part in trainer.model.parameters() if part.grad is not None]
        gradient = torch.cat(trained)
        first = gradient if first is None else first
        cosine = torch.cosine_similarity(gradient, first, dim=0).item()
        print(
            f"{name:20} forward {between - began:.2f}, backward {ended - between:.2f} CPU s; cosine {cosine:.6f}",
            flush=True,
        )
        told[name] = round(ended - began, 2)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
