"""Dropping a part from a recipe, by hand; a table and curves from made-up runs; two real runs of two steps."""

import json
from pathlib import Path

import pytest
import yaml

from trl_r1 import cli, recipes
from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.pipeline.ablation import PARTS, drop, mastered_at, outcome, table
from trl_r1.storage import manifest


LAYERED = {
    "name": "layered",
    "options": {
        "layers": [{"name": "symbolic", "weight": 0.4}, "logic"],
        "schedule": {0.0: [1.0, 0.0], 0.5: [0.4, 0.6]},
    },
}


def recipe(**more):
    return {"rewards": [{"name": "accuracy"}, {"name": "logic"}, {"name": "geometry"}, LAYERED], **more}


def test_a_reward_goes_with_its_layer_and_its_weights():
    less = drop(recipe(), "logic")
    assert [entry["name"] for entry in less["rewards"]] == ["accuracy", "geometry", "layered"]
    assert less["rewards"][2]["options"] == {
        "layers": [{"name": "symbolic", "weight": 0.4}], "schedule": {0.0: [1.0], 0.5: [0.4]},
    }  # fmt: skip
    assert [entry["name"] for entry in drop(recipe(), "geometry")["rewards"]] == ["accuracy", "logic", "layered"]


def test_fixed_weights_are_the_last_of_the_schedule():
    options = drop(recipe(), "dynamic_weights")["rewards"][3]["options"]
    assert options == {"layers": [{"name": "symbolic", "weight": 0.4}, {"name": "logic", "weight": 0.6}]}


def test_rewards_may_be_written_as_names():
    assert drop({"rewards": ["accuracy", "logic"]}, "logic")["rewards"] == [
        {"name": "accuracy", "weight": 1.0, "options": {}}
    ]
    with pytest.raises(ValueError, match="nothing to drop"):
        drop({"rewards": [{"name": "repetition", "options": {"schedule": {"0": [1.0]}}}]}, "dynamic_weights")


def test_what_is_dropped_leaves_the_recipe_as_it_was():
    whole = recipe()
    before = json.dumps(whole)
    drop(whole, "logic")
    drop(whole, "dynamic_weights")
    assert json.dumps(whole) == before


def test_switches():
    whole = recipe(head_gate=True, use_peft=True, verified_paths=512, advantage="two_tower")
    assert "head_gate" not in drop(whole, "gate")
    assert "verified_paths" not in drop(whole, "path_cache")
    assert drop(whole, "tower")["advantage"] == "one_tower"


@pytest.mark.parametrize("part", PARTS)
def test_a_recipe_without_the_part_is_told_so(part):
    with pytest.raises(ValueError, match=f"nothing to drop for '{part}'"):
        drop({"rewards": [{"name": "accuracy"}]}, part)


def test_gates_alone_cannot_be_dropped():
    with pytest.raises(ValueError, match="Add use_peft: true"):
        drop({"head_gate": True}, "gate")


def test_the_shipped_recipe_has_its_parts():
    whole = yaml.safe_load(recipes.find("mini/ablation").read_text())
    for part in ("logic", "dynamic_weights", "path_cache", "gate"):
        assert drop(whole, part) != whole
    assert drop(yaml.safe_load(recipes.find("mini/ppo_two_tower").read_text()), "tower")


def test_steps_to_mastery():
    assert mastered_at([10, 20, 30], [0.1, 0.79, 0.8]) == 30
    assert mastered_at([10], [0.5]) is None


def made_up(folder: Path, right: list[list[bool]], held_out: list[float]) -> Path:
    """A finished run, as far as the comparison reads it."""
    folder.mkdir()
    problems = [
        {"prompt": f"p{n}", "solution": "1", "language": "en", "texts": ["1"] * len(row), "answers": ["1"] * len(row),
         "verdicts": row, "well_formed": row, "shares": [1.0] * len(row), "lengths": [1] * len(row),
         "clipped": [False] * len(row)}
        for n, row in enumerate(right)
    ]  # fmt: skip
    (folder / "problems.json").write_text(json.dumps(problems))
    lines = [{"step": 10 * (n + 1), "heldout/pass@1": value} for n, value in enumerate(held_out)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "summary.json").write_text(json.dumps({"training_seconds": 12.0}))
    (folder / "cost.json").write_text(json.dumps({"peak_mebibytes": 512.0}))
    (folder / "evaluation_after.json").write_text("{}")
    return folder


