"""Geometric claims that go to Z3: letters in coordinates, roots of roots; proofs only, and within limits."""

import importlib.util
import pickle
import time

import pytest

from trl_r1.claims import algebra
from trl_r1.claims.plane import tree_of
from trl_r1.claims.trees import Unreadable
from trl_r1.rewards.geometry import Geometry, claims, geometry_reward


needs_z3 = pytest.mark.skipif(importlib.util.find_spec("z3") is None, reason="the extra logic is not installed")

AXES = "Let A(a, 0) and B(0, b) with a > 0 and b > 0, and O(0, 0). "
TURNED = "A(0, 0), B(a, b), C(-b, a). "
NESTED = r"A(0, 0), B(\sqrt{1 + \sqrt{5}}, 0), C(\sqrt[3]{2}, 0). "


def verdicts(text: str, prompt: str) -> list[bool | None]:
    return [claim.right for claim in geometry_reward.claims_of([text], [prompt])[0]]


@needs_z3
@pytest.mark.parametrize(
    ("prompt", "claim", "right"),
    [
        # true for all a and b, false for all, or it depends
        (AXES, r"AB = \sqrt{a^2 + b^2}", True), (AXES, "AB^2 = a^2 + b^2", True), (AXES, "AB = a + b", False),
        (AXES, "AB > a", True), (AXES, "AB = 5", None), (AXES, "AB = 2a", None),
        (AXES, "the midpoint of AB is (a/2, b/2)", True), (AXES, "AB的中点是(a/2, b/2)", True),
        (AXES, "the midpoint of AB is (a, b/2)", False), (AXES, "the slope of AB is -b/a", True),
        (AXES, "the slope of AB is b/a", False), (AXES, "the area of triangle OAB is a*b/2", True),
        (AXES, "三角形OAB的面积是a*b", False), (AXES, "∠AOB = 90°", True), (AXES, "∠AOB是直角", True),
        (AXES, "∠AOB = 60°", False), (AXES, "∠OAB = 45°", None), (AXES, "OA ⟂ OB", True), (AXES, "OA ∥ OB", False),
        (AXES, r"the perimeter of triangle OAB is a + b + \sqrt{a^2 + b^2}", True),
        (AXES, r"\vec{AB} = (-a, b)", True), (AXES, r"\vec{AB} = (a, -b)", False), (AXES, "OA = OB", None),
        # without "a > 0", -b/a and a/2 still hold wherever they have a value
        ("A(a, 0), B(0, b)", "the slope of AB is -b/a", True), ("A(a, 0), B(0, b)", "the midpoint of AB is (a, b/2)", None),
        # what the prompt says about the letters counts; what the reply says does not
        ("A(a, 0), B(0, b), where a = 2b and b > 0", "the slope of AB is -1/2", True),
        ("A(a, 0), B(0, b), where a = 2b and b > 0", "AB = 3b", False),
        ("A(a, 0), B(0, b)", "Let a = 2b. The slope of AB is -1/2", None),
        (TURNED, "AB ⟂ AC", True), (TURNED, "AB = AC", True), (TURNED, "AB垂直于AC", True),
        (TURNED, "AB ∥ AC", False), (TURNED, "∠BAC = 90°", True), (TURNED, "∠BAC = 45°", False),
        # roots that square roots of whole numbers cannot write
        (NESTED, r"AB = \sqrt{1 + \sqrt{5}}", True), (NESTED, r"AB^2 = 1 + \sqrt{5}", True), (NESTED, "AB = 1.80", True),
        (NESTED, "AB = 1.81", False), (NESTED, "AB = 2", False), (NESTED, "AB > 1.7", True), (NESTED, "AC = 1.26", True),
        (NESTED, r"AC = \sqrt[3]{2}", True), (NESTED, "AC = AB", False), (NESTED, "the midpoint of AB is (1, 0)", False),
        # nobody can know
        ("A(0, 0), B(3, 4)", "AB = x", None), ("P(x, y), A(1, 0)", "PA = 5", None),
    ],
)  # fmt: skip
def test_what_z3_decides_and_what_stays_open(prompt, claim, right):
    assert verdicts(claim, prompt) == [right]


@needs_z3
def test_givens_that_contradict_each_other_prove_nothing():
    assert verdicts("AB = a, AB = 7b", "A(a, 0), B(0, b), where a > 1 and a < 0") == [None, None]


