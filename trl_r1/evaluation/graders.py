"""Graders: who says of a reply whether it is right, where its answer stands, and whether its form and language are.

    evaluation_verifier: null      the answer is compared with the gold answer
    evaluation_verifier: code      right is what the run's reward of that name pays in full: a program that passes its tests

A reward that is to verify reads the row's other columns as it does in training, so a graded problem keeps them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trl_r1.answers.extract import read_with
from trl_r1.errors import did_you_mean
from trl_r1.evaluation.graded import GradedProblem, GradedSample
from trl_r1.rewards.catalogue import metric_name
from trl_r1.text.reasoning_format import ReadsReasoning, ReasoningFormat, tell
from trl_r1.text.records import Completion, Problem, Row


FULL = 1.0  # the score of a reply that a verifier calls right
NOT_COLUMNS = ("prompt", "completion", "completion_ids")  # of a row; TRL hands rewards all others
OWN_FIELDS = ("solution", "language")  # columns that an evaluation file holds by itself


@dataclass(frozen=True)
class Graders:
    """The judges of a text, each a pure function, so that a test or a user can replace one."""

    extract: Callable[..., str | None]  # text (and truncated, kind, where it takes them) -> final answer
    verify: Callable[..., bool | None]  # (answer, gold) -> right? None: this gold cannot be judged
    same_answer: Callable[[str, str], bool]  # do two answers mean the same? (the majority vote)
    well_formed: Callable[..., list[float | None]]  # texts -> format scores in [0, 1]
    consistency: Callable[[str, str], float | None]  # (text, language) -> share in [0, 1]
    type_column: str | None = "answer_type"  # of the rows, with the declared type of a gold answer
    answer_from: tuple[str, ...] = ()  # where `extract` looks, for the record
    verifier: Callable[..., list[float | None]] | None = None  # a reward that says instead of `verify` what is right

    def with_format(self, reasoning_format: ReasoningFormat) -> Graders:
        """The same graders; those that are our rewards know what the template does with thoughts."""
        reward = getattr(self.extract, "__self__", None)
        known = tell(reward, reasoning_format) if isinstance(reward, ReadsReasoning) else None
        extract = self.extract if known is None else getattr(known, self.extract.__name__)
        return replace(
            self,
            extract=extract,
            well_formed=tell(self.well_formed, reasoning_format),
            verifier=tell(self.verifier, reasoning_format),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What an evaluation records of them."""
        named = {} if self.verifier is None else {"verifier": metric_name(self.verifier)}
        return {"answer_from": list(self.answer_from), **named}


def default_graders(rewards: Iterable[Any] = (), verifier: str | None = None) -> Graders:
    """The graders that are also the rewards: an evaluation then asks for what training was paid for.

    Args:
        rewards: reward functions of a run; options of an Accuracy and a Format among them (where the answer has to
            stand, the tags) hold for the evaluation too. Without them, the defaults do.
        verifier: see ``find_verifier``.

    Raises:
        ValueError: no reward has the verifier's name.
    """
    from trl_r1.rewards import accuracy, format, language

    rewards = list(rewards)
    given = [getattr(reward, "reward", reward) for reward in rewards]  # under another metric name: what is behind it
    exact = next((reward for reward in given if isinstance(reward, accuracy.Accuracy)), accuracy.Accuracy())
    layout = next((reward for reward in given if isinstance(reward, format.Format)), format.Format())
    return Graders(
        extract=exact.answer_of,
        verify=partial(
            accuracy.verify,
            require_simplified=exact.require_simplified,
            math_verify=exact.math_verify,
            seconds=exact.seconds,
            megabytes=exact.megabytes,
            answer_type=exact.answer_type,
        ),
        same_answer=accuracy.same_answer,
        well_formed=layout,
        consistency=language.consistency,
        type_column=exact.type_column,
        answer_from=tuple(exact.sources),
        verifier=find_verifier(rewards, verifier),
    )


def find_verifier(rewards: Sequence[Any], name: str | None) -> Callable[..., list[float | None]] | None:
    """The reward of that name (its metric's), whose full score of 1 makes a reply right; None for none asked for.

    Raises:
        ValueError: no reward has that name.
    """
    if name is None:
        return None
    named = {metric_name(reward): reward for reward in rewards}
    if name not in named:
        raise ValueError(
            f"No reward of this run is called {name!r}, so none can verify replies.{did_you_mean(name, named)} "
            f"`rewards` has: {', '.join(named) or 'none'}."
        )
    return named[name]


