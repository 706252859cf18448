"""Calibration on made-up pools whose best thresholds are known; the file round trip."""

import json

import numpy as np
import pytest

from trl_r1.routing.calibrate import (
    CandidateSet,
    calibrate,
    correctness_and_tokens,
    draw_candidate_sets,
    fixed_policy,
    load,
    replay,
    shuffle,
)
from trl_r1.routing.paths import Candidate
from trl_r1.routing.router import Router, RoutingLimits
from trl_r1.text.records import Problem


def same(a, b):
    return a == b


def router(**limits):
    return Router(
        None, limits=RoutingLimits(**{"most_paths": 8, "wave": 1, **limits}), extract=lambda text: None, same=same
    )


def pool(name, answers, entropy):
    paths = [Candidate(answer, 10, answer=answer, entropy=entropy) for answer in answers]
    return CandidateSet(name, "r", paths, [answer == "r" for answer in answers])


@pytest.fixture
def pools():
    """Easy problems are always right and drafted without doubt; hard ones are right in 5 of 8 paths, not in the first."""
    easy = [pool(f"easy {n}", "rrrrrrrr", 0.01) for n in range(10)]
    hard = [pool(f"hard {n}", "wrwrrwrr", 1.0) for n in range(10)]
    return [p for pair in zip(easy, hard) for p in pair]


def test_calibration_spends_where_it_pays(pools):
    made = calibrate(pools, router(), tolerance=0.0, orders=1)
    chosen = Router(None, limits=made.limits, complexity=made.complexity, extract=lambda text: None, same=same)
    right, tokens = correctness_and_tokens(pools, replay(pools, chosen))
    assert right.mean() == made.facts["all_paths_accuracy"] == 1.0
    assert set(tokens[0::2]) == {10.0}  # one pass for each easy problem
    assert min(tokens[1::2]) > 20
    assert made.facts["within_tolerance"]


def test_a_plain_vote_by_hand(pools):
    right, tokens = fixed_policy(pools, 2, same)  # hard: w r, a tie, right by half
    assert right.tolist() == [1.0, 0.5] * 10
    assert set(tokens) == {20.0}
    assert fixed_policy(pools, 8, same)[0].mean() == 1.0


def test_an_impossible_tolerance_says_so(pools):
    made = calibrate(pools, router(), tolerance=-1.0, simple_below=(0.0,), confident=(1.0,), least_paths=(2,))
    assert made.facts["within_tolerance"] is False
    with pytest.raises(ValueError, match="at least 4 problems with 8 paths"):
        calibrate(pools[:3], router())


def test_the_file_round_trip_and_damaged_files(pools, tmp_path):
    made = calibrate(pools, router(), simple_below=(0.1,), confident=(0.9,))
    path = made.save(tmp_path / "router.json")
    again = load(path)
    assert (again.limits, again.complexity) == (made.limits, made.complexity)
    content = json.loads(path.read_text())
    for change in ({"kind": "x"}, {"limits": {"no_such": 1}}, {"limits": {"simple_below": 7.0}}, {"complexity": {}}):
        path.write_text(json.dumps(content | change))
        with pytest.raises(ValueError):
            load(path)
    with pytest.raises(ValueError, match="is no router file"):
        load(tmp_path / "missing.json")


def test_pools_are_read_and_judged(scripted):
    model = scripted({"q": ["\\boxed{4}", "\\boxed{5}", "..."]})
    made = Router(model)
    drawn = draw_candidate_sets(model, [Problem("q", "q", "4")] * 2, made, lambda answer, gold: answer == gold, 3)
    assert len(drawn) == 1
    assert ([p.answer for p in drawn[0].paths], drawn[0].right) == (["4", "5", None], [True, False, False])
    assert np.isclose(fixed_policy(drawn, 3, same)[0], 0.5)


def test_other_orders_hold_the_same_paths(pools):
    assert shuffle(pools, 0) == pools
    again = shuffle(pools, 3)
    assert again == shuffle(pools, 3) != pools
    for before, after in zip(pools, again):
        assert sorted(path.answer for path in after.paths) == sorted(path.answer for path in before.paths)
        assert after.right == [path.answer == "r" for path in after.paths]
