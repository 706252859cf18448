"""The shipped pipelines: they are read, and the miniature one runs through with real stages."""

import importlib.util
import json

import pytest

from trl_r1 import cli
from trl_r1.pipeline.plan import read


def test_every_stage_of_the_command_line_exists():
    for name in cli.STAGES:
        assert importlib.util.find_spec(f"trl_r1.stages.{name.replace('-', '_')}") is not None, name


@pytest.mark.parametrize("name", ["pipeline", "mini/pipeline"])
def test_the_shipped_pipelines_take_the_papers_road(name):
    plan = read(name)
    assert plan.warnings == ()  # the fine-tuning on sampled answers starts from the base
    order = [step.stage for step in plan.steps]
    pairs = ["zero cold_start", "cold_start reasoning_rl", "reasoning_rl rejection_sampling", "rejection_sampling sft"]
    for earlier, later in (pair.split() for pair in [*pairs, "sft all_scenario_rl", "reward_model all_scenario_rl"]):
        assert order.index(earlier) < order.index(later)
    assert plan["sft"].recipe["model_name_or_path"] == plan["cold_start"].recipe["model_name_or_path"]
    assert plan["sft"].recipe["dataset_name"] == str(plan.folder / "rejection_sampling/kept.jsonl")
    assert plan["reward_model"].after == ()  # it can run beside the others


@pytest.mark.slow
def test_the_tiny_pipeline_runs_through_and_an_answer_is_followed_back(tmp_path, monkeypatch, start, capsys):
    process = start("mini/pipeline", "--scale", "tiny", "--output_dir", "run")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    plan = read("mini/pipeline", scale="tiny")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert set(summary["stages"]) == {step.name for step in plan.steps}
    assert "pass@1" in summary["stages"]["sft"]["after"]
    kept = [json.loads(line) for line in (tmp_path / "run/rejection_sampling/kept.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in kept}) == len(kept) > 20
    monkeypatch.chdir(tmp_path)
    assert cli.main(["why", "run", "sft/evaluation_after/0/0", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert [step["run"] for step in output["chain"]] == [
        "sft",
        "rejection_sampling",
        "reasoning_rl",
        "cold_start",
        "zero",
    ]
    nearest = output["chain"][1]["data"][0]["nearest"][0]
    assert nearest["id"] in {row["id"] for row in kept}
    assert output["chain"][1]["products"]
    assert output["chain"][2]["rewards"]
