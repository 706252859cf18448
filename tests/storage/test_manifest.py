"""A run's folder is locked against what would make its content untrue, and against nothing else."""

import json
from types import SimpleNamespace

import pytest

from trl_r1.runs.folder import RunFolder
from trl_r1.storage import manifest


BEFORE = {"learning_rate": 1e-6, "evaluation_problems": 100, "save_steps": 50}


def start(folder, content=manifest.CONTENT, later=manifest.WATCHING, stage="zero", **changes):
    """One start of the run, up to where it would train."""
    state = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None)
    config = SimpleNamespace(output_dir=str(folder), resume_from_checkpoint=None, distributed_state=state)
    taken = RunFolder.look(stage, config, {**BEFORE, **changes}, content, later).take()
    taken.let_go()
    return taken


def checkpoint(folder, complete=True):
    there = folder / "checkpoint-5"
    there.mkdir()
    if complete:
        (there / "trainer_state.json").write_text("{}")


def test_before_the_first_checkpoint_anything_may_change_and_is_said(tmp_path, capsys):
    start(tmp_path)
    (tmp_path / "evaluation_before.json").write_text("{}")
    checkpoint(tmp_path, complete=False)  # cut in mid-write: nothing to be untrue
    start(tmp_path, learning_rate=1e-4)
    said = capsys.readouterr().out.strip()
    assert said == "This run goes on with changed settings: learning_rate was 1e-06 and is 0.0001."
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"]["learning_rate"] == 1e-4
    assert [entry["was"] for entry in record["changed"]] == [{"learning_rate": 1e-6}]
    assert not (tmp_path / "evaluation_before.json").exists()  # measured for other settings


def test_after_it_what_leaves_the_trajectory_alone_may(tmp_path, capsys):
    start(tmp_path)
    (tmp_path / "evaluation_before.json").write_text("{}")
    checkpoint(tmp_path)
    start(tmp_path, evaluation_problems=10, save_steps=5)
    said = capsys.readouterr().out
    assert "evaluation_problems was 100 and is 10, save_steps was 50 and is 5." in said
    assert (tmp_path / "evaluation_before.json").exists()
    start(tmp_path, evaluation_problems=10, save_steps=5)  # the same as last time: nothing to say
    assert capsys.readouterr().out == ""


def test_after_it_what_decides_the_trajectory_may_not(tmp_path):
    start(tmp_path)
    checkpoint(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(ValueError, match="learning_rate was 1e-06 there and is 0.1 here .and 1 more"):
        start(tmp_path, learning_rate=0.1, save_steps=5)
    assert (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize("name", ["model.safetensors", "helpfulness/model.safetensors"])
def test_weights_are_content_too(tmp_path, name):
    start(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="holds another run"):
        start(tmp_path, learning_rate=0.1)


def test_a_finished_run_and_another_stage_stay_locked(tmp_path):
    start(tmp_path)
    with pytest.raises(ValueError, match="it is a run of the stage 'zero', this is 'sft'"):
        start(tmp_path, stage="sft")
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match=r"Or remove its summary.json, and it goes on with that change\.$"):
        start(tmp_path, save_steps=5)
    with pytest.raises(ValueError, match=r"if that run is not needed\.$"):
        start(tmp_path, learning_rate=0.1)


def test_a_stage_says_what_its_content_is_and_what_may_change_then(tmp_path):
    start(tmp_path, content=("samples/[0-9]*.jsonl",), later=("per_prompt",), per_prompt=1)
    start(tmp_path, content=("samples/[0-9]*.jsonl",), later=("per_prompt",), per_prompt=1, learning_rate=0.1)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "00000.jsonl").write_text("")
    start(tmp_path, content=("samples/[0-9]*.jsonl",), later=("per_prompt",), per_prompt=2, learning_rate=0.1)
    with pytest.raises(ValueError, match="learning_rate was 0.1 there and is 1 here"):
        start(tmp_path, content=("samples/[0-9]*.jsonl",), later=("per_prompt",), per_prompt=2, learning_rate=1)
