"""Where things lie: the project, the programs that tests start, and the real data beside a checkout (`../shared`)."""

import os
from pathlib import Path

import pytest


TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SCRIPTS = TESTS / "scripts"


def shared_file(name: str) -> Path:
    """`shared_file("data/cmath.jsonl")`: the file in the folder `shared` beside the checkout, or above it.

    Never part of the project. Without it the test that asks is skipped; under CI=true it fails.
    """
    for folder in TESTS.parents:
        if (folder / "shared" / name).is_file():
            return folder / "shared" / name
    missing = f"shared/{name} does not lie beside this checkout"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{missing}; under CI=true it has to.")
    pytest.skip(missing)
