"""The one page of exceptions: which sentence and which exit code each becomes, in a process and through a launcher."""

import os
import subprocess
import sys

import pytest

from trl_r1 import errors
from trl_r1.data.filters import JudgeError
from trl_r1.models.engines import EngineError
from trl_r1.stages.cold_start.make import ReviewWaits
from trl_r1.storage.shards import OtherWork, ShardError


def fails(error):
    raise error


@pytest.mark.parametrize(
    ("error", "before", "at_work"),
    [
        (ValueError("x"), 2, 2),
        (OSError("x"), 2, 3),
        (ImportError("x"), 2, None),
        (RuntimeError("x"), 2, None),
        (EngineError("x"), 2, 3),
        (JudgeError("x"), 2, 3),
        (ShardError("x"), 2, 3),
        (OtherWork("x"), 2, 2),  # another folder is for the user to choose
        (ReviewWaits("x"), 4, 4),
        (KeyboardInterrupt(), 130, 130),
        (KeyError("x"), None, None),
    ],
)
def test_every_exception_has_its_code(error, before, at_work):
    assert errors.code_of(error, errors.BEFORE_WORK) == before
    assert errors.code_of(error, errors.AT_WORK) == at_work


def test_a_mistake_is_one_line_on_stderr(capsys):
    with pytest.raises(SystemExit) as caught:
        errors.tell("zero", lambda: fails(ValueError("no\n  such column")))
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "trl-r1 zero: no such column\n")


def test_a_hint_follows_the_sentence(capsys):
    with pytest.raises(SystemExit) as caught:
        errors.tell("evaluate", lambda: fails(OSError("disk full.")), errors.AT_WORK, "What is stored stays.")
    assert caught.value.code == 3
    assert capsys.readouterr().err == "trl-r1 evaluate: disk full. What is stored stays.\n"


def test_a_persons_turn_is_said_on_stdout(capsys):
    with pytest.raises(SystemExit) as caught:
        errors.tell("cold_start", lambda: fails(ReviewWaits("fill in review.csv")), errors.AT_WORK)
    assert caught.value.code == 4
    assert capsys.readouterr() == ("trl-r1 cold_start: fill in review.csv\n", "")


def test_one_process_speaks_for_all_before_work(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        errors.tell("zero", lambda: fails(ValueError("x")))
    assert capsys.readouterr().err == ""


def test_what_is_not_on_the_page_keeps_its_traceback(monkeypatch):
    with pytest.raises(KeyError):
        errors.tell("zero", lambda: fails(KeyError("x")))
    with pytest.raises(RuntimeError):
        errors.tell("zero", lambda: fails(RuntimeError("a shape")), errors.AT_WORK)
    monkeypatch.setenv(errors.TRACEBACK, "1")
    with pytest.raises(ValueError, match="x"):
        errors.tell("zero", lambda: fails(ValueError("x")))


def test_the_result_comes_back_and_the_code_is_noted(tmp_path, monkeypatch):
    monkeypatch.setenv(errors.EXIT_CODE, str(tmp_path / "code"))
    assert errors.tell("zero", lambda: 5) == 5
    assert errors.noted(str(tmp_path / "code")) == 0
    with pytest.raises(SystemExit):
        errors.tell("zero", lambda: sys.exit(7))
    assert errors.noted(str(tmp_path / "code")) == 7


STAGE = """
from trl_r1 import errors
from trl_r1.errors import {kind}

def fail():
    raise {kind}("as wanted")

errors.tell("asks", fail, errors.AT_WORK)
"""


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("WaitsForPerson", ["--num_processes", "1", "--cpu"], 4),
        ("InfrastructureError", ["--num_processes", "2", "--cpu"], 3),  # torchrun raises instead of exiting
    ],
)
def test_a_launched_stages_own_exit_code_is_passed_on(kind, options, code, tmp_path):
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "asks.py").write_text(STAGE.format(kind=kind))
    started = "import sys; from trl_r1.cli import launch; sys.exit(launch('asks', sys.argv[1:], 'house'))"
    done = subprocess.run(
        [sys.executable, "-c", started, *options, "--", "--config", "zero"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert "trl-r1 asks: as wanted" in done.stdout + done.stderr
    assert "in fail" not in done.stderr  # no traceback of ours
