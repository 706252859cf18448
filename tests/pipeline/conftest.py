"""A pipeline of fake stages: small real modules in a package of the tests, run as the real ones are."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from places import ROOT


HERE = Path(__file__).parent


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """`toy(stages, **keys)` writes a pipeline file of fake stages and returns its path; the tests run beside it."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "count.yaml").write_text(yaml.safe_dump({"rows": 6, "pause": 0.01, "use_cpu": True}))

    def write(stages, **keys):
        stages = [{"stage": "count", "config": "count.yaml", **stage} for stage in stages]
        path = tmp_path / "toy.yaml"
        content = {"name": "toy", "output_dir": "out", "modules": "fakes", "max_parallel": 2, "stages": stages, **keys}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return write


@pytest.fixture
def start(tmp_path):
    """`start(*arguments)` starts `trl-r1 run` as a process in the test's folder; `interrupt`: how it inherits SIGINT."""
    started = []

    def run(*arguments, cwd=None, interrupt=signal.SIG_DFL):
        process = subprocess.Popen(
            [sys.executable, "-m", "trl_r1.cli", "run", *arguments], cwd=cwd or tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)])},
            preexec_fn=partial(signal.signal, signal.SIGINT, interrupt),  # whatever these tests themselves were started in
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
