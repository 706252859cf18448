"""Curriculum: in which order graded problems are asked, and how their grades move while the run goes on.

    ordered    by level, easiest first, chance deciding among equals; one walk from 1 to 6 per epoch, or, of a shorter run,
               over the run
    mixed      every batch mixes levels: mostly those near a centre that moves from 1 to 6 over the run, and always a
               tenth from all levels alike

With re-grading a problem's level follows what this run's own completions measure: their right answers count like samples
(``trl_r1.data.difficulty``), on top of where the problem was graded before.

Source  Ordered: Bengio et al. 2009, "Curriculum Learning". Mixed: our soft form of it, with the floor that keeps easy
        problems from being forgotten. Sampling by measured success: Kimi k1.5, arXiv:2501.12599.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch.utils.data import Sampler

from trl_r1.data.difficulty import LEVELS, STATED_COLUMNS, grade, stated_difficulty


CURRICULA = ("none", "ordered", "mixed")
WIDTH = 1.0  # standard deviation of the mixture around its centre, in levels
FLOOR = 0.1  # of every batch: any level alike
PRIOR = 8.0  # samples that the level from before counts for when completions are counted on top


@dataclass
class Curriculum:
    """Which rows are asked next; the same on every process, and the same again after a resume.

    Args:
        kind: ``ordered`` or ``mixed``.
        levels: of each row, 1 to 6.
        batch: prompts per generation.
        batches: generations of the whole run; where the mixture's centre arrives at 6.
        seed: of every draw.
        regrade: whether ``observe`` moves levels.
    """

    kind: str
    levels: list[int]
    batch: int
    batches: int
    seed: int
    regrade: bool = False
    picked: list[list[int]] = field(default_factory=list)  # every batch so far, this start's and earlier ones'
    right: dict[int, float] = field(default_factory=dict)
    tried: dict[int, int] = field(default_factory=dict)
    replay: int = 0  # batches of ``picked`` that are yet to be handed out again
    # an epoch and its order
    _sorted: tuple[int, list[int]] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.per_epoch = len(self.levels) // self.batch
        if self.per_epoch == 0:
            raise ValueError(
                f"{len(self.levels)} rows are fewer than the {self.batch} prompts of one generation; give more rows or a "
                "smaller batch."
            )

    def level(self, row: int) -> float:
        """Where a row stands now, from 1 to 6; whole numbers unless completions moved it."""
        tried = self.tried.get(row, 0)
        if not self.regrade or tried == 0:
            return float(self.levels[row])
        before = 1.0 - (self.levels[row] - 0.5) / len(LEVELS)  # the pass rate in the middle of its level
        rate = (PRIOR * before + self.right[row]) / (PRIOR + tried)
        return min(6.0, max(1.0, 0.5 + len(LEVELS) * (1.0 - rate)))

    def alike(self) -> list[int]:
        """The rows of the levels that the last batch had: what may stand in for one of it."""
        levels = {round(self.level(row)) for row in self.picked[-1]}
        return [row for row in range(len(self.levels)) if round(self.level(row)) in levels]

    def observe(self, rows: Sequence[int], right: Sequence[float | None]) -> None:
        """Counts completions: for each its row and its reward in [0, 1]; None where it was not judged."""
        for row, value in zip(rows, right, strict=True):
            if value is not None and math.isfinite(value):
                self.right[row] = self.right.get(row, 0.0) + min(1.0, max(0.0, value))
                self.tried[row] = self.tried.get(row, 0) + 1

    def epoch(self) -> Iterator[list[int]]:
        """The batches of one epoch, each decided when it is asked for."""
        start = len(self.picked) - self.replay
        remaining = set(range(len(self.levels)))
        for number in range(start, start + self.per_epoch - start % self.per_epoch):
            if self.replay:
                rows = self.picked[-self.replay]
                self.replay -= 1
            else:
                rows = self._next(remaining, number)
                self.picked.append(rows)
            remaining.difference_update(rows)
            yield rows

    def _order(self, epoch: int) -> list[int]:
        """All rows by level, chance deciding among equals; sorted anew only where levels move."""
        if self._sorted is None or self._sorted[0] != epoch or self.regrade:
            tie = random.Random(f"curriculum {self.seed} order {epoch}")
            chance = [tie.random() for _ in self.levels]
            order = sorted(range(len(self.levels)), key=lambda row: (self.level(row), chance[row]))
            self._sorted = epoch, order
        return self._sorted[1]

    def _next(self, remaining: set[int], number: int) -> list[int]:
        """The rows of batch ``number`` of the run, from those that this epoch has left."""
        rng = random.Random(f"curriculum {self.seed} {number}")
        if self.kind == "ordered":
            order = self._order(number // self.per_epoch)
            walk = max(1, min(self.per_epoch, self.batches))  # a run shorter than an epoch leaves rows out evenly
            begin = (number % self.per_epoch) * len(order) // walk
            ahead = list(islice((row for row in islice(order, begin, None) if row in remaining), self.batch))
            missing = self.batch - len(ahead)
            return ahead + list(islice((row for row in reversed(order[:begin]) if row in remaining), missing))
        waiting = sorted(remaining)
        centre = 1.0 + (len(LEVELS) - 1) * min(1.0, number / max(1, self.batches - 1))
        shelves: dict[int, list[int]] = {}
        for row in waiting:
            shelves.setdefault(round(self.level(row)), []).append(row)
        rows: list[int] = []
        while len(rows) < self.batch:
            names = [level for level, shelf in shelves.items() if shelf]
            near = [math.exp(-(((level - centre) / WIDTH) ** 2) / 2) for level in names]
            total = sum(near)
            # where all that is left lies far from the centre, the floor alone decides
            weights = [(1 - FLOOR) * (n / total if total > 1e-12 else 0.0) + FLOOR / len(names) for n in near]
            shelf = shelves[rng.choices(names, weights)[0]]
            place = rng.randrange(len(shelf))
            shelf[place], shelf[-1] = shelf[-1], shelf[place]
            rows.append(shelf.pop())
        return rows

    # --- over a resume

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "picked": self.picked,
            "right": {str(row): value for row, value in self.right.items()},
            "tried": {str(row): value for row, value in self.tried.items()},
        }

    def restore(self, state: dict[str, Any], epochs: int) -> None:
        """Takes up a checkpoint's state after ``epochs`` whole epochs: the batches of the one that was under way are
        handed out again, for the trainer to skip what it has trained on."""
        self.picked = [list(rows) for rows in state["picked"]]
        self.right = {int(row): value for row, value in state["right"].items()}
        self.tried = {int(row): value for row, value in state["tried"].items()}
        self.replay = max(0, len(self.picked) - epochs * self.per_epoch)


class CurriculumSampler(Sampler[int]):
    """The rows of a curriculum in the shape GRPO asks for: each prompt once per completion, each batch once per use.

    As ``trl.trainer.utils.RepeatSampler``: a batch of prompts, every one repeated ``mini_repeat_count`` times, the whole
    repeated ``repeat_count`` times.
    """

    def __init__(self, curriculum: Curriculum, mini_repeat_count: int, repeat_count: int) -> None:
        self.curriculum, self.mini_repeat_count, self.repeat_count = curriculum, mini_repeat_count, repeat_count

    def __iter__(self) -> Iterator[int]:
        for rows in self.curriculum.epoch():
            for _ in range(self.repeat_count):
                for row in rows:
                    yield from [row] * self.mini_repeat_count

    def __len__(self) -> int:
        each = self.curriculum.batch * self.mini_repeat_count * self.repeat_count
        return self.curriculum.per_epoch * each


def levels_of(rows: Any, column: str) -> list[int]:
    """The level of every row: from the column, or, where there is none, from what the dataset states itself.

    Raises:
        ValueError: neither; or a row without a level.
    """
    if column in rows.column_names:
        levels = rows[column]
        wrong = [row for row, level in enumerate(levels) if isinstance(level, bool) or level not in LEVELS]
        if wrong:
            raise ValueError(
                f"Row {wrong[0]} has {levels[wrong[0]]!r} in {column!r}; levels are whole numbers from 1 to 6. "
                "`trl-r1 data grade` writes them."
            )
        return [int(level) for level in levels]
    present = [name for name in STATED_COLUMNS if name in rows.column_names]
    stated = [stated_difficulty(row) for row in rows.select_columns(present)] if present else []
    if not stated or None in stated:
        where = (
            f"row {stated.index(None)} says nothing in {', '.join(present)}" if stated else "nor any that states it"
        )
        raise ValueError(
            f"The rows have no column {column!r} with a level from 1 to 6, {where}. Grade them first: `trl-r1 data grade`."
        )
    return [grade(stated=value).level for value in stated]
