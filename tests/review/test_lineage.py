"""`trl-r1 why`: runs written by hand, so that every line of a lineage can be checked against what was put there."""

import json

import pytest
from samples import graded

from trl_r1 import cli
from trl_r1.data.review import sample_id
from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.review.lineage import find, open_run, trace
from trl_r1.review.records import grams, nearest, overlap, tokens
from trl_r1.storage import manifest


RIGHT = "<think> a2 and b9 get 11 </think> <answer>11</answer>"
WRONG = "<think> a2 and b9 get 12 </think> <answer>12</answer>"
PROMPT = "User: Compute a2 b9. Assistant:"


def row(question, completion, index):
    prompt = f"User: {question} Assistant:"
    return {
        "id": sample_id(prompt, completion), "prompt": prompt, "completion": completion, "question": question,
        "solution": "11", "language": "en", "score": {"accuracy": 1.0},
        "provenance": {"stage": "rejection_sampling", "model": "p/zero", "model_hash": "77aabbccddeeff00", "seed": 5,
                       "index": index, "filters": ["right", "layout"]},
    }  # fmt: skip


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """zero (RL) -> rejection_sampling -> sft from the base, and one evaluation of it: two problems, two samples each."""
    monkeypatch.chdir(tmp_path)
    rewards = '[{"name": "accuracy"}, {"name": "format", "weight": 0.5}]'
    (tmp_path / "problems.jsonl").write_text(
        '{"question": "Compute a2 b9.", "solution": "11"}\n{"question": "Compute c1 d1 e1.", "solution": "3"}\n'
    )
    manifest.claim("p/zero", "zero", {
        "model_name_or_path": "hub/base", "dataset_name": "problems.jsonl", "rewards": rewards, "num_generations": 8,
        "learning_rate": 8e-4, "seed": 0,
    })  # fmt: skip
    (tmp_path / "p/zero/metrics.jsonl").write_text(
        '{"step": 1, "rewards/accuracy/mean": 0.25}\n{"step": 9, "rewards/accuracy/mean": 0.75}\n'
    )
    (tmp_path / "p/zero/checkpoint-9").mkdir()
    manifest.claim("p/rejection_sampling", "rejection_sampling", {"model_name_or_path": "p/zero", "seed": 5})
    rows = [row("Compute c1 d1 e1.", "<think> 3 </think> <answer>3</answer>", 0), row("Compute a2 b9.", RIGHT, 3)]
    (tmp_path / "p/rejection_sampling/kept.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    manifest.claim("p/sft", "sft", {
        "model_name_or_path": "hub/base", "dataset_name": "p/rejection_sampling/kept.jsonl", "learning_rate": 5e-5,
    })  # fmt: skip
    problems = [
        graded("9", ["9", "8"], "en", "User: Compute z9. Assistant:"),
        graded("11", [WRONG, RIGHT], "en", PROMPT, [9, 9]),
    ]
    for name in ("before", "after"):
        Evaluation(problems, {"model": "x"}).save(f"p/sft/evaluation_{name}.json")
    return tmp_path / "p"


def test_an_answer_is_followed_to_its_rows_checkpoint_and_rewards(pipeline):
    runs = open_run(pipeline)
    answer_trace = trace(runs, find(runs, "sft/evaluation_after/1/1"))
    assert answer_trace["answer"]["id"] == sample_id(PROMPT, RIGHT)
    assert answer_trace["answer"]["verdict"]["right"] is True
    assert [step["run"] for step in answer_trace["chain"]] == ["sft", "rejection_sampling", "zero"]
    sft, sampling, zero = answer_trace["chain"]
    assert {"option": "dataset_name", "value": "p/rejection_sampling/kept.jsonl", "run": "rejection_sampling"} in sft[
        "made_from"
    ]
    first, second = sampling["data"][0]["nearest"]
    assert first["near"] == {"same_prompt": True, "prompt": 1.0, "completion": 1.0}
    assert first["provenance"]["index"] == 3
    assert second["near"]["same_prompt"] is False
    assert zero["checkpoints"] == [9]
    accuracy, layout = zero["rewards"]
    assert accuracy == {
        "name": "accuracy", "weight": 1.0, "options": {}, "score": 1.0, "mean_at_start": 0.25, "mean_at_end": 0.75,
    }  # fmt: skip
    assert (layout["weight"], layout["score"]) == (0.5, 1.0)
    assert zero["data"][0]["nearest"][0]["question"] == "Compute a2 b9."
    wrong = trace(runs, find(runs, "sft/evaluation_after/1/0"))
    assert wrong["chain"][2]["rewards"][0]["score"] == 0.0


