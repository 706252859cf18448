"""One judge: reward, evaluation, filters, routing, `answer --questions`, `agser evaluate` and review agree on a reply."""

import json

import pytest
from samples import graded, sample

from trl_r1.agser.datasets import read_questions
from trl_r1.commands.answer import record
from trl_r1.data.filters import decide_right
from trl_r1.evaluation.benchmark import default_graders
from trl_r1.review.queue import objection
from trl_r1.rewards.accuracy import accuracy_reward, verdict
from trl_r1.routing.calibrate import draw_candidate_sets
from trl_r1.routing.paths import Candidate
from trl_r1.routing.router import Router, RoutingLimits
from trl_r1.text.records import Problem


REPLIES = [  # (reply, gold, declared type, right)
    ("The capital of France is Paris.", "Paris", "", True),
    ("The capital of France is Paris.", "Paris", "fact", True),
    ("首都是北京。", "北京", "", True),
    ("首都是北京。", "北京", "fact", True),
    ("It is 42.5.", "42", "", False),
    ("It is 42.5.", "42", "fact", False),
    ("It is 42.", "42", "", True),
    ("Paris", "Paris", "", True),
    ("The capital of France is London.", "Paris", "", False),
    ("The capital of France is not Paris.", "Paris", "", False),
    ("It is Paris or Lyon.", "Paris", "fact", False),
    ("It was Camus, in 1942.", "Camus", "fact", True),
    (r"\boxed{m+n = 293}", "293", "", True),
    (r"\boxed{8}", "x+y=8", "", False),
    (r"\boxed{60, 51, 29}", "29, 51, 60", "", True),
    (r"\boxed{60, 51, 29}", "29, 51, 60", "sequence", False),
    (r"\boxed{29, 51, 60}", "29, 51, 60", "sequence", True),
    ("Option C is right.", "C", "", True),
    ("故选BD。", "BD", "", True),
    (r"\boxed{-3} or \boxed{4}", "-3, 4", "", True),
    ("Ben has to pay $35 for 7 tickets.", "35", "", True),
    (r"\boxed{\frac{3}{5\pi}}", r"\frac{3}{5}\pi", "", False),
    (r"\boxed{12}", r"12\%", "percent", True),
    ("We add them up. So, it", "12", "", False),
]


class Says:
    """A sampler that says one thing; ``clipped``: and was cut off."""

    name = "says"

    def __init__(self, text, clipped=False):
        self.path = Candidate(text, 5, clipped)

    def draw(self, asks, settings, seed):
        return [[self.path] * ask.count for ask in asks]


def row_of(reply, gold, kind):
    return {"question": "q?", "prompt": "q?", "solution": gold, **({"answer_type": kind} if kind else {})}


@pytest.mark.parametrize(("reply", "gold", "kind", "right"), REPLIES)
def test_every_way_gives_one_verdict(reply, gold, kind, right, tmp_path):
    row = row_of(reply, gold, kind)
    router = Router(Says(reply), limits=RoutingLimits(most_paths=2))
    problem = Problem("q?", "q?", gold, answer_type=kind)
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"question": "q?", "answer": gold, **({"answer_type": kind} if kind else {})})
    )
    agser = read_questions(str(tmp_path / "rows.jsonl"))
    found = {
        "reward": accuracy_reward([reply], solution=[gold], **({"answer_type": [kind]} if kind else {})) == [1.0],
        "verdict": verdict(reply, gold, answer_type=kind),
        "evaluate": graded(gold, [reply], answer_type=kind).right[0],
        "filters": decide_right([sample(reply, gold, answer_type=kind)])[0].correct,
        "answer": record(row, router.answer("q?"), "says")["right"],
        "calibrate": draw_candidate_sets(router.sampler, [problem], router, default_graders().verify, 1)[0].right[0],
        "agser": not agser.made_up(0, reply),
        "review": objection(row, reply) is None,
    }
    assert found == dict.fromkeys(found, right)


CUT = [  # of a reply that the token limit cut: (reply, gold, right)
    ("#### 4", "4", False),
    ("The answer is 4", "4", False),
    ("<answer>4", "4", False),
    (r"So \boxed{4}, as we", "4", True),
    ("<answer>4</answer> I", "4", True),
    ("Option C", "C", False),
    ("The capital of France is Paris", "Paris", False),
]


@pytest.mark.parametrize(("reply", "gold", "right"), CUT)
def test_a_cut_reply_has_only_a_closed_answer_everywhere(reply, gold, right):
    row = row_of(reply, gold, "")
    router = Router(Says(reply, clipped=True), limits=RoutingLimits(most_paths=2))
    problem = Problem("q?", "q?", gold)
    found = {
        "verdict": verdict(reply, gold, truncated=True),
        "evaluate": graded(gold, [reply], truncated=[True]).right[0],
        "filters": decide_right([sample(reply, gold, truncated=True)])[0].correct,
        "answer": record(row, router.answer("q?"), "says")["right"],
        "calibrate": draw_candidate_sets(router.sampler, [problem], router, default_graders().verify, 1)[0].right[0],
    }
    assert found == dict.fromkeys(found, right)


def test_a_cut_reply_does_not_vote():
    texts = [r"\boxed{42}", "#### 4", "the answer is 4", r"\boxed{42} and"]
    problem = graded("42", texts, truncated=[False, True, True, True])
    assert [one.answer for one in problem.samples] == ["42", None, None, "42"]
    assert problem.consensus == 1.0
    routed = Router(Says("#### 4", clipped=True), limits=RoutingLimits(most_paths=4)).answer("q?", "complex")
    assert routed.answer is None
    assert routed.votes == ()


def test_somebody_elses_extract_need_not_know_of_it():
    router = Router(Says("4", clipped=True), extract=str.strip, same=str.__eq__)
    assert router.answer("q?", "simple").answer == "4"
