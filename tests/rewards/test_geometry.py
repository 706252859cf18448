"""The geometry reward: claims about points with coordinates, checked without a float, in English, Chinese and symbols."""

import math
import pickle
import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.claims import figures
from trl_r1.claims.surds import root
from trl_r1.rewards.geometry import Geometry, claims, geometry_reward, points_in


# ABC has its right angle at C: AC = 3, CB = 4, AB = 5. D is at the other side of AB. E is at 60 degrees above AC.
POINTS = r"A(0, 0), B = (3, 4), C(3, 0), D(0,4), $E(1, \sqrt{3})$ 和点F(1/2, -2)。"

RIGHT = [
    "AB = 5",
    "|AB| = 5",
    r"$\overline{AB} = 5$",
    r"$AB = \sqrt{3^2 + 4^2}$",
    "AB^2 = 25",
    "AB² = 25",
    "AE = 2",
    r"AF = \frac{\sqrt{17}}{2}",  # 1/4 + 4 = 17/4
    "AF ≈ 2.06",  # 2.0615...
    "AF = 2.06",
    "AC = DB",
    "AC < CB",
    "AB ≠ AC",
    "the distance from A to B is 5.",
    "The distance between A and C is 3",
    "The length of segment AB is 5 units",
    "A到B的距离是5",
    "A、B两点间的距离为5",
    "AB的长为5",
    "The midpoint of AB is (1.5, 2).",
    "the midpoint M of AB is M(3/2, 2)",
    "AB的中点是(3/2, 2)",
    "the slope of AB is 4/3",
    "k_{AB} = 4/3",
    "AB的斜率为4/3",
    r"\vec{AB} = (3, 4)",
    "向量AB = (3, 4)",
    "∠ACB = 90°",
    r"\angle ACB = 90^\circ",
    "angle CAE is 60 degrees",
    "角CAE是60度",
    "∠ACB is a right angle",
    "∠ACB是直角",
    "∠CAB ≈ 53.13°",  # arctan(4/3) = 53.1301...
    "∠CAB = 53.1°",
    "∠CAB < 54",
    "the area of triangle ABC is 6",
    "the area of quadrilateral ACBD is 12",
    r"S_{\triangle ABC} = 6",
    "[ABC] = 6",
    "三角形ABC的面积是6",
    "the perimeter of triangle ABC is 12",
    "三角形ABC的周长是12",
    "AC ⟂ CB",
    r"AC \perp BC",
    "AC is perpendicular to CB",
    "AC垂直于CB",
    "AD ∥ CB",
    "AD is parallel to BC",
    "AD平行于CB",
]
WRONG = [
    "AB = 6",
    "|AB| = 4",
    r"$AB = \sqrt{3^2 - 4^2} = \sqrt{24}$".replace("3^2 - 4^2", "3 + 4"),
    "AB² = 24",
    "AE = 3",
    "AF ≈ 2.08",
    "AC = CB",
    "AB < AC",
    "the distance from A to B is 7.",
    "A到B的距离是4",
    "AB的长为6",
    "The midpoint of AB is (2, 2).",
    "AB的中点是(3, 4)",
    "the slope of AB is 3/4",
    "AB的斜率为1",
    r"\vec{AB} = (-3, -4)",
    "∠ABC = 90°",
    "angle CAE is 30 degrees",
    "角CAE是59度",
    "∠ABC是直角",
    "∠CAB ≈ 53.2°".replace("53.2", "53.3"),
    "∠CAB = 53°",
    "the area of triangle ABC is 12",
    "三角形ABC的面积是5",
    "the perimeter of triangle ABC is 11",
    "AC ⟂ AB",
    "AB ∥ CD",
    "AC平行于CB",
]
NO_CLAIM = [
    "AB = x",
    "AB + BC = 9",
    "2AB = 10",
    "AZ = 5",  # Z is nowhere
    "line AB = 3",
    "Is AB = 6?",
    "if AB = 6",
    "the slope of AC is 0/0",
    "the slope of CB is 7",  # vertical
    "the area of quadrilateral ABCD is 1",  # its sides cross
    "ABBA = 4",
    "∠ABC = π/2",
    "AA ⟂ AB",
]


@pytest.mark.parametrize("text", RIGHT)
def test_right_claims(text):
    assert geometry_reward([text], prompts=[POINTS]) == [1.0]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_claims(text):
    assert False in [claim.right for claim in claims(text, POINTS)]


@pytest.mark.parametrize("text", NO_CLAIM)
def test_what_cannot_be_checked_is_neither_right_nor_wrong(text):
    assert geometry_reward([text], prompts=[POINTS]) == [None]


