"""The 66 cases of ../shared/cases/grading.jsonl: what each kind of answer is worth, by mathematics or by convention."""

import json

from places import shared_file

from trl_r1.answers.extract import extract
from trl_r1.rewards.accuracy import accuracy_reward


def test_every_case_gets_its_verdict():
    rows = [json.loads(line) for line in shared_file("cases/grading.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 66
    scores = accuracy_reward([row["completion"] for row in rows], solution=[row["gold"] for row in rows])
    wrong = [
        (row["kind"], row["gold"], row["completion"], score)
        for row, score in zip(rows, scores, strict=True)
        if "extract" not in row and score != row["expected"]
    ]
    assert wrong == []
    for row in (row for row in rows if "extract" in row):  # a reply that was cut off
        assert extract(row["completion"]) == row["extract"], row
        assert extract(row["completion"], truncated=row["truncated"]) == row["extract"], row
