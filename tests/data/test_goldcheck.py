"""Gold doctor: which golds are usable, as what, and what a repaired one looks like; the command around it."""

import json

import datasets
import pytest
from places import shared_file

from trl_r1.answers.forms import TYPES, answer_type, equal_form, wrong_form
from trl_r1.commands import call
from trl_r1.data import goldcheck
from trl_r1.data.goldcheck import check_golds, coverage, find_column, repair
from trl_r1.rewards.accuracy import verify


# gold cell, type, another way to write it, one that is wrong, repaired
GOLDS = [
    ("72", "integer", r"\frac{144}{2}", "73", "72"),
    ("48/2 = 24\n#### 1,072", "integer", r"\frac{2144}{2}", "1073", "1072"),
    ("72 apples", "integer", r"\frac{144}{2}", "73", "72 apples"),
    ("-3", "integer", r"\frac{-6}{2}", "-2", "-3"),
    (r"\frac{3}{4}", "fraction", r"\frac{6}{8}", "7/4", r"$\frac{3}{4}$"),
    ("30/42", "fraction", r"\frac{10}{14}", "12/7", "$30/42$"),
    ("0.5", "decimal", r"\frac{2}{4}", "1.5", "0.5"),
    ("12%", "percent", "0.12", "13.0%", r"$12\%$"),
    ("12 percent", "percent", "0.12", "13.0%", r"$12\%$"),
    ("B", "choice", "(B)", "C", "B"),
    ("yes", "yes_no", "Yes.", "No", "yes"),
    ("12:30", "clock", "12 : 30", "02:30", "12:30"),
    ("1101_2", "clock", "1101_{2}", "0101_2", "1101_2"),
    (r"(2,\infty)", "interval", r"\left(\frac{4}{2}, \infty\right)", r"(3, \infty)", r"$(2,\infty)$"),
    ("[0,1)", "interval", r"\left[\frac{0}{2}, \frac{2}{2}\right)", "[0, 2)", "$[0,1)$"),
    ("(1, 2)", "list", r"\left(\frac{2}{2}, \frac{4}{2}\right)", "(1, 3)", "$(1, 2)$"),
    (r"\{1,2\}", "list", r"\left\{\frac{4}{2}, \frac{2}{2}\right\}", r"\{1, 3\}", r"$\{1,2\}$"),
    ("2 and 3", "list", r"\frac{6}{2}, \frac{4}{2}", "2, 4", "$2, 3$"),
    ("2^{10}", "expression", r"\frac{2(2^{10})}{2}", "2^{10}+1", "$2^{10}$"),
    ("x^2+1", "expression", r"\frac{2(x^2+1)}{2}", "x^2+1+1", "$x^2+1$"),
    (r"\sqrt{2}", "expression", r"\frac{2(\sqrt{2})}{2}", r"\sqrt{2}+1", r"$\sqrt{2}$"),
    ("y = 2x", "expression", r"y = \frac{2(2x)}{2}", "y = 2x+1", "$y = 2x$"),
    ("x > 2", "expression", "2 < x", "123456789", "$x > 2$"),
    (r"-\infty", "expression", None, "123456789", r"$-\infty$"),
    ("Evelyn", "text", r"\text{EVELYN}", "neither of these", "Evelyn"),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def test_every_gold_is_read_as_its_type_and_usable():
    checks = check_golds([gold for gold, *_ in GOLDS])
    assert [check.why for check in checks] == [""] * len(GOLDS)
    assert [check.type for check in checks] == [kind for _, kind, *_ in GOLDS]
    assert [check.second_form for check in checks] == [again for _, _, again, _, _ in GOLDS]
    assert [wrong_form(check.answer) for check in checks] == [wrong for _, _, _, wrong, _ in GOLDS]
    assert {check.type for check in checks} == set(TYPES) - {"number", "sequence", "fact"}  # which are only declared


def test_repaired_golds_look_as_they_should_and_are_still_equal():
    for check, (gold, *_, repaired) in zip(check_golds([gold for gold, *_ in GOLDS]), GOLDS, strict=True):
        assert check.repaired == repaired
        assert verify(check.repaired, gold) is True


def test_a_repair_that_changes_the_answer_is_not_made(monkeypatch):
    monkeypatch.setattr(goldcheck, "repair", lambda answer: "5")
    assert [check.repaired for check in check_golds(["4", "5 "])] == ["4", "5"]


@pytest.mark.parametrize(
    ("gold", "why"),
    [
        (None, "is empty"),
        ("", "is empty"),
        (float("nan"), "declares no answer"),
        ("  \n", "is empty"),
        ("####", "declares no answer"),
        ("$$", "cannot be parsed"),
        ("x +", "cannot be parsed"),
        (r"\frac{1}{", "cannot be parsed"),
    ],
)
def test_unusable_golds_say_why(gold, why):
    check = check_golds([gold])[0]
    assert (check.usable, check.why, check.repaired) == (False, why, None)


def test_golds_of_other_types_than_text():
    checks = check_golds([72, 0.5, True, False])
    assert [(check.answer, check.type) for check in checks] == [
        ("72", "integer"), ("0.5", "decimal"), ("True", "yes_no"), ("False", "yes_no"),
    ]  # fmt: skip
    assert all(check.usable for check in checks)


def test_progress_counts_rows_and_batches_keep_their_numbers(monkeypatch):
    monkeypatch.setattr(goldcheck, "BATCH", 2)
    done = []
    checks = check_golds(["1", "", "3", "4", ""], progress=done.append)
    assert done == [2, 4, 5]
    assert [check.row for check in checks] == [0, 1, 2, 3, 4]
    assert [check.row for check in checks if not check.usable] == [1, 4]


def test_the_table_counts_by_type():
    lines = coverage(check_golds(["1", "2", "", "12%"]))
    assert [line.split()[:3] for line in lines[1:]] == [
        ["integer", "2", "2"], ["percent", "1", "1"], ["none", "1", "0"], ["all", "4", "3"],
    ]  # fmt: skip


def test_an_equal_form_is_written_differently_and_a_wrong_form_is_wrong():
    for gold, *_ in GOLDS:
        again = equal_form(gold)
        assert again != gold
        assert verify(wrong_form(gold), gold) is False
    assert answer_type("1 1/2") == "fraction"
    assert repair(r"\$5") == r"\$5"


def test_the_column_is_found_or_the_choice_explained():
    assert find_column(["id", "answer"], None, goldcheck.GOLD_COLUMNS, "gold answer") == "answer"
    with pytest.raises(ValueError, match="no column 'anser' for the gold answer. Did you mean 'answer'"):
        find_column(["id", "answer"], "anser", goldcheck.GOLD_COLUMNS, "gold answer")
    with pytest.raises(ValueError, match="No column looks like the gold answer; name it. The columns are: id"):
        find_column(["id"], None, goldcheck.GOLD_COLUMNS, "gold answer")


@pytest.mark.parametrize(("name", "column"), [("gsm8k_train", "answer"), ("gsm8k_test", "answer"), ("cmath", "answer"),
                                              ("aime24", "answer"), ("aime24", "solution")])  # fmt: skip
def test_every_row_of_the_shared_data_is_usable(name, column):
    golds = [json.loads(line)[column] for line in shared_file(f"data/{name}.jsonl").read_text().splitlines()]
    assert [(c.row, c.answer, c.why) for c in check_golds(golds) if not c.usable] == []


# ---------------------------------------------------------------- the command


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"question": "a", "answer": "#### 1,072"}, {"question": "b", "answer": "x +"},
            {"question": "c", "answer": r"\frac{1}{2}"}, {"question": "d", "answer": "12 %"}]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_command_writes_table_quarantine_and_repaired_copy(source, tmp_path, capsys):
    before = source.read_bytes()
    bad, good = tmp_path / "bad.jsonl", tmp_path / "new" / "good.jsonl"
    assert call("data", ["check", str(source), "--quarantine", str(bad), "--repaired", str(good)]) == 1
    printed = capsys.readouterr().out
    assert "column 'answer': 4 rows" in printed
    assert "row 1: 'x +' cannot be parsed" in printed
    assert lines_of(bad) == [{"question": "b", "answer": "x +", "trl_r1_row": 1, "trl_r1_problem": "cannot be parsed"}]
    assert [row["answer"] for row in lines_of(good)] == ["1072", r"$\frac{1}{2}$", r"$12\%$"]
    assert [row["question"] for row in lines_of(good)] == ["a", "c", "d"]
    assert source.read_bytes() == before


