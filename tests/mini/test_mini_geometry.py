"""The coordinate problems of the mini world: gold by construction, and the geometry reward's examination."""

import math
import random
import re
from collections import Counter
from fractions import Fraction

import pytest

from trl_r1.data.columns import load_rows
from trl_r1.mini import geometry as world
from trl_r1.mini.geometry import KINDS, Problem, draw_problems, gold_reply
from trl_r1.mini.geometry_steps import root
from trl_r1.rewards import accuracy_reward, format_reward
from trl_r1.rewards.accuracy import verify
from trl_r1.rewards.geometry import geometry_reward


PROBLEMS = draw_problems("train", 700, seed=11) + draw_problems("test", 100, seed=11)


def test_a_problem_in_both_languages_by_hand():
    english = Problem("length", ((1, 2), (4, 6)), "en", (1, 0))
    assert english.question == "Given A(1, 2) and B(4, 6). Find AB."
    # differences 3 and 4: 9 + 16 = 25, whose root is 5; the error is the forgotten root
    assert english.chain == "First, AB^2 = 9 + 16 = 25. So AB = 5."
    assert english.wrong_chain == "First, AB^2 = 9 + 16 = 25. So AB = 25."
    assert (english.solution, english.answer_type, english.wrong_step) == ("5", "number", 1)
    chinese = Problem("area", ((0, 0), (4, 0), (1, 3)), "zh", (2, 0))
    assert chinese.question == "已知A(0, 0)、B(4, 0)、C(1, 3)。求三角形ABC的面积。"
    # 4 * 3 / 2 = 6; the error is the forgotten half
    assert chinese.chain == "\\vec{AB} = (4, 0)。\\vec{AC} = (1, 3)。三角形ABC的面积是6。"
    assert chinese.wrong_chain.endswith("三角形ABC的面积是12。")
    assert chinese.id == "zh-area-(0,0)(4,0)(1,3)"


def test_there_are_problems_of_every_kind_in_both_languages_with_every_step_wrong_somewhere():
    seen = Counter((p.kind, p.language) for p in PROBLEMS)
    assert set(seen) == {(kind, language) for kind in KINDS for language in world.LANGUAGES}
    assert min(seen.values()) > 20
    assert {(p.kind, p.wrong_step) for p in PROBLEMS} >= {("perimeter", step) for step in range(4)}
    assert Counter(p.solution for p in PROBLEMS if p.answer_type == "yes_no").keys() == {"yes", "no"}


def test_the_geometry_reward_pays_every_right_chain_in_full_and_no_wrong_one():
    questions = [problem.question for problem in PROBLEMS]
    assert len(PROBLEMS) == 800
    assert geometry_reward([p.chain for p in PROBLEMS], prompts=questions) == [1.0] * len(PROBLEMS)
    wrong = geometry_reward([p.wrong_chain for p in PROBLEMS], prompts=questions)
    failed = [p.id for p, score in zip(PROBLEMS, wrong, strict=True) if score is None or score >= 1.0]
    assert failed == []


def test_the_reward_finds_the_step_that_went_wrong():
    for problem in PROBLEMS:
        text = problem.wrong_chain
        wrong = [(start, end) for start, end, share in geometry_reward.spans(text, problem.question) if share == 0.0]
        before = [step.write(problem.language) for step in problem.steps[: problem.wrong_step]]
        start = len((" " if problem.language == "en" else "").join([*before, ""]))
        step = problem.steps[problem.wrong_step]
        end = start + max(len(step.write(problem.language, claim)) for claim in step.wrong)
        assert wrong, problem.id
        assert all(start <= first < last <= end for first, last in wrong), problem.id


def test_every_step_alone_is_judged_and_every_error_in_it_is_wrong():
    for problem in PROBLEMS[:150]:
        for step in problem.steps:
            assert len(step.wrong) > 0
            places = f"{problem.question} M{_foot(problem)}"
            assert geometry_reward([step.write(problem.language)], prompts=[places]) == [1.0], (problem.id, step)
            for claim in step.wrong:
                assert geometry_reward([step.write(problem.language, claim)], prompts=[places])[0] < 1.0, (
                    problem.id,
                    claim,
                )


def _foot(problem: Problem) -> str:
    if problem.kind != "median":
        return "(0, 0)"
    _, (x1, y1), (x2, y2) = problem.points
    return f"({Fraction(x1 + x2, 2)}, {Fraction(y1 + y2, 2)})"


def test_gold_answers_agree_with_floating_point():
    def value(text: str) -> float:
        text = re.sub(r"\\frac\{(.*)\}\{2\}", r"(\1)/2", text)
        parts = re.fullmatch(r"\(?(\d*)(?:\\sqrt\{(\d+)\})?\)?(?:/(\d+))?", text)
        assert parts, text
        outside, inside, under = parts.groups()
        return float(outside or 1) * math.sqrt(float(inside or 1)) / float(under or 1)

    for problem in PROBLEMS:
        points = problem.points
        if problem.kind == "length":
            assert value(problem.solution) == pytest.approx(math.dist(*points), abs=1e-9)
        elif problem.kind == "perimeter":
            a, b, c = points
            assert value(problem.solution) == pytest.approx(
                math.dist(a, b) + math.dist(b, c) + math.dist(c, a), abs=1e-9
            )
        elif problem.kind == "median":
            a, b, c = points
            foot = ((b[0] + c[0]) / 2, (b[1] + c[1]) / 2)
            assert value(problem.solution) == pytest.approx(math.dist(a, foot), abs=1e-9)


def test_gold_answers_verify_under_their_declared_type_and_the_gold_reply_earns_everything():
    for problem in PROBLEMS:
        assert verify(problem.solution, problem.solution, answer_type=problem.answer_type) is True
    few = PROBLEMS[:60]
    columns = {"solution": [p.solution for p in few], "answer_type": [p.answer_type for p in few]}
    assert accuracy_reward([gold_reply(p) for p in few], **columns) == [1.0] * 60
    assert format_reward([gold_reply(p) for p in few]) == [1.0] * 60


def test_splits_share_no_problem_and_drawing_depends_on_the_seed_alone():
    random.seed(0)
    first, again, other = (draw_problems("train", 200, seed) for seed in (3, 3, 4))
    assert first == again != other
    contents = {
        split: {(p.kind, tuple(sorted(p.points))) for seed in (0, 1) for p in draw_problems(split, 300, seed)}
        for split in world.SPLITS
    }
    assert not contents["train"] & contents["test"]
    with pytest.raises(ValueError, match="no split 'dev'. Choose one of: train, test"):
        draw_problems("dev", 1, 0)


def test_it_loads_like_any_dataset():
    rows = load_rows("mini:geometry-tiny", seed=5)
    assert len(rows) == 64
    assert rows.column_names == [
        "question",
        "solution",
        "answer_type",
        "language",
        "id",
        "chain",
        "wrong_chain",
        "wrong_step",
    ]
    assert len(load_rows("mini:geometry-test")) == 200
    assert load_rows("mini:geometry-tiny", seed=5)["id"] == rows["id"] != load_rows("mini:geometry-tiny")["id"]


@pytest.mark.parametrize(
    ("number", "written"), [(1, "1"), (2, "\\sqrt{2}"), (8, "2\\sqrt{2}"), (49, "7"), (72, "6\\sqrt{2}")]
)
def test_roots_in_lowest_terms(number, written):
    assert root(number) == written
