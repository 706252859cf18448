"""The router, with a list of texts playing the model."""

import json

import pytest

from trl_r1.routing.cache import PathCache, cache_key
from trl_r1.routing.choice import CHOICES, fallback
from trl_r1.routing.complexity import Complexity
from trl_r1.routing.paths import Candidate, Settings
from trl_r1.routing.router import Router, RoutingLimits
from trl_r1.routing.votes import Tally


def boxed(*answers):
    return [f"\\boxed{{{answer}}}" if answer else "..." for answer in answers]


def router(sampler, **limits):
    options = {"simple_below": 0.0, "confident": 1.0, "wave": 1, **limits}
    longest = lambda prompt, texts: [float(len(text)) for text in texts]  # noqa: E731
    return Router(sampler, limits=RoutingLimits(**options), score=longest)


def test_a_simple_question_takes_one_pass(scripted):
    model = scripted({"q": boxed(4, 5)})
    found = router(model, simple_below=1.0).answer("q")
    assert (found.route, found.answer, found.tokens, found.stopped) == ("simple", "4", 10, "one pass")
    assert model.asked == [("q", 1)]


def test_a_vote_ends_when_nothing_can_change_it(scripted):
    # of 5 paths: 4 4 5 4 -> after the fourth the leader has 3, the other 1, one is left: 3 > 1 + 1
    model = scripted({"q": boxed(4, 4, 5, 4, 5)})
    found = router(model, most_paths=5).answer("q")
    assert (found.answer, found.stopped, len(found.paths), found.tokens) == ("4", "decided", 4, 40)
    assert found.votes == (("4", 3), ("5", 1))
    assert found.agreement == 0.75


def test_a_confident_vote_ends_earlier(scripted):
    # four agreeing votes: P(Beta(5, 1) > 1/2) = 0.96875; three: 0.9375
    found = router(scripted({"q": boxed(*[4] * 16)}), confident=0.95).answer("q")
    assert (len(found.paths), found.stopped) == (4, "confident")


def test_votes_count_by_meaning_and_a_missing_answer_does_not_vote(scripted):
    found = router(scripted({"q": boxed("0.5", None, "3", "1/2")}), most_paths=4).answer("q")
    assert found.votes == (("0.5", 2), ("3", 1))
    assert (found.agreement, found.stopped) == (0.5, "all paths")


def test_budgets_end_the_waves(scripted):
    found = router(scripted({"q": boxed(*range(1, 17))}), most_tokens=35).answer("q")
    assert (found.tokens, found.stopped) == (40, "token budget")  # no wave begins beyond 35; the fourth began at 30
    found = router(scripted({"q": boxed(*range(1, 17))}), seconds=1e-9).answer("q")
    assert (len(found.paths), found.stopped) == (1, "time")


def test_a_caller_may_choose_the_route(scripted):
    model = scripted({"q": boxed(*[4] * 9)})
    assert router(model, simple_below=1.0).answer("q", route="complex").stopped == "decided"
    assert router(scripted({"q": boxed(4)})).answer("q", route="simple").complexity is None
    with pytest.raises(ValueError, match=r"route='fast' is unknown. Choose one of: auto, simple, complex"):
        router(model).answer("q", route="fast")


def test_a_short_draft_is_paid_for_and_is_no_path(scripted):
    model = scripted({"3 + 1 = ?": boxed(4, 4, 4)})
    found = router(model, most_paths=3, draft_tokens=5).answer("3 + 1 = ?")
    assert (found.draft_tokens, found.tokens, len(found.paths)) == (5, 5 + 20, 2)
    whole = router(scripted({"3 + 1 = ?": boxed(4, 4, 4)}), most_paths=3, draft_tokens=50, simple_below=1.0).answer(
        "3 + 1 = ?"
    )
    assert (whole.draft_tokens, whole.tokens, len(whole.paths)) == (0, 10, 1)  # it ended by itself: the path


