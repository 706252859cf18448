"""Steps as SMT-LIB: what is written, what Z3 says of it, and that nothing else reaches Z3."""

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.claims.formal import formal_steps, linear_steps, sum_steps
from trl_r1.data.traces import annotate
from trl_r1.mini.world import draw_problems, gold_chain


replay_module = pytest.importorskip("trl_r1.claims.replay", reason="Z3 is not installed", exc_type=ImportError)
replay, commands, Refused = replay_module.replay, replay_module.commands, replay_module.Refused


def verdicts(text, question=""):
    return [
        (text[step.start : step.end], found["verdict"], found.get("counterexample"))
        for step in formal_steps(text, question)
        for found in [replay(step.premises, step.claim)]
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48/2 = 24", [("48/2 = 24", "right", None)]),
        ("48 + 24 = 73", [("48 + 24 = 73", "wrong", {"left": "72", "right": "73"})]),
        ("10/3 = 3.33", [("10/3 = 3.33", "right", None)]),
        ("10/3 = 3.35", [("10/3 = 3.35", "wrong", {"left": "10/3", "right": "67/20"})]),
        ("2^3 = 9", [("2^3 = 9", "wrong", {"left": "8", "right": "9"})]),
        ("7 * 3 > 22", [("7 * 3 > 22", "wrong", {"left": "21", "right": "22"})]),
        ("100 - 5 = 95%", []),  # right as people mean it; the plain reading would call it wrong
        ("1260 / 3500 * 100 = 36%", []),
        ("192*100=$1920", [("192*100=$1920", "wrong", {"left": "19200", "right": "1920"})]),  # from GSM8K
        ("Is 2 + 2 = 5?", []),  # asked, not claimed
        ("no numbers", []),
    ],
)
def test_arithmetic(text, expected):
    assert verdicts(text) == expected


def test_a_linear_statement_is_judged_against_the_ones_before_it():
    found = verdicts("3x + 2 = 14, so 3x = 12, so x = 5.")
    assert found == [("3x + 2 = 14", "open", None), ("3x = 12", "right", None), ("x = 5", "wrong", {"vx": "4"})]
    assert verdicts("so x = 4.", "Solve 3x + 2 = 14.") == [("x = 4", "right", None)]
    assert linear_steps("Suppose x = 3. Then x = 4.") == []  # a supposition is not read


def test_a_chain_of_the_mini_world_is_judged_step_by_step_from_what_it_stated():
    question = "Compute ①2 ②9 ③4 ④7."
    found = verdicts(" ①2 add ②9=12 add ③4=16 add ④8=24", question)
    assert found == [
        ("①2 add ②9=12", "wrong", {"term1": "2", "term2": "9", "total": "11"}),
        ("③4=16", "right", None),  # 12 + 4
        ("④8=24", "wrong", {"term4": "7", "total": "23"}),
    ]
    assert sum_steps(" ①2 add ⑤9=11", question) == []  # the question names no fifth term


def test_every_planted_slip_has_a_counterexample_and_no_gold_step_has_one():
    rng = random.Random(0)
    pairs, planted = [], []
    for problem in draw_problems("dev", 60, 1):
        chain = gold_chain(problem)
        totals = list(re.finditer(r"=(\d+)", chain))
        place = rng.choice(totals)
        wrong = int(place[1]) + rng.choice([-3, -2, -1, 1, 2, 3])
        pairs += [
            (problem.question, chain),
            (problem.question, f"{chain[: place.start()]}={wrong}{chain[place.end() :]}"),
        ]
        planted.append((totals.index(place), place[1]))
    found = annotate(pairs)
    for gold in found[::2]:
        assert [step["verdict"] for step in gold] == ["right"] * len(gold)
    for (where, true), steps in zip(planted, found[1::2], strict=True):
        assert [step["verdict"] for step in steps[: where + 1]] == ["right"] * where + ["wrong"]
        assert json.loads(steps[where]["counterexample"])["total"] == true


@settings(max_examples=30, deadline=None)
@given(st.integers(-999, 999), st.sampled_from("+-*"), st.integers(1, 999), st.integers(-50, 50).filter(bool))
def test_a_counterexample_is_the_true_value(a, sign, b, off):
    if (a + off, b) == (0, 0):
        return
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    text = f"({a}) {sign} {b} = {value + off}"
    for _, verdict, example in verdicts(text):
        assert verdict == "wrong"
        number = example["left"].replace(" ", "")
        assert int(number) == value
    assert all(verdict == "right" for _, verdict, _ in verdicts(f"({a}) {sign} {b} = {value}"))


@pytest.mark.parametrize(
    "text",
    [
        '(set-option :diagnostic-output-channel "x")',
        "(declare-const |x| Real)",
        "(echo x)(exit)",
        "(assert (= x 1.0)",
        "(assert true))",
        "assert",
        "(assert ; comment\n true)",
        "(" * 300 + ")" * 300,
        "(assert true)" * 10_000,
    ],
)
def test_anything_else_is_refused_before_z3_sees_it(text):
    assert replay(text, "true")["verdict"] == "refused"


def test_a_claim_cannot_smuggle_a_command():
    assert replay("(declare-const x Real)", "(= x 1.0))(assert false")["verdict"] == "refused"
    assert replay("(declare-const x Real)", "(assert (= x 1.0))")["verdict"] == "refused"
    assert replay("(assert (= y 1.0))", "(= 1.0 1.0)")["verdict"] == "refused"  # Z3 does not know y
    with pytest.raises(Refused, match="stands outside"):
        commands("x")


def test_premises_that_contradict_each_other_prove_nothing():
    both = "(declare-const x Real)\n(assert (> x 1.0))\n(assert (< x 0.0))"
    assert replay(both, "(= x 3.0)")["verdict"] == "vacuous"
    assert replay("(declare-const x Real)", "(= x 3.0)")["verdict"] == "open"
