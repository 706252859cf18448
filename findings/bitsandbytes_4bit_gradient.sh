#!/bin/sh
# bitsandbytes 0.50.2 on a CPU with AVX512-BF16: after one forward in evaluation mode a 4-bit layer hands no gradient to what
# lies before it, in training mode neither; its outputs are as before, and no error is raised.
#
#   sh findings/bitsandbytes_4bit_gradient.sh
#
# A trained layer, a frozen `Linear4bit`, a loss. Asks for the trained layer's gradient in training mode before and after one
# forward in evaluation mode. It is what an evaluation during QLoRA does to every adapter but the last.
#
# Exit  0 as described     1 something else was seen     2 the packages could not be installed
#       3 no AVX512-BF16 here, where the gradient stays
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ "${PYTHON:-python3}" -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 bitsandbytes==0.50.2 numpy==2.2.6; } || exit 2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from bitsandbytes.nn import Linear4bit, Params4bit

print(f"torch {version('torch')}, bitsandbytes {version('bitsandbytes')}, Python {sys.version.split()[0]}")
has = torch.cpu.get_capabilities().get("avx512_bf16", False)
print("AVX512-BF16 here:", has)

torch.manual_seed(0)
trained = torch.nn.Linear(64, 64)
frozen = Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
frozen.weight = Params4bit(torch.randn(64, 64), requires_grad=False, quant_type="nf4")
model, given = torch.nn.Sequential(trained, frozen.to("cpu")), torch.randn(8, 64)


def learnt():
    """The loss in training mode, and the size of the trained layer's gradient; None where there is none."""
    trained.zero_grad(set_to_none=True)
    loss = model.train()(given).square().mean()
    loss.backward()
    return loss.item(), None if trained.weight.grad is None else trained.weight.grad.norm().item()


before = learnt()
with torch.no_grad():
    model.eval()(given)
after = learnt()
print("loss and size of the gradient before the evaluation:", before)
print("loss and size of the gradient after it:             ", after)
if has and before[1] and after[1] is None and abs(after[0] / before[0] - 1) < 0.05:
    sys.exit(0)
if not has and before == after and before[1]:
    print("The gradient stays: without AVX512-BF16 nothing is repacked.")
    sys.exit(3)
print("This is not what was found in bitsandbytes 0.50.2.")
sys.exit(1)
PYTHON
