"""Shaping: the length of a completion, and how much of it repeats; alone, or around another reward.

Alone, each is a reward like any other. Around another reward (``inner``) each only moves what the inner reward calls
right, and never far: with s the inner score, b in [0, 1] the fault found here, and w the ``weight``,

    s is None or NaN    None
    s < right           min(s, right - w)       whatever the length: a wrong answer cannot profit, nor lose
    s = right           right - w * b
    s > right           s

so a completion that the inner reward judges worse never ends above one that it judges better. ``right`` is the inner
reward's highest score. For an inner score of 0 or 1 a wrong answer keeps its 0.

Lengths and n-grams are counted in tokens when the trainer hands over ``completion_ids``, as TRL does, and in characters
of the reply otherwise.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trl_r1.storage.structured import option
from trl_r1.text.completions import reply
from trl_r1.text.reasoning_format import ReasoningFormat, tell


if TYPE_CHECKING:
    from typing_extensions import Self


def overlong(length: int, longest: int, soft: int) -> float:
    """The soft overlong fault, in [0, 1]: 0 up to ``longest - soft``, then linear, 1 from ``longest`` on.

    Args:
        length, longest, soft: in one unit, tokens or characters. ``soft`` 0: a step behind ``longest``.

    Source: DAPO, arXiv:2503.14476, Eq. 13, whose punishment is minus this.

    >>> overlong(90, longest=100, soft=20)
    0.5
    """
    if length <= longest - soft:
        return 0.0
    return min(1.0, (length - (longest - soft)) / soft) if soft else 1.0


def cosine(length: int, longest: int) -> float:
    """The cosine length fault, in [0, 1]: 0 for nothing, 1/2 at half of ``longest``, 1 from ``longest`` on.

    Source: "Demystifying Long Chain-of-Thought Reasoning", arXiv:2502.03373, Sec. 4.2, clamped: beyond ``longest`` the
    unclamped cosine of its copies pays again.
    """
    return (1.0 - math.cos(math.pi * min(length, longest) / longest)) / 2.0


def repeated(items: Sequence[Any], size: int) -> list[int]:
    """Where the ``size``-grams end that occurred before, as indices into ``items``; there are
    ``len(items) - size + 1`` of them in all."""
    known: set[Any] = set()
    spans = []
    grams = items if isinstance(items, str) else tuple(items)
    for end in range(size, len(grams) + 1):
        gram = grams[end - size : end]
        if gram in known:
            spans.append(end - 1)
        else:
            known.add(gram)
    return spans


def repetition(items: Sequence[Any], size: int) -> float:
    """Share of the ``size``-grams that occurred before, in [0, 1]; 0 where there are fewer than ``size`` items.

    Of token ids or characters, so it is the same in every script; words would need spaces.

    Source: arXiv:2502.03373, Appendix C.2 (n-gram repetition penalty), as a share instead of a sum.

    >>> repetition([5, 5, 5, 5, 5], size=2)
    0.75
    """
    return len(repeated(items, size)) / max(1, len(items) - size + 1)


@dataclass(frozen=True)
class _Shaped:
    """What the three have in common: the inner reward, and TRL's calling convention."""

    inner: Any = option(None, "The reward to shape: a name, {name: ..., options: {...}}, or a callable. None: alone.")
    weight: float = option(0.2, "What a right answer can lose, in points of the inner score.")
    right: float = option(1.0, "The inner reward's highest score.")
    name: str = option("", "Logged as rewards/<name>/mean; '' for a name made of both.")

    def __post_init__(self) -> None:
        if isinstance(self.inner, (str, Mapping)):
            from trl_r1.rewards.catalogue import load_rewards

            if isinstance(self.inner, Mapping) and "weight" in self.inner:
                raise ValueError("An inner reward has no weight of its own. Give the weight to the reward around it.")
            object.__setattr__(self, "inner", load_rewards([self.inner])[0][0])
        if self.inner is not None and not callable(self.inner):
            raise ValueError(f"inner={self.inner!r} is no reward. Give a name, such as 'accuracy', or a callable.")
        if inspect.iscoroutinefunction(self.inner) or inspect.iscoroutinefunction(type(self.inner).__call__):
            raise ValueError("An asynchronous reward cannot be wrapped. Give the shaping reward its own place.")
        if not 0.0 < self.weight < math.inf:
            raise ValueError(f"weight={self.weight!r}: give what a right answer can lose, above 0, such as 0.2.")
        if not math.isfinite(self.right):
            raise ValueError(f"right={self.right!r}: give the inner reward's highest score, such as 1.0.")

    _label = ""

    @property
    def __name__(self) -> str:
        if self.name or self.inner is None:
            return self.name or self._label
        from trl_r1.rewards.catalogue import metric_name

        return f"{metric_name(self.inner)}_{self._label}"

    def with_format(self, reasoning_format: ReasoningFormat) -> Self:
        """The same reward around an inner one that knows what the template does with thoughts."""
        twin = copy.copy(self)
        object.__setattr__(twin, "inner", tell(self.inner, reasoning_format))
        return twin

    def fault(self, completion: Any, ids: Sequence[int] | None = None) -> float:
        """What is at fault with the completion, in [0, 1]; in tokens with ``ids``, else in characters of the reply."""
        raise NotImplementedError

    def _alone(self, fault: float) -> float:
        return -fault if fault else 0.0

    def score(self, completion: Any, ids: Sequence[int] | None = None) -> float:
        """The score of one completion without an inner reward; ``ids`` are its tokens, where known."""
        return self._alone(self.fault(completion, ids))

    def shaped(self, score: float | None, fault: float) -> float | None:
        """An inner score after shaping: see the module's table."""
        if score is None or score != score:
            return None
        if score > self.right:
            return float(score)
        best = self.right - self.weight
        return self.right - self.weight * fault if score == self.right else float(min(score, best))

    def __call__(
        self, completions: list[Any], completion_ids: Sequence[Sequence[int]] | None = None, **columns: Any
    ) -> list[float | None]:
        ids: Sequence[Sequence[int] | None] = (
            completion_ids if completion_ids is not None else [None] * len(completions)
        )
        faults = [self.fault(completion, row) for completion, row in zip(completions, ids, strict=True)]
        log_metric: Callable[[str, float], None] | None = columns.get("log_metric")
        if log_metric is not None:
            log_metric(f"{self.__name__}/fault", sum(faults) / max(1, len(faults)))
        if self.inner is None:
            return [self._alone(fault) for fault in faults]
        if completion_ids is not None:
            columns["completion_ids"] = completion_ids
        scores = self.inner(completions=completions, **columns)
        return [self.shaped(score, fault) for score, fault in zip(scores, faults, strict=True)]