@pytest.fixture
def rates(monkeypatch):
    """Evaluations that give, for a folder, the rates of its made-up problems."""
    import numpy as np

    class Read:
        def __init__(self, path):
            self.rows = json.loads((Path(path).parent / "problems.json").read_text())

        def per_problem(self, name):
            assert name == "pass@1"
            return np.array([np.mean(row["verdicts"]) for row in self.rows])

    monkeypatch.setattr(Evaluation, "load", classmethod(lambda cls, path: Read(path)))


def test_outcomes_by_hand(tmp_path, rates):
    whole = [made_up(tmp_path / "w0", [[True, True], [True, False]], [0.5, 0.9]),
             made_up(tmp_path / "w1", [[True, True], [True, True]], [0.9, 1.0])]  # fmt: skip
    less = [made_up(tmp_path / "l0", [[True, False], [False, False]], [0.2, 0.3]),
            made_up(tmp_path / "l1", [[True, True], [False, True]], [0.1, 0.8])]  # fmt: skip
    found = outcome("without logic", less, whole)
    assert found.each == (0.25, 0.75)
    assert found.accuracy.mean == 0.5
    assert found.against.mean == pytest.approx(-0.375)  # 1, 1/2, 1, 1 became 1/2, 0, 1, 1/2
    assert found.mastered == (None, 20)
    line = table([outcome("whole", whole, None), found]).splitlines()[-1]
    assert "-37.5 [" in line
    assert "| never, 20 | 12, 12 | 512 | 18.7 points of accuracy |" in line


def test_a_run_without_an_evaluation_is_told(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match="has no evaluation after training"):
        outcome("whole", [tmp_path / "run"], None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mini/zero"], "nothing to compare"),
        (["mini/zero", "--drop", "gate"], "nothing to drop for 'gate'"),
        (["mini/zero", "--drop", "soul"], "--drop 'soul' is unknown"),
        (["mini/zero", "--also", "slow"], "is no arm"),
        (["mini/zero", "--also", "whole: {seed: 1}"], "same name"),
        (["mini/zero", "--also", "x: {seed: 1}", "--set", "max_steps"], "is no KEY=VALUE"),
        (["mini/nothing", "--drop", "gate"], "mini/nothing"),
    ],
)
def test_mistakes_get_a_sentence(arguments, said, tmp_path, capsys):
    assert cli.main(["ablate", *arguments, "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_at_work_is_left_alone(tmp_path, capsys):
    lock = manifest.hold(tmp_path)
    try:
        assert cli.main(["ablate", "mini/ablation", "--drop", "gate", "--output", str(tmp_path)]) == 2
    finally:
        lock.release()
    assert "Another process is training" in capsys.readouterr().err


@pytest.mark.slow
def test_two_arms_for_real(tmp_path, capsys, monkeypatch):
    order = [
        "ablate", "mini/ablation", "--drop", "path_cache", "--output", str(tmp_path / "out"),
        *(part for text in ("max_steps=2", "model_name_or_path=mini:base-tiny", "dataset_name=mini:train-tiny",
                            "evaluation_dataset_name=mini:test-tiny", "evaluation_problems=8", "evaluation_samples=2",
                            "probe_every=1", "probe_problems=8", "probe_samples=1", "per_device_train_batch_size=16",
                            "save_strategy='no'", "disable_tqdm=true") for part in ("--set", text)),
    ]  # fmt: skip
    assert cli.main(order) == 0
    said = capsys.readouterr()
    assert "| without path_cache |" in said.out
    report = (tmp_path / "out" / "report.md").read_text()
    assert "9.3 points" in report
    assert (tmp_path / "out" / "curves.png").stat().st_size > 5_000
    assert all(
        entry["peak_mebibytes"][0] > 50 for entry in json.loads((tmp_path / "out" / "ablation.json").read_text())
    )
    assert cli.main(order) == 0  # again: everything is there
    assert "starts" not in capsys.readouterr().err
    assert cli.main([*order, "--set", "learning_rate=1e-3"]) == 2
    assert "was trained from another recipe" in capsys.readouterr().err
