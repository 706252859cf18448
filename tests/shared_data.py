"""The real data that lies beside a checkout (`../shared`); never part of the project."""

import os
from pathlib import Path

import pytest


def shared_file(name: str) -> Path:
    """`shared_file("data/cmath.jsonl")`: the file in the folder `shared` beside the checkout, or above it.

    Without it the test that asks is skipped; under CI=true it fails.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / "shared" / name).is_file():
            return folder / "shared" / name
    missing = f"shared/{name} does not lie beside this checkout"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{missing}; under CI=true it has to.")
    pytest.skip(missing)
