"""TRL's own evaluation is refused where a stage has nothing for it."""

import pytest
from datasets import Dataset
from transformers import TrainingArguments

from trl_r1.runs.heldout import check_evaluation, held_out_split


ROWS = Dataset.from_list([{"prompt": "1+1"}])


def arguments(folder, **options):
    return TrainingArguments(str(folder), use_cpu=True, report_to="none", **options)


def test_it_is_refused_without_rows_and_where_a_stage_has_none(tmp_path):
    asked = arguments(tmp_path, eval_strategy="epoch")
    check_evaluation(asked, ROWS)
    check_evaluation(arguments(tmp_path), None, "no rows")
    with pytest.raises(ValueError, match="eval_strategy='epoch' needs held-out prompts; set evaluation_dataset_name"):
        check_evaluation(asked)
    with pytest.raises(ValueError, match="eval_strategy='epoch' does not work here: prompts are no rows. Drop it."):
        check_evaluation(asked, ROWS, "prompts are no rows")


def test_a_held_out_file_is_read_whatever_it_is_called(tmp_path):
    held_out = tmp_path / "problems.jsonl"
    held_out.write_text("{}")
    assert held_out_split(str(held_out), "test", "mini:train") == "train"
    assert held_out_split(str(held_out), "validation", "mini:train") == "validation"  # asked for


def test_the_file_that_is_trained_on_is_not_held_out(tmp_path):
    file = tmp_path / "problems.jsonl"
    file.write_text("{}")
    assert held_out_split(str(file), "test", str(tmp_path / "." / "problems.jsonl")) == "test"


def test_folders_and_hub_datasets_keep_their_splits(tmp_path):
    assert held_out_split(str(tmp_path), "test", "mini:train") == "test"
    assert held_out_split("openai/gsm8k", "test", "mini:train") == "test"
