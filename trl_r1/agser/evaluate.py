"""AGSER on questions with a truth, beside its rivals: who tells made-up answers from right ones, at how many model runs?

Every number is of one model and one set of questions. Values are turned so that higher means more likely made up.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from trl_r1.agser.generation import Generate, Generated, Reading
from trl_r1.agser.rivals import likelihoods, random_splits, self_consistency
from trl_r1.agser.scorer import AGSERScorer, Reflection
from trl_r1.agser.split import Prompt, Query
from trl_r1.agser.store import AnswerStore
from trl_r1.evaluation.detection import METRICS, interval, mean_ranks
from trl_r1.evaluation.metrics import Interval, auroc
from trl_r1.text.records import Json, Row


SHARES = (0.4, 0.5, 0.75)  # of the sweep over k; the paper tried these beside 2/3
LAMBDAS = (0.2, 0.5, 2.0, 5.0, 20.0)


@dataclass
class Method:
    """One detector: what it costs and what it said."""

    runs: str  # of the model per question, the answer itself included
    values: list[float]  # (N,) higher: more likely made up


@dataclass
class Detection:
    """An evaluation: N questions, their answers and labels, and what every detector said of them."""

    questions: list[str]
    answers: list[str]
    bad: list[bool]  # made up
    groups: list[str]
    reflections: list[Reflection]  # of the scorer as it was given
    methods: dict[str, Method]
    sweep: dict[str, Method] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)  # why -> questions
    settings: Json = field(default_factory=dict)

    def numbers(self, resamples: int = 1000) -> dict[str, dict[str, Interval]]:
        """AUROC, AUPRC and PRR of the methods with their 95 % intervals."""
        return {
            name: {metric: interval(f, found.values, self.bad, resamples=resamples) for metric, f in METRICS.items()}
            for name, found in self.methods.items()
        }

    def within(self, groups: Sequence[str]) -> Detection:
        """The same for the questions of some groups."""
        rows = [i for i, group in enumerate(self.groups) if group in groups]

        def take(values: Sequence[Any]) -> list[Any]:
            return [values[i] for i in rows]

        def methods(found: dict[str, Method]) -> dict[str, Method]:
            return {name: Method(m.runs, take(m.values)) for name, m in found.items()}

        return dataclasses.replace(
            self,
            questions=take(self.questions),
            answers=take(self.answers),
            bad=take(self.bad),
            groups=take(self.groups),
            reflections=take(self.reflections),
            methods=methods(self.methods),
            sweep=methods(self.sweep),
        )

    @cached_property
    def inversion(self) -> str:
        """A sentence on whether AGSER is inverted here, for either row and, with a sweep, for either measure: whether its
        AUROC is below one half, interval and all."""
        methods = {f"rows={rows}": self.methods.get(f"AGSER, rows={rows}") for rows in ("last", "answer")}
        methods |= {name: method for name, method in self.sweep.items() if ", measure=" in name}
        found = {
            name: interval(auroc, method.values, self.bad) for name, method in methods.items() if method is not None
        }
        inverted = [name for name, number in found.items() if number.high < 0.5]
        told = "; ".join(f"{name} {n.mean:.3f} [{n.low:.3f}, {n.high:.3f}]" for name, n in found.items())
        if not inverted:
            return f"Inversion check: not inverted (AUROC {told})."
        better = sorted((name for name in found if found[name].low > 0.5), key=lambda name: -found[name].mean)
        advice = f" {better[0]} is not: use it." if better else " Do not use AGSER here."
        return (
            f"Inversion check: {' and '.join(inverted)} INVERTED, a high score means made up (AUROC {told})." + advice
        )


@dataclass
class Answered:
    """N questions with their greedy answers and what these are labelled as."""

    queries: list[Query]
    answers: Sequence[str | Generated]  # with their tokens, where the model itself answers
    labels: list[bool | None]  # made up; None: nobody can tell
    groups: list[str]

    @property
    def texts(self) -> list[str]:
        return [answer.text if isinstance(answer, Generated) else answer for answer in self.answers]

    @property
    def left_out(self) -> dict[str, int]:
        """Why a question is not evaluated -> how many."""
        counts = {
            "no label": sum(label is None for label in self.labels),
            "fewer than two tokens": sum(len(query.units) < 2 for query in self.queries),
        }
        return {why: count for why, count in counts.items() if count}

    def rows(self) -> list[Row]:
        """One plain row per question."""
        return [
            {"question": query.question, "answer": text, "made_up": label, "group": group}
            for query, text, label, group in zip(self.queries, self.texts, self.labels, self.groups, strict=True)
        ]

    def evaluable(self) -> Answered:
        """The questions with a label and a prompt that can be split.

        Raises:
            ValueError: there are none, or all have the same label.
        """
        rows = [i for i, label in enumerate(self.labels) if label is not None and len(self.queries[i].units) > 1]
        bad = [self.labels[i] for i in rows]
        if len(set(bad)) < 2:
            raise ValueError(
                f"Of {len(self.queries)} answers {len(bad)} have a label, and {bad.count(True)} of those are made up; a "
                "detector can be evaluated only where some are and some are not."
            )
        return Answered(
            [self.queries[i] for i in rows], [self.answers[i] for i in rows], list(bad), [self.groups[i] for i in rows]
        )


def answer(
    scorer: AGSERScorer,
    prompts: Sequence[Prompt],
    made_up: Callable[[int, str], bool | None],
    questions: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Answered:
    """Answers every prompt greedily and labels the answers; arguments as of ``evaluate``."""
    queries = scorer.locate(prompts, questions)
    found = Answered(queries, scorer.own_answers(queries), [], list(groups or ["all"] * len(queries)))
    found.labels = [made_up(number, text) for number, text in enumerate(found.texts)]
    return found


def evaluate(
    scorer: AGSERScorer,
    prompts: Sequence[Prompt],
    made_up: Callable[[int, str], bool | None],
    questions: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    samples: int = 5,
    draws: int = 3,
    sweep: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
) -> Detection:
    """Answers every prompt greedily, labels the answers, and asks every detector.

    Args:
        scorer: its options are the evaluated AGSER's; both rows are always evaluated.
        prompts, questions: as in ``AGSERScorer.score``.
        made_up: (number of the prompt, answer) -> whether the answer is wrong; None leaves the question out.
        groups: a name per prompt, for tables by group.
        samples: of self-consistency; 0 leaves it out (an endpoint cannot be sampled here). draws: of the random split.
        sweep: also k, lam, layers, measure and the parts alone.

    Raises:
        ValueError: no question has a label, or all have the same one.
    """
    scorer = with_memory(scorer)
    progress("answers")
    return detect(scorer, answer(scorer, prompts, made_up, questions, groups), samples, draws, sweep, seed, progress)


def detect(
    scorer: AGSERScorer,
    answered: Answered,
    samples: int = 5,
    draws: int = 3,
    sweep: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] = lambda step: None,
    sampled: MutableMapping[str, list[list[str]]] | None = None,
) -> Detection:
    """Asks every detector about answers that are there; arguments as of ``evaluate``.

    Args:
        scorer: one that remembers (``with_memory``), as many splits ask the same.
        sampled: where the draws of self-consistency are kept.
    """
    left_out, answered = answered.left_out, answered.evaluable()
    queries, answers, texts = answered.queries, answered.answers, answered.texts
    local = scorer.generate is None
    methods = rivals_of(scorer, answered, samples, seed, progress, sampled) if local else {}
    readings: dict[str, list[Reading]] = {}
    for name, runs in (("last", "3"), ("answer", "3 + 1 forward")):
        progress(f"AGSER, rows={name}")
        variant = changed(scorer, rows=name)
        readings[name] = variant.read(queries, answers)
        found = parts(variant, queries, texts, readings[name])
        methods[f"AGSER, rows={name}"] = Method(runs, [-scorer.combine(*pair) for pair in found])
    progress("random splits")
    methods |= by_chance(scorer, queries, texts, draws, seed)
    own = f"AGSER, rows={scorer.rows}"
    if local:
        both = mean_ranks(methods[own].values) + mean_ranks(methods["mean log-probability"].values)
        methods[f"{own} + log-probability, ranks"] = Method(methods[own].runs, both.tolist())

    detection = Detection(
        [query.question for query in queries],
        texts,
        [label is True for label in answered.labels],
        answered.groups,
        reflections(scorer, queries, texts, readings[scorer.rows]),
        methods,
        left_out=left_out,
        settings={name: getattr(scorer, name) for name in ("k", "lam", "layers", "rows", "measure", "units")}
        | {"samples": samples, "draws": draws, "seed": seed},
    )
    if sweep:
        progress("sweep")
        for rows_name in ("last", "answer"):
            detection.sweep |= sweep_of(changed(scorer, rows=rows_name), queries, texts, readings[rows_name])
    return detection


def rivals_of(
    scorer: AGSERScorer,
    answered: Answered,
    samples: int,
    seed: int,
    progress: Callable[[str], None],
    sampled: MutableMapping[str, list[list[str]]] | None = None,
) -> dict[str, Method]:
    """What needs the model here beside AGSER: its log-probabilities and, with ``samples``, its agreement with itself."""
    progress("log-probabilities")
    ids = [found.ids if isinstance(found, Generated) else () for found in answered.answers]
    likely = likelihoods(scorer, answered.queries, ids)
    methods = {
        "mean log-probability": Method("1", [-logp for logp, _ in likely]),
        "mean token entropy": Method("1", [entropy for _, entropy in likely]),
    }
    if samples:
        progress("self-consistency")
        agreement = self_consistency(scorer, answered.queries, answered.texts, samples, seed, sampled)
        methods[f"self-consistency, {samples} samples"] = Method(str(1 + samples), [-value for value in agreement])
    return methods


def by_chance(
    scorer: AGSERScorer, queries: Sequence[Query], answers: Sequence[str], draws: int, seed: int
) -> dict[str, Method]:
    """AGSER with the prompt split at random instead of by attention: each of ``draws`` splits, and their mean."""
    splits = [
        agreements(scorer, queries, answers, random_splits(queries, scorer.k, seed + draw)) for draw in range(draws)
    ]
    methods = {
        f"random split {draw + 1}": Method("3", [-scorer.combine(*pair) for pair in found])
        for draw, found in enumerate(splits)
    }
    if draws:
        mean_r_att = np.mean([[r_att for r_att, _ in found] for found in splits], axis=0)
        methods[f"random splits, mean r_att of {draws}"] = Method(str(1 + draws), (-mean_r_att).tolist())
    return methods


def sweep_of(
    scorer: AGSERScorer, queries: Sequence[Query], answers: Sequence[str], readings: Sequence[Reading]
) -> dict[str, Method]:
    """The scorer with one option changed at a time, and its two parts alone."""
    own, further = f"rows={scorer.rows}", " + 1 forward" if scorer.rows == "answer" else ""
    runs, one_less = f"3{further}", f"2{further}"
    base = parts(scorer, queries, answers, readings)
    found = {
        f"{own}, r_att alone": Method(one_less, [-r_att for r_att, _ in base]),
        f"{own}, r_non alone": Method(one_less, [r_non for _, r_non in base]),
    }
    for lam in LAMBDAS:
        found[f"{own}, lam={lam:g}"] = Method(runs, [r_non - lam * r_att for r_att, r_non in base])
    changes: list[Json] = [{"k": k} for k in SHARES]
    changes += [{"layers": layers} for layers in ("first", "middle", "last", "max")]
    changes += [{"measure": "attention" if scorer.measure == "norm" else "norm"}]
    for change in changes:
        (name, value), *_ = change.items()
        pairs = parts(changed(scorer, **change), queries, answers, readings)
        found[f"{own}, {name}={value}"] = Method(runs, [-scorer.combine(*pair) for pair in pairs])
    return found


def parts(
    scorer: AGSERScorer, queries: Sequence[Query], answers: Sequence[str], readings: Sequence[Reading]
) -> list[tuple[float, float]]:
    """(r_att, r_non) of each answer."""
    kept = [scorer.split(query, reading) for query, reading in zip(queries, readings, strict=True)]
    return agreements(scorer, queries, answers, kept)


def agreements(
    scorer: AGSERScorer, queries: Sequence[Query], answers: Sequence[str], kept: Sequence[Sequence[bool]]
) -> list[tuple[float, float]]:
    again = scorer.ask_again(queries, kept)
    return [
        (scorer.agree(answer, attentive), scorer.agree(answer, rest))
        for answer, (attentive, rest) in zip(answers, again, strict=True)
    ]


def reflections(
    scorer: AGSERScorer, queries: Sequence[Query], answers: Sequence[str], readings: Sequence[Reading]
) -> list[Reflection]:
    kept = [scorer.split(query, reading) for query, reading in zip(queries, readings, strict=True)]
    again = scorer.ask_again(queries, kept)
    return [scorer.reflect(*found) for found in zip(queries, readings, answers, kept, again, strict=True)]


def changed(scorer: AGSERScorer, **options: Any) -> AGSERScorer:
    """The same scorer with other options; model and memory are shared."""
    other = copy.copy(scorer)
    vars(other).update(options)
    return other


def with_memory(scorer: AGSERScorer, store: AnswerStore | None = None) -> AGSERScorer:
    """The same scorer, which answers no sub-query twice; with a store, not even after a restart."""
    generate = scorer.generate
    if generate is None:
        return changed(scorer, greedy=dataclasses.replace(scorer.greedy, memory=store.greedy if store else {}))
    return changed(scorer, generate=remembering(generate, store.served if store else {}))


def remembering(generate: Generate, known: MutableMapping[str, str]) -> Generate:
    def remembered(prompts: list[Prompt]) -> list[str]:
        new = {repr(prompt): prompt for prompt in prompts if repr(prompt) not in known}
        known.update(zip(new, generate(list(new.values())) if new else [], strict=True))
        return [known[repr(prompt)] for prompt in prompts]

    return remembered


def by_group(detection: Detection) -> dict[str, tuple[int, float, float]]:
    """Group -> (questions, share made up, mean score)."""
    found = {}
    for group in dict.fromkeys(detection.groups):
        rows = [i for i, name in enumerate(detection.groups) if name == group]
        scores = [detection.reflections[i].score for i in rows]
        found[group] = (
            len(rows),
            sum(detection.bad[i] for i in rows) / len(rows),
            math.fsum(scores) / len(rows),
        )
    return found