def test_points_are_declared_in_the_reply_too_and_the_prompts_win():
    text = "Let A(0, 0) and B(6, 8). Then AB = 10."
    assert geometry_reward([text]) == [1.0]
    assert geometry_reward([text], prompts=["A(0, 0), B(3, 4). Find AB."]) == [0.0]
    names = {name: point for _, name, point in points_in(r"A(1/2, -3), P_1 = (2\sqrt{3}, 0), B' at (1, 2), f(1, 2)")}
    assert names == {
        "A": (Fraction(1, 2), Fraction(-3)),
        "P1": (2 * root(Fraction(3)), Fraction(0)),
        "B'": (Fraction(1), Fraction(2)),
    }


def test_a_chain_is_a_claim_per_member():
    text = "A(0, 0), B(3, 4). AB = sqrt(9 + 16) = sqrt(25) = 6"
    found = [(text[c.start : c.end], c.right) for c in claims(text)]
    assert found == [("AB = sqrt(9 + 16)", True), ("sqrt(9 + 16) = sqrt(25)", None), ("sqrt(25) = 6", False)]


def test_score_spans_and_log():
    text = "<think>AB = 5, AC = 4 and BC = 4, so AC ⟂ CB</think>5"
    assert geometry_reward([text], prompts=[[{"role": "user", "content": POINTS}]]) == [0.75]  # AC is 3: 1 - 1/4
    spans = geometry_reward.spans(text, POINTS)
    assert [(text[a:b], share) for a, b, share in spans] == [
        ("AB = 5", 0.25),
        ("AC = 4", 0.0),
        ("BC = 4", 0.25),
        ("AC ⟂ CB", 0.25),
    ]
    extras = {}
    geometry_reward([text], prompts=[POINTS], log_extra=extras.__setitem__, solution=["5"])
    assert extras == {"geometry_claims": ["3 right, 1 wrong: AC = 4"]}
    assert Geometry(minimum_claims=5)([text], prompts=[POINTS]) == [None]


def test_repeats_and_other_names_of_one_line_do_not_pay():
    spam = "AB = 5, BA = 5, |AB| = 5, the distance from B to A is 5, the length of AB is 5. " * 20
    assert geometry_reward(["AC = 7. " + spam], prompts=[POINTS]) == [0.5]


def test_plain_conversational_and_empty_completions():
    text = POINTS + " AB = 5"
    completions = [text, [{"role": "assistant", "content": text}], [{"role": "assistant", "content": None}], None, ""]
    assert geometry_reward(completions) == [1.0, 1.0, None, None, None]


coordinates = st.fractions(min_value=-20, max_value=20, max_denominator=3)
points = st.tuples(coordinates, coordinates)


@settings(max_examples=150, deadline=None)
@given(points, points, points)
def test_random_triangles(a, b, c):
    text = f"A({a[0]}, {a[1]}), B({b[0]}, {b[1]}), C({c[0]}, {c[1]}). "
    square = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    twice = abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
    middle = f"({(a[0] + b[0]) / 2}, {(a[1] + b[1]) / 2})"
    right = [f"AB = sqrt({square})", f"the area of triangle ABC is {twice / 2}", f"the midpoint of AB is {middle}"]
    wrong = [f"AB = sqrt({square + 1})", f"the area of triangle ABC is {twice}", "the midpoint of AB is (99, 0)"]
    assert [claim.right for part in right for claim in claims(text + part)] == [True] * 3
    assert [claim.right for part in wrong for claim in claims(text + part)] == [False, twice == 0, False]
    if square and (a[0] - c[0]) ** 2 + (a[1] - c[1]) ** 2:
        u, v = (b[0] - a[0], b[1] - a[1]), (c[0] - a[0], c[1] - a[1])
        degrees = math.degrees(math.atan2(abs(u[0] * v[1] - u[1] * v[0]), u[0] * v[0] + u[1] * v[1]))
        assert [claim.right for claim in claims(text + f"∠BAC ≈ {degrees:.6f}°")] == [True]
        assert [claim.right for claim in claims(text + f"∠BAC ≈ {degrees + 0.001:.6f}°")] == [False]


