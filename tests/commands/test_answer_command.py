"""`trl-r1 answer` from end to end on the smallest model, and each mistake in one sentence."""

import json

import pytest

from trl_r1.commands import call


@pytest.fixture(scope="module")
def folder(mini, tmp_path_factory):
    path = tmp_path_factory.mktemp("answer")
    model, tokenizer = mini
    model.save_pretrained(path / "model")
    tokenizer.save_pretrained(path / "model")
    return path


def options(folder, *more):
    return ["--model", str(folder / "model"), "--cpu", "--template", "mini", "--max-new-tokens", "12", "--most-paths", "3",
            "--temperature", "1.0", *more]  # fmt: skip


def test_a_question_is_answered_and_told(folder, capsys):
    assert call("answer", options(folder, "Compute ①2 ②9 ③4.", "--json", "--route", "complex")) == 0
    out = capsys.readouterr()
    printed = json.loads(out.out)
    assert (printed["route"], len(printed["texts"])) == ("complex", printed["paths"])
    assert printed["text"] == printed["texts"][printed["chosen"]]
    assert out.err.startswith("complex: as asked; ")


def test_calibrating_and_answering_many(folder, capsys):
    save, out = folder / "router.json", folder / "answers.jsonl"
    assert call("answer", options(folder, "--calibrate", "mini:dev-tiny", "--problems", "6", "--save", str(save))) == 0
    assert json.loads(save.read_text())["facts"]["problems"] == 6
    many = ["--questions", "mini:test-tiny", "--problems", "5", "--output", str(out), "--router", str(save)]
    assert call("answer", options(folder, *many)) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 5
    assert all(row["right"] in (True, False) and row["language"] in ("en", "zh") and row["tokens"] > 0 for row in rows)
    assert "5 answers in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "printed"),
    [
        ([], "Give a question, or --questions DATA, or --calibrate DATA"),
        (["--questions", "mini:test-tiny"], "--questions needs --output FILE"),
        (["q", "--simple-below", "3"], "simple_below=3.0"),
        (["q", "--choose", "verifier"], "--choose verifier needs --verifier REWARD"),
        (["q", "--answer-from", "nowhere"], "--answer-from names ['nowhere']"),
        (["q", "--router", "missing.json"], "'missing.json' is no router file"),
        (["q", "--temperature", "-1"], "temperature=-1.0 is negative"),
    ],
)
def test_a_mistake_is_one_sentence(folder, capsys, more, printed):
    assert call("answer", options(folder, *more)) == 2
    assert printed in capsys.readouterr().err
