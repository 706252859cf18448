"""Complexity: a prompt and a first draft of its answer in, the chance that one pass over it is wrong out.

    prompt_features     what the text itself shows: length, numbers, signs of mathematics and code, questions
    draft_features      what the model's first draft shows: entropy, surprise, length, whether there is an answer
    Complexity          a logistic function of these; `fit` learns it from problems with known answers

Unfitted, the weights are a guess of ours (`GUESS`): more numbers, more signs and a more hesitant draft are harder. It speaks
of requests that have an answer (checkable.py): there SmolLM2-135M's drafts have an entropy of 0.26 to 0.43 nats, about the
guess's centre; of open-ended text it is 1.3 to 2.95, and says nothing about how hard that is (docs/routing.md). Fit it on
your own problems (`trl-r1 answer --calibrate`) before you trust it with cost.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trl_r1.routing.paths import Candidate
from trl_r1.text.records import Prompt


Difficulty = Callable[[str], float]
"""Text of a question -> difficulty in [0, 1]: a model of your own, or trl_r1.data.difficulty where it grades texts."""

LONGEST = 20_000  # characters of a prompt that are looked at
_NUMBER = re.compile(r"\d+")
_SIGN = re.compile(r"[+*/=<>^≤≥≠√∑∫×÷±]|\\[A-Za-z]+")
_CODE = re.compile(r"```|\bdef |\bclass |\bfor \w+ in |[{};]\s*$", re.MULTILINE)
_ASKS = re.compile(r"[?？]")
_HARD = re.compile(
    r"\b(?:prove|proof|show that|derive|how many|at least|for all|optimi[sz]e|maximum|minimum|integral)\b"
    r"|证明|求证|最大|最小|多少种",
    re.IGNORECASE,
)


def text_of(prompt: Prompt) -> str:
    """The prompt as text: of a conversation all user turns."""
    if isinstance(prompt, str):
        return prompt
    contents = [message.get("content") for message in prompt if message.get("role", "user") == "user"]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    return "\n".join(str(part.get("text", "")) if isinstance(part, Mapping) else str(part or "") for part in parts)


def prompt_features(prompt: Prompt) -> dict[str, float]:
    """Numbers that can be read off a prompt, in time linear in its first 20,000 characters.

    >>> found = prompt_features("Is 3 + 4 = 7?")
    >>> found["numbers"], found["signs"], found["questions"]
    (3.0, 2.0, 1.0)
    """
    text = text_of(prompt)[:LONGEST]
    return {
        "length": math.log1p(len(text)),
        "numbers": float(min(50, len(_NUMBER.findall(text)))),
        "signs": float(min(50, len(_SIGN.findall(text)))),
        "questions": float(min(10, len(_ASKS.findall(text)))),
        "hard_words": float(min(10, len(_HARD.findall(text)))),
        "code": float(bool(_CODE.search(text))),
    }


def draft_features(draft: Candidate) -> dict[str, float]:
    """What a draft shows; a number nobody reported is left out."""
    features = {
        "draft_length": math.log1p(draft.token_count),
        "draft_clipped": float(draft.truncated),
        "draft_unanswered": float(draft.answer is None),
    }
    if draft.entropy is not None:
        features["draft_entropy"] = draft.entropy
    if draft.logprob is not None:
        features["draft_surprise"] = -draft.logprob
    return features


@dataclass(frozen=True)
class Complexity:
    """``sigmoid(bias + sum_i weight_i * (x_i - centre_i) / scale_i)``, a share in [0, 1].

    A feature that is missing counts as its centre, so says nothing. ``fitted`` is False for the guess.
    """

    weights: Mapping[str, float]
    centres: Mapping[str, float]
    scales: Mapping[str, float]
    bias: float
    fitted: bool = True

    def __call__(self, features: Mapping[str, float]) -> float:
        total = self.bias
        for name, weight in self.weights.items():
            if name in features:
                total += weight * (features[name] - self.centres[name]) / self.scales[name]
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, total))))

    def to_json(self) -> str:
        """As ``from_dict`` takes it, in JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Complexity:
        """What ``to_json`` wrote.

        Raises:
            ValueError: a part is missing, or is no finite number.
        """
        try:
            names = ("weights", "centres", "scales")
            weights, centres, scales = [{str(k): float(v) for k, v in content[name].items()} for name in names]
            complexity = cls(weights, centres, scales, float(content["bias"]), bool(content.get("fitted", True)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"A complexity model needs weights, centres, scales and bias ({error!r}).") from None
        numbers = [complexity.bias, *(value for part in (weights, centres, scales) for value in part.values())]
        if not all(map(math.isfinite, numbers)) or not all(
            complexity.scales.get(name, 0.0) > 0.0 and name in complexity.centres for name in complexity.weights
        ):
            raise ValueError(
                "A complexity model has a weight without centre, a scale that is not positive, or no number."
            )
        return complexity


GUESS = Complexity(
    weights={
        "length": 0.2, "numbers": 0.4, "signs": 0.4, "hard_words": 0.5, "code": 0.3, "difficulty": 1.5,
        "draft_entropy": 1.0, "draft_surprise": 0.5, "draft_clipped": 1.5, "draft_unanswered": 3.0,
    },
    centres={
        "length": 5.0, "numbers": 3.0, "signs": 1.0, "hard_words": 0.0, "code": 0.0, "difficulty": 0.5,
        "draft_entropy": 0.3, "draft_surprise": 0.3, "draft_clipped": 0.0, "draft_unanswered": 0.0,
    },
    scales={
        "length": 1.0, "numbers": 3.0, "signs": 3.0, "hard_words": 1.0, "code": 1.0, "difficulty": 0.25,
        "draft_entropy": 0.2, "draft_surprise": 0.2, "draft_clipped": 1.0, "draft_unanswered": 1.0,
    },
    bias=-1.5,
    fitted=False,
)  # fmt: skip


def fit(rows: Sequence[Mapping[str, float]], wrong: Sequence[float], ridge: float = 1.0) -> Complexity:
    """Logistic regression with a ridge on the standardised features, by Newton's steps.

    Args:
        rows: N drafts' features; one missing from a row counts as the mean of the others.
        wrong: (N,) shares in [0, 1]: 1 where one pass is wrong (or its rate).
        ridge: weight of ``sum w^2 / 2`` against the summed log-likelihood; the bias is not held back.

    Raises:
        ValueError: no rows, or not as many labels.
    """
    if not rows or len(rows) != len(wrong):
        raise ValueError(f"A complexity model is fitted on as many labels as rows; got {len(wrong)} for {len(rows)}.")
    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, math.nan) for name in names] for row in rows], dtype=np.float64)  # (N, F)
    centres = np.nanmean(table, axis=0)
    table = np.where(np.isnan(table), centres, table)
    scales = table.std(axis=0)
    varies = scales > 1e-9
    names = [name for name, kept in zip(names, varies, strict=True) if kept]
    centres, scales = centres[varies], scales[varies]
    x = np.hstack([(table[:, varies] - centres) / scales, np.ones((len(rows), 1))])  # (N, F + 1), bias last
    y = np.asarray(wrong, dtype=np.float64)
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-3  # all labels alike would send the bias to infinity
    w = np.zeros(x.shape[1])

    def loss(w: np.ndarray) -> float:
        z = x @ w
        return float(np.sum(np.logaddexp(0.0, z) - y * z) + 0.5 * np.sum(penalty * w * w))

    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ w, -60, 60)))
        slope = x.T @ (p - y) + penalty * w
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty), slope)
        size, before = 1.0, loss(w)
        while loss(w - size * step) > before and size > 1e-6:
            size /= 2
        w = w - size * step
        if float(np.abs(size * step).max()) < 1e-8:
            break
    pairs = dict(zip(names, map(float, w[:-1]), strict=True))
    return Complexity(
        pairs,
        dict(zip(names, map(float, centres), strict=True)),
        dict(zip(names, map(float, scales), strict=True)),
        float(w[-1]),
    )