@needs_z3
def test_exact_and_solved_claims_share_one_score():
    text = "OA^2 = a^2. AB = a + b. The slope of AB is -b/a."  # 1 - 1/3
    assert geometry_reward([text], prompts=[AXES]) == [pytest.approx(2 / 3)]
    spans = geometry_reward.spans(text, AXES)
    assert [(text[start:end], share) for start, end, share in spans] == [
        ("OA^2 = a^2", pytest.approx(1 / 3)), ("AB = a + b", 0.0), ("slope of AB is -b/a", pytest.approx(1 / 3)),
    ]  # fmt: skip
    assert geometry_reward([text + " AB = a + b." * 20], prompts=[AXES]) == [pytest.approx(2 / 3)]  # repeats
    mixed = "M(1, 2), N(4, 6): MN = 5, AB = a + b"
    assert geometry_reward([mixed, "MN = 6"], prompts=[AXES, "M(1, 2), N(4, 6)"]) == [0.5, 0.0]


def test_without_z3_these_claims_are_not_counted(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "z3" else real(name))
    assert geometry_reward(["AB = a + b"], prompts=[AXES]) == [None]
    assert geometry_reward(["AB = 5"], prompts=["A(0, 0), B(3, 4)"]) == [1.0]
    with pytest.raises(ImportError, match=r'algebraic=True needs Z3.*pip install "trl-r1\[logic\]"'):
        Geometry(algebraic=True)


def test_it_can_be_switched_off_and_chains_of_numbers_never_start_a_process(monkeypatch):
    from trl_r1.sandbox import pool as verifier

    def refuse(*_, **__):
        raise AssertionError("a process was asked")

    monkeypatch.setattr(verifier, "run", refuse)
    assert Geometry(algebraic=False)(["AB = a + b"], prompts=[AXES]) == [None]
    assert geometry_reward(["AB = 5, AB = x, AB = 2x"], prompts=["A(0, 0), B(3, 4)"]) == [1.0]
    assert [claim.why for claim in claims("AB = a + b", AXES)] == ["undecided"]
    assert pickle.loads(pickle.dumps(Geometry(algebraic=False))) == Geometry(algebraic=False)
    with pytest.raises(ValueError, match="give the solver some time"):
        Geometry(seconds=0)


@needs_z3
def test_hard_claims_end_within_their_limits():
    sides = " + ".join(f"a^{n} * b^{8 - n}" for n in range(1, 8))
    prompt = f"A(a^8 + b^7 - 3ab, {sides}), B(b^8 - a^5 + ab^3, a^7 - b^6), C(a*b, a^3 * b^5 + 1)"
    text = "AB = BC, AB ⟂ BC, the area of triangle ABC is a^8, the perimeter of triangle ABC is 5a, ∠ABC = 30°, " * 20
    started = time.monotonic()
    score = Geometry(seconds=2.0)([text], prompts=[prompt])[0]
    assert time.monotonic() - started < 12  # 2 s, and what it takes to start and replace a process
    assert score is None or 0.0 <= score <= 1.0
    assert verdicts("AB > a", AXES) == [True]  # the pool is healthy


@pytest.mark.parametrize("text", ["A", "x!", "3^{100}", "e", r"\pi", "x^y", "2^{-1}", "x^{1/2}"])
def test_what_is_no_term_is_refused(text):
    with pytest.raises(Unreadable):
        algebra.term(tree_of(text))


def test_terms_givens_and_names_by_hand():
    assert algebra.term(tree_of("2a + 50%")) == [
        "+", ["*", ["number", "2"], ["name", "a"]], ["/", ["number", "50"], ["number", "100"]],
    ]  # fmt: skip
    assert algebra.givens("Let a > 0 and b = 2a. Is c = 3? AB = 5.") == [
        [">", ["name", "a"], ["number", "0"]], ["=", ["name", "b"], ["*", ["number", "2"], ["name", "a"]]],
    ]  # fmt: skip
    assert algebra.names_in(algebra.givens("a > 0, b = 2a")[1]) == {"a", "b"}


def test_hidden_text_and_code_claim_nothing():
    points = "A(0, 0), B(3, 4). "
    assert geometry_reward(["AB = 6. <!-- the slope of AB is 4/3 -->"], prompts=[points]) == [0.0]
    assert geometry_reward(["AB = 6. ```\nthe slope of AB is 4/3\n```"], prompts=[points]) == [0.0]
    assert geometry_reward([r"AB = 6. \phantom{the slope of AB is 4/3}"], prompts=[points]) == [0.0]
