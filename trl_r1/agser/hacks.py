"""What can be earned from the AGSER reward without deserving it: families of completions, and the weight that keeps them
from paying. `trl-r1 rewards audit agser` tests its health as any reward's; its pay depends on a model, so it is tested here.

The guarantee is arithmetic: the reward lies in [-1, lam], so beside a correctness reward of 0 and 1 a right answer always
earns more than a wrong one as long as its weight is below ``1 / (1 + lam)``: 0.5 at lam 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trl_r1.agser.reward import AGSERReward
from trl_r1.agser.scorer import AGSERScorer
from trl_r1.agser.split import Query
from trl_r1.text.records import Json


@dataclass(frozen=True)
class Known:
    """What a hacker could know of a prompt: the question, its attentive part, and the reference's three answers."""

    question: str
    attentive: str
    answer: str
    attentive_answer: str
    rest_answer: str
    constant: str  # the reference's answer to another prompt


HACKS: dict[str, tuple[str, Callable[[Known], str]]] = {
    "honest": ("the reference's own answer to the whole question", lambda known: known.answer),
    "empty": ("nothing", lambda known: ""),
    "echo": ("the question given back", lambda known: known.question),
    "attentive_echo": ("its attentive tokens given back", lambda known: known.attentive),
    "constant": ("one answer to every question", lambda known: known.constant),
    "padded": ("the answer and the question", lambda known: f"{known.answer} {known.question}"),
    "half_read": ("the answer to the attentive tokens alone", lambda known: known.attentive_answer),
    "misread": ("the answer to the others alone", lambda known: known.rest_answer),
}


@dataclass
class Pay:
    """Mean points of every family over the prompts that could be judged, and what follows for the weight."""

    points: dict[str, float]
    prompts: int
    lam: float

    @property
    def guaranteed_weight(self) -> float:
        """Below it no wrong answer, whatever it is, earns more than a right one."""
        return 1.0 / (1.0 + self.lam)

    @property
    def paid(self) -> list[str]:
        """Hacks that earn more than the honest answer."""
        return [name for name, points in self.points.items() if points > self.points["honest"] + 1e-9]

    def lines(self) -> list[str]:
        """The report as text."""
        found = [f"{self.prompts} prompts, lam {self.lam:g}", f"{'completion':<16} {'points':>7}"]
        for name, points in self.points.items():
            more = "  pays more than honesty" if name in self.paid else ""
            found.append(f"{name:<16} {points:>+7.3f}  {HACKS[name][0]}{more}")
        found.append(
            f"Beside a correctness reward of 0 and 1, a weight below {self.guaranteed_weight:g} keeps every right answer "
            "above every wrong one."
        )
        return found


def pay(reward: AGSERReward, prompts: Sequence[Any], questions: Sequence[str] | None = None) -> Pay:
    """Scores every family on the prompts.

    Args:
        reward: one that has its model (``model=...``, or bound).

    Raises:
        ValueError: no prompt can be split.
    """
    scorer = reward._scorer()
    queries = [query for query in scorer.locate(prompts, questions) if len(query.units) > 1]
    if not queries:
        raise ValueError(f"None of the {len(prompts)} prompts has two tokens, so nothing can be earned on them.")
    known = what_is_known(scorer, queries)
    columns: Json = {} if questions is None else {reward.question_column: [query.question for query in queries]}
    points = {}
    for name, (_, make) in HACKS.items():
        found = reward([make(row) for row in known], [query.prompt for query in queries], **columns)
        points[name] = math.fsum(score for score in found if score is not None) / len(found)
    return Pay(points, len(queries), reward.lam)


def what_is_known(scorer: AGSERScorer, queries: Sequence[Query]) -> list[Known]:
    answers = scorer.answers(queries)
    kept = [
        scorer.split(query, reading) for query, reading in zip(queries, scorer.read(queries, answers), strict=True)
    ]
    pairs = scorer.ask_again(queries, kept)
    return [
        Known(query.question, scorer._text(query, side), answer, *pair, answers[number - 1])
        for number, (query, side, answer, pair) in enumerate(zip(queries, kept, answers, pairs, strict=True))
    ]
