"""Votes: answers one by one in; who leads, and whether more answers could or would change that.

Sources  majority vote over sampled paths: Wang et al. 2022, arXiv:2203.11171. Stopping by the posterior of the two
         strongest answers: Aggarwal et al. 2023, "Let's Sample Step by Step" (Adaptive-Consistency), arXiv:2305.11860.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field


Same = Callable[[str, str], bool]


@dataclass
class Tally:
    """Counts answers by meaning, as they come. ``same`` should be an equivalence; equal strings never reach it.

    >>> tally = Tally(lambda a, b: float(a) == float(b))
    >>> for answer in ("15", None, "15.0", "14"): tally.add(answer)
    >>> tally.classes, tally.standing()
    ([[0, 2], [3]], (2, 1))
    """

    same: Same
    classes: list[list[int]] = field(default_factory=list)  # indices of the answers, in order of first appearance
    answers: list[str | None] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # of the answers, where the choice is by weight
    _by_text: dict[str, int] = field(default_factory=dict)

    def add(self, answer: str | None, weight: float = 1.0) -> None:
        """One more answer; None (there was none to be found) does not vote."""
        self.answers.append(answer)
        self.weights.append(weight)
        if answer is None:
            return
        if answer not in self._by_text:
            matches = (n for n, members in enumerate(self.classes) if self.same(str(self.answers[members[0]]), answer))
            self._by_text[answer] = next(matches, len(self.classes))
            if self._by_text[answer] == len(self.classes):
                self.classes.append([])
        self.classes[self._by_text[answer]].append(len(self.answers) - 1)

    def standing(self) -> tuple[int, int]:
        """Votes of the strongest and of the second strongest answer."""
        sizes = sorted(map(len, self.classes), reverse=True) + [0, 0]
        return sizes[0], sizes[1]

    def leaders(self) -> list[list[int]]:
        """The classes with the most votes: one, several when they tie, none when nobody voted."""
        most = self.standing()[0]
        return [members for members in self.classes if len(members) == most]

    def ranking(self) -> list[list[int]]:
        """The classes by weight, heaviest first; of equals the one that came first."""
        return sorted(self.classes, key=lambda members: -sum(self.weights[i] for i in members))

    def agreement(self) -> float:
        """Share of all paths (those without an answer too) that gave the leading answer; 0 without paths."""
        return self.standing()[0] / len(self.answers) if self.answers else 0.0


def is_decided(first: float, second: float, remaining: float) -> bool:
    """Whether the leader stays alone in front whatever the ``left`` remaining paths say.

    >>> is_decided(9, 0, 7), is_decided(8, 0, 8)
    (True, False)
    """
    return first > second + remaining


def confidence(first: int, second: int) -> float:
    """Chance that the leading answer is the model's more frequent one of the two: ``P(q > 1/2)``, q ~ Beta(first + 1,
    second + 1), which for whole numbers is ``sum_{j <= first} C(n, j) / 2^n`` with ``n = first + second + 1``.

    >>> confidence(3, 0), confidence(1, 1)
    (0.9375, 0.5)
    """
    n = first + second + 1
    return sum(math.comb(n, j) for j in range(first + 1)) / 2**n
