"""What generates how fast: SmolLM2-135M with LoRA, and light copies of it. One thread; some CPU seconds for each.

    python benchmarks/rollout_copy.py [--model FOLDER] [--data FOLDER] [--tokens 12] [--groups 8] [--evaluation]

Rows       4 questions by the model's chat template, `--groups` completions each, `--tokens` tokens without an end;
           prefill included
Policy     LoRA r 16 on all linear layers, its B drawn with a deviation of 0.003, so that merging matters
Told       tokens per CPU second; CPU seconds to build and to refresh; MiB that the copy takes; |log ratio| against the
           policy in nats over the tokens of four rows, mean and 99th percentile

`--evaluation` has transformers' `generate` write, as an evaluation does, and tells the rates alone. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from grpo_smollm2 import questions  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from trl_r1.grpo.copies.copy import LightCopy, copied_bytes  # noqa: E402
from trl_r1.grpo.rollout import Rollout, SamplingOptions, generate  # noqa: E402
from trl_r1.models.cpu import processor  # noqa: E402
from trl_r1.models.gguf import SMOLLM2, resolve_gguf  # noqa: E402
from trl_r1.models.sampling import continue_rows  # noqa: E402


def policy_of(folder: str) -> torch.nn.Module:
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    policy = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.003)
    return policy.eval()


def drawn(model: torch.nn.Module, rows: list[list[int]], tokens: int) -> tuple[Rollout, float]:
    """The rollout, and its tokens per CPU second."""
    torch.manual_seed(1)
    began = time.process_time()
    rollout = generate(model, rows, SamplingOptions(), tokens, [])
    return rollout, rollout.tokens / (time.process_time() - began)


@torch.no_grad()
def evaluation_rate(model: Any, rows: list[list[int]], tokens: int) -> float:
    """Tokens per CPU second of `generate`."""
    began = time.process_time()
    continue_rows(model, rows, tokens, 1.0, 1.0, set(), 0, torch.device("cpu"))
    return len(rows) * tokens / (time.process_time() - began)


@torch.no_grad()
def mismatch(policy: torch.nn.Module, rows: list[list[int]], rollout: Rollout) -> torch.Tensor:
    """(K,) |log ratio| of the tokens of four rows."""
    found = []
    for place in range(0, len(rows), max(1, len(rows) // 4)):
        said = torch.tensor(rollout.completions[place])
        ids = torch.tensor([rows[place] + rollout.completions[place]])
        logits = policy(input_ids=ids, use_cache=False, logits_to_keep=len(said) + 1).logits[0, :-1].float()
        logps = logits.log_softmax(dim=-1).gather(1, said[:, None]).squeeze(1)
        found.append((logps - torch.tensor(rollout.logps[place])).abs())
    return torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--data")
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--evaluation", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = given.model or resolve_gguf(SMOLLM2)
    texts, source = questions(given.data)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"]
        for text in texts[:4]
    ]
    rows = [prompt for prompt in prompts for _ in range(given.groups)]
    policy = policy_of(folder)
    print(f"{len(rows)} rows of {given.tokens} tokens; {source}; {processor()}")
    if given.evaluation:
        models = {
            "none": policy,
            "merged": LightCopy(policy).model,
            "bfloat16": LightCopy(policy, torch.bfloat16).model,
        }
        rates = {name: round(evaluation_rate(model, rows, given.tokens), 1) for name, model in models.items()}
        print(json.dumps({"name": "rollout_copy", "evaluation": rates}))
        return
    _, rate = drawn(policy, rows, given.tokens)
    print(f"none      {rate:6.1f} tokens per CPU second", flush=True)
    told = {"name": "rollout_copy", "none": round(rate, 1)}
    for name, dtype in (("merged", None), ("bfloat16", torch.bfloat16)):
        began = time.process_time()
        copied = LightCopy(policy, dtype)
        built = time.process_time()
        parts = copied.refresh(moved=True)
        refreshed = time.process_time() - built
        rollout, rate = drawn(copied.model, rows, given.tokens)
        far = mismatch(policy, rows, rollout)
        print(
            f"{name:9} {rate:6.1f} tokens per CPU second; built in {built - began:.2f}, refreshed in {refreshed:.2f} "
            f"({parts} parts); {copied_bytes(policy, dtype, True) / 2**20:.0f} MiB; {far.mean():.5f} nats, 99th percentile "
            f"{far.quantile(0.99):.5f}",
            flush=True,
        )
        told[name] = round(rate, 1)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
