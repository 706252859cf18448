#!/bin/sh
# reasoning-gym 0.1.25: datasets of neighbouring seeds have all entries but one in common.
#
#   sh findings/reasoning_gym_seeds.sh
#
# Entry i of a dataset with seed s is made from s + i. So a training set with seed 42 and a test set with seed 43 share 499
# of 500 questions.
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
as_described = True
for name in ("chain_sum", "gcd", "spell_backward", "sudoku"):
    count = 20 if name == "sudoku" else 500
    train = {entry["question"] for entry in reasoning_gym.create_dataset(name, seed=42, size=count)}
    test = [entry["question"] for entry in reasoning_gym.create_dataset(name, seed=43, size=count)]
    shared = sum(question in train for question in test)
    print(f"{name}: {shared} of {count} questions of seed 43 are questions of seed 42")
    as_described &= shared >= count - 1
sys.exit(0 if as_described else 1)
PYTHON
