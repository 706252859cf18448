"""Traces: what is kept, which levels are aimed at, and what lies on the disk afterwards."""

import json
from collections import Counter

import pytest

from trl_r1 import cli
from trl_r1.data.trace_card import card
from trl_r1.data.traces import (
    FILE,
    LevelledProblem,
    TraceSet,
    kind_of,
    load,
    make,
    replayed,
    save,
    thinnest,
    why_nothing,
)
from trl_r1.mini.world import draw_problems, gold_chain, wrap
from trl_r1.text.records import Completion


pytest.importorskip("z3", reason="Z3 is not installed")


RIGHT, WRONG = {"verdict": "right", "counterexample": None}, {"verdict": "wrong", "counterexample": "{}"}


@pytest.mark.parametrize(
    ("answer", "steps", "kind"),
    [
        (True, [RIGHT, RIGHT], "right"),
        (False, [RIGHT, WRONG], "wrong"),
        (False, [RIGHT], "wrong answer, no wrong step"),
        (True, [RIGHT, WRONG], "right answer, wrong step"),
        (False, [{"verdict": "wrong", "counterexample": None}], "no counterexample"),
        (True, [], "no formal step"),
        (None, [RIGHT], "gold unreadable"),
    ],
)
def test_what_is_kept(answer, steps, kind):
    assert kind_of(answer, steps) == kind


def test_the_thinnest_level_that_has_problems_is_next():
    assert thinnest({}, {2: [1], 5: [1]}) == 2
    assert thinnest({2: 1}, {2: [1], 5: [1]}) == 5
    assert thinnest({2: 1}, {2: [1], 5: []}) == 2
    assert thinnest({}, {}) is None


def problems(count=60):
    """Graded by their number of terms: 3 -> 1, 4 -> 3, 5 -> 5, 6 -> 6."""
    levels = {3: 1, 4: 3, 5: 5, 6: 6}
    return [
        LevelledProblem(p.question, p.question, p.solution, p.language, level=levels[len(p.terms)], id=p.id)
        for p in draw_problems("train", count, 0)
    ]


class Writer:
    """An engine that knows the answers: gold first, then a slip at the end, then chatter, then one that is cut off."""

    def __init__(self):
        self.asked = []
        self.known = {p.question: p for p in draw_problems("train", 60, 0)}

    def draw(self, prompts, samples, seed, progress=None):
        self.asked.append(list(prompts))
        drawn = []
        for prompt in prompts:
            problem = self.known[prompt]
            chain, gold = gold_chain(problem), int(problem.solution)
            slipped = f"{chain.rpartition('=')[0]}={gold + 1}"
            texts = [wrap(chain, str(gold)), wrap(slipped, str(gold + 1)), "numbers are fun", wrap(chain, str(gold))]
            drawn.append([Completion(text, truncated=number == 3) for number, text in enumerate(texts[:samples])])
        return drawn


def test_batches_are_aimed_at_the_thinnest_levels():
    engine = Writer()
    made = make(problems(), engine, 24, "writer", samples=1, batch=8)
    assert made.levels() == {1: 6, 3: 6, 5: 6, 6: 6}
    assert all(row["kind"] == "right" for row in made.rows)
    assert len({row["question"] for row in made.rows}) == 24


def test_levels_that_are_thin_already_come_first():
    first = make(problems(), Writer(), 4, "writer", samples=1, batch=4)
    first.rows = [{**row, "level": 1} for row in first.rows]  # as if all so far were easy
    engine = Writer()
    made = make(problems(), engine, 16, "writer", samples=1, batch=4, traces=first)
    assert made.levels() == {1: 4, 3: 4, 5: 4, 6: 4}


def test_wrong_ones_are_kept_up_to_their_share_and_everything_is_counted():
    made = make(problems(), Writer(), 20, "writer", samples=4, batch=5, wrong_share=0.25)
    kinds = [row["kind"] for row in made.rows]
    assert len(kinds) == 20
    assert kinds.count("wrong") == 5
    assert made.funnel["drawn"] == made.funnel["cut off"] * 4
    assert made.funnel["no formal step"] == made.funnel["cut off"]  # the chatter
    assert made.funnel["kept right"] == 15
    for row in made.rows:
        bad = [step for step in row["steps"] if step["verdict"] == "wrong"]
        assert len(bad) == (row["kind"] == "wrong")
        for step in bad:
            gold = int(row["solution"])
            assert json.loads(step["counterexample"])["total"] == str(gold)


