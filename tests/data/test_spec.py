import json
from dataclasses import dataclass

import pytest

from trl_r1.data.spec import DatasetSpec, spec_of


@dataclass
class Options:
    dataset_name: str = "x.jsonl"
    dataset_split: str | None = None
    solution_column: str | None = "gold"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "1+1", "gold": "2", "note": "n"}) + "\n")
    return str(path)


def test_an_option_class_says_its_dataset_and_the_rest_is_usual():
    assert spec_of(Options()) == DatasetSpec("x.jsonl", None, None, "question", "gold", None)


def test_without_a_split_test_is_taken_where_there_is_one(file, tmp_path):
    assert DatasetSpec(file, split=None).read()[0]["gold"] == "2"  # a single file is called train
    for name, gold in (("train", "3"), ("test", "4")):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / f"{name}.jsonl").write_text(json.dumps({"gold": gold}) + "\n")
    assert DatasetSpec(str(tmp_path / "folder"), split=None).read()["gold"] == ["4"]
    assert DatasetSpec(str(tmp_path / "folder")).read()["gold"] == ["3"]


def test_columns_are_asked_for_when_rows_are_loaded(file):
    assert DatasetSpec(file, solution_column="gold").load(note="note")["note"] == ["n"]
    assert DatasetSpec(file, solution_column=None).load()["question"] == ["1+1"]
    with pytest.raises(ValueError, match="Mine has no column 'solution', which was asked for as the solution"):
        DatasetSpec(file).load(what="Mine")
    with pytest.raises(ValueError, match="no column 'answer', which was asked for as the reply"):
        DatasetSpec(file, solution_column="gold").load(reply="answer")
