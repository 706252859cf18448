"""Weighted votes and when they end: weights and features by hand, the fitted chance against its own definition."""

import json
import math

import pytest

from trl_r1.routing.calibrate import CandidateSet, calibrate, correctness_and_tokens, fixed_policy, load, replay
from trl_r1.routing.complexity import Complexity
from trl_r1.routing.paths import Candidate
from trl_r1.routing.router import Router, RoutingLimits
from trl_r1.routing.settling import learn_settled, vote_features, weight_of
from trl_r1.routing.votes import Tally


def same(a, b):
    return a == b


def path(answer, logprob, tokens=10):
    return Candidate(str(answer), tokens, answer=answer, logprob=logprob, entropy=0.1)


def tally_of(paths, sharpness=1.0):
    tally = Tally(same)
    for one in paths:
        tally.add(one.answer, weight_of(one, sharpness))
    return tally


def test_weights_and_features_by_hand():
    paths = [path("a", math.log(0.5)), path("b", math.log(0.9)), path("a", math.log(0.3)), path(None, -0.1)]
    tally = tally_of(paths)
    assert tally.ranking() == [[1], [0, 2]]  # 0.9 against 0.5 + 0.3
    assert tally.leaders() == [[0, 2]]  # heads: two against one
    found = vote_features(tally, paths)
    assert found == pytest.approx({
        "vote_share": 0.9 / 1.7, "vote_weight": math.log(1.9), "vote_second": math.log(1.8), "vote_count": 1.0,
        "vote_rivals": 2.0, "vote_answered": 3.0, "vote_paths": 4.0, "vote_surprise": -math.log(0.9),
    })  # fmt: skip
    assert tally_of(paths, sharpness=0.0).ranking() == [[0, 2], [1]]  # all alike: heads again
    assert vote_features(tally_of([path(None, -1.0)]), [path(None, -1.0)]) == {}


def test_a_path_of_unknown_likelihood_counts_one():
    assert weight_of(path("a", None), 4.0) == 1.0
    assert "vote_surprise" not in vote_features(tally_of([path("a", None)]), [path("a", None)])


def always(chance):
    return Complexity({}, {}, {}, math.log(chance / (1 - chance)))


@pytest.fixture
def two_against_one(scripted):
    """Two unlikely paths say 5, one likely path says 4; then many more."""
    rows = [
        Candidate("\\boxed{5}", 10, logprob=-2.0),
        Candidate("\\boxed{4}", 10, logprob=-0.1),
        Candidate("\\boxed{5}", 10, logprob=-2.0),
    ]
    return scripted({"q": rows + [Candidate("\\boxed{5}", 10, logprob=-2.0)] * 13})


def test_the_likely_path_outweighs_two_unlikely_ones(two_against_one):
    limits = RoutingLimits(simple_below=0.0, most_paths=3, wave=1, choose="weighted")
    found = Router(two_against_one, limits=limits).answer("q")
    assert (found.answer, found.chosen_by, found.votes) == ("4", "weighted vote", (("5", 2), ("4", 1)))


def test_drawing_ends_when_the_leader_is_probably_right(two_against_one):
    limits = RoutingLimits(simple_below=0.0, most_paths=16, wave=1, least_paths=1, choose="weighted", sure=0.6)
    # the fitted chance looks at one thing here: how likely the leader's best path is; even odds at a surprise of 1
    settled = Complexity({"vote_surprise": -4.0}, {"vote_surprise": 1.0}, {"vote_surprise": 1.0}, 0.0)
    found = Router(two_against_one, limits=limits, settled=settled).answer("q")
    assert (found.answer, found.stopped, len(found.paths)) == ("4", "confident", 2)


def test_a_path_without_an_answer_never_ends_it(scripted):
    model = scripted({"q": [Candidate("...", 10, logprob=-0.1)] * 2 + [Candidate("\\boxed{4}", 10, logprob=-0.1)]})
    limits = RoutingLimits(simple_below=0.0, most_paths=3, wave=1, least_paths=1, choose="weighted", sure=0.5)
    found = Router(model, limits=limits, settled=always(0.9)).answer("q")
    assert (found.answer, len(found.paths)) == ("4", 3)


