#!/bin/sh
# transformers 5.24.0 on PyTorch 2.13.0, a CPU, bfloat16: freezing a model makes the first step of `generate` copy the whole
# vocabulary's matrix once for each row of the batch. Nothing is trained, the tokens are the same; memory and time are not.
#
#   sh findings/frozen_head_first_token.sh
#
# One token for 32 prompts of 8, by a small Llama with 50,000 tokens, before and after `requires_grad_(False)`, which is what an
# adapter does to its base. Looked at: bytes allocated by the operators. `generate` keeps the last place's hidden states as a
# slice; for a slice PyTorch folds rows into one product only where the weights could be trained (`should_fold` in ATen's
# LinearAlgebra.cpp), though gradients are off in both cases, and else expands the weights for a batched product, which oneDNN
# wants written out. With SmolLM2-135M (LoRA, bfloat16, 32 prompts of 75) the step takes 8.4 CPU seconds so, and 1.6 with
# contiguous states.
#
# Exit  0 as described     1 something else was seen     2 the packages could not be installed
#       3 no AVX512-BF16 here, where nothing is looked at
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ "${PYTHON:-python3}" -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 numpy==2.2.6; } || exit 2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import time
from importlib.metadata import version

import torch
from transformers import LlamaConfig, LlamaForCausalLM

print(f"torch {version('torch')}, transformers {version('transformers')}, Python {sys.version.split()[0]}")
ROWS, WIDTH, VOCABULARY = 32, 64, 50_000
if not torch.cpu.get_capabilities().get("avx512_bf16", False):
    print("No AVX512-BF16 here.")
    sys.exit(3)
torch.manual_seed(0)
torch.set_num_threads(1)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        eos_token_id=None, pad_token_id=0,
    )
).bfloat16().eval()
prompts = torch.randint(1, VOCABULARY, (ROWS, 8))
mask = torch.ones_like(prompts)


def first_token():
    """The tokens, megabytes that one operator allocated at most, CPU seconds."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        model.generate(prompts, attention_mask=mask, max_new_tokens=1, do_sample=False)
    most = max(event.cpu_memory_usage for event in seen.events())
    start = time.process_time()
    tokens = model.generate(prompts, attention_mask=mask, max_new_tokens=1, do_sample=False)[:, -1]
    return tokens, most / 1e6, time.process_time() - start


found = {}
for name, trained in (("could be trained", True), ("frozen", False)):
    model.requires_grad_(trained)
    found[name] = first_token()
    print(f"{name:<17} one operator allocates at most {found[name][1]:6.1f} MB; {found[name][2]:.3f} CPU seconds")
(tokens, usual, _), (same, frozen, _) = found.values()
matrix = VOCABULARY * WIDTH * 2 / 1e6
print(f"the vocabulary's matrix: {matrix:.1f} MB; times {ROWS} rows: {matrix * ROWS:.1f} MB")
if torch.equal(tokens, same) and usual < 2 * matrix and frozen >= 0.99 * matrix * ROWS:
    sys.exit(0)
print("This is not what was found in transformers 5.24.0 on PyTorch 2.13.0.")
sys.exit(1)
PYTHON
