"""Calibration: problems with known answers in, a fitted complexity model and thresholds out.

Paths of every problem are drawn once (`draw_candidate_sets`) and replayed (`replay`) under all candidate thresholds, so
that trying one costs no generation. Taken is the cheapest whose accuracy is no more than ``tolerance`` below voting over all
paths, or the most accurate that costs no more than ``budget``, on these problems; measure the result on others.

A set's paths are independent samples, so replaying them in order is exactly what the router would have drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path as File

import numpy as np

from trl_r1.answers.extract import read_with
from trl_r1.evaluation.metrics import answer_classes
from trl_r1.routing.complexity import Complexity, draft_features, fit, prompt_features
from trl_r1.routing.paths import Ask, Candidate, Sampler, Settings
from trl_r1.routing.router import Routed, Router, RoutingLimits
from trl_r1.routing.settling import learn_settled, weight_of
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json, Problem, Prompt


KIND = "trl_r1.router"
SIMPLE_BELOW = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
CONFIDENT = (0.8, 0.85, 0.9, 0.95, 0.97, 0.99, 1.0)
SURE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the weighted vote
SHORTER = (1.0, 0.75, 0.5)  # shares of the most paths, of the weighted vote


@dataclass
class CandidateSet:
    """The paths of one problem and what is true of them."""

    prompt: Prompt
    solution: str
    paths: list[Candidate]  # with answers
    right: list[bool]


@dataclass
class Stored:
    """A sampler that hands out stored paths in their order, each once; a short draft is the first one's beginning."""

    sets: Mapping[str, Sequence[Candidate]]
    name: str = "stored"
    taken: dict[str, int] = field(default_factory=dict)

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """The next paths of each prompt.

        Raises:
            ValueError: there are not as many.
        """
        candidates = []
        for ask in asks:
            key = identity(ask.prompt)
            at = self.taken.get(key, 0)
            paths = list(self.sets[key][at : at + ask.count])
            if len(paths) < ask.count:
                raise ValueError(f"{ask.count} paths were asked for at {at}, and {len(self.sets[key])} are stored.")
            self.taken[key] = at + ask.count
            candidates.append(paths)
        return candidates


def identity(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)


def draw_candidate_sets(
    sampler: Sampler,
    problems: Sequence[Problem],
    router: Router,
    verify: Callable[..., bool | None],
    paths: int,
    seed: int = 0,
) -> list[CandidateSet]:
    """``paths`` paths for every problem, read and judged as the router and ``verify`` do.

    Problems with the same prompt are kept once.
    """
    assert router.extract is not None
    problems = list({identity(problem.prompt): problem for problem in problems}.values())
    completions = sampler.draw([Ask(problem.prompt, paths) for problem in problems], router.settings, seed)
    sets = []
    for problem, candidates in zip(problems, completions, strict=True):
        read = [replace(path, answer=router.read(path, prompt=problem.prompt)) for path in candidates]
        kind, gold = problem.answer_type, problem.solution or ""
        declared = {"answer_type": kind} if kind else {}
        answers = [
            read_with(router.extract, path.text, path.truncated, kind, problem.prompt) if kind else path.answer
            for path in read
        ]
        verdicts: dict[str, bool] = {}
        for answer in answers:
            if answer is not None and answer not in verdicts:
                verdicts[answer] = verify(answer, gold, **declared) is True
        right = [answer is not None and verdicts[answer] for answer in answers]
        sets.append(CandidateSet(problem.prompt, gold, read, right))
    return sets


def learn(sets: Sequence[CandidateSet], ridge: float = 1.0) -> Complexity:
    """A complexity model. Every path of a problem is once the draft; its label is whether that path is wrong.

    A problem's paths share its features, so there are fewer independent rows than it seems; the ridge counts per path.
    """
    rows = [prompt_features(one.prompt) | draft_features(path) for one in sets for path in one.paths]
    return fit(rows, [1.0 - float(right) for one in sets for right in one.right], ridge)


