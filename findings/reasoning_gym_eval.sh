#!/bin/sh
# reasoning-gym 0.1.25: score_answer runs the answer as a Python program in nine datasets.
#
#   sh findings/reasoning_gym_eval.sh
#
# string_insertion, binary_matrix, spiral_matrix and n_queens read it with `eval`; simple_integration,
# intermediate_integration, polynomial_multiplication, countdown and puzzle24 with sympy's `parse_expr`, which evaluates.
# Answers come from a model. Here each answer makes a file, and the file is there afterwards.
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
from pathlib import Path

import reasoning_gym

print(f"reasoning-gym {version('reasoning-gym')}, Python {sys.version.split()[0]}")
DATASETS = (
    "string_insertion", "binary_matrix", "spiral_matrix", "n_queens", "simple_integration", "intermediate_integration",
    "polynomial_multiplication", "countdown", "puzzle24",
)
as_described = True
for name in DATASETS:
    made = reasoning_gym.create_dataset(name, seed=1, size=1)
    entry = made[0]
    mark = Path(f"made_by_{name}")
    answer = f"open({str(mark)!r}, chr(119)).close()"
    try:
        score = made.score_answer(answer, entry)
    except Exception as error:
        score = type(error).__name__
    print(f"{name}: score {score}, the answer ran: {mark.exists()}")
    as_described &= mark.exists()
sys.exit(0 if as_described else 1)
PYTHON
