"""All-scenario RL: who judges what and when, the alarm, and the stage from its command line."""

import inspect
import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from stage_starts import recipe_writer, stage_error

from trl_r1.data.mixture import MixtureSource, load_source, schedule
from trl_r1.evaluation.metrics_log import FILE as METRICS
from trl_r1.models.sampling import sample
from trl_r1.monitor.hack_alarm import METRIC, HackAlarm, find_divergence, notes, read_alarms
from trl_r1.stages import all_scenario_rl
from trl_r1.stages.all_scenario_rl.hooks import ScenarioOptions, find_check
from trl_r1.storage.manifest import settings_of


SUMS = [{"question": f"Compute {i} + 1.", "answer": str(i + 1), "language": "en"} for i in range(8)]
GENERAL = [{"question": f"Say hello to {name}."} for name in ("Bo", "Kim", "Lee", "Max")]
UNSAFE = [{"question": f"How to steal {thing}?", "domain": "unsafe"} for thing in ("a cart", "a boat")]


def hidden(model, tokenizer, seed):
    """A hidden check of this test; counts nothing, but knows the model."""
    return {"harmful": 0.25 + 0.0 * sum(p.numel() for p in model.parameters())}


def sampled(model, tokenizer, seed, sample):
    """A hidden check that draws texts."""
    return {"drawn": sample}


