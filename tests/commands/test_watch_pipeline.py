"""`trl-r1 watch` on a pipeline's folder: it follows the stage that runs, and ends with the last one."""

import json

from trl_r1.commands.watch import watch


def test_the_end_of_a_stage_is_not_the_end_of_its_pipeline(tmp_path, monkeypatch, capsys):
    stage = tmp_path / "01_zero"
    stage.mkdir()
    (stage / "metrics.jsonl").write_text(json.dumps({"step": 1, "reward": 0.5, "loss": 0.1}) + "\n")
    (stage / "summary.json").write_text("{}")
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        (tmp_path / "summary.json").write_text("{}")

    monkeypatch.setattr("trl_r1.commands.watch.time.sleep", sleep)
    assert watch(tmp_path, every=0.5) == 0
    assert waits == [0.5]
    assert f"Finished; its report is {tmp_path / 'report.md'}." in capsys.readouterr().out
