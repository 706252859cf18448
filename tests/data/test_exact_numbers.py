"""Golds survive loading: numbers that a column of doubles would change, and golds with a fraction before a factor."""

import json

import pytest

from trl_r1.answers.moved import moved_factor
from trl_r1.commands import call
from trl_r1.data.columns import load_rows, to_prompts
from trl_r1.data.exact_numbers import notes
from trl_r1.data.goldcheck import check_golds, order_of
from trl_r1.rewards.accuracy import accuracy_reward, verify


BIG = "9007199254740993"  # 2^53 + 1, which is no double


def written(path, cells, column="answer"):
    """A data file whose cells are literals, in the format that its name says."""
    if path.suffix == ".csv":
        path.write_text(f"question,{column}\n" + "".join(f"q{i},{cell}\n" for i, cell in enumerate(cells)))
    else:
        rows = [f'{{"question": "q{i}", "{column}": {cell or "null"}}}' for i, cell in enumerate(cells)]
        path.write_text(f"[{', '.join(rows)}]" if path.suffix == ".json" else "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@pytest.mark.parametrize(
    "cells",
    [
        [BIG, "1.5"],
        ["123456789012345678901234567890", "2"],
        ["0.12345678901234567890123", "3"],
        [f"-{BIG}", "0.5", "7"],
        ["100000000000000000001", "100000000000000000002"],
        ["1" + "0" * 400, "1"],
        ["3.14159265358979323846", "2.5"],
        ["18446744073709551617", "1"],
        ["42", "1.5"],
        ["0", "-3", "0.25"],
    ],
)
def test_what_a_column_of_doubles_would_change_stays_as_it_is_written(tmp_path, name, cells):
    rows = load_rows(str(written(tmp_path / name, cells)))
    assert rows["answer"][:] == cells
    assert "answer" in notes(tmp_path / name)
    made = to_prompts(rows, "question", "answer", "mini")
    assert made["solution"][:] == cells
    replies = [f"\\boxed{{{cell}}}" for cell in cells]
    assert accuracy_reward(replies, solution=made["solution"][:]) == [1.0] * len(cells)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
@pytest.mark.parametrize("cells", [["1", "2"], ["0.5", "1.25"], ["9007199254740993", "2"], ["1.0", "2.5"]])
def test_other_columns_stay_numbers(tmp_path, name, cells):
    rows = load_rows(str(written(tmp_path / name, cells)))
    assert rows["answer"][:] == [json.loads(cell) for cell in cells]
    assert notes(tmp_path / name) == {}


def test_a_column_without_golds_may_mix_whole_numbers_and_decimals(tmp_path):
    rows = load_rows(str(written(tmp_path / "a.jsonl", ["1", "0.5"], "weight")))
    assert rows["weight"][:] == [1.0, 0.5]


def test_the_order_of_the_columns_and_blanks_stay(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        f'{{"answer": {BIG}, "question": "a"}}\n\n{{"answer": null, "question": "b"}}\n{{"answer": 0.5}}\n'
    )
    rows = load_rows(str(path))
    assert rows.column_names == ["answer", "question"]
    assert rows["answer"][:] == [BIG, None, "0.5"]


def test_a_whole_number_of_a_column_of_doubles_is_one():
    assert verify("42", 42.0) is True
    assert check_golds([42.0])[0].answer == "42"


def test_data_check_says_so(tmp_path, capsys):
    assert call("data", ["check", str(written(tmp_path / "a.jsonl", [BIG, "1.5"]))]) == 0
    assert "is read as text" in capsys.readouterr().out


def test_a_double_beyond_2_to_53_is_not_to_be_trusted(tmp_path, capsys):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"question": ["a", "b"], "answer": [2.0**60, 1.5]}).to_parquet(tmp_path / "a.parquet")
    assert call("data", ["check", str(tmp_path / "a.parquet")]) == 1
    said = capsys.readouterr().out
    assert "holds doubles" in said
    assert "row 0" in said


