"""Rows in, rows with levels out; the command tells mistakes in one sentence."""

import json

import pytest
from datasets import Dataset

from trl_r1 import cli
from trl_r1.evaluation.graded import GradedProblem, GradedSample
from trl_r1.evaluation.grading import Columns, grade_rows
from trl_r1.text.records import Completion, Problem


ROWS = [
    {"question": "1 + 1?", "solution": "2", "solved": 16, "of": 16, "chain": "1 + 1 = 2."},
    {"question": "2 + 2?", "solution": "4", "solved": 8, "of": 16, "chain": "2 + 2 = 4."},
    {"question": "3 + 3?", "solution": "6", "solved": 0, "of": 16, "chain": "3 + 3 = 6."},
]


def test_counts_become_levels_and_stay_beside_them():
    graded = grade_rows(Dataset.from_list(ROWS), Columns(right="solved", tried="of"))
    assert graded["trl_r1_level"] == [1, 4, 6]
    assert graded["trl_r1_right"] == [16, 8, 0]
    assert graded["question"] == [row["question"] for row in ROWS]
    assert "trl_r1_steps" not in graded.column_names
    again = grade_rows(graded, Columns(right="solved", tried="of"))
    assert again["trl_r1_level"] == [1, 4, 6]


def test_a_pass_rate_needs_to_know_of_how_many():
    rows = Dataset.from_list([{"rate": 0.5}, {"rate": 0.0}])
    assert grade_rows(rows, Columns(pass_rate="rate", samples=16))["trl_r1_level"] == [4, 6]
    with pytest.raises(ValueError, match="Row 0: A pass rate of 0.5 of None samples"):
        grade_rows(rows, Columns(pass_rate="rate"))


def test_steps_and_statements_and_domains_are_read():
    rows = Dataset.from_list(
        [
            {"level": "Level 5", "chain": "a. " * 20, "topic": "code"},
            {"level": "Level 1", "chain": "a.", "topic": None},
        ]
    )
    assert grade_rows(rows, Columns(reasoning="chain", domain="topic"))["trl_r1_level"] == [6, 1]
    with pytest.raises(ValueError, match="Row 0: domain='cooking'"):
        grade_rows(Dataset.from_list([{"steps": 3, "d": "cooking"}]), Columns(steps="steps", domain="d"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_the_command_writes_a_dataset(source, tmp_path, capsys, suffix):
    from trl_r1.data.columns import load_rows

    output = tmp_path / "out" / f"graded{suffix}"
    arguments = [
        "--right-column",
        "solved",
        "--tried-column",
        "of",
        "--reasoning-column",
        "chain",
        "--step-range",
        "0",
        "2",
    ]
    assert cli.main(["data", "grade", str(source), str(output), *arguments]) == 0
    assert load_rows(str(output))["trl_r1_steps"] == [1.0, 1.0, 1.0]
    assert "level 5:      1" in capsys.readouterr().out


def test_the_command_measures_with_a_model(tiny, source, tmp_path):
    from trl_r1.data.columns import load_rows

    output = tmp_path / "graded.jsonl"
    options = ["--model", tiny, "--samples", "4", "--max-tokens", "4", "--template", "mini"]
    assert cli.main(["data", "grade", str(source), str(output), *options]) == 0
    rows = load_rows(str(output))
    assert rows["trl_r1_tried"] == [4, 4, 4]
    assert set(rows["trl_r1_level"]) <= {4, 5, 6}  # a random model solves next to nothing


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{rows}", "out.csv"], "written as .jsonl or .parquet"),
        (["{rows}", "{rows}"], "would overwrite the source"),
        (["{rows}", "out.jsonl", "--right-column", "solve"], "Did you mean 'solved'?"),
        (["{rows}", "out.jsonl", "--right-column", "solved"], "belong together"),
        (["{rows}", "out.jsonl"], "Row 0: Nothing is known"),
        (["{rows}", "out.jsonl", "--samples", "0"], "--samples 0"),
        (["nowhere.jsonl", "out.jsonl"], "nowhere.jsonl"),
    ],
)
def test_the_command_tells_mistakes(source, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "grade", *(a.replace("{rows}", str(source)) for a in arguments)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_gold_that_cannot_be_read_says_nothing_about_the_problem():
    rows = Dataset.from_list([{"solution": "6"}, {"solution": "?"}])
    texts = ["<think>1. a. 2. b.</think> 6"] * 16
    read, unread = (
        GradedProblem(Problem("q?", "", "6"), [GradedSample(Completion(text), "6", False) for text in texts], judged)
        for judged in (True, False)
    )
    graded = grade_rows(rows, Columns(), [read, unread], step_range=(0, 20))
    assert graded["trl_r1_level"][0] == 5  # no sample solved it, in few steps
    assert graded["trl_r1_level"][1] < 4  # nobody could have; its steps are few
    assert graded["trl_r1_tried"] == [16, None]