@pytest.mark.parametrize("degrees", [*range(15, 180, 15), 7, 22, 36, 100, 179])
def test_angles_are_compared_rigorously(degrees):
    """A point at exactly that angle, where it has one, else one built a thousandth of a degree off."""
    known = {
        30: (root(Fraction(3)), 1),
        45: (1, 1),
        60: (1, root(Fraction(3))),
        90: (0, 1),
        150: (-root(Fraction(3)), 1),
    }
    known |= {
        120: (-1, root(Fraction(3))),
        135: (-1, 1),
        15: (2 + root(Fraction(3)), 1),
        75: (2 - root(Fraction(3)), 1),
    }
    east, origin = (Fraction(1), Fraction(0)), (Fraction(0), Fraction(0))
    if degrees in known:
        x, y = known[degrees]
        quantity = figures.angle(east, origin, (x + Fraction(0), y + Fraction(0)))
        assert quantity(Fraction(degrees)) == 0
        assert quantity(Fraction(degrees) + Fraction(1, 10**30)) == -1
        assert quantity(Fraction(degrees) - Fraction(1, 10**30)) == 1
    for off in (-0.001, 0.001):
        turned = math.radians(degrees + off)
        place = (Fraction(math.cos(turned)), Fraction(math.sin(turned)))
        assert figures.angle(east, origin, place)(Fraction(degrees)) == (1 if off > 0 else -1)


def test_the_ends_of_the_scale_of_angles():
    zero, one, two = (Fraction(0), Fraction(0)), (Fraction(1), Fraction(0)), (Fraction(2), Fraction(0))
    back, up = (Fraction(-1), Fraction(0)), (Fraction(0), Fraction(1))
    assert [figures.angle(one, zero, p)(Fraction(0)) for p in (two, up, back)] == [0, 1, 1]
    assert [figures.angle(one, zero, p)(Fraction(180)) for p in (two, up, back)] == [-1, -1, 0]
    assert figures.angle(one, zero, up)(Fraction(-1)) == 1
    assert figures.angle(one, zero, up)(Fraction(181)) == -1


def test_planted_errors_in_templated_chains_are_all_flagged():
    """Right triangles with whole sides: every templated claim right, then each of them off by a whole number."""
    generator = random.Random(5)
    flagged = 0
    for _ in range(100):
        x, y, k = generator.randint(-9, 9), generator.randint(-9, 9), generator.randint(1, 9)
        givens = f"A({x}, {y}), B({x + 3 * k}, {y + 4 * k}), C({x + 3 * k}, {y})\n"
        values = [
            ("AB = {}", 5 * k),
            ("the distance from A to C is {}", 3 * k),
            ("BC的长为{}", 4 * k),
            ("∠ACB = {}°", 90),
            ("the area of triangle ABC is {}", 6 * k * k),
            ("三角形ABC的周长是{}", 12 * k),
            (f"the midpoint of AC is ({Fraction(2 * x + 3 * k, 2)}, {{}})", y),
            ("AB² = {}", 25 * k * k),
        ]
        for form, value in values:
            assert geometry_reward([givens + form.format(value)]) == [1.0], givens + form.format(value)
            off = value + generator.choice([-2, -1, 1, 2])
            assert geometry_reward([givens + form.format(off)]) == [0.0], givens + form.format(off)
            flagged += 1
    assert flagged == 800


PLACES = "A(0, 0), B(3, 4), C(1, 1) "
HOSTILE = {
    "letters": "A" * 200_000,
    "relations": PLACES + "AB = " * 40_000,
    "claims": PLACES + "AB = 5, " * 24_000,
    "points": "A(1,2) " * 28_000,
    "roots": r"A(\sqrt{999999999989},2) " * 8_000,
    "brackets": "A(" * 100_000,
    "midpoints": PLACES + "midpoint of " * 16_000,
    "words": PLACES + "length of the line segment " * 7_000,
    "angles": PLACES + "".join(f"∠ABC = {n / 1000}, " for n in range(12_000)),
    "chain": PLACES + "AB" + " = 5" * 50_000,
    "capitals": PLACES + "ABCDEFGH" * 25_000,
    "towers": PLACES + "slope of AB is 9^9^9 " * 10_000,
    "digits": "A(" + "1" * 200_000 + ", 2)",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_bounded_time(name):
    start = time.process_time()
    score = geometry_reward([HOSTILE[name]])[0]
    assert time.process_time() - start < 10.0  # measured: at most 2.7 s
    assert score is None or 0.0 <= score <= 1.0


@settings(max_examples=100, deadline=None)
@given(st.text("ABC(),.0123456789=-√ ∠°⟂∥²/^|{}\\是的", max_size=120) | st.text(max_size=120))
def test_any_text_is_judged_without_an_exception_and_spans_sum_to_the_score(text):
    score, spans = geometry_reward.score(text, PLACES), geometry_reward.spans(text, PLACES)
    assert (score is None) == (spans == [])
    if score is not None:
        assert 0.0 <= score <= 1.0
        assert sum(share for _, _, share in spans) == pytest.approx(score, abs=1e-9)


def test_pickling_names_and_wrong_options():
    reward = Geometry(minimum_claims=2, name="plane")
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert (geometry_reward.__name__, reward.__name__) == ("geometry", "plane")
    with pytest.raises(ValueError, match="most_claims=0"):
        Geometry(most_claims=0)