def test_when_the_problems_are_used_up_it_ends():
    made = make(problems(6), Writer(), 500, "writer", samples=1)
    assert len(made.rows) == 6


def test_what_is_saved_loads_with_datasets_and_replays(tmp_path):
    from datasets import load_dataset

    made = make(problems(), Writer(), 10, "writer|<b>", samples=2, batch=5)
    save(tmp_path, made, "A title")
    rows = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 10
    assert rows[0]["steps"][0]["verdict"] == "right"
    again = load(tmp_path)
    assert again.rows == made.rows
    assert again.funnel == made.funnel
    assert replayed(again.rows) == []
    text = (tmp_path / "README.md").read_text()
    assert "# A title" in text
    assert "writer b (10)" in text  # nothing that Markdown or HTML would act on
    assert "<b>" not in card(made.rows, made.funnel, "x")


def test_a_changed_verdict_is_found(tmp_path, capsys):
    made = make(problems(), Writer(), 4, "writer", samples=1)
    made.rows[1]["steps"][0]["verdict"] = "wrong"
    save(tmp_path, made)
    assert [place[:2] for place in replayed(made.rows)] == [(1, 0)]
    assert cli.main(["traces", "verify", str(tmp_path)]) == 1
    assert "1 differ" in capsys.readouterr().out


def test_existing_texts_are_annotated_from_the_command(tmp_path, capsys):
    rows = [
        {
            "question": "Half of 48, and 48?",
            "answer": "48/2 = <<48/2=24>>24.\n48+24 = <<48+24=72>>72\n#### 72",
            "trl_r1_level": 1,
        },
        {"question": "Half of 48, plus 48?", "answer": "48/2 = 24.\n48+24 = 73\n#### 72", "trl_r1_level": 2},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "out"
    options = ["--solution-column", "answer", "--text-column", "answer"]
    assert cli.main(["traces", "annotate", str(tmp_path / "rows.jsonl"), str(folder), *options, "--target", "1"]) == 0
    [row] = load(folder).rows
    assert row["kind"] == "right"
    assert [step["text"] for step in row["steps"]] == ["48/2 = 24", "48+24 = 72"]
    assert load(folder).funnel["right answer, wrong step"] == 1
    again = ["traces", "annotate", str(tmp_path / "rows.jsonl"), str(folder), *options, "--target", "5"]
    assert cli.main(again) == 1  # what is there is not taken twice
    assert len(load(folder).rows) == 1
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({**rows[0], "trl_r1_level": 7}) + "\n")
    capsys.readouterr()
    assert cli.main(["traces", "annotate", str(bad), str(folder), *options]) == 2
    assert "Row 0 has 7 in 'trl_r1_level'" in capsys.readouterr().err
    assert cli.main(["traces", "verify", str(folder)]) == 0
    assert "2 formal steps of 1 traces replayed, 0 differ." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["verify", "nowhere"], f"holds no {FILE}"),
        (["make", "mini:train-tiny", "out", "--model", "mini:base-tiny"], "Grade them first"),
        (["annotate", "nowhere.jsonl", "out", "--text-column", "a"], "nowhere.jsonl"),
    ],
)
def test_mistakes_are_told(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["traces", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_target_of_which_nothing_is_kept_says_why(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"question": "q", "solution": "4", "trl_r1_level": 1, "text": "It is four."}) + "\n")
    command = ["traces", "annotate", str(rows), str(tmp_path / "out"), "--text-column", "text", "--target", "3"]
    assert cli.main(command) == 1
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"No trace was kept, so {tmp_path / 'out'} holds none. What became of the texts: no formal step 1. To get some, "
        "show the model how to write its steps as equations, or choose problems that are solved by them."
    ]


def test_the_commonest_reason_is_advised_on():
    made = TraceSet([], Counter({"drawn": 9, "cut off": 5, "gold unreadable": 3}))
    assert why_nothing(made) == (
        "What became of the texts: cut off 5, gold unreadable 3. To get some, give longer texts (--max-tokens)."
    )