def _length(completion: Any, ids: Sequence[int] | None) -> int:
    return len(reply(completion)) if ids is None else len(ids)


def _checked(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r} is not a number of tokens. Give a whole number, {least} or more.")


@dataclass(frozen=True)
class Overlong(_Shaped):
    """Soft overlong punishment, in [-1, 0] alone; around an inner reward, up to ``weight`` off what is right.

    Lengths are in tokens of ``completion_ids``, or in characters of the reply where the caller gives none. Set
    ``longest`` to the run's ``max_completion_length``.

    Source: DAPO, arXiv:2503.14476, Eq. 13, with its numbers (16,384 tokens, then 4,096 of soft margin).
    Departure: around a reward, wrong answers are not punished for their length (see the module).
    """

    longest: int = option(20480, "Length from which the punishment is full.")
    soft: int = option(4096, "Over how much before that it grows.")
    _label = "overlong"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked("longest", self.longest, 1)
        _checked("soft", self.soft, 0)
        if self.soft > self.longest:
            raise ValueError(
                f"soft={self.soft} is more than longest={self.longest}. The margin is part of the length."
            )

    def fault(self, completion: Any, ids: Sequence[int] | None = None) -> float:
        """See ``overlong``."""
        return overlong(_length(completion, ids), self.longest, self.soft)


@dataclass(frozen=True)
class CosineLength(_Shaped):
    """Short is better, along a cosine: 1 to 0 alone, in [0, 1]; around an inner reward, up to ``weight`` off what is
    right.

    Lengths are in tokens of ``completion_ids``, or in characters of the reply where the caller gives none. Set
    ``longest`` to the run's ``max_completion_length``.

    Source: arXiv:2502.03373, Sec. 4.2.
    Departures: clamped beyond ``longest``; wrong answers are not paid for being long, as the paper does to keep them
    searching, because a wrong answer would profit from padding.
    """

    longest: int = option(4096, "Length at which the cosine has reached its end.")
    _label = "cosine_length"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked("longest", self.longest, 1)

    def fault(self, completion: Any, ids: Sequence[int] | None = None) -> float:
        """See ``cosine``."""
        return cosine(_length(completion, ids), self.longest)

    def _alone(self, fault: float) -> float:
        return 1.0 - fault


@dataclass(frozen=True)
class Repetition(_Shaped):
    """Minus the share of n-grams that occurred before, in [-1, 0] alone; around an inner reward, up to ``weight`` off
    what is right.

    N-grams of token ids, or of the reply's characters where the caller gives no ``completion_ids``: no words, so
    Chinese and Thai are judged like English.

    Source: arXiv:2502.03373, Appendix C.2. The sizes are ours: short n-grams recur in every honest calculation.
    """

    tokens: int = option(12, "Tokens per n-gram.")
    characters: int = option(32, "Characters per n-gram, where there are no token ids.")
    _label = "repetition"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked("tokens", self.tokens, 1)
        _checked("characters", self.characters, 1)

    def fault(self, completion: Any, ids: Sequence[int] | None = None) -> float:
        """See ``repetition``."""
        if ids is not None:
            return repetition(ids, self.tokens)
        return repetition(reply(completion), self.characters)

    def spans(self, completion: Any) -> list[tuple[int, int, float]]:
        """``(start, end, score)`` where the reply repeats itself, as characters of ``reply(completion)``; sums to
        ``score(completion)``, which is the repetition alone, counted in characters."""
        text = reply(completion)
        total = max(1, len(text) - self.characters + 1)
        merged: list[list[int]] = []
        for place in repeated(text, self.characters):
            if merged and merged[-1][1] == place:
                merged[-1][1] = place + 1
            else:
                merged.append([place, place + 1])
        return [(start, end, -(end - start) / total) for start, end in merged]


overlong_reward = Overlong()
cosine_length_reward = CosineLength()
repetition_reward = Repetition()
