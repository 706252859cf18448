#!/bin/sh
# bitsandbytes 0.50.2 on a CPU with AVX-512: 4-bit rows whose length is a multiple of 16 and not of the block are decoded
# wrongly, without an error.
#
#   sh findings/bitsandbytes_4bit_rows.sh
#
# Quantises matrices with `quantize_4bit`, decodes them with `dequantize_4bit`, and decodes them again by the definition:
# code book times the scale of the value's own block, blocks counted over the flattened matrix. The two must agree.
#
# Exit  0 as described: such rows are wrong, all others right     1 something else was seen: read the lines above
#       2 the packages could not be installed                     3 no AVX-512 here, where nothing is wrong
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ "${PYTHON:-python3}" -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 bitsandbytes==0.50.2 numpy==2.2.6; } || exit 2
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type, quantize_4bit

print(f"torch {version('torch')}, bitsandbytes {version('bitsandbytes')}, Python {sys.version.split()[0]}")
has = torch.cpu.get_capabilities().get("avx512_f", False)
print("AVX-512 here:", has)

ROWS, LENGTHS = 66, (2, 8, 14, 16, 24, 32, 48, 64, 80, 96, 100, 128, 160, 192, 256, 320, 576, 1088)
torch.manual_seed(0)
as_described = as_defined = True
for kind in ("nf4", "fp4"):
    book = get_4bit_type(kind, device="cpu")
    for block in (32, 64, 128, 256, 1024):
        wrong, worst = [], 0.0
        for length in LENGTHS:
            weights = torch.randn(ROWS, length)
            packed, state = quantize_4bit(weights, blocksize=block, quant_type=kind)
            codes = torch.stack([packed.reshape(-1) >> 4, packed.reshape(-1) & 15], 1).reshape(-1)[: weights.numel()]
            scales = state.absmax.repeat_interleave(block)[: weights.numel()]
            defined = (book[codes.long()] * scales).view_as(weights)
            error = (dequantize_4bit(packed, state) - defined).abs().max().item()
            if error > 1e-5:
                wrong.append(length)
                worst = max(worst, error)
        expected = [length for length in LENGTHS if length % 16 == 0 and length % block]
        as_described &= wrong == expected
        as_defined &= not wrong
        print(f"{kind}, blocks of {block}: wrong for rows of {wrong}, by up to {worst:.2f} (weights have a deviation of 1)")
if has and as_described:
    sys.exit(0)
if not has and as_defined:
    print("Right everywhere: without AVX-512 another routine decodes.")
    sys.exit(3)
print("This is not what was found in bitsandbytes 0.50.2.")
sys.exit(1)
PYTHON