def test_the_draft_s_entropy_and_a_difficulty_model_decide(scripted):
    sure = scripted({"q": [Candidate("\\boxed{4}", 10, logprob=-0.01, entropy=0.01)]})
    unsure = scripted({"q": [Candidate("\\boxed{4}", 10, logprob=-1.5, entropy=1.5)] * 16})
    easy = router(sure, simple_below=0.3).answer("q")
    hard = router(unsure, simple_below=0.3).answer("q")
    assert (easy.route, hard.route) == ("simple", "complex")
    graded = router(scripted({"q": boxed(*[4] * 16)}))
    graded.difficulty = lambda text: 0.9
    assert graded.answer("q").features["difficulty"] == 0.9


def test_an_open_ended_text_is_never_voted_on(scripted):
    verses = [f"The sea sings.\nAnd {gulls} gulls listen." for gulls in range(16)]
    model = scripted({"Write a poem about the sea.": verses})
    made = router(model, draft_tokens=5)  # simple_below=0: no complexity is low enough
    found = made.answer("Write a poem about the sea.")
    assert (found.route, found.why, found.tokens) == ("simple", "no final answer to vote on", 10)
    assert model.asked == [("Write a poem about the sea.", 1)]  # no draft either
    wanted = router(scripted(dict(model.texts)), most_paths=3).answer("Write a poem about the sea.", route="complex")
    assert (len(wanted.paths), wanted.votes, wanted.chosen_by) == (3, (), "no answer")  # not by its last number


def test_an_answer_that_is_asked_for_or_declared_is_voted_on(scripted):
    assert len(router(scripted({"3 + 1 = ?": ["It is 4."] * 4}), most_paths=4).answer("3 + 1 = ?").paths) == 3
    declared = router(scripted({"q": ["The answer is 4.", "So 5.", "The answer is 4.", "..."]}), most_paths=4).answer(
        "q"
    )
    assert (declared.votes, declared.stopped) == ((("4", 2),), "decided")  # 5 is a last sentence and no vote


def test_a_calibrated_router_and_a_verifier_are_not_held_back(scripted):
    fitted = Complexity({}, {}, {}, bias=9.0)
    made = router(scripted({"q": ["It is 4."] * 16}), most_paths=3)
    made.complexity = fitted
    assert (made.answer("q").route, made.answer("q").votes) == ("complex", (("4", 2),))
    best = router(scripted({"q": ["a", "bb", "ccc"]}), most_paths=3, choose="verifier")
    assert best.answer("q").text == "ccc"


def test_temperature_0_draws_one_path_and_claims_no_agreement(scripted):
    model = scripted({"3 + 1 = ?": boxed(4, 4, 4)})
    for route in ("auto", "complex", "simple"):
        model.at.clear()
        found = router(model, draft_tokens=3).answer("3 + 1 = ?", route, settings=Settings(temperature=0.0))
        assert (found.tokens, found.agreement, found.stopped) == (10, None, "temperature 0")
        assert "agreement" not in found.line()
    assert model.asked == [("3 + 1 = ?", 1)] * 3


def test_a_repeated_question_costs_nothing_and_goes_on_where_it_stopped(scripted):
    model = scripted({"q": boxed(4, 5, 4, 4, 5, 4, 4)})
    made = router(model, most_paths=3)
    made.cache = PathCache()
    first = made.answer("q")
    again = made.answer("q")
    assert (first.tokens, again.tokens, again.cached, again.answer) == (30, 0, 3, "4")
    longer = made.answer("q", limits=RoutingLimits(simple_below=0.0, confident=1.0, wave=1, most_paths=7))
    assert (longer.cached, longer.tokens, longer.stopped) == (3, 30, "decided")  # 4 5 4 | 4 5 4: 4 > 2 + 1
    assert made.answer("q", seed=5, route="simple").cached == 0  # paths of another seed are not those


def test_many_questions_share_waves(scripted):
    model = scripted({"a": boxed(*[1] * 16), "b": boxed(*[2, 3] * 8)})
    found = router(model, most_paths=6).answer_all(["a", "b"])
    one = [router(scripted(dict(model.texts)), most_paths=6).answer(q) for q in "ab"]
    assert [f.to_dict() | {"seconds": 0} for f in found] == [f.to_dict() | {"seconds": 0} for f in one]
    assert json.dumps(found[0].to_dict(texts=True))
    assert "agreement 1.00" in found[0].line()


