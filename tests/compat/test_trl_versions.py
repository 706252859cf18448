"""The oldest TRL we declare, installed over this environment for one process: doctor trusts it and training is identical.

The newest is the one the other tests run on. Needs the package index; skipped with the reason where it is not reachable.
"""

import os
import subprocess
import sys

import pytest
from places import ROOT, TESTS


OLDEST = "1.12.0"


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlay")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), f"trl=={OLDEST}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"pip cannot fetch trl {OLDEST} here: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.mark.slow
def test_the_oldest_declared_trl_is_trusted(overlay):
    environment = {**os.environ, "PYTHONPATH": str(overlay)}
    done = subprocess.run(
        [sys.executable, "-m", "trl_r1.cli", "doctor"], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"trl            {OLDEST}" in done.stdout
    assert "bit-identical" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "chosen"),
    [
        ("grpo/test_trainer.py", "literal or dead or reward or beta or k3 or evaluation"),
        ("grpo/test_batching.py", "padded_batches and not kl or stand_in"),
    ],
)
def test_our_options_work_on_the_oldest_declared_trl(overlay, file, chosen):
    environment = {**os.environ, "PYTHONPATH": str(overlay)}
    tests = str(TESTS / file)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-k", chosen, tests],
        capture_output=True, text=True, timeout=500, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_declared_range_is_what_is_tested():
    tomllib = pytest.importorskip("tomllib")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (trl,) = [line for line in project["dependencies"] if line.startswith("trl")]
    assert ">=1.12" in trl
    assert "<2" in trl
    assert "!=1.15.0" in trl
