"""The queue: what is chosen and why; decisions back in, each once; hostile text in the page."""

import json
import re

import pytest
import samples

from trl_r1.commands import call
from trl_r1.review.page import page
from trl_r1.review.queue import RESULT, Desk, Rules, choose, reasons


def item(number=0, text="<think>so</think> <answer>4</answer>", **changes):
    question = changes.pop("question", f"Compute {number} + 4.")
    known = {"right": True, "tokens": 10, "agreement": 1.0, "scores": {"accuracy": 1.0, "format": 1.0}} | changes
    return samples.item(question, f"User: {question} Assistant:", text, str(number + 4), "en", "mathematics", **known)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"agreement": 0.4}, ["low agreement"]),
        ({"agreement": 0.4, "leading": False}, []),
        ({"agreement": 0.9, "right": False, "scores": {}}, ["sure and wrong"]),
        ({"scores": {"accuracy": 1.0, "semantic": 0.1, "format": 0.0}}, ["rewards disagree"]),
        ({"scores": {"accuracy": 1.0, "symbolic": 0.5}}, []),
        ({"right": False, "agreement": 0.6, "scores": {"accuracy": 0.0, "format": 1.0, "language": 1.0}}, []),
        ({"text": "I'm sorry, I can't help."}, ["refused"]),
        ({"text": "<think>"}, ["empty"]),
        ({"truncated": True}, ["cut off"]),
    ],
)
def test_each_reason_has_its_cause(changes, expected):
    assert [name for name, _ in reasons(item(**changes), Rules())] == expected


def test_rewards_that_disagree_are_about_one_thing():
    found = reasons(item(scores={"language": 1.0, "accuracy": 0.0, "layered": 0.8}), Rules())
    assert found == (("rewards disagree", "on the solution layered gives 0.80, accuracy gives 0.00"),)


def test_a_card_shows_the_verdict_and_the_answer(tmp_path):
    looks = choose([item(right=False, answer="5", agreement=0.4), item(1, right=None, agreement=0.4)], Rules())
    Desk.make(tmp_path, looks)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    rows = json.loads(re.search(r'id="rows">(.*?)</script>', text, re.S)[1])["rows"]
    assert [(row["verdict"], row["answer"]) for row in rows] == [("wrong", "5"), ("", "")]
    assert '[row.verdict, row.answer && "answer: " + row.answer, ' in text


def test_the_heaviest_come_first_one_per_problem_and_no_text_twice():
    sure = item(1, agreement=0.9, right=False, scores={})
    doubtful = item(2, agreement=0.3)
    same_problem = item(2, text="<answer>7</answer>", agreement=0.3)
    chosen = choose([doubtful, doubtful, same_problem, sure, item(3)], Rules())
    assert [look.item.problem.question for look in chosen] == [sure.problem.question, doubtful.problem.question]
    assert len(choose([doubtful, same_problem], Rules(per_problem=2))) == 2
    assert len(choose([item(n, agreement=0.1) for n in range(9)], Rules(most=4))) == 4


@pytest.fixture
def desk(tmp_path):
    return Desk.make(
        tmp_path / "review", choose([item(n, f"<answer>{n + 4}</answer>", agreement=0.1) for n in range(3)], Rules())
    )


