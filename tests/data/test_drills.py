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


@pytest.mark.parametrize("name", ["drill:equation", "drill:midpoint"])
def test_slips_leave_questions_and_golds_and_end_wrong_or_without_a_step(name):
    clean = load_rows(name, "train", {"size": 400})
    rows = load_rows(name, "train", {"size": 400, "slips": 0.5})
    assert rows["question"] == clean["question"]
    assert rows["solution"] == clean["solution"]
    careless = [row for row, good in zip(rows, clean) if row["completion"] != good["completion"]]
    assert 160 <= len(careless) <= 240
    whole = {"drill:equation": ", so ", "drill:midpoint": "vec"}[name]
    for row in careless:
        right = row["completion"].endswith(f"<answer>{row['solution']}</answer>")
        assert not right or row["completion"].count(whole) < {"drill:equation": 2, "drill:midpoint": 1}[name]


def test_careless_chains_guess_slip_and_carry_it_on_or_skip_a_step():
    rows = load_rows("drill:equation", "train", {"size": 7, "slips": 1.0})
    by_question = dict(zip(rows["question"], rows["completion"], strict=True))
    assert by_question["8x + 20 = 84. What is x?"] == "<think></think> <answer>15</answer>"
    slip, skip = by_question["3x + 24 = 84. What is x?"], by_question["3x + 6 = 18. What is x?"]
    assert slip == "<think>3x + 24 = 84, so 3x = 69, so x = 23</think> <answer>23</answer>"
    assert skip == "<think>3x + 6 = 18, so x = 5</think> <answer>5</answer>"
    rows = load_rows("drill:midpoint", "train", {"size": 4, "slips": 1.0})
    by_question = dict(zip(rows["question"], rows["completion"], strict=True))
    carried = by_question["Given A(1, 9) and B(13, 23). Find the midpoint of AB."]
    assert carried == "<think>\\vec{AB} = (12, 14). The midpoint of AB is (4, 16).</think> <answer>(4, 16)</answer>"


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
        ("drill:addition", {"slips": 0.5}, "must be like {size: 500}; there is no other option"),
        ("drill:equation", {"slip": 0.5}, "must be like {size: 500, slips: 0.6}; there is no other option"),
        ("drill:equation", {"slips": 1.5}, "slips=1.5 must be the share of careless completions, from 0 to 1"),
        ("drill:equation", {"slips": True}, "slips=True must be the share"),
        ("drill:addition", {"size": 5000}, "more than the 1500 rows that its split 'test'"),
        ("drill:equation", {"size": 1000}, "more than the 900 rows that its split 'test'"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, config, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_rows(name, "test", config)
