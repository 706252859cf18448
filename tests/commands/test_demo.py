"""What the demo looks at before its first stage: one sentence in place of one per stage."""

import argparse
import importlib.util
import subprocess

import pytest

from trl_r1.commands import demo


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    return tmp_path / "cache"


@pytest.fixture
def asked(monkeypatch):
    """The models that a process was started for; it ends with 2."""
    names = []

    def run(command, **options):
        names.extend(command[3:])
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(subprocess, "run", run)
    return names


def test_without_reasoning_gym_the_sentence_has_the_pip_line_and_no_folder_is_made(
    tmp_path, cache, asked, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    given = argparse.Namespace(seed=0, scale="tiny", model="smollm2", output=tmp_path / "run")
    with pytest.raises(ValueError, match=r'^reasoning-gym is not installed. Try: pip install "trl-r1\[real\]"'):
        demo.run(given)
    assert (asked, list(tmp_path.iterdir())) == ([], [])


def test_a_model_that_cannot_be_had_ends_the_demo_with_its_code(tmp_path, cache, asked):
    given = argparse.Namespace(seed=0, scale="tiny", model="smollm2", output=tmp_path / "run")
    with pytest.raises(SystemExit) as end:
        demo.run(given)
    assert (end.value.code, asked, (tmp_path / "run").exists()) == (2, list(demo.REAL_MODELS), False)


def test_only_what_is_not_converted_yet_is_asked_for(cache, asked):
    (cache / "models" / "smollm2-135m-instruct-b179c952-1").mkdir(parents=True)
    (cache / "models" / "smollm2-135m-20-layers-b179c952-1.lock").touch()
    with pytest.raises(SystemExit):
        demo.fetch_real()
    (cache / "models" / "smollm2-135m-20-layers-b179c952-1").mkdir()
    demo.fetch_real()
    assert asked == ["smollm2:135m-20-layers"]
