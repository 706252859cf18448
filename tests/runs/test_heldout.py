"""TRL's own evaluation is refused where a stage has nothing for it."""

import pytest
from datasets import Dataset
from transformers import TrainingArguments

from trl_r1.runs.heldout import check_evaluation


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
