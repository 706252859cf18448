#!/bin/sh
# TRL 1.16.0: the training template that it puts in for DeepSeek-V3's drops the thought from the turn that is trained on,
# though the generation prompt of the same template opens one; the one for R1-Distill keeps it.
#
#   sh findings/trl_deepseekv3_training_thought.sh
#
# Asks `get_training_chat_template` for both families, renders one reply with a thought, and reads from the assistant's
# mask, which `assistant_only_loss` trains on, what is left of it.
#
# Exit  0 as described      1 something else was seen: read the lines above      2 the packages could not be installed
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ "${PYTHON:-python3}" -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.24.0 trl==1.16.0; } || exit 2
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import get_training_chat_template

print(", ".join(f"{name} {version(name)}" for name in ("trl", "transformers", "tokenizers")))
letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
backend = Tokenizer(models.BPE(letters, []))  # a token for each byte: what is rendered can be read back
backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
asked = [{"role": "user", "content": "What is 2 + 2?"}]
said = [{"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nFour."}]

trained = {}
for family in ("deepseekv3", "deepseek_r1_distill"):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / f"{family}.jinja").read_text()
    template = get_training_chat_template(tokenizer)
    prompt = tokenizer.apply_chat_template(asked, chat_template=template, add_generation_prompt=True, tokenize=False)
    made = tokenizer.apply_chat_template(
        asked + said, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    kept = [token for token, mask in zip(made["input_ids"], made["assistant_masks"]) if mask]
    trained[family] = tokenizer.decode(kept)
    print(f"{family}: the prompt ends with {prompt[-8:]!r}, trained is {trained[family]!r}")
    if not prompt.endswith("<think>\n"):
        sys.exit(1)
dropped, kept = trained.values()
sys.exit(0 if "Two and two." not in dropped and "Four." in dropped and "Two and two." in kept else 1)
PYTHON
