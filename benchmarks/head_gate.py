"""What head gates cost beside LoRA: parameters, and CPU seconds of a training step and of generation.

    python benchmarks/head_gate.py [--rounds 7]

A random Qwen3 (hidden size 512, 8 layers, 8 heads), float32, one thread. The variants take turns, round after round, and
the median of the CPU seconds of this process counts, which other processes on the machine disturb little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from trl_r1 import HeadGateConfig


LORA = {"r": 16, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
VARIANTS = {
    "LoRA, rank 16, all linear layers": lambda: LoraConfig(**LORA),
    "head gates": lambda: HeadGateConfig(task_type="CAUSAL_LM"),
    "both": lambda: HeadGateConfig(**LORA),
}
ROWS, TOKENS, PROMPT, NEW = 4, 256, 32, 32  # of a training step; of generation


def build() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=4096, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, head_dim=64,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def train(model, optimizer, ids) -> None:
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def generate(model, ids) -> None:
    model.eval()
    prompt = ids[:, :PROMPT]
    model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=NEW,
        min_new_tokens=NEW, pad_token_id=0,
    )  # fmt: skip


def seconds(act: Callable[..., None], *arguments) -> float:
    began = time.process_time()
    act(*arguments)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    ids = torch.randint(8, 4096, (ROWS, TOKENS), generator=torch.Generator().manual_seed(1))
    models = {name: get_peft_model(build(), config()) for name, config in VARIANTS.items()}
    trained = {name: [p for p in model.parameters() if p.requires_grad] for name, model in models.items()}
    optimizers = {name: torch.optim.AdamW(parameters, lr=1e-4) for name, parameters in trained.items()}
    steps: dict[str, list[float]] = {name: [] for name in models}
    generations: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            times = seconds(train, model, optimizers[name], ids), seconds(generate, model, ids)
            if turn:  # the first warms up
                steps[name].append(times[0])
                generations[name].append(times[1])

    print("| adapter | trained parameters | step, CPU s | ratio | generation, CPU s | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    first = next(iter(models))
    for name in models:
        number = sum(p.numel() for p in trained[name])
        cells = []
        for times in (steps, generations):
            median = statistics.median(times[name])
            cells += [f"{median:.3f}", f"{median / statistics.median(times[first]):.2f}"]
        print(f"| {name} | {number:,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
