"""The logic reward at its limits: hostile text in bounded time, and statements that take a solver."""

import importlib.util
import subprocess
import sys
import time

import pytest
from places import ROOT

from trl_r1.rewards.logic import Logic, claims, logic_reward


needs_z3 = pytest.mark.skipif(importlib.util.find_spec("z3") is None, reason="the extra logic is not installed")


def verdicts(text: str, **options) -> list:
    return [claim.right for claim in claims(text, **options)]


HOSTILE = {
    "brackets": "(" * 200_000,
    "brackets closed": "(" * 100_000 + "2=2" + ")" * 100_000,
    "brackets around": "(" * 90_000 + "=" + "+)" * 50_000,
    "tower": "9^" * 100_000 + "9=3",
    "towers": "9^9^9^9^9=3, " * 15_000,
    "powers": "7^1400=3, " * 20_000,
    "powers of powers": "((7^1400)^4000)^4000=3, " * 8_000,
    "factorials": "200! = 3, " * 20_000,
    "relations": "=" * 200_000,
    "ones": "1=" * 100_000,
    "claims": "1+2=3, " * 28_000,
    "digits": "9" * 200_000 + "=1",
    "thousands": "123,456," * 25_000 + "=3",
    "fractions": r"\frac{" * 33_000 + "=2",
    "roots": r"\sqrt{999999999989}=3, " * 8_000,
    "sums of roots": "(" + "+".join(rf"\sqrt{{{p}}}" for p in (2, 3, 5, 7, 11, 13, 17, 19)) + ")^8 = 2, " * 2_000,
    "long sum": "+".join(["1"] * 100_000) + "=3",
    "signs": "-" * 200_000 + "=3",
    "tags": "<a" * 100_000,
    "supposed": "if " * 60_000 + "2+2=5",
    "backslashes": "\\" * 200_000,
    "spaces": "1 = " + " " * 199_000 + "1",
    "fences": "`" * 199_999,
    "half fences": "```a`" * 40_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_bounded_time(name):
    start = time.process_time()
    score = logic_reward([HOSTILE[name]])[0]
    assert time.process_time() - start < 10.0  # measured: at most 2.5 s
    assert score is None or 0.0 <= score <= 1.0


def test_twice_the_text_takes_about_twice_the_time():
    text = r"He bought 12 apples for $3, so 12 * 3 = 36, and (2 + 3) * 4 = 20 of \frac{1}{2} = 0.5. "
    times = []
    for length in (500, 1000):
        start = time.process_time()
        claims(text * length)
        times.append(time.process_time() - start)
    assert times[1] < 4 * times[0] + 0.2


@needs_z3
def test_linear_claims_are_judged_against_what_was_said():
    text = "x + y = 10 and x - y = 2. So 2x = 12, x = 6 and y = 5."
    found = [(text[c.start : c.end], c.right) for c in claims(text, linear=True)]
    # adding: 2x = 12, so x = 6 and y = 4, not 5
    expected = [("x + y = 10", None), ("x - y = 2", None), ("2x = 12", True), ("x = 6", True), ("y = 5", False)]
    assert found == expected
    reward = Logic(linear=True)
    assert reward([text, "x + y = 10"]) == [1 - 1 / 3, None]
    assert sum(share for *_, share in reward.spans(text)) == pytest.approx(2 / 3)
    assert verdicts("x = 10/3, so x = 3.33 and x < 3", linear=True) == [None, True, False]
    assert verdicts("x * y = 3 and x^2 = 4", linear=True) == []  # not linear


@needs_z3
def test_equal_completions_of_a_group_are_judged_once(monkeypatch):
    from trl_r1.sandbox import pool

    sent: list[int] = []
    run = pool.run

    def counting(judge, items, **limits):
        sent.append(len(items))
        return run(judge, items, **limits)

    monkeypatch.setattr(pool, "run", counting)
    right, wrong = "2x + 3 = 11, so 2x = 8, so x = 4.", "2x + 3 = 11, so 2x = 9, so x = 4."
    scores = Logic(linear=True)([right, wrong, right, right, wrong])
    assert scores[0] == scores[2] == scores[3] == 1.0
    assert scores[1] == scores[4] < 1.0
    assert sent == [2]


@needs_z3
def test_cases_suppositions_and_new_definitions_are_no_contradictions():
    text = "Let x = 3. Case 1: y = 2. Then x + y = 5. Case 2: y = 4. Then x + y = 7."
    assert verdicts(text, linear=True) == [None, None, True, None, True]
    assert False not in verdicts("Let x = 3. So 2x = 6. Let x = 5. So 2x = 10.", linear=True)
    assert False not in verdicts("x + 1 = 3. Suppose x = 7. Then x = 7.", linear=True)


@needs_z3
def test_propositional_claims():
    assert verdicts("P → Q. P. Therefore Q. ¬Q", propositional=True) == [None, None, True, False]
    assert verdicts("P → Q, P ⊢ Q", propositional=True)[-1] is True
    assert verdicts("P → Q, Q ⊢ P", propositional=True)[-1] is False  # affirming the consequent
    assert verdicts(r"$p \to q$, $\neg q$, $\therefore \neg p$", propositional=True)[-1] is True
    assert verdicts("¬(A ∧ B) ≡ ¬A ∨ ¬B. ¬(A ∧ B) ≡ ¬A ∧ ¬B", propositional=True) == [True, False]
    assert verdicts("I think a plan B is good. A. B.", propositional=True) == []


@needs_z3
def test_hostile_statements_are_bounded():
    start = time.monotonic()
    texts = ["x+y=10, " * 20_000, "A→" * 100_000 + "B", "A → B. " * 25_000, "¬" * 200_000, "x = 3 if " * 20_000]
    texts.append(" ".join(f"x_{i} + 3x_{i * 7 % 90} - x_{i * 5 % 90} < {i}," for i in range(3000)))
    scores = Logic(linear=True, propositional=True, seconds=3.0)(texts)
    assert all(score is None or 0.0 <= score <= 1.0 for score in scores)
    assert time.monotonic() - start < 60


def test_importing_and_judging_arithmetic_loads_neither_z3_nor_sympy_nor_torch():
    code = (
        "import sys; from trl_r1.rewards.logic import logic_reward; logic_reward(['2 + 2 = 4']);"
        "assert not {'z3', 'sympy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
