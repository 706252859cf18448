#!/bin/sh
# Qwen3.8's chat template (as TRL 1.16.0 ships it, and TRL's training template for it) puts an empty thought before a
# reply that has its thought in think tags in the content; Qwen3.5's and 3.6's take the tags apart. Such rows, which train
# those models rightly, teach this one to think nothing and then to write a second thought.
#
#   sh findings/qwen3_8_empty_thought.sh
#
# Exit  0 as described      1 something else was seen: read the lines above      2 the packages could not be installed
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ "${PYTHON:-python3}" -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check transformers==5.24.0 jinja2==3.1.6 &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps trl==1.16.0; } || exit 2
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from importlib.metadata import distribution, version

from transformers.utils.chat_template_utils import render_jinja_template

print(", ".join(f"{name} {version(name)}" for name in ("trl", "transformers", "jinja2")))
files = {file.name: file for file in distribution("trl").files if file.suffix == ".jinja"}
chat = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nFour."},
]
thoughts = {}
for name in ("qwen3_5_think", "qwen3_5_think_training", "qwen3_6", "qwen3_6_training", "qwen3_8", "qwen3_8_training"):
    template = files[f"{name}.jinja"].locate().read_text()
    text = render_jinja_template([chat], chat_template=template)[0][0]
    reply = text.rpartition("assistant\n")[2]
    thoughts[name] = reply.count("<think>")
    print(f"{name}: {thoughts[name]} thoughts, {reply!r}")
sys.exit(0 if all(count == (2 if name.startswith("qwen3_8") else 1) for name, count in thoughts.items()) else 1)
PYTHON