def learn_vote(sets: Sequence[CandidateSet], router: Router) -> Complexity | None:
    """The chance that a weighted vote's leader is right; None where nothing is known of how likely the paths are."""
    assert router.same is not None
    if not any(path.logprob is not None and path.answer is not None for one in sets for path in one.paths):
        return None
    return learn_settled([(one.paths, one.right) for one in sets], router.same, router.limits.sharpness)


def shuffle(sets: Sequence[CandidateSet], seed: int) -> list[CandidateSet]:
    """The same sets with their paths in another order; seed 0 keeps it."""
    if not seed:
        return list(sets)
    result = []
    for number, one in enumerate(sets):
        order = np.random.default_rng([seed, number]).permutation(len(one.paths))
        result.append(
            replace(
                one,
                paths=[one.paths[i] for i in order],
                right=[one.right[i] for i in order],
            )
        )
    return result


def replay(sets: Sequence[CandidateSet], router: Router) -> list[Routed]:
    """What the router would have answered, had it drawn these paths."""
    stored = Stored({identity(one.prompt): one.paths for one in sets})
    return replace(router, sampler=stored, cache=None).answer_all([one.prompt for one in sets])


def correctness_and_tokens(sets: Sequence[CandidateSet], routed: Sequence[Routed]) -> tuple[np.ndarray, np.ndarray]:
    """(P,) whether the shown answer is right, and (P,) tokens."""
    right = [float(one.right[result.chosen]) for one, result in zip(sets, routed, strict=True)]
    return np.array(right), np.array([float(result.tokens) for result in routed])


