"""Mix: pools of kept samples in, one training set in the wanted proportions out; and no chain where none is needed.

    mix          numbers or shares per pool, drawn by a seed, whatever the order of the pools' rows
    without_reasoning  the reply without its thought
    is_simple    whether a message is a greeting and the like, which deserves no chain

Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.3: about 600k reasoning samples and 200k for writing, factual QA,
        self-cognition and translation; "for simpler queries, such as 'hello' we do not provide a CoT in response".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from trl_r1.data.near_duplicates import words
from trl_r1.rewards.format import SPECIAL_TOKEN
from trl_r1.text.completions import ANSWER, reasoning_bounds


class Named(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=Named)


DOMAINS = ("reasoning", "writing", "factual", "self", "translation", "unsafe")


@dataclass(frozen=True)
class Share:
    """What became of one pool. ``wanted`` is None where everything is taken."""

    pool: str
    there: int
    wanted: int | None
    taken: int

    @property
    def short(self) -> int:
        """How many are missing."""
        return max(0, (self.wanted or 0) - self.taken)

    def __str__(self) -> str:
        target = "all" if self.wanted is None else str(self.wanted)
        shortage = f", {self.short} too few" if self.short else ""
        return f"{self.pool}: {self.taken} of {self.there} taken, {target} wanted{shortage}"


def quotas(
    there: Mapping[str, int], targets: Mapping[str, int | float], total: int | None = None
) -> dict[str, int | None]:
    """How many samples of each pool are wanted; None: all of it.

    Args:
        there: how many each pool has.
        targets: per pool a whole number of samples, or a share in (0, 1) of the result. A pool without a target is
            taken whole. Shares and numbers may stand beside each other; shares are then of ``total``.
        total: size of the result; None with shares takes as many as the shortest pool allows in these proportions.

    Raises:
        ValueError: a pool is unknown, a target is no number or share, or shares sum to more than 1.

    >>> quotas({"reasoning": 900, "general": 100}, {"reasoning": 0.75, "general": 0.25})
    {'reasoning': 300, 'general': 100}
    """
    unknown = [pool for pool in targets if pool not in there]
    if unknown:
        raise ValueError(f"There is no pool {unknown[0]!r} to mix; there are: {', '.join(there) or 'none'}.")
    shares, target_counts = {}, dict.fromkeys(there)
    for pool, target in targets.items():
        if isinstance(target, bool) or not isinstance(target, int | float) or not math.isfinite(target) or target < 0:
            raise ValueError(f"The target {target!r} of pool {pool!r} is neither a number of samples nor a share.")
        if isinstance(target, float) and target < 1:
            shares[pool] = target
        elif target == int(target):
            target_counts[pool] = int(target)
        else:
            raise ValueError(
                f"The target {target!r} of pool {pool!r}: a share is below 1, a number of samples is whole."
            )
    if not shares:
        return target_counts
    if sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"The shares sum to {sum(shares.values()):.3g}; they are parts of one whole.")
    if total is None:
        if set(shares) != set(there):
            raise ValueError("Shares beside pools without one need the total number of samples (mix_total).")
        scale = sum(shares.values())
        shares = {pool: share / scale for pool, share in shares.items()}
        total = int(min((there[pool] / share for pool, share in shares.items() if share > 0), default=0))
    exact = {pool: share * total for pool, share in shares.items()}
    whole = {pool: math.floor(number + 1e-9) for pool, number in exact.items()}
    missing = round(sum(exact.values())) - sum(whole.values())
    for pool in sorted(exact, key=lambda pool: (whole[pool] - exact[pool], pool))[:missing]:  # largest remainder first
        whole[pool] += 1
    return {**target_counts, **whole}


def mix(
    pools: Mapping[str, Sequence[T]],
    targets: Mapping[str, int | float] | None = None,
    total: int | None = None,
    seed: int = 0,
) -> tuple[list[T], list[Share]]:
    """The mixed samples in random order, and what became of each pool.

    Which samples of a pool are taken depends on the seed and on their ids alone, not on the order they come in: another
    sample more or less changes at most one choice. A pool that is too short gives all it has; the others do not fill
    in, as that would change the proportions silently.

    Args:
        pools: entries by pool, each with an ``id``.
        targets, total: see `quotas`.
        seed: of the choice and of the order.
    """
    counts = quotas({pool: len(rows) for pool, rows in pools.items()}, targets or {}, total)

    def rank(entry: Named) -> bytes:
        return hashlib.sha256(f"{seed}\0{entry.id}".encode()).digest()

    samples: list[T] = []
    shares = []
    for pool, rows in pools.items():
        chosen = sorted(rows, key=rank)[: counts[pool]]
        shares.append(Share(pool, len(rows), counts[pool], len(chosen)))
        samples += chosen
    return sorted(samples, key=rank), shares


# what people say when they ask nothing; ours
_SMALL_TALK = frozenset(
    "hello hi hey hiya thanks thank you thx bye goodbye good morning evening night afternoon how are welcome ok okay "
    "there please sorry cheers greetings see later nice to meet today doing "
    "你 好 您 早 上 下 午 晚 安 谢 再 见 吗 嗨 啊 呀 们 大 家".split()
)
_SIMPLE_WORDS = 6


def is_simple(question: str) -> bool:
    """Whether a message is small talk: at most six words, all of them of the greeting kind. It deserves no chain.

    >>> is_simple("Hello there!"), is_simple("你好"), is_simple("What is 2+2?"), is_simple("Say hello in French")
    (True, True, False, False)
    """
    question_words = words(question)
    return 0 < len(question_words) <= _SIMPLE_WORDS and _SMALL_TALK.issuperset(question_words)


def without_reasoning(text: str, layout: str = "answer") -> str:
    """The reply without its thought and without tags around the answer; a reply without a thought stays as it is.

    >>> without_reasoning("<think>A greeting.</think> <answer>Hello!</answer>")
    'Hello!'
    """
    if layout == "cold_start":
        return text.rpartition(SPECIAL_TOKEN)[2].strip() if SPECIAL_TOKEN in text else text
    rest = text[reasoning_bounds(text)[2] :].strip()
    if layout == "answer" and rest.startswith(ANSWER[0]) and rest.endswith(ANSWER[1]):
        rest = rest[len(ANSWER[0]) : -len(ANSWER[1])].strip()
    return rest or text
