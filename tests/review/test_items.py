"""Items from every place they are stored in; refusals and topics by hand."""

import json

import pytest
from samples import graded

from trl_r1.evaluation.benchmark import Evaluation
from trl_r1.models.templates import find_template
from trl_r1.review.items import agreements, bare, read_items, refuses, topic_of


def evaluation(folder, texts, template="mini", question="Compute 2 + 2.", solution="4"):
    folder.mkdir(parents=True, exist_ok=True)
    prompt = f"User: {question} Assistant:"
    problem = graded(solution, texts, "en", prompt)
    (folder / "run.json").write_text(json.dumps({"stage": "sft", "settings": {"template": template}}))
    return Evaluation([problem], {"model": "m"}).save(folder / "evaluation_after.json")


def test_an_evaluation_s_samples_with_their_agreement(tmp_path):
    evaluation(tmp_path / "run", ["<answer>4</answer>", "<answer>5</answer>", "<answer>4.0</answer>", "<think>"])
    items = read_items(tmp_path / "run")
    assert [item.agreement for item in items] == [0.5, 0.25, 0.5, 0.0]
    assert [item.leading for item in items] == [True, False, False, False]
    assert [item.right for item in items] == [True, False, True, False]
    assert items[0].problem.question == "Compute 2 + 2."  # without the run's template
    assert all(item.held_out for item in items)
    assert [item.answer for item in items] == ["4", "5", "4.0", None]
    assert items[1].sample.origin.source == "run/evaluation_after/0/1"
    assert len(read_items(tmp_path)) == 4  # a pipeline's folder


def test_a_folder_of_the_stage_evaluate_holds_its_parts(tmp_path):
    run = evaluation(tmp_path, ["<answer>4</answer>"])
    run.rename(tmp_path / "gsm8k.json")
    (tmp_path / "summary.json").write_text("{}")
    evaluation(tmp_path, ["4", "5"]).rename(tmp_path / "mine-4shot.json")
    assert [item.sample.origin.source.split("/", 1)[1] for item in read_items(tmp_path)] == [
        "gsm8k/0/0",
        "mine-4shot/0/0",
        "mine-4shot/0/1",
    ]


def test_an_answers_file(tmp_path):
    row = {"question": "2 + 2 = ?", "prompt": "p", "completion": "4", "right": True, "paths": 4, "agreement": 0.75,
           "tokens": 9, "domain": "sums"}  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "paths": 1}) + "\n")
    first, second = read_items(tmp_path / "a.jsonl")
    assert (first.agreement, first.problem.domain, first.held_out) == (0.75, "sums", False)
    assert second.agreement is None  # of a single path nothing is known


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "bad.jsonl"])
def test_what_holds_no_answers_is_told(tmp_path, name):
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match="name a run|name one with|has no rows with"):
        read_items(tmp_path / name)


def test_refusals():
    for text in (
        "I'm sorry, I can't help with that.",
        "I cannot assist.",
        "很抱歉，我无法帮助你。",
        "<think>4</think>I won't.",
    ):
        assert refuses(text), text
    for text in ("<think>I can't see it yet.</think> It is 4.", "The sum is 4.", "x" * 500 + "I cannot"):
        assert not refuses(text), text


def test_topics_and_templates():
    asked = ("Write a python function", "Compute 2 + 2", "Is this contract valid law?", "Who is he?")
    assert [topic_of(question) for question in asked] == ["code", "mathematics", "law", "other"]
    assert bare("User: hi Assistant:", find_template("mini")) == "hi"
    assert bare("something else", find_template("mini")) == "something else"
    assert bare([{"role": "user", "content": "hi"}], find_template("chat")) == "hi"
    assert bare("p", None) == "p"


def test_agreement_is_by_meaning():
    assert agreements(["1/2", None, "0.5", "3"]) == ([0.5, 0.0, 0.5, 0.25], 0)
    assert agreements([None, None]) == ([0.0, 0.0], 0)