MOVED = [
    (r"\frac{2}{3}\pi", r"\frac{2\pi}{3}", r"\frac{2}{3\pi}"),
    (r"\frac37 a^2", r"\frac{3a^2}{7}", r"\frac{3}{7a^2}"),
    (r"\frac{1}{2}(n-1)", r"\frac{1(n-1)}{2}", r"\frac{1}{2(n-1)}"),
    (r"\frac{1}{6}\ln 3", r"\frac{1\ln 3}{6}", r"\frac{1}{6\ln 3}"),
    (r"\frac{5}{4}\sqrt{2}", r"\frac{5\sqrt{2}}{4}", r"\frac{5}{4\sqrt{2}}"),
    (r"\frac{1}{3}+\frac{2}{3}i", r"\frac{1}{3}+\frac{2i}{3}", r"\frac{1}{3}+\frac{2}{3i}"),
    (r"\frac{2}{7}\cdot k", r"\frac{2k}{7}", r"\frac{2}{7k}"),
    (r"y=\frac{1}{3}x-1", r"y=\frac{1x}{3}-1", r"y=\frac{1}{3x}-1"),
    (r"\frac{x}{4}", r"\frac{1}{4}x", r"\frac{1}{4x}"),
    (r"\frac{\pi}{4}", r"\frac{1}{4}\pi", r"\frac{1}{4\pi}"),
    (r"$\dfrac{1}{2}e^3$", r"\frac{1e^3}{2}", r"\frac{1}{2e^3}"),
]


@pytest.mark.parametrize(("gold", "equal", "wrong"), MOVED)
def test_a_factor_behind_a_fraction_is_written_by_another_hand(gold, equal, wrong):
    assert moved_factor(gold) == (equal, wrong)
    assert verify(equal, gold) is True
    assert verify(wrong, gold) is False
    assert check_golds([gold])[0].usable


@pytest.mark.parametrize(
    "gold",
    [r"\frac{3}{7} m", r"\frac{1}{2}", r"1\frac{1}{2}", r"\frac{1}{2}(-1)^n", r"\frac{1}{2}\text{ cm}", "x/2", "5"],
)
def test_what_has_no_such_factor_is_left_alone(gold):
    assert moved_factor(gold) is None


def test_the_doctor_would_have_found_a_grader_that_reads_a_factor_into_the_denominator(monkeypatch):
    from trl_r1.data import goldcheck

    honest = goldcheck.judge
    monkeypatch.setattr(goldcheck, "judge", lambda a, g, seconds: _misread(honest, a, g, seconds))
    assert "does not accept" in check_golds([r"\frac{2}{3}\pi"])[0].why


def _misread(judge, answers, golds, seconds):
    swap = {r"\frac{2\pi}{3}": "different", r"\frac{2}{3\pi}": "equal"}
    return [
        swap.get(answer, said) for answer, said in zip(answers, judge(answers, golds, seconds=seconds), strict=True)
    ]


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("Sort 51, 29, 60.", "29, 51, 60", "sequence"),
        ("Arrange the numbers from least to greatest: 3, 1, 2", "1, 2, 3", "sequence"),
        ("把 3, 1, 2 从小到大排列。", "1, 2, 3", "sequence"),
        ("What are a and b, respectively?", "2, 3", "sequence"),
        ("What are the next two terms?", "8, 16", "sequence"),
        ("List them in alphabetical order.", "Ann, Bob", "sequence"),
        ("Solve x^2 = 4.", "2, -2", "set"),
        ("Find all integers n with n^2 = 9.", "3, -3", "set"),
        ("What are the roots?", "1, 2", "set"),
        ("方程的解是什么？", "1, 2", "set"),
        ("Which two?", "1, 2", ""),
        ("Sort 51, 29, 60.", "29", ""),
        ("Give the pair in order.", "(1, 2)", ""),
    ],
)
def test_which_lists_look_as_if_their_order_counts(question, answer, kind):
    assert order_of(question, answer) == kind


def test_data_check_tells_sorting_from_solving(tmp_path, capsys):
    rows = [
        {"question": "Sort 51, 29, 60.", "answer": "29, 51, 60"},
        {"question": "Solve x^2 = 4.", "answer": "2, -2"},
        {"question": "Sort 3, 2.", "answer": "2, 3", "answer_type": "sequence"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert call("data", ["check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "order seems to count: rows 1 (0)" in said
    assert "sets of solutions, right in any order: rows 1 (1)" in said
