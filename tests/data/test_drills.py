"""Drills: what their rows hold, and which rows belong to which split."""

import json
import re

import pytest

from trl_r1 import load_reward
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
        _, ones, tens = (equation[2] for equation in equations)
        assert len(ones) == 2
        assert tens + ones[1] == row["solution"]


def test_an_equation_is_solved_step_by_step_by_whole_numbers():
    for row in load_rows("drill:equation", "train", {"size": 50}):
        factor, summand, total = map(int, re.match(r"(\d+)x \+ (\d+) = (\d+)", row["question"]).groups())
        x = int(row["solution"])
        assert factor * x + summand == total <= 99
        assert f", so {factor}x = {factor * x}, so x = {x}</think>" in row["completion"]


def test_a_midpoint_lies_half_way_along_the_vector():
    for row in load_rows("drill:midpoint", "train", {"size": 50}):
        a, b, c, d = map(int, re.findall(r"\d+", row["question"]))
        assert row["solution"] == f"({(a + c) // 2}, {(b + d) // 2})"
        assert (a + c) % 2 == (b + d) % 2 == 0
        assert f"\\vec{{AB}} = ({c - a}, {d - b})." in row["completion"]


@pytest.mark.parametrize(
    ("name", "reward", "options"),
    [
        ("drill:equation", "logic", {"linear": True}),
        ("drill:midpoint", "geometry", {}),
    ],
)
def test_the_reward_that_a_drill_is_for_pays_its_thought_and_no_slip_in_it(name, reward, options):
    rows = load_rows(name, "train", {"size": 3})
    judge = load_reward(reward, **options)
    slips = [
        re.sub(r"(\d+)(\D*</think>)", lambda found: str(int(found[1]) + 1) + found[2], text)
        for text in rows["completion"]
    ]
    assert judge(completions=list(rows["completion"]), prompts=list(rows["question"])) == [1.0] * 3
    assert all(score < 1.0 for score in judge(completions=slips, prompts=list(rows["question"])))


def test_a_function_passes_its_own_three_tests_and_no_constant_does():
    for row in load_rows("drill:functions", "train", {"size": 200}):
        tests = json.loads(row["verification_info"])["test_cases"]
        assert {test["fn_name"] for test in tests} == {"f"}
        assert len({repr(test["output"]) for test in tests}) == len(tests) == 3


@pytest.mark.parametrize("name", ["drill:largest", "drill:addition", "drill:functions"])
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
        ("drill:equation", {"size": 1000}, "more than the 900 rows that its split 'test'"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, config, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_rows(name, "test", config)
