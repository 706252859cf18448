"""SmolLM2's pipeline told: what summary.json says of the tasks, from stages' summaries and stored answers."""

import pytest

from trl_r1.commands.demo import folder_of
from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.evaluation.graded import GradedProblem, GradedSample
from trl_r1.pipeline import real_model
from trl_r1.pipeline.plan import read
from trl_r1.text.records import Completion, Problem


def evaluation(value, problems=200):
    return {"pass@1": value, "problems": problems, "samples": 1, "interval": {"pass@1": [value - 0.05, value + 0.05]}}


def stages():
    one = {"before": evaluation(0.1), "after": evaluation(0.9), "steps": 30, "seconds": 60.0, "training_seconds": 40.0}
    names = (*real_model.STAGES, "zero_gym", "distill", "student_rl")
    told = {name: dict(one) for name in names}
    told["cold_start"] = {**one, "before": evaluation(0.02), "after": evaluation(0.7)}
    told["reasoning_rl"] = {**one, "before": evaluation(0.7), "after": evaluation(0.96), "steps": 20}
    told["evaluate"] = {"parts": {"last": evaluation(0.93)}}
    return told


def stored(folder, run, texts):
    for when, replies in texts.items():
        problems = [
            GradedProblem(
                Problem(f"shown\n\nquestion {place}\n", f"question {place}", "a"),
                [GradedSample(Completion(reply), "a", True, 0.0)],
            )
            for place, reply in enumerate(replies)
        ]
        (folder / run).mkdir(exist_ok=True)
        Evaluation(problems).save(folder / run / f"evaluation_{when}.json")


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Entries and chapters of a pipeline whose task of reasoning-gym is judged elsewhere."""
    monkeypatch.setattr(real_model, "gym_task", lambda folder, steps: ("reasoning_gym:some", task_of(steps)))
    stored(tmp_path, "zero", {"before": ["nothing"] * 6, "after": ["<answer>a</answer>"] * 6})
    entries = real_model.entries(tmp_path, stages())
    return entries, "\n\n".join(real_model.chapters(tmp_path, entries))


def task_of(steps):
    return real_model.task(evaluation(0.1), evaluation(0.5), steps)


def test_every_task_is_told_from_the_untrained_model_on(told):
    tasks = told[0]["zero_tasks"]
    assert {name: (one["before"], one["after"], one["steps"]) for name, one in tasks.items()} == {
        "last": (0.1, 0.9, 30),
        "addition": (0.02, 0.96, 20),
        "reasoning_gym:some": (0.1, 0.5, 30),
    }
    assert tasks["addition"]["interval"] == pytest.approx([0.91, 1.01])


def test_the_report_has_five_answers_before_and_after_and_the_last_model(told):
    text = told[1]
    assert text.count("| nothing |") == 5
    assert "last model, last" in text
    assert "30 steps take the last of four words from 10.0% to 90.0%" in text


@pytest.mark.parametrize(("seconds", "fair"), [(40.0, True), (39.0, False)])
def test_the_student_is_told_beside_reinforcement_of_as_many_seconds(seconds, fair):
    teacher, taught = {"after": evaluation(0.8)}, {"after": evaluation(0.4), "training_seconds": 40.0}
    told = real_model.student(teacher, taught, {"after": evaluation(0.1), "training_seconds": seconds})
    assert "40.0% right after 40 seconds of imitation, 50.0% of its teacher's 80.0%" in told
    assert ("fewer seconds" not in told) is fair


def test_a_problem_scores_the_mean_of_its_samples_by_its_own_row():
    def reward(completions, reasoning_gym):
        return [
            None if text == "none" else float(text == row)
            for text, row in zip(completions, reasoning_gym, strict=True)
        ]

    assert real_model.scores_of([["a", "b"], ["b", "b"], ["none", "c"]], ["a", "b", "c", "d"], reward) == [
        0.5,
        1.0,
        0.5,
    ]


def test_the_pipeline_has_the_nine_stages_and_its_sft_starts_from_the_base():
    plan = read("smollm2/pipeline")
    assert plan.warnings == ()
    nine = {"zero", "cold_start", "reasoning_rl", "rejection_sampling", "sft", "reward_model", "all_scenario_rl"}
    assert {step.stage for step in plan.steps} == nine | {"distill", "evaluate"}
    assert plan["sft"].recipe["model_name_or_path"] == "smollm2:135m-instruct"


def test_each_model_and_scale_has_a_folder_of_its_own():
    named = [str(folder_of(*of)) for of in ((0, "demo"), (1, "tiny"), (0, "demo", "smollm2"), (2, "tiny", "smollm2"))]
    assert named == ["runs/demo", "runs/demo-tiny-seed1", "runs/smollm2", "runs/smollm2-tiny-seed2"]