def fixed_policy(
    sets: Sequence[CandidateSet], k: int, same: Callable[[str, str], bool], sharpness: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """A vote over the first ``k`` paths: (P,) right (a tie by its expectation over the tied answers), (P,) tokens.

    ``sharpness`` above 0 weighs the paths as ``choose="weighted"`` does.
    """
    right, tokens = [], []
    for one in sets:
        classes = answer_classes([path.answer for path in one.paths[:k]], same)
        weights = [sum(weight_of(one.paths[i], sharpness) for i in members) for members in classes]
        most = max(weights, default=0.0)
        tied = [one.right[m[0]] for m, weight in zip(classes, weights, strict=True) if weight >= most * (1 - 1e-12)]
        right.append(sum(tied) / len(tied) if tied else 0.0)
        tokens.append(float(sum(path.token_count for path in one.paths[:k])))
    return np.array(right), np.array(tokens)


@dataclass(frozen=True)
class Calibration:
    """What was chosen, and what it did on the problems it was chosen on."""

    limits: RoutingLimits
    complexity: Complexity
    facts: Json
    settled: Complexity | None = None

    def save(self, path: str | File) -> File:
        """As JSON, whole or not at all."""
        content = {
            "kind": KIND,
            "version": 1,
            "limits": asdict(self.limits),
            "complexity": json.loads(self.complexity.to_json()),
            "facts": self.facts,
            "settled": None if self.settled is None else json.loads(self.settled.to_json()),
        }
        return replace_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def load(path: str | File) -> Calibration:
    """What ``save`` wrote.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        content = json.loads(File(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is no router file ({error}); `trl-r1 answer --calibrate` writes one."
        ) from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"{str(path)!r} is no router file; `trl-r1 answer --calibrate` writes one.")
    try:
        limits = RoutingLimits(**content["limits"])
        complexity = Complexity.from_dict(content["complexity"])
        settled = None if content.get("settled") is None else Complexity.from_dict(content["settled"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"The router file {str(path)!r} is damaged ({error!r}); calibrate again.") from None
    return Calibration(limits, complexity, dict(content.get("facts", {})), settled)


def candidates(
    limits: RoutingLimits,
    simple_below: Sequence[float],
    confident: Sequence[float],
    least_paths: Sequence[int],
    weighted: bool,
) -> list[RoutingLimits]:
    """The thresholds that are tried: votes by heads, and where likelihoods are known by weight."""
    result = [
        replace(limits, choose="vote", simple_below=below, confident=sure, least_paths=min(least, limits.most_paths))
        for below in simple_below
        for sure in confident
        for least in least_paths
    ]
    if weighted:
        result += [
            replace(
                limits,
                choose="weighted",
                sure=sure,
                simple_below=below,
                least_paths=1,
                most_paths=max(1, round(share * limits.most_paths)),
            )
            for below in simple_below[::4]
            for sure in SURE
            for share in SHORTER
        ]
    return result


def calibrate(
    sets: Sequence[CandidateSet],
    router: Router,
    tolerance: float = 0.005,
    budget: float | None = None,
    simple_below: Sequence[float] = SIMPLE_BELOW,
    confident: Sequence[float] = CONFIDENT,
    least_paths: Sequence[int] = (2, 3),
    orders: int = 8,
) -> Calibration:
    """Learns the complexity, and what a weighted vote is worth, and takes the best thresholds.

    Both are judged out of sample while thresholds are chosen (two halves, each with the other half's models); the returned
    models are fitted on all problems.

    Args:
        sets: of at least 4 problems, each with ``router.limits.most_paths`` paths.
        tolerance: accuracy that may be given up against voting over all paths, a share.
        budget: share of the tokens of all paths; if given, the most accurate thresholds within it are taken instead.
        orders: of each set's paths that are replayed: which paths come first is luck, and averages out.

    Raises:
        ValueError: too few problems or paths, or a budget that is no share.
    """
    most = router.limits.most_paths
    if len(sets) < 4 or any(len(one.paths) < most for one in sets):
        raise ValueError(f"Calibration needs at least 4 problems with {most} paths each; draw more.")
    if budget is not None and not 0.0 < budget <= 1.0:
        raise ValueError(f"The budget {budget} is a share of the tokens of all paths, above 0 and at most 1.")
    assert router.same is not None
    mixed = sorted(sets, key=lambda one: hashlib.sha256(identity(one.prompt).encode()).digest())
    halves = [mixed[0::2], mixed[1::2]]  # by hash, since data often alternate between kinds of problems
    models = [learn(halves[1]), learn(halves[0])]
    votes = [learn_vote(halves[1], router), learn_vote(halves[0], router)]
    every, cost = fixed_policy(sets, most, router.same)
    replays = [[shuffle(half, order) for half in halves] for order in range(max(1, orders))]
    tried: list[tuple[float, float, RoutingLimits]] = []  # accuracy, tokens
    for limits in candidates(router.limits, simple_below, confident, least_paths, None not in votes):
        right, tokens = [], []
        for pair in replays:
            for half, model, vote in zip(pair, models, votes, strict=True):
                trial = replace(router, limits=limits, complexity=model, settled=vote)
                outcome = correctness_and_tokens(half, replay(half, trial))
                right.append(outcome[0])
                tokens.append(outcome[1])
        tried.append((float(np.concatenate(right).mean()), float(np.concatenate(tokens).mean()), limits))
    if budget is None:
        good = [entry for entry in tried if entry[0] >= every.mean() - tolerance]
        best = min(good, key=lambda entry: entry[1], default=None)
    else:
        good = [entry for entry in tried if entry[1] <= budget * cost.mean()]
        best = max(good, key=lambda entry: (entry[0], -entry[1]), default=None)
    closest = max(tried, key=lambda entry: (entry[0], -entry[1])) if budget is None else min(tried, key=lambda e: e[1])
    accuracy, spent, limits = best or closest
    facts = {
        "problems": len(sets),
        "tolerance": tolerance,
        "budget": budget,
        "within_tolerance": best is not None,
        "accuracy": accuracy,
        "tokens": spent,
        "all_paths_accuracy": float(every.mean()),
        "all_paths_tokens": float(cost.mean()),
        "one_path_accuracy": float(np.mean([one.right[0] for one in sets])),
    }
    return Calibration(limits, learn(sets), facts, learn_vote(sets, router))
