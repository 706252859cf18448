"""Drills: what their rows hold, and which rows belong to which split."""

import re

import pytest

from trl_r1.data.columns import load_rows


def test_the_largest_is_the_answer_and_the_chain_reaches_it():
    for row in load_rows("drill:largest", "train", {"size": 50}):
        numbers = [int(text) for text in re.findall(r"\d+", row["question"])]
        assert len(set(numbers)) == 4
        assert row["solution"] == str(max(numbers))
        assert row["completion"].endswith(f"<answer>{max(numbers)}</answer>")


def test_every_equation_of_an_additions_thought_holds():
    for row in load_rows("drill:addition", "train", {"size": 50}):
        equations = re.findall(r"(\d+) \+ (\d+) = (\d+)", row["completion"])
        assert len(equations) == 3
        assert all(int(one) + int(other) == int(total) for one, other, total in equations)
        assert equations[-1][2] == row["solution"]


@pytest.mark.parametrize("name", ["drill:largest", "drill:addition"])
def test_splits_share_no_question_whatever_the_seed(name):
    train = {row for seed in (0, 1) for row in load_rows(name, "train", {"size": 1500}, seed)["question"]}
    test = {row for seed in (0, 1) for row in load_rows(name, "test", {"size": 700}, seed)["question"]}
    assert not train & test
    assert len(test) > 700


@pytest.mark.parametrize(
    ("name", "config", "sentence"),
    [
        ("drill:larges", None, "Did you mean 'largest'"),
        ("drill:addition", {"sizes": 3}, "there is no other option"),
        ("drill:addition", "{size: 0}", "whole number of at least 1"),
        ("drill:addition", {"size": 5000}, "more than the 1500 rows that its split 'test'"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, config, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_rows(name, "test", config)