@pytest.fixture(scope="session")
def reward_models(tiny, tmp_path_factory):
    """What the stage reward_model leaves, with untrained heads: nobody learns anything here."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("reward_models")
    for name in ("helpfulness", "harmlessness"):
        model = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)
        model.save_pretrained(folder / name)
        AutoTokenizer.from_pretrained(tiny).save_pretrained(folder / name)
    (folder / "summary.json").write_text(json.dumps({"after": {"helpfulness": {"center": 0.5, "spread": 2.0}}}))
    return folder


@pytest.fixture
def recipe(tiny, tmp_path, reward_models):
    """`recipe(**changes)` writes a small valid YAML with the changes in it and returns its path; None removes a key."""
    names = {}
    for name, rows in (("sums", SUMS), ("general", GENERAL), ("unsafe", UNSAFE)):
        names[name] = str(tmp_path / f"{name}.jsonl")
        Path(names[name]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = {
        "model_name_or_path": tiny, "dtype": "float32", "template": "mini", "output_dir": str(tmp_path / "out"),
        "datasets": [
            {"name": names["sums"], "solution_column": "answer", "language_column": "language", "share": 2},
            {"name": names["general"], "language": "en"}, {"name": names["unsafe"], "language": "en"},
        ],
        "rewards": [{"name": "accuracy"}, {"name": "format"}, {"name": "helpfulness"}, {"name": "harmlessness"}],
        "reward_models": str(reward_models), "preference_last_steps": 2, "alarm_window": 4,
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "per_device_train_batch_size": 16,
        "num_generations": 4, "max_completion_length": 6, "max_steps": 4, "logging_steps": 1, "save_strategy": "steps",
        "save_steps": 2, "report_to": "none", "disable_tqdm": True, "hidden_check": f"{__name__}:hidden",
        "temperature": 0.7,
    }  # fmt: skip

    return recipe_writer(tmp_path, base)


# --- the mixture


def test_general_prompts_come_with_the_preference_rewards_and_shares_hold_over_any_stretch():
    # rows 0-9 can be checked, 10-13 and 14-15 cannot; 3 batches of 4 before batch 3, then 4 batches of 8 prompts in all
    order = schedule([10, 4, 2], [0.5, 0.25, 0.25], [False, True, True], 7, 4, 3, seed=0)
    early, late = order[:12], order[12:]
    assert len(order) == 28
    assert all(row < 10 for row in early)
    assert sorted(early[:10]) == list(range(10))  # a round asks every row once
    for start in range(0, 16, 4):  # half, a quarter, a quarter: 2, 1 and 1 of every batch of four
        kinds = Counter("sum" if row < 10 else "general" if row < 14 else "unsafe" for row in late[start : start + 4])
        assert kinds == {"sum": 2, "general": 1, "unsafe": 1}
    assert schedule([10, 4, 2], [0.5, 0.25, 0.25], [False, True, True], 7, 4, 3, seed=0) == order
    assert schedule([10, 4, 2], [0.5, 0.25, 0.25], [False, True, True], 7, 4, 3, seed=1) != order
    with pytest.raises(ValueError, match="nothing to train on before"):
        schedule([4], [1.0], [True], 7, 4, 3, seed=0)


def test_every_row_belongs_to_one_judge(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"q": "1+1?", "gold": "2"}, {"q": "Hi", "gold": None, "reward_for": "helpfulness"},
            {"q": "Harm", "gold": None, "domain": "unsafe", "reward_for": "harmlessness"}]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = MixtureSource(name=str(path), question_column="q", solution_column="gold", language="en")
    made = load_source(source, "mini", 0)
    assert [row["reward_for"] for row in made] == ["rule", "helpfulness", "harmlessness"]
    assert [row["solution"] for row in made] == ["2", None, None]
    assert made[0]["prompt"] == "User: 1+1? Assistant:"
    path.write_text(json.dumps({"q": "1+1?", "gold": ""}) + "\n")
    with pytest.raises(ValueError, match=r"row 0 .* has no gold answer in 'gold'"):
        load_source(source, "mini", 0)


# --- the alarm


def test_the_alarm_needs_both_a_rise_and_a_fall_beyond_chance():
    # halves 0,1 | 4,5: +4, standard error sqrt(.5/2 + .5/2) = .71; 9,8 | 2,1: -7
    found = find_divergence([0, 1, 4, 5], [9, 8, 2, 1])
    assert (found.rise, found.fall) == (4.0, 7.0)
    assert find_divergence([0, 1, 4, 5], [1, 2, 8, 9]) is None  # both rise
    assert find_divergence([5, 4, 1, 0], [9, 8, 2, 1]) is None  # both fall
    assert find_divergence([0, 6, 1, 7], [9, 2, 8, 1]) is None  # +1 with an error of sqrt(9 + 9)
    assert find_divergence([0, 1, 4, 5], [0.90, 0.90, 0.89, 0.89]) is None  # a fall of .01 is below the least
    assert find_divergence([0, 1, 4], [9, 8, 2]) is None  # too short for two halves


def test_an_alarm_is_written_logged_and_told_once_for_each_fresh_window(tmp_path, caplog):
    trainer = SimpleNamespace(_metrics={"train": {METRIC: []}})
    alarm = HackAlarm(trainer, tmp_path, window=4, stop=True)
    state = SimpleNamespace(global_step=0, is_world_process_zero=True, log_history=[])
    control = SimpleNamespace(should_training_stop=False)
    alarm.on_train_begin(None, state, control)
    early = [{"rewards/accuracy/mean": 0.9} for _ in range(3)]  # no preference reward yet
    lines = [{"rewards/helpfulness/mean": p, "rewards/accuracy/mean": r}
             for p, r in ((0, 0.9), (1, 0.8), (4, 0.3), (5, 0.2), (6, 0.1), (7, 0.05))]  # fmt: skip
    for step, line in enumerate(early + lines, start=1):
        state.global_step = step
        alarm.on_log(None, state, control, logs=line)
        state.log_history.append({**line, "step": step})
    assert [row["step"] for row in read_alarms(tmp_path)] == [7]  # the fourth line with both; then a fresh window
    assert trainer._metrics["train"][METRIC] == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert control.should_training_stop
    assert (
        "ALARM at step 7: over 4 logged steps the reward helpfulness rose by 4 while accuracy fell by 0.6"
        in caplog.text
    )
    trainer.state = state
    assert notes(alarm)[0].startswith("**ALARM at step 7")
    state.log_history += [{"step": step, "rewards/accuracy/mean": 0.86} for step in (10, 11)]  # before: 0.85
    [passed] = notes(alarm)
    assert passed.startswith("Passed: ALARM at step 7")
    assert passed.endswith("At the end accuracy is not below what it was before.")
    state.log_history[-1]["rewards/accuracy/mean"] = 0.83
    assert notes(alarm)[0].startswith("**ALARM at step 7")
    del state.log_history[-2:]
    resumed = HackAlarm(trainer, tmp_path, window=4)
    resumed.on_train_begin(None, state, control)
    assert resumed.seen == alarm.seen
    state.global_step, state.log_history = 5, state.log_history[:5]  # resumed before the alarm: it has not happened
    resumed.on_train_begin(None, state, control)
    assert read_alarms(tmp_path) == []


def test_a_run_is_told_by_its_recipe_and_not_by_the_names_of_our_classes():
    settings = settings_of(ScenarioOptions(datasets=[{"name": "rows.jsonl"}]))
    assert settings["datasets"] == [{"name": "rows.jsonl"}]
    assert "Source(" not in json.dumps(settings)


# --- the stage


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_steps": -1, "num_train_epochs": 1}, "set max_steps"),
        ({"datasets": []}, "must be a list"),
        ({"datasets": [{"name": "x.jsonl", "shar": 1}]}, "unknown key 'shar'. Did you mean 'share'?"),
        ({"datasets": [{"name": "x.jsonl", "domain": "poetry"}]}, "domain='poetry'"),
        ({"datasets": [{"name": "x.jsonl", "share": 0}]}, "share=0 of 'x.jsonl' must be a number above 0"),
        ({"datasets": [{"name": "./x.jsonl"}]}, "x.jsonl"),
        (
            {"rewards": [{"name": "accuracy"}, {"name": "helpfulness"}]},
            "no reward judges them; add {name: harmlessness}",
        ),
        ({"reward_models": "./nowhere"}, "has no folder 'helpfulness'"),
        ({"hidden_check": "no.such:thing"}, "hidden_check='no.such:thing' cannot be imported"),
        ({"alarm_window": 3}, "at least 4 logged steps"),
        ({"preference_last_steps": -1}, "must be 0 or more"),
    ],
)
def test_mistakes_are_told_in_one_sentence_and_leave_nothing(changes, sentence, recipe, capsys, tmp_path):
    assert sentence in stage_error(capsys, all_scenario_rl.main, "--config", recipe(**changes))
    assert not (tmp_path / "out").exists()


def test_only_general_data_before_the_preference_rewards_is_refused(recipe, capsys, tmp_path):
    only = [{"name": str(tmp_path / "general.jsonl")}]
    assert "nothing to train on before" in stage_error(capsys, all_scenario_rl.main, "--config", recipe(datasets=only))


def logged(folder) -> list[dict]:
    return [row for row in map(json.loads, (folder / METRICS).read_text().splitlines()) if "loss" in row]


def test_preference_rewards_are_active_in_the_last_steps_only_and_each_on_its_rows(recipe, tmp_path):
    all_scenario_rl.main(["--config", recipe()])
    out = tmp_path / "out"
    lines = logged(out)
    assert [row["helpfulness/active"] for row in lines] == [0.0, 0.0, 1.0, 1.0]
    assert [row.get("rewards/helpfulness/mean") is not None for row in lines] == [False, False, True, True]
    assert [row["helpfulness/routed"] for row in lines] == [0.0, 0.0, 0.25, 0.25]  # one prompt of four
    assert [row["harmlessness/routed"] for row in lines] == [0.0, 0.0, 0.25, 0.25]
    assert all(0 <= row["rewards/harmlessness/mean"] <= 1 for row in lines[2:])  # a probability
    for row in lines[2:]:  # standardised with the reward models' own numbers
        assert row["rewards/helpfulness/mean"] == pytest.approx((row["helpfulness/raw_mean"] - 0.5) / 2.0, abs=1e-5)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["alarms"] == 0
    assert summary["hidden"] == {"before": {"harmful": 0.25}, "after": {"harmful": 0.25}}
    report = (out / "report.md").read_text()
    assert "Prompts asked: 12 for rule, 2 for helpfulness, 2 for harmlessness." in report
    assert "No alarm" in report
    assert "| harmful | 25.0 % | 25.0 % |" in report


def test_a_resumed_run_asks_the_same_prompts(recipe, tmp_path):
    all_scenario_rl.main(["--config", recipe(output_dir=str(tmp_path / "whole"))])
    all_scenario_rl.main(["--config", recipe()])
    out = tmp_path / "out"
    import shutil

    (out / "summary.json").unlink()
    shutil.rmtree(out / "checkpoint-4")  # as if killed after step 2
    all_scenario_rl.main(["--config", recipe()])
    for one, other in zip(logged(tmp_path / "whole"), logged(out), strict=True):
        for key in ("loss", "reward", "rewards/accuracy/mean", "helpfulness/raw_mean", "grad_norm"):
            first, second = one.get(key, math.nan), other.get(key, math.nan)
            assert first == pytest.approx(second, abs=1e-5, nan_ok=True), (one["step"], key)


def test_a_hidden_check_with_a_parameter_sample_is_given_the_sampler():
    assert find_check(f"{__name__}:sampled")(None, None, seed=0) == {"drawn": sample}
    assert find_check(f"{__name__}:hidden") is hidden


def test_the_mini_worlds_hidden_check_takes_the_sampler_and_no_other_argument():
    inspect.signature(find_check("trl_r1.mini.scenario:hidden_rates")).bind("model", "tokenizer", seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all_scenario_rl", "mini/all_scenario_rl"])
def test_every_recipe_runs_two_steps_on_a_tiny_model(name, recipe, wide, tmp_path, reward_models):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line."""
    settings = yaml.safe_load(Path(recipe()).read_text())
    sums = str(tmp_path / "sums.jsonl")
    options = {
        "model_name_or_path": wide, "datasets": json.dumps(settings["datasets"]), "reward_models": reward_models,
        "preference_last_steps": 1, "evaluation_dataset_name": sums, "evaluation_split": "train", "evaluation_problems": 2,
        "evaluation_samples": 2, "question_column": "question", "solution_column": "answer",
        "evaluation_question_column": "question", "evaluation_solution_column": "answer",
        "hidden_check": f"{__name__}:hidden", "output_dir": str(tmp_path / "out"), "max_steps": 2, "use_cpu": "true",
        "bf16": "false", "dtype": "float32", "optim": "adamw_torch", "per_device_train_batch_size": 64,
        "gradient_accumulation_steps": 1, "max_completion_length": 6, "disable_tqdm": "true", "save_steps": 1,
    }  # fmt: skip
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    all_scenario_rl.main(["--config", name, *arguments])
    assert [row["helpfulness/active"] for row in logged(tmp_path / "out")] == [0.0, 1.0]
