#!/bin/sh
# reasoning-gym 0.1.25: game_of_life_halting pays any text in full.
#
#   sh findings/reasoning_gym_halting.sh
#
# Its score_answer compares bool(answer) with bool(entry["answer"]), and both are texts: every text but "" is true.
#
# Exit  0 as described     1 something else was seen: read the lines above     2 the package could not be installed
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
{ "${PYTHON:-python3}" -m venv "$folder/venv" &&
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check reasoning-gym==0.1.25; } || exit 2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import reasoning_gym

print(f"reasoning-gym {version('reasoning-gym')}, Python {sys.version.split()[0]}")
made = reasoning_gym.create_dataset("game_of_life_halting", seed=1, size=10)
scores = [made.score_answer(answer, entry) for entry in made for answer in ("True", "False", "I do not know.")]
print(f"golds {sorted({entry['answer'] for entry in made})}; scores of True, False and a sentence: {sorted(set(scores))}")
sys.exit(0 if set(scores) == {1.0} else 1)
PYTHON