def check_verifier(rewards: Sequence[Any], name: str | None) -> None:
    """Whether the verifier is there and can work: before anything is loaded, one that runs programs looks for its sandbox.

    Raises:
        ValueError: as ``find_verifier``.
        NoSandbox: this machine isolates nothing.
    """
    verifier = find_verifier(rewards, name)
    if inspect.iscoroutinefunction(verifier) or inspect.iscoroutinefunction(type(verifier).__call__):
        raise ValueError(
            f"The reward {name!r} is asynchronous, and an evaluation cannot wait for it. Verify with another."
        )
    describe = getattr(verifier, "describe", None)
    if callable(describe):
        describe()


def columns_of(row: Mapping[str, Any]) -> Row:
    """What a verifier may read of a row beside the fields of a problem."""
    return {name: value for name, value in row.items() if name not in (*NOT_COLUMNS, *OWN_FIELDS)}


def grade(
    problem: Problem, completions: Sequence[Completion], graders: Graders, columns: Row | None = None
) -> GradedProblem:
    """A problem with what the graders say of its K completions. No answer, or one the verifier cannot judge, is wrong.

    Args:
        columns: the row's others, which a ``graders.verifier`` reads; where there is one, ``verified`` has the verdicts to
            come, and none is given here.
    """
    kind, gold, language = problem.answer_type, problem.solution, problem.language
    declared = {"answer_type": kind} if kind else {}
    known: dict[str | None, bool] = {None: False}
    samples = []
    texts, prompts = [one.text for one in completions], [problem.prompt] * len(completions)
    asks = isinstance(graders.well_formed, ReadsReasoning)
    layouts = graders.well_formed(texts, prompts=prompts) if asks else graders.well_formed(texts)
    for one, layout in zip(completions, layouts, strict=True):
        answer = read_with(graders.extract, one.text, one.truncated, kind, problem.prompt)
        share = None if language is None else graders.consistency(one.text, language)
        if graders.verifier is not None:
            samples.append(GradedSample(one, answer, None, layout, share))
            continue
        if answer not in known:
            known[answer] = graders.verify(answer, gold, **declared) is True
        samples.append(GradedSample(one, answer, known[answer], layout, share))
    if graders.verifier is not None:
        return GradedProblem(problem, samples, columns=dict(columns or {}))
    graded = GradedProblem(problem, samples, graders.verify(gold, gold, **declared) is not None)
    graded.consensus = graded.vote(graders.same_answer)
    return graded


def verified(problems: Sequence[GradedProblem], graders: Graders) -> list[GradedProblem]:
    """The problems with the verdicts of ``graders.verifier``, which is asked once for all; as they are where there is none.

    A sample is right where it is paid in full. One that the reward cannot judge is wrong, and a problem of which it judges
    no sample is not judged: its tests cannot be read, or the sandbox failed.

    Raises:
        NoSandbox, ValueError: the reward's own.
    """
    if graders.verifier is None:
        return list(problems)
    made = []
    for problem, scores in zip(problems, scores_of(problems, graders.verifier), strict=True):
        samples = [
            replace(one, correct=score is not None and score >= FULL)
            for one, score in zip(problem.samples, scores, strict=True)
        ]
        judged = not scores or any(score is not None for score in scores)
        fresh = replace(problem, samples=samples, judged=judged)
        fresh.consensus = fresh.vote(graders.same_answer)
        made.append(fresh)
    return made


def scores_of(
    problems: Sequence[GradedProblem], verifier: Callable[..., list[float | None]]
) -> list[list[float | None]]:
    """(P, K) what a reward pays each problem's samples; it is handed prompts, texts and columns, as in training."""
    pairs = [(problem, one.completion.text) for problem in problems for one in problem.samples]
    if not pairs:
        return [[] for _ in problems]
    rows = [{**one.columns, "solution": one.problem.solution, "language": one.problem.language} for one, _ in pairs]
    names = dict.fromkeys(name for row in rows for name in row)
    scores = verifier(
        prompts=[one.problem.prompt for one, _ in pairs],
        completions=[text for _, text in pairs],
        **{name: [row.get(name) for row in rows] for name in names},
    )
    left = iter(scores)
    return [[next(left) for _ in problem.samples] for problem in problems]
