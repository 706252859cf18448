"""benchmarks/distillation.py: the rows by difficulty, and the table."""

import json
import sys

import pytest
from places import ROOT


@pytest.fixture
def distillation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import distillation

    yield distillation
    sys.modules.pop("distillation")


@pytest.fixture
def demo(tmp_path):
    """Two questions: the first is solved by both samples, the second by one of two."""
    folder = tmp_path / "rejection_sampling"
    (folder / "judged").mkdir(parents=True)
    judged = [
        {"unit": 7},
        *({"place": place, "right": right} for place, right in ((0, True), (0, True), (1, True), (1, False))),
    ]
    (folder / "judged" / "00007.jsonl").write_text("".join(json.dumps(line) + "\n" for line in judged))
    kept = [
        {"id": f"{place}-{copy}", "domain": "reasoning", "provenance": {"unit": 7, "place": place}}
        for place in (0, 1)
        for copy in range(40)
    ]
    (folder / "kept.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    return tmp_path


def test_what_is_always_solved_counts_a_quarter(distillation, demo, tmp_path):
    path = distillation.by_difficulty(demo, tmp_path, 0)
    places = [json.loads(line)["provenance"]["place"] for line in path.read_text().splitlines()]
    assert places.count(1) == 40
    assert 2 <= places.count(0) <= 20


def test_a_line_of_the_table_has_all_seeds_of_a_run(distillation):
    row = {"arm": "distilled 20", "width": 20, "interval": [0.5, 0.7], "ratio": 0.179, "kept": 0.95}
    rows = [
        {**row, "seed": 1, "after": 0.625, "training_seconds": 40},
        {**row, "seed": 0, "after": 0.5, "training_seconds": 60},
    ]
    assert distillation.table(rows)[-1] == (
        "| distilled 20 | 0, 1 | 17.9% | 50.0% [50.0%, 70.0%], 62.5% [50.0%, 70.0%] | 0.95, 0.95 | 50 |"
    )
