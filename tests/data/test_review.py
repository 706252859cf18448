"""Human review: whatever a person does to the file, no row is lost, none is used twice, and contradictions are told."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trl_r1.data.review import Review as Decided
from trl_r1.data.review import ReviewQueue, read_queue, reviewed, sample_id, unquoted, written


def rows(count=4):
    made = []
    for number in range(count):
        text = f"<think>{number} and 1</think> <answer>{number + 1}</answer>"
        made.append(
            {
                "id": sample_id(f"Compute {number} + 1.", text), "prompt": f"Compute {number} + 1.", "completion": text,
                "question": f"Compute {number} + 1.", "solution": str(number + 1), "language": "en",
                "provenance": {"stage": "cold_start"},
            }
        )  # fmt: skip
    return made


def mark(path, marks):
    """Writes decisions and edits into a queue file as a person would: `marks` maps an id to the changed columns."""
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    else:
        lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    lines = [{**line, **marks.get(line["id"], {})} for line in lines]
    if path.suffix == ".csv":
        with open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(lines[0]))
            table.writeheader()
            table.writerows(lines)
    else:
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(params=["review.jsonl", "review.csv"])
def queue(request, tmp_path):
    return ReviewQueue(tmp_path / request.param, rows())


def test_a_round_trip_keeps_drops_and_edits(queue):
    first, second, third, fourth = queue.rows
    assert queue.export() == 4
    better = third["completion"].replace("and", "plus")
    mark(queue.path, {first["id"]: {"decision": "keep"}, second["id"]: {"decision": " Drop ", "note": "dull"},
                      third["id"]: {"completion": better}, fourth["id"]: {"decision": "keep"}})  # fmt: skip
    assert queue.consume() == 0
    kept = queue.result()
    assert [row["completion"] for row in kept] == [first["completion"], better, fourth["completion"]]
    assert kept[1]["id"] == sample_id(third["prompt"], better) != third["id"]
    assert kept[1]["provenance"] == {
        "stage": "cold_start",
        "review": {"decision": "keep", "edited_from": third["id"]},
    }
    assert not queue.path.exists()
    assert queue.path.with_name(f"review.done-1{queue.path.suffix}").is_file()


def test_what_is_not_decided_waits_and_comes_again_even_if_its_line_was_deleted(queue):
    first, second, third, fourth = queue.rows
    queue.export()
    mark(queue.path, {first["id"]: {"decision": "keep"}})
    if queue.path.suffix == ".jsonl":
        lines = queue.path.read_text().splitlines()
        queue.path.write_text("\n".join(lines[:2]) + "\n")  # the person deleted two lines
    assert queue.consume() == 3
    assert [line["id"] for _, line in read_queue(queue.path)] == [second["id"], third["id"], fourth["id"]]
    mark(queue.path, {row["id"]: {"decision": "drop"} for row in (second, third, fourth)})
    assert queue.consume() == 0
    assert [row["id"] for row in queue.result()] == [first["id"]]


def test_a_file_somebody_works_in_is_not_overwritten(queue):
    queue.export()
    queue.path.write_text("half a sentence")
    queue.export()
    assert queue.path.read_text() == "half a sentence"


def test_consuming_twice_changes_nothing(queue):
    queue.export()
    mark(queue.path, {row["id"]: {"decision": "keep"} for row in queue.rows})
    before = queue.path.read_bytes()
    queue.consume()
    kept = queue.result()
    queue.path.write_bytes(before)  # a kill between ledger and setting aside, or a person who puts the file back
    assert queue.consume() == 0
    assert queue.result() == kept


@pytest.mark.parametrize(
    ("marks", "sentence"),
    [
        ({"decision": "maybe"}, "decision 'maybe' is unknown; write keep or drop"),
        ({"decision": "drop", "completion": "other"}, "is marked drop and its text was edited"),
        ({"decision": "keep", "solution": "7"}, "its solution was changed"),
        ({"decision": "keep", "completion": "wrong"}, "the edited text is refused: the answer is wrong. Mend it"),
    ],
)
def test_contradictions_are_told_and_nothing_is_taken(marks, sentence, queue):
    queue = ReviewQueue(queue.path, queue.rows, lambda row, text: "the answer is wrong" if text == "wrong" else None)
    queue.export()
    good, bad = queue.rows[0]["id"], queue.rows[1]["id"]
    mark(queue.path, {good: {"decision": "keep"}, bad: marks})
    with pytest.raises(ValueError, match=sentence) as caught:
        queue.consume()
    assert bad in str(caught.value)
    assert queue.reviews() == {}
    assert queue.path.exists()


def test_two_lines_that_disagree(tmp_path):
    queue = ReviewQueue(tmp_path / "review.jsonl", rows())
    queue.export()
    mark(queue.path, {row["id"]: {"decision": "keep"} for row in queue.rows})
    again = json.loads(queue.path.read_text().splitlines()[0])
    with open(queue.path, "a") as file:
        file.write(json.dumps({**again, "decision": "drop"}) + "\n")
    with pytest.raises(ValueError, match="is drop here and keep in another line"):
        queue.consume()
    assert queue.reviews() == {}


def test_a_second_thought_after_the_import_is_a_conflict(queue):
    queue.export()
    text = queue.path.read_bytes()
    mark(queue.path, {row["id"]: {"decision": "keep"} for row in queue.rows})
    queue.consume()
    queue.path.write_bytes(text)
    mark(queue.path, {queue.rows[0]["id"]: {"decision": "drop"}})
    with pytest.raises(ValueError, match="is drop here and keep in an earlier review"):
        queue.consume()


def test_files_that_cannot_be_read(queue):
    queue.export()
    if queue.path.suffix == ".jsonl":
        with open(queue.path, "a") as file:
            file.write('{"id": "cut')
        sentence = "line 5 is not JSON"
    else:
        queue.path.write_text("decision,completion\r\nkeep,a\r\n")
        sentence = "has no columns id and decision"
    with pytest.raises(ValueError, match=sentence):
        queue.consume()
    queue.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read as UTF-8"):
        queue.consume()


def test_an_unknown_row(tmp_path):
    queue = ReviewQueue(tmp_path / "review.jsonl", rows())
    queue.export()
    queue.path.write_text(queue.path.read_text().replace(queue.rows[2]["id"], "0" * 16))
    with pytest.raises(ValueError, match="line 3: no row of this queue is called '0000000000000000'"):
        queue.consume()


def test_a_cell_that_a_spreadsheet_would_compute_is_disarmed_and_comes_back(tmp_path):
    nasty = {**rows(1)[0], "completion": '=HYPERLINK("http://x","y")', "question": "-1 + 2?"}
    queue = ReviewQueue(tmp_path / "review.csv", [nasty])
    queue.export()
    with open(queue.path, encoding="utf-8", newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    mark(queue.path, {nasty["id"]: {"decision": "keep"}})
    assert queue.consume() == 0
    assert queue.result()[0]["completion"] == nasty["completion"]
    assert "edited_from" not in queue.result()[0]["provenance"]["review"]


def test_a_spreadsheet_that_writes_semicolons_and_a_byte_order_mark(tmp_path):
    queue = ReviewQueue(tmp_path / "review.csv", rows(2))
    queue.export()
    lines = list(csv.DictReader(queue.path.read_text().splitlines()))
    with open(queue.path, "w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]), delimiter=";")
        table.writeheader()
        table.writerows({**line, "decision": "keep"} for line in lines)
    assert queue.consume() == 0
    assert len(queue.result()) == 2


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(TEXTS.filter(str.strip), min_size=1, max_size=6, unique_by=str.strip),
    sessions=st.lists(st.randoms(use_true_random=False), min_size=1, max_size=4),
    suffix=st.sampled_from([".jsonl", ".csv"]),
)
def test_whatever_is_marked_in_whatever_order_every_row_is_used_once(texts, sessions, suffix, tmp_path_factory):
    """Several sessions of random marks, edits and deleted lines: afterwards each row is decided once or still waits."""
    path = tmp_path_factory.mktemp("review") / f"review{suffix}"
    made = [{"id": sample_id("p", t), "prompt": "p", "completion": t, "question": "q", "solution": "1"} for t in texts]
    queue = ReviewQueue(path, made)
    queue.export()
    expected: dict[str, str | None] = {}  # id -> the text that must come out, None for a dropped row
    for chance in sessions:
        if not path.exists():
            break
        marks = {}
        for row in queue.waiting():
            act = chance.choice(["keep", "drop", "edit", "leave", "leave"])
            if act == "edit":
                new = f"edited {row['id']}"
                marks[row["id"]] = {"completion": new}
                expected[row["id"]] = new
            elif act != "leave":
                marks[row["id"]] = {"decision": act}
                expected[row["id"]] = row["completion"] if act == "keep" else None
        mark(path, marks)
        waiting = queue.consume()
        assert waiting == len(made) - len(expected) == len(queue.waiting())
    outcome = [row["completion"] for row in queue.result()]
    assert sorted(outcome) == sorted(text for text in expected.values() if text is not None)
    assert {row["id"] for row in queue.waiting()} == {row["id"] for row in made} - set(expected)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4), suffix=st.sampled_from([".jsonl", ".csv"]))
def test_what_nobody_edits_comes_back_as_no_edit(texts, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("review") / f"review{suffix}"
    made = [{"id": str(n), "prompt": "p", "completion": t, "question": t, "solution": t} for n, t in enumerate(texts)]
    path.write_bytes(written(made, Path(path)).encode())
    queue = ReviewQueue(path, made)
    assert queue._checked({}) == {}


def test_an_edit_that_makes_two_rows_equal_leaves_one(tmp_path):
    made = rows(2)
    made[1]["prompt"] = made[0]["prompt"]
    queue = ReviewQueue(tmp_path / "review.jsonl", made)
    queue.export()
    mark(queue.path, {made[0]["id"]: {"decision": "keep"}, made[1]["id"]: {"completion": made[0]["completion"]}})
    queue.consume()
    assert [row["completion"] for row in queue.result()] == [made[0]["completion"]]


def test_small_things():
    assert unquoted("'=1") == "=1"
    assert unquoted("=1") == "=1"
    row = rows(1)[0]
    assert reviewed(row, Decided(row["id"], "keep", note="fine"))["provenance"]["review"] == {
        "decision": "keep",
        "note": "fine",
    }
