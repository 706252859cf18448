"""What an answer is worth: the table of docs/rewards.md, and random pairs against float64 and sympy."""

import sys

import pytest
from places import ROOT

from trl_r1.answers.compare import compare
from trl_r1.rewards.accuracy import judge


sys.path.insert(0, str(ROOT / "benchmarks"))
import equalities
import judge_pairs


@pytest.mark.parametrize("rule", equalities.RULES, ids=lambda rule: rule.what)
def test_what_equals_what(rule):
    pairs = [(*pair, "equal") for pair in rule.equal] + [(*pair, "different") for pair in rule.different]
    outcomes = judge([answer for answer, _, _ in pairs], [gold for _, gold, _ in pairs])
    wrong = [
        (answer, gold, said) for (answer, gold, right), said in zip(pairs, outcomes, strict=True) if said != right
    ]
    assert wrong == []


def test_the_table_of_the_docs_is_made_from_these():
    text = (ROOT / "docs" / "rewards.md").read_text()
    assert equalities.table() in text, "put what python tests/answers/equalities.py prints into docs/rewards.md"


def test_300_random_pairs_of_every_kind_are_judged_as_two_evaluators_say():
    made, _ = judge_pairs.pairs(seed=20250122, count=300)
    assert {pair.kind for pair in made} == set(judge_pairs.KINDS)
    assert {pair.near_miss for pair in made} == {"", *judge_pairs.NEAR_MISSES}
    outcomes = judge_pairs.judged(made)
    wrong = [(p, o) for p, o in zip(made, outcomes, strict=True) if (o == "equal") != (not p.near_miss)]
    assert wrong == []


HOSTILE = [
    "(" * 900,
    "\\frac{" * 300,
    "x^" * 400,
    "9^{9^{9^9}}",
    "\\sqrt{" * 90,
    "1," * 400,
    "|" * 500,
    "\\pm" * 90,
    "0.(",
]
HOSTILE += ["\\begin{pmatrix}", "⦃" * 99, "<" * 99, ":" * 99, "10^{10^{10}}!", "x!!"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_makes_our_reading_raise(text):
    for answer, gold in ((text, "x+1"), ("x+1", text), (text, text + "1")):
        assert compare(answer, gold) in ("equal", "different", "unread gold", "unread answer", "gave up")