def fill(desk, **decisions):
    """Marks by row number; an edited completion after a colon."""
    path = desk.folder / "review.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        number = next(n for n, known in enumerate(desk.rows) if known["id"] == row["id"])
        mark, _, text = decisions.get(f"row{number}", "").partition(":")
        row["decision"], row["completion"] = mark, text or row["completion"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def kept(desk):
    return [json.loads(line) for line in (desk.folder / RESULT).read_text().splitlines()]


def test_decisions_come_back_once_and_what_waits_stays(desk):
    fill(desk, row0="keep", row1="drop")
    assert desk.take() == (1, 1)
    assert desk.take() == (1, 1)  # nothing new
    fill(desk, row2="keep:<think>better</think> <answer>6</answer>")
    assert Desk.open(desk.folder).take() == (2, 0)
    rows = kept(desk)
    assert [row["completion"] for row in rows] == ["<answer>4</answer>", "<think>better</think> <answer>6</answer>"]
    assert rows[1]["provenance"]["review"]["edited_from"] == desk.rows[2]["id"]
    assert "0 of 3 answers wait" in (desk.folder / "index.html").read_text()


def test_an_edit_that_spoils_the_answer_is_refused(desk):
    fill(desk, row0="keep:<answer>99</answer>")
    with pytest.raises(ValueError, match="its final answer is not the gold answer '4'"):
        desk.take()
    assert not (desk.folder / RESULT).exists()


def test_the_page_s_file_is_taken_and_the_person_s_copy_stays(desk, tmp_path):
    fill(desk, row0="keep")
    (desk.folder / "review.jsonl").rename(tmp_path / "download.jsonl")
    assert desk.take(tmp_path / "download.jsonl") == (1, 2)
    assert (tmp_path / "download.jsonl").is_file()
    assert desk.take(tmp_path / "download.jsonl") == (1, 2)  # twice is once
    (tmp_path / "other.jsonl").write_text('{"id": "0000", "decision": "keep"}\n')
    with pytest.raises(ValueError, match="no row of this queue is called '0000'"):
        desk.take(tmp_path / "other.jsonl")
    assert kept(desk)
    with pytest.raises(ValueError, match=r"is no .jsonl or .csv file"):
        desk.take(tmp_path / "none.jsonl")


def test_held_out_answers_stay_out_of_training(tmp_path):
    made = Desk.make(tmp_path, choose([item(agreement=0.1, held_out=True)], Rules()))
    fill(made, row0="keep")
    assert made.take() == (0, 0)
    assert made.take(held_out=True) == (1, 0)


def test_another_queue_in_the_folder_is_left_alone(desk):
    with pytest.raises(ValueError, match="holds another queue of 3 answers"):
        Desk.make(desk.folder, choose([item(9, agreement=0.1)], Rules()))
    with pytest.raises(ValueError, match="No answer is worth a look"):
        Desk.make(desk.folder, [])
    with pytest.raises(ValueError, match=r"holds no queue.jsonl"):
        Desk.open(desk.folder / "nowhere")


def test_hostile_text_stays_text_in_the_page(tmp_path):
    evil = "</script><script>alert(1)</script><!-- \u2028 \ud83d"
    looks = choose([item(text=evil, question=evil, agreement=0.1)], Rules())
    Desk.make(tmp_path, looks)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert text.count("</script>") == 2
    rows = json.loads(re.search(r'id="rows">(.*?)</script>', text, re.S)[1])["rows"]
    assert rows[0]["completion"] == evil.replace("\ud83d", "\\ud83d")  # as files hold it
    assert "://" not in text
    assert "innerHTML" not in text
    assert "default-src 'none'" in page([], 0)


def test_the_command_and_the_next_cold_start(tmp_path, tiny, capsys):
    from trl_r1.stages import cold_start

    problems = [{"question": f"Compute {n} + 1.", "solution": str(n + 1), "language": "en"} for n in range(4)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    chain = "<think>I count one on from the number.</think> <answer>{}</answer>"
    answers = [{**row, "prompt": f"User: {row['question']} Assistant:", "completion": chain.format(row["solution"]),
                "right": True, "paths": 4, "agreement": 0.25} for row in problems]  # fmt: skip
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    folder = tmp_path / "review"
    assert call("review", ["make", str(tmp_path / "answers.jsonl"), "--output", str(folder)]) == 0
    desk = Desk.open(folder)
    edited = "<think>One more than the number is what I want.</think> <answer>2</answer>"
    fill(desk, row0="keep", row1=f"keep:{edited}", row2="drop")
    assert call("review", ["take", str(folder)]) == 0
    assert "2 rows in" in capsys.readouterr().err

    rows = {"name": "rows", "dataset_name": str(folder / RESULT), "language_column": "language"}
    recipe = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": str(tmp_path / "problems.jsonl"),
        "language_column": "language", "template": "mini", "layout": "answer", "repeated_share": 1.0,
        "sources": [{**rows, "label": "reviewed"}, {**rows, "label": "again"}],  # the same file twice
        "rows_per_problem": 2, "output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "only_data": True,
        "report_to": "none", "max_length": 256, "gradient_checkpointing": False,
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    cold_start.main(["--config", str(tmp_path / "recipe.yaml")])
    made = [json.loads(line)["completion"] for line in (tmp_path / "out" / "data.jsonl").read_text().splitlines()]
    assert sorted(made) == sorted([chain.format(1), edited])  # each exactly once; the dropped and the waiting one not