def test_without_a_fitted_chance_the_heads_decide_when(scripted):
    model = scripted({"q": [Candidate("\\boxed{4}", 10, logprob=-0.1)] * 16})
    limits = RoutingLimits(simple_below=0.0, wave=1, choose="weighted", confident=0.95)
    found = Router(model, limits=limits).answer("q")
    assert (found.stopped, len(found.paths)) == ("confident", 4)


def test_nothing_can_change_it_counts_weights(scripted):
    # two votes of 0.99 against three more paths of at most 1 each: open; three votes against two more: decided
    model = scripted({"q": [Candidate("\\boxed{4}", 10, logprob=-0.0025)] * 5})
    limits = RoutingLimits(simple_below=0.0, most_paths=5, wave=1, choose="weighted", confident=1.0)
    found = Router(model, limits=limits).answer("q")
    assert (found.stopped, len(found.paths)) == ("decided", 3)


def test_the_chance_is_learned():
    """Likely paths are right, unlikely ones wrong, whatever they say."""
    problems = [([path(f"a{n}", -0.1 if n % 2 else -2.0)], [bool(n % 2)]) for n in range(40)]
    settled = learn_settled(problems, same, 1.0)
    features = [vote_features(tally_of(paths), paths) for paths, _ in problems]
    assert min(settled(f) for f in features[1::2]) > 0.9 > 0.1 > max(settled(f) for f in features[0::2])
    with pytest.raises(ValueError, match="No path has an answer"):
        learn_settled([([path(None, -1.0)], [False])], same, 1.0)


@pytest.fixture
def pools():
    """One likely right path among unlikely wrong ones that agree: heads are wrong, weights right, and one look is enough."""
    made = []
    for n in range(24):
        paths = [path("w", -2.0)] * 7
        paths.insert(n % 3, path("r", -0.05))
        made.append(CandidateSet(f"problem {n}", "r", paths, [one.answer == "r" for one in paths]))
    return made


def router(**limits):
    return Router(None, limits=RoutingLimits(most_paths=8, wave=1, **limits), extract=lambda text: None, same=same)


def test_calibration_takes_weights_where_heads_are_wrong(pools, tmp_path):
    assert fixed_policy(pools, 8, same)[0].mean() == 0.0
    assert fixed_policy(pools, 8, same, 4.0)[0].mean() == 1.0
    made = calibrate(pools, router(), budget=0.5, orders=2)
    assert made.limits.choose == "weighted"
    assert made.facts["accuracy"] > 0.9
    assert made.facts["tokens"] <= 0.5 * made.facts["all_paths_tokens"]
    again = load(made.save(tmp_path / "router.json"))
    assert (again.limits, again.settled) == (made.limits, made.settled)
    chosen = Router(
        None, limits=again.limits, complexity=again.complexity, settled=again.settled, extract=str, same=same
    )
    assert correctness_and_tokens(pools, replay(pools, chosen))[0].mean() > 0.9


def test_files_of_before_weighted_votes_are_read(pools, tmp_path):
    made = calibrate(pools, router(), simple_below=(0.1,), confident=(0.9,), orders=1)
    content = json.loads(made.save(tmp_path / "router.json").read_text())
    del content["settled"], content["limits"]["sure"], content["limits"]["sharpness"]
    content["limits"]["choose"] = "vote"
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert load(tmp_path / "old.json").settled is None


@pytest.mark.parametrize("options", [{"sharpness": -1.0}, {"sure": 0.0}, {"sure": 1.5}, {"sharpness": float("nan")}])
def test_limits_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="sharpness="):
        RoutingLimits(**options)


def test_a_budget_is_a_share(pools):
    with pytest.raises(ValueError, match="is a share of the tokens"):
        calibrate(pools, router(), budget=1.5)
