"""Folders that commit 3739560 wrote, in `from_3739560`: new code goes on with them and ends as that commit ended.

They hold a finished rejection sampling (its samples came from a scripted server called `m`), a finished cold start from
existing chains, and an evaluation; no model and no path of a machine.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.grpo.identity import tiny_model
from trl_r1.stages import cold_start, rejection_sampling


EARLIER = Path(__file__).parent / "from_3739560"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the earlier folders, and the working directory."""
    shutil.copytree(EARLIER, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


def start(stage, name, **options):
    recipe = {**yaml.safe_load(Path(f"{name}.yaml").read_text()), "output_dir": name, **options}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    stage.main(["--config", "recipe.yaml"])


def contents(folder):
    """Every file below a folder by its name, without the seconds in the first line of a shard."""
    found = {}
    for path in sorted(Path(folder).rglob("*.json*")):
        text = path.read_text()
        if path.parent.name in ("samples", "judged", "drawn") and path.suffix == ".jsonl":
            first, _, rest = text.partition("\n")
            text = json.dumps({**json.loads(first), "seconds": 0}) + rest
        found[str(path.relative_to(folder))] = text
    return found


def missing_server(*arguments):
    raise AssertionError("the samples are there; nothing is to be drawn")


@pytest.mark.parametrize(
    "lost",
    [
        ["kept.jsonl", "log_dropped.jsonl"],
        ["kept.jsonl", "log_dropped.jsonl", "judged/00001.jsonl", "judged/00003.jsonl"],
        ["kept.jsonl", "log_dropped.jsonl", "judged"],
    ],
)
def test_rejection_sampling_goes_on_where_it_was_killed(lost, folder, monkeypatch):
    monkeypatch.setattr("trl_r1.models.engines.SamplingServer.check", lambda self: None)
    monkeypatch.setattr("trl_r1.models.engines.SamplingServer.draw", missing_server)
    wanted = contents(EARLIER / "rejection_sampling")
    for name in lost:
        path = Path("rejection_sampling", name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    start(rejection_sampling, "rejection_sampling", endpoint="http://127.0.0.1:9/v1")
    found = contents("rejection_sampling")
    assert found.pop("summary.json")
    assert found == wanted


@pytest.mark.parametrize("lost", [["data.jsonl"], ["data.jsonl", "judged"], ["data.jsonl", "judged", "drawn"]])
def test_cold_start_makes_the_same_data_from_what_is_left(lost, folder):
    tiny_model(Path("model"))
    wanted = contents(EARLIER / "cold_start")
    for name in lost:
        path = Path("cold_start", name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    start(cold_start, "cold_start")
    found = contents("cold_start")
    assert {name: text for name, text in found.items() if name in wanted and name != "counts.json"} == {
        name: text for name, text in wanted.items() if name != "counts.json"
    }


def test_an_evaluation_is_read_and_written_as_it_was(folder):
    evaluation = Evaluation.load("evaluation.json")
    stored = json.loads(Path("evaluation.json").read_text())
    assert evaluation["pass@1"] == pytest.approx(5 / 6)  # 4, 5 and 4; 7, 7 and 7
    again = json.loads(evaluation.save("again.json").read_text())
    for problem in again["problems"]:
        assert {"answer_type": ""}.items() <= problem.items()  # declared types came later
        del problem["answer_type"]
    assert again["problems"] == stored["problems"]
    assert evaluation.regrade()["pass@1"] == evaluation["pass@1"]