def test_a_row_is_found_by_a_shortened_id_and_starts_at_the_stage_that_kept_it(pipeline):
    runs = open_run(pipeline)
    name = sample_id("User: Compute c1 d1 e1. Assistant:", "<think> 3 </think> <answer>3</answer>")
    answer = find(runs, name[:8])
    assert answer.place == "rejection_sampling/kept.jsonl/0"
    answer_trace = trace(runs, answer)
    assert [step["run"] for step in answer_trace["chain"]] == ["rejection_sampling", "zero"]
    assert answer_trace["answer"]["provenance"]["model_hash"] == "77aabbccddeeff00"


def test_an_answer_before_training_is_the_incoming_models(pipeline):
    runs = open_run(pipeline)
    answer_trace = trace(runs, find(runs, "sft/evaluation_before/1/1"))
    assert answer_trace["chain"] == []
    assert answer_trace["origin"] == "model_name_or_path=hub/base: a model no run here has made"


def test_one_run_stands_alone_and_a_moved_pipeline_is_still_followed(pipeline, monkeypatch, tmp_path):
    pipeline.rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    runs = open_run(tmp_path / "moved" / "sft")
    assert [run.name for run in runs] == ["sft"]
    answer_trace = trace(runs, find(runs, "evaluation_after/1/1"))
    assert [step["run"] for step in answer_trace["chain"]] == ["sft", "rejection_sampling", "zero"]


def test_the_command_for_a_person_and_for_a_program(pipeline, capsys):
    assert cli.main(["why", "p", sample_id(PROMPT, WRONG)]) == 0
    said = capsys.readouterr().out
    assert "Answer " + sample_id(PROMPT, WRONG) in said
    assert "verdict   right False, answer 12" in said
    assert "same problem, text" in said
    said = " ".join(said.split())
    assert (
        "drawn by rejection_sampling from p/zero; weights 77aabbccddee; seed 5; index 3; passed right, layout" in said
    )
    assert "accuracy x 1; gives this answer 0; mean in training 0.25 at first, 0.75 at last" in said
    assert cli.main(["why", "p", "sft/evaluation_after/1/1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chain"][0]["run"] == "sft"
    assert cli.main(["why", "p"]) == 0
    assert "sft/evaluation_after: 4 answers, the first is sft/evaluation_after/0/0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "There is no file and no recipe 'nowhere'"),
        (["."], "neither a run nor a pipeline's folder"),
        (["p", "sft/evaluation_after/9/9"], "There is no answer 'sft/evaluation_after/9/9'"),
        (["p", "ffffffff"], "such as "),
    ],
)
def test_mistakes(pipeline, capsys, arguments, sentence):
    assert cli.main(["why", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_likeness_by_hand():
    assert tokens("Compute a2, 计算 b9!") == ["compute", "a", "2", ",", "计", "算", "b", "9", "!"]
    assert grams("a b c") == {("a",), ("b",), ("c",), ("a", "b"), ("b", "c"), ("a", "b", "c")}
    # {a, b, ab} and {b, c, bc}: one of five runs is shared
    assert overlap(grams("a b"), grams("b c")) == 1 / 5
    assert overlap(set(), grams("a")) == 0.0


def test_the_same_prompt_comes_first_even_with_another_text(pipeline):
    answer = find(open_run(pipeline), "sft/evaluation_after/1/1")
    other = {"prompt": PROMPT, "completion": "no idea"}
    alike = {"prompt": "User: Compute a2 b8. Assistant:", "completion": RIGHT}
    assert [row["completion"] for row in nearest(answer, [alike, other], 2)] == ["no idea", RIGHT]