def test_the_repaired_copy_passes(source, tmp_path):
    good = tmp_path / "good.jsonl"
    call("data", ["check", str(source), "--repaired", str(good)])
    assert call("data", ["check", str(good)]) == 0


def test_allowed_rows_do_not_fail(source):
    assert call("data", ["check", str(source), "--allow", "1"]) == 0
    assert call("data", ["check", str(source), "--split", "train[:1]"]) == 0


def test_the_source_is_never_overwritten(source, tmp_path, capsys):
    for arguments in (
        ["--repaired", str(source)],
        ["--quarantine", str(tmp_path / "." / "rows.jsonl")],
        ["--repaired", str(tmp_path / "x.jsonl"), "--quarantine", str(tmp_path / "x.jsonl")],
        ["--repaired", str(tmp_path / "x.csv")],
    ):
        before = source.read_bytes()
        assert call("data", ["check", str(source), *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("trl-r1 data: --")
        assert error.count("\n") == 1
        assert source.read_bytes() == before
    (tmp_path / "link.jsonl").symlink_to(source)
    assert call("data", ["check", str(source), "--repaired", str(tmp_path / "link.jsonl")]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gold-column", "anser"], "Did you mean 'answer'?"),
        (["--split", "test"], "no split 'test'"),
        (["--allow", "-1"], "--allow -1"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(source, capsys, arguments, message):
    assert call("data", ["check", str(source), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_gold_that_accepts_a_wrong_answer_is_unusable(monkeypatch):
    monkeypatch.setattr(goldcheck, "wrong_form", lambda answer: "4.0")
    assert [check.why for check in check_golds(["4", "5"])] == ["accepts the wrong answer 4.0", ""]
