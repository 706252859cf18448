"""Cached folders appear whole or not at all."""

import subprocess
import sys

import pytest

from trl_r1.storage.folders import make_once


def test_a_folder_is_made_once(tmp_path):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "file").write_text("made")

    for _ in range(2):
        assert (make_once(tmp_path / "a" / "made", make) / "file").read_text() == "made"
    assert len(calls) == 1


def test_nothing_stays_behind_a_failure(tmp_path):
    def make(folder):
        (folder / "half").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        make_once(tmp_path / "made", make)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_killed_process_left_is_removed_and_the_folder_made(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from trl_r1.storage.folders import make_once\n"
        "def make(folder): (folder / 'half').write_text('x'); print('in', flush=True); time.sleep(60)\n"
        "make_once(Path(sys.argv[1]), make)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "made")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    process.kill()
    process.wait()
    assert len(list(tmp_path.glob(".made-*.part"))) == 1
    make_once(tmp_path / "made", lambda folder: (folder / "whole").write_text("x"))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["made"]
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["whole"]


def test_two_processes_make_one_folder(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from trl_r1.storage.folders import make_once\n"
        "def make(folder): print('made', flush=True); time.sleep(0.3)\n"
        "make_once(Path(sys.argv[1]), make)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "made")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=60)[0] for process in processes) == ["", "made\n"]
