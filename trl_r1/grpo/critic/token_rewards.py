"""Where in a completion its reward was earned: scores and spans of characters in, a reward for every token out.

A reward function that says where its score comes from (``spans(completion)``: start, end and share of every place, as
characters of the reply) pays each share at the token that completes the place, when it is there to be seen. What spans
leave open, and the whole score of a function without spans, is paid at the last token; so the tokens of a completion
always add up to its score.
"""

from __future__ import annotations

import bisect
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trl_r1.text.completions import reply


Span = tuple[int, int, float]


def spans_of(reward: Any, completion: Any, prompt: Any, row: dict[str, Any]) -> list[Span]:
    """The spans of one completion; empty where the reward does not say where its score comes from.

    Args:
        row: the columns of the completion's problem; a ``language`` is handed on to a reward that asks for one.
    """
    if not callable(getattr(reward, "spans", None)):
        return []
    takes = inspect.signature(reward.spans).parameters
    language = row.get(getattr(reward, "language_column", "language"))
    if "language" in takes and language is None and getattr(reward, "language", None) is None:
        return []
    known = {"prompt": prompt, "language": language}
    return list(reward.spans(completion, **{name: value for name, value in known.items() if name in takes}))


class TokenPlaces:
    """Which token completes a character of a reply.

    Args:
        ids: of the completion's tokens.
        decode: ids -> text, as the reply was made from them (special tokens skipped).
        completion: what the reward functions saw.
    """

    def __init__(self, ids: Sequence[int], decode: Callable[[Sequence[int]], str], completion: Any):
        self.ids, self.decode = ids, decode
        whole, text = decode(ids), reply(completion)
        self.offset: int | None = None  # of the reply's first character in what the policy wrote
        if text in whole:
            self.offset = whole.index(text)  # a parser may have taken something off
        elif whole in text:
            self.offset = -text.index(whole)  # a template may have put something before it

    def __call__(self, end: int) -> int | None:
        """The first token with which `end` characters of the reply are there; None where they cannot be told."""
        if self.offset is None:
            return None
        characters = min(end + self.offset, len(self.decode(self.ids)))
        place = bisect.bisect_left(range(1, len(self.ids) + 1), characters, key=self._characters)
        return min(place, len(self.ids) - 1)

    def _characters(self, tokens: int) -> int:
        # a character cut in the middle shows as U+FFFD: it is not there yet
        return len(self.decode(self.ids[:tokens]).rstrip("\ufffd"))


def token_rewards(
    score: float,
    spans: Sequence[Span],
    tokens: int,
    place: Callable[[int], int | None] | None = None,
    actions: Sequence[int] | None = None,
) -> Tensor:
    """One function's score of one completion, by token.

    Args:
        score: reward points.
        spans: ``(start, end, share)`` of the places it comes from.
        tokens: T of this completion.
        place: the token that completes a character; None puts everything on the last token.
        actions: numbers of the tokens that the policy wrote, ascending; None for all. What falls on another token is paid
            at the next action, or the last.

    Returns:
        (T,) reward points, summing to `score`.
    """
    rewards = torch.zeros(tokens, dtype=torch.float64)
    actions = range(tokens) if actions is None else actions
    if not len(actions):
        return rewards
    rest = score
    for _, end, share in spans:
        token = place(end) if place is not None else None
        if token is None or share == 0.0:
            continue
        rewards[actions[min(bisect.bisect_left(actions, token), len(actions) - 1)]] += share
        rest -= share
    rewards[actions[-1]] += rest
    return rewards
