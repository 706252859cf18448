"""The stage from its command line: what a user gets wrong is told in one sentence; what runs leaves what it promises."""

import json
import subprocess
import sys

import pytest
from stage_starts import recipe_writer, stage_error

from trl_r1.stages import zero


ROWS = [{"question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en"} for i in range(12)]


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(**changes)` writes a small valid YAML with the changes in it and returns its path; None removes a key."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    base = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": str(data), "language_column": "language",
        "template": "mini", "rewards": [{"name": "accuracy"}, {"name": "format", "weight": 0.5}],
        "output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 6, "max_steps": 2,
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 1, "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip

    return recipe_writer(tmp_path, base)


def test_a_misspelt_key(recipe, capsys, tmp_path):
    assert "unknown key 'lerning_rate'. Did you mean 'learning_rate'?" in stage_error(
        capsys, zero.main, "--config", recipe(lerning_rate=1e-4)
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"advantage": "leave_one_ot"}, "Did you mean 'leave_one_out'?"),
        ({"kl_target": 0.1}, "kl_target=0.1 steers beta, but beta=0.0"),
        ({"question_column": "problem"}, "problem"),
        ({"solution_column": "answr"}, "answr"),
        ({"per_device_train_batch_size": 6}, "divisible by num_generations (4)"),
        ({"model_name_or_path": "./no/such/model"}, "there is no such folder"),
        ({"model_name_or_path": None}, "No model was named"),
        ({"dataset_name": "./no_rows.jsonl"}, "no_rows.jsonl"),
        ({"template": "Question only"}, "{question}"),
        ({"rewards": [{"name": "acuracy"}]}, "Did you mean 'accuracy'?"),
        ({"rewards": [{"name": "accuracy", "wieght": 2}]}, "unknown key 'wieght'"),
        ({"rewards": [{"name": "format", "options": {"colour": 1}}]}, "colour"),
        ({"rewards": []}, "must be a list"),
        ({"reward_weights": [1.0]}, "1 entries for 2 rewards"),
        ({"evaluation_dataset_name": "mini:trane"}, "mini:tr"),
        ({"eval_strategy": "steps", "eval_steps": 1}, "eval_strategy='steps' needs held-out prompts"),
        ({"eval_on_start": True}, "eval_on_start=True needs held-out prompts"),
        ({"resume_from_checkpoint": "./no/checkpoint-5"}, "it does not exist"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "all prompts are text"),
    ],
)
def test_other_mistakes(changes, sentence, recipe, capsys, tmp_path):
    assert sentence in stage_error(capsys, zero.main, "--config", recipe(**changes))
    assert not (tmp_path / "out").exists()


def test_an_empty_dataset(recipe, capsys, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    stage_error(capsys, zero.main, "--config", recipe(dataset_name=str(tmp_path / "empty.jsonl")))
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_does_not_exist_or_is_no_yaml(capsys, tmp_path):
    assert "Did you mean 'mini/zero'?" in stage_error(capsys, zero.main, "--config", "mini/zeros")
    (tmp_path / "bad.yaml").write_text("a: [1,\nb: 2")
    assert "is not valid YAML" in stage_error(capsys, zero.main, "--config", str(tmp_path / "bad.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n- 2")
    assert "must hold `key: value` lines" in stage_error(capsys, zero.main, "--config", str(tmp_path / "list.yaml"))


def test_the_folder_of_another_run_is_left_alone(recipe, capsys, tmp_path):
    zero.main(["--config", recipe()])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    sentence = stage_error(capsys, zero.main, "--config", recipe(learning_rate=0.123))
    assert "holds another run" in sentence
    assert "learning_rate was 1e-06 there and is 0.123 here" in sentence
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_folder_with_someone_elses_files_is_left_alone(recipe, capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    assert "is not empty (thesis.tex" in stage_error(capsys, zero.main, "--config", recipe())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_folder_where_another_process_trains_is_left_alone(recipe, capsys, tmp_path):
    from filelock import FileLock

    zero.main(["--config", recipe()])
    (tmp_path / "out" / "summary.json").unlink()
    holder = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / "out" / ".lock")], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        assert "Another process is training in" in stage_error(capsys, zero.main, "--config", recipe())
    finally:
        other.kill()
        other.wait()
    FileLock(tmp_path / "out" / ".lock").acquire(timeout=5).lock.release()  # a killed holder has let go


def test_a_broken_checkpoint_is_refused_by_name_and_skipped_by_itself(recipe, capsys, tmp_path):
    zero.main(["--config", recipe(max_steps=2)])
    out = tmp_path / "out"
    (out / "summary.json").unlink()
    weights = out / "checkpoint-2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    sentence = stage_error(
        capsys, zero.main, "--config", recipe(max_steps=2), "--resume_from_checkpoint", str(out / "checkpoint-2")
    )
    assert "model.safetensors is cut off" in sentence
    assert "checkpoint-1" in sentence
    zero.main(["--config", recipe(max_steps=2)])  # goes on from checkpoint-1
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "loss" in line] == [1, 2]


def test_a_run_leaves_what_it_promises_and_is_finished_the_second_time(recipe, capsys, tmp_path):
    options = {
        "evaluation_dataset_name": str(tmp_path / "rows.jsonl"), "evaluation_split": "train", "evaluation_problems": 3,
        "evaluation_samples": 2, "probe_every": 1, "probe_problems": 2, "probe_samples": 1,
    }  # fmt: skip
    zero.main(["--config", recipe(**options)])
    out = tmp_path / "out"
    for name in ("run.json", "metrics.jsonl", "report.md", "summary.json", "evaluation_before.json", "monitor.html",
                 "evaluation_after.json", "model.safetensors", "reward.png"):  # fmt: skip
        assert (out / name).is_file(), name
    summary = json.loads((out / "summary.json").read_text())
    assert summary["steps"] == 2
    assert "## A prompt as the model reads it" in (out / "report.md").read_text()
    assert set(summary["before"]) >= {"pass@1", "cons@2", "pass@2", "format", "language", "interval"}
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"rewards/accuracy/mean", "rewards/format/mean", "heldout/pass@1", "entropy"} <= set(logged[0])
    capsys.readouterr()
    zero.main(["--config", recipe(**options)])
    assert "finished already" in capsys.readouterr().out


def test_trls_own_evaluation_is_made_on_held_out_prompts(recipe, tmp_path):
    data = {
        "evaluation_dataset_name": str(tmp_path / "rows.jsonl"),
        "evaluation_split": "train",
        "evaluation_problems": 2,
    }
    zero.main(["--config", recipe(**data, evaluation_samples=1, eval_strategy="steps", eval_steps=1)])
    logged = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "eval_rewards/accuracy/mean" in line] == [1, 2]


def test_a_probe_does_not_change_the_run(recipe, tmp_path):
    data = {"evaluation_dataset_name": str(tmp_path / "rows.jsonl"), "evaluation_split": "train"}
    plain = {**data, "evaluation_problems": 3, "evaluation_samples": 1, "output_dir": str(tmp_path / "a")}
    zero.main(["--config", recipe(**plain)])
    probed = {**plain, "output_dir": str(tmp_path / "b"), "probe_every": 1, "probe_problems": 2, "probe_samples": 2}
    zero.main(["--config", recipe(**probed)])
    lines = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()] for run in "ab"
    ]
    for one, other in zip(*lines):
        assert [one.get(k) for k in ("loss", "reward", "grad_norm")] == [
            other.get(k) for k in ("loss", "reward", "grad_norm")
        ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zero", "mini/zero", "ppo_two_tower", "mini/ppo_two_tower"])
def test_every_recipe_runs_two_steps_on_a_tiny_model(name, recipe, wide, tmp_path):
    """The recipe itself, quantised where it says so, with what a CPU needs changed on the command line."""
    recipe()  # writes rows.jsonl
    rows = str(tmp_path / "rows.jsonl")
    options = {
        "model_name_or_path": wide, "dataset_name": rows,
        "evaluation_dataset_name": rows, "evaluation_split": "train", "evaluation_problems": 2, "evaluation_samples": 2,
        "question_column": "question", "solution_column": "solution", "evaluation_question_column": "question",
        "evaluation_solution_column": "solution", "output_dir": str(tmp_path / "out"), "max_steps": 2, "use_cpu": "true",
        "bf16": "false", "dtype": "float32", "optim": "adamw_torch", "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1, "max_completion_length": 6, "disable_tqdm": "true", "save_steps": 1,
    }  # fmt: skip
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    zero.main(["--config", name, *arguments])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["steps"] == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"beta": 0.1, "reference_every": 5}, "reference_every=5 needs the whole policy"),
        (
            {"rollout": "fast", "old_logps": "sampled", "verified_paths": 9, "verified_paths_reward": "accuracy"},
            "verified_paths=9 needs the probabilities of the fast rollout",
        ),
        ({"evaluation_dataset_name": "mini:test"}, "evaluate the checkpoints with `trl-r1 evaluate`"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_what_a_sharded_model_cannot_do(changes, sentence, recipe, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert sentence in stage_error(capsys, zero.main, "--config", recipe(**changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_train_and_evaluate_together(two_ranks, recipe, tmp_path):
    options = {
        "evaluation_dataset_name": str(tmp_path / "rows.jsonl"), "evaluation_split": "train", "evaluation_problems": 5,
        "evaluation_samples": 2, "per_device_train_batch_size": 4, "advantage": "leave_one_out", "beta": 0.05,
        "kl_target": 0.01, "reference_every": 1, "mask_dead_groups": True, "kl_estimator": "k2", "ddp_backend": "gloo",
    }  # fmt: skip
    two_ranks("-m", "trl_r1.stages.zero", "--config", recipe(**options))
    after = json.loads((tmp_path / "out" / "evaluation_after.json").read_text())
    assert len(after["problems"]) == 5
