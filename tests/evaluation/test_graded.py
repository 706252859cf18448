"""An evaluation as earlier versions wrote it: read, judged again and written back, it is the same to the byte."""

import copy
import json
import math

import pytest

from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.evaluation.graded import GradedProblem, GradedSample
from trl_r1.text.records import Completion, Problem


ROWS = [
    {
        "prompt": "2 + 2?",
        "solution": "4",
        "language": "en",
        "texts": ["<answer>4</answer>", "so 5"],
        "lengths": [4, 2],
        "clipped": [False, True],
        "answers": ["4", None],
        "verdicts": [True, False],
        "well_formed": [0.0, 0.0],
        "consistency": [None, 1.0],
        "answer_type": "",
        "judged": True,
        "consensus": 1.0,
    },
    {
        "prompt": [{"role": "user", "content": "首都?"}],
        "solution": "",
        "language": None,
        "texts": ["x", "y"],
        "lengths": [1, 1],
        "clipped": [False, False],
        "answers": ["x", "y"],
        "verdicts": [False, False],
        "well_formed": [0.0, 0.0],
        "consistency": [None, None],
        "answer_type": "fact",
        "judged": False,
        "consensus": None,
    },
]
CONTENT = {  # as commit 0259687 saved it
    "kind": "trl_r1.evaluation",
    "version": 1,
    "summary": {
        "pass@1": 0.5,
        "cons@2": 1.0,
        "pass@2": 1.0,
        "format": 0.0,
        "language": 1.0,
        "length": 2.0,
        "clipped": 0.25,
        "interval": {
            "pass@1": [0.5, 0.5],
            "cons@2": [1.0, 1.0],
            "pass@2": [1.0, 1.0],
            "format": [0.0, 0.0],
            "language": [1.0, 1.0],
            "length": [1.0, 3.0],
            "clipped": [0.0, 0.5],
        },
        "level": 0.95,
        "problems": 2,
        "unjudged": 1,
        "samples": 2,
        "settings": {"model": "m", "answer_from": ["boxed", "answer", "hashes", "sentence"]},
    },
    "problems": ROWS,
}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(CONTENT, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def test_loaded_and_saved_it_is_the_same_file(stored, tmp_path):
    again = Evaluation.load(stored).save(tmp_path / "new.json")
    assert again.read_bytes() == stored.read_bytes()


def test_judged_again_it_is_the_same_file(stored, tmp_path):
    assert Evaluation.load(stored).regrade().save(tmp_path / "new.json").read_bytes() == stored.read_bytes()


def test_a_row_becomes_a_problem_with_its_samples():
    first, second = map(GradedProblem.of_row, ROWS)
    assert first.problem == Problem("2 + 2?", "", "4", "en")
    assert first.samples == [
        GradedSample(Completion("<answer>4</answer>", 4), "4", True, 0.0),
        GradedSample(Completion("so 5", 2, truncated=True), None, False, 0.0, 1.0),
    ]
    assert (second.problem.answer_type, second.judged) == ("fact", False)
    assert math.isnan(second.consensus)


def test_a_file_from_before_the_answer_types_is_read():
    assert GradedProblem.of_row({k: v for k, v in ROWS[0].items() if k != "answer_type"}).to_row() == ROWS[0]


def test_texts_that_nobody_has_graded_keep_empty_lists():
    row = ROWS[0] | dict.fromkeys(("answers", "verdicts", "well_formed", "consistency"), [])
    assert GradedProblem.of_row(row).to_row() == row


@pytest.mark.parametrize("change", [{"lengths": [4]}, {"verdicts": [True]}, {"texts": None}])
def test_lists_of_unequal_length_are_a_damaged_file(stored, change):
    content = copy.deepcopy(CONTENT)
    content["problems"][0] |= change
    stored.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="damaged one"):
        Evaluation.load(stored)