def test_limits_refuse_what_makes_no_sense():
    for wrong in ({"simple_below": 2}, {"least_paths": 9, "most_paths": 4}, {"most_tokens": 0}, {"choose": "luck"}):
        with pytest.raises(ValueError):
            RoutingLimits(**wrong)
    with pytest.raises(ValueError, match="needs a scoring function"):
        Router(None, limits=RoutingLimits(choose="verifier"))


# --- choice


def chosen(name, paths, score=None):
    tally = Tally(lambda a, b: a == b)
    for path in paths:
        tally.add(path.answer)
    return CHOICES[name]("q", paths, tally, score)


PATHS = [Candidate("a", 1, logprob=-0.5, answer="4"), Candidate("b", 1, logprob=-0.1, answer="5"),
         Candidate("c", 1, logprob=-0.2, answer="4"), Candidate("d", 1, logprob=-0.01)]  # fmt: skip


def test_each_choice_chooses_by_its_own_rule():
    assert chosen("vote", PATHS).index == 2  # the likeliest of the two that say 4
    assert chosen("log_prob", PATHS).index == 1  # the likeliest with an answer
    assert chosen("verifier", PATHS, lambda q, texts: [0.1, 0.2, None, 0.9]).index == 3
    asked = []

    def doubt(q, texts):
        asked.extend(texts)
        return [1.0, 3.0]

    assert chosen("agser", PATHS, doubt).index == 1
    assert asked == ["c", "b"]  # one path of each answer
    tied = chosen("vote", PATHS[:2])
    assert (tied.index, tied.by) == (1, "vote, tied")
    assert chosen("vote", [PATHS[3]]).by == "no answer"


def test_a_verifier_that_judges_nothing_leaves_it_to_the_vote():
    assert chosen("verifier", PATHS, lambda q, texts: [None] * 4).by == "vote"
    with pytest.raises(ValueError, match="gave 1 scores for 4 texts"):
        chosen("verifier", PATHS, lambda q, texts: [1.0])


def test_without_answers_a_whole_text_is_preferred():
    paths = [
        Candidate("cut", 5, truncated=True, logprob=-0.1),
        Candidate("whole", 5, logprob=-0.9),
        Candidate("", 0, refused="no"),
    ]
    assert fallback(paths) == 1
    assert fallback(paths[:1]) == 0


# --- the cache


def test_the_cache_is_bounded_by_questions_and_characters():
    cache = PathCache(questions=2)
    for key in "abc":
        cache.put(key, [Candidate(key, 1)])
    assert (len(cache), cache.get("a"), cache.get("c")[0].text) == (2, (), "c")
    cache = PathCache(characters=10)
    cache.put("a", [Candidate("x" * 6, 1)])
    cache.put("b", [Candidate("y" * 6, 1)])
    assert (cache.get("a"), len(cache.get("b"))) == ((), 1)
    cache.put("c", [Candidate("z" * 11, 1)])  # larger than everything: not kept, and nothing lost for it
    assert len(cache.get("b")) == 1
    with pytest.raises(ValueError):
        PathCache(0)


def test_fewer_paths_never_replace_more_and_the_oldest_use_goes_first():
    cache = PathCache(questions=2)
    cache.put("a", [Candidate("1", 1), Candidate("2", 1)])
    cache.put("a", [Candidate("3", 1)])
    assert len(cache.get("a")) == 2
    cache.put("b", [Candidate("1", 1)])
    cache.get("a")
    cache.put("c", [Candidate("1", 1)])
    assert (len(cache.get("a")), cache.get("b")) == (2, ())


def test_a_key_depends_on_everything_that_makes_a_text():
    base = cache_key("m", "q", Settings())
    chat = [{"role": "user", "content": "q"}]
    changed = [("n", "q", Settings()), ("m", "p", Settings()), ("m", "q", Settings(1.0)), ("m", "q", Settings(), 3)]
    assert len({base, cache_key("m", chat, Settings()), *(cache_key(*parts) for parts in changed)}) == 6
