"""The queue: answers worth a person's look out, as a file and a page; decisions back in, as rows for the next cold start.

    folder/queue.jsonl      what was chosen and why (not meant to be edited)
    folder/review.jsonl     the file a person fills in, or review.csv; trl_r1.data.review says how
    folder/index.html       the same as a page
    folder/reviews.jsonl    the ledger of decisions
    folder/reviewed.jsonl   the rows that were kept, each once: `sources: [{name: rows, dataset_name: .../reviewed.jsonl}]`;
                            answers to an evaluation's problems stay out, since training on them would spoil it

Reasons  low agreement      the problem's samples disagree (share of the most frequent answer below a limit)
         sure and wrong     they agree, and on a wrong answer: a wrong gold answer, or a lesson
         rewards disagree   of two rewards about the same thing one is nearly full, the other nearly nothing
         alarm slice        it is wrong and belongs to a slice that does worse than the rest (trl_r1.review.slices)
         refused            it declines a question that has an answer
         cut off, empty     the token limit ended it; a reader would see nothing
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl_r1.data.review import ReviewQueue
from trl_r1.review.items import Item, empty, refuses
from trl_r1.review.page import page
from trl_r1.review.slices import Slice
from trl_r1.storage.files import read_json_lines, replace_file
from trl_r1.text.records import Row


QUEUE, RESULT, PAGE = "queue.jsonl", "reviewed.jsonl", "index.html"
FILES = ("review.jsonl", "review.csv")
WEIGHT = {
    "sure and wrong": 3.0,
    "rewards disagree": 2.0,
    "low agreement": 2.0,
    "refused": 2.0,
    "alarm slice": 1.5,
    "empty": 1.0,
    "cut off": 0.5,
}


ABOUT = {  # what a reward judges; one that is not named here judges something of its own
    **dict.fromkeys(
        ("accuracy", "symbolic", "logic", "geometry", "semantic", "layered", "code", "reasoning_gym"), "the solution"
    ),
    **dict.fromkeys(("helpfulness", "preference"), "how helpful it is"),
    **dict.fromkeys(("overlong", "cosine_length"), "its length"),
}


@dataclass(frozen=True)
class Look:
    """An item and why somebody should look at it: (reason, details)."""

    item: Item
    reasons: tuple[tuple[str, str], ...]

    @property
    def weight(self) -> float:
        return sum(WEIGHT[name] for name, _ in self.reasons)


@dataclass(frozen=True)
class Rules:
    """When an answer is worth a look."""

    low_agreement: float = 0.5
    sure: float = 0.75  # agreement from which a wrong answer is a sure one
    disagreement: float = 0.75  # between two rewards of one answer
    most: int = 100  # answers in a queue
    per_problem: int = 1

    def __post_init__(self) -> None:
        if self.most < 1 or self.per_problem < 1:
            raise ValueError(f"most={self.most} and per_problem={self.per_problem} are 1 or more.")


def reasons(item: Item, rules: Rules, alarms: Sequence[Slice] = ()) -> tuple[tuple[str, str], ...]:
    """Why an answer is worth a look; () if nothing speaks for it."""
    causes: list[tuple[str, str]] = []
    if item.agreement is not None and item.leading and item.agreement < rules.low_agreement:
        causes.append(
            ("low agreement", f"{item.agreement:.0%} of the samples give this answer, and none is given more often")
        )
    if item.agreement is not None and item.right is False and item.agreement >= rules.sure:
        causes.append(
            ("sure and wrong", f"{item.agreement:.0%} of the samples give this answer, which is not the gold one")
        )
    for what, scores in about_the_same(item.scores).items():
        best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
        if scores[best] - scores[worst] >= rules.disagreement:
            told = f"on {what} {best} gives {scores[best]:.2f}, {worst} gives {scores[worst]:.2f}"
            causes.append(("rewards disagree", told))
    if item.right is False:
        for slice_ in alarms:
            if slice_.holds(item):
                causes.append(("alarm slice", f"{slice_.kind} {slice_.name}: {slice_.gap_sentence()}"))
                break
    if item.problem.solution is not None and refuses(item.text):
        causes.append(("refused", "the question has an answer"))
    if empty(item):
        causes.append(("empty", "a reader would see nothing"))
    elif item.sample.completion.truncated:
        causes.append(("cut off", "the token limit ended it"))
    return tuple(causes)


def about_the_same(scores: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What is judged by two rewards or more -> their scores.

    >>> about_the_same({"accuracy": 0.0, "language": 1.0, "semantic": 0.9})
    {'the solution': {'accuracy': 0.0, 'semantic': 0.9}}
    """
    groups: dict[str, dict[str, float]] = {}
    for name, score in scores.items():
        groups.setdefault(ABOUT.get(name, name), {})[name] = score
    return {what: group for what, group in groups.items() if len(group) > 1}


def choose(items: Iterable[Item], rules: Rules, alarms: Sequence[Slice] = ()) -> list[Look]:
    """The answers most worth a look, heaviest first, no text twice, at most ``per_problem`` of one problem."""
    looks: dict[str, Look] = {}
    for item in items:
        why = reasons(item, rules, alarms)
        if why:
            looks.setdefault(item.id, Look(item, why))
    counts: dict[str, int] = {}
    chosen: list[Look] = []
    for look in sorted(looks.values(), key=lambda look: -look.weight):  # stable: ties keep their order
        problem = json.dumps(look.item.problem.prompt, sort_keys=True, ensure_ascii=False)
        if counts.get(problem, 0) < rules.per_problem and len(chosen) < rules.most:
            counts[problem] = counts.get(problem, 0) + 1
            chosen.append(look)
    return chosen


def row_of(look: Look) -> Row:
    """A queued answer as the rows of `trl_r1.data.review` and of the cold start are."""
    item = look.item
    return {
        "id": item.id,
        "prompt": item.problem.prompt,
        "completion": item.text,
        "question": item.problem.question,
        "solution": item.problem.solution,
        "language": item.problem.language,
        "domain": item.problem.domain,
        "reasons": [list(reason) for reason in look.reasons],
        "right": item.right,
        "answer": item.answer,
        "agreement": item.agreement,
        "held_out": item.held_out,
        "provenance": {"stage": "review", "model": item.sample.origin.model, "answer": item.sample.origin.source},
    }


@dataclass
class Desk:
    """A folder in which a person reviews."""

    folder: Path
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def open(cls, folder: str | Path) -> Desk:
        """Raises ValueError: there is no queue in it."""
        path = Path(folder)
        rows = read_json_lines(path / QUEUE)
        if not rows:
            raise ValueError(f"{path} holds no {QUEUE}; `trl-r1 review make RUN --output {path}` makes one.")
        return cls(path, rows)

    @classmethod
    def make(cls, folder: str | Path, looks: Sequence[Look], table: bool = False) -> Desk:
        """A new queue with its file and page; one that is there already with the same rows is opened again.

        Args:
            table: the file is review.csv.

        Raises:
            ValueError: nothing to look at, or the folder holds another queue.
        """
        path = Path(folder)
        if not looks:
            raise ValueError("No answer is worth a look by these rules; loosen them, or sleep well.")
        rows = [row_of(look) for look in looks]
        before = read_json_lines(path / QUEUE)
        if before and [row["id"] for row in before] != [row["id"] for row in rows]:
            raise ValueError(
                f"{path} holds another queue of {len(before)} answers; finish it or choose another --output."
            )
        replace_file(path / QUEUE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        desk = cls(path, rows)
        desk.queue(path / FILES[table]).export()
        desk.draw()
        return desk

    def queue(self, file: Path | None = None) -> ReviewQueue:
        """The file round trip over the rows; by default through the file that is there."""
        if file is None:
            file = next(
                (self.folder / name for name in FILES if (self.folder / name).is_file()), self.folder / FILES[0]
            )
        return ReviewQueue(file, self.rows, objection)

    def draw(self) -> Path:
        """Writes the page of what still waits."""
        waiting = self.queue().waiting()
        return replace_file(self.folder / PAGE, page(waiting, len(self.rows)))

    def take(self, file: str | Path | None = None, held_out: bool = False) -> tuple[int, int]:
        """Takes decisions in and writes the rows that were kept.

        Args:
            file: a filled-in copy from elsewhere, such as the one the page saved; None: the one in the folder.
            held_out: also write answers to an evaluation's problems, which are then no longer held out.

        Returns:
            how many rows are kept so far, how many still wait.

        Raises:
            ValueError: see `ReviewQueue.consume`; then nothing was taken.
        """
        queue = self.queue()
        if file is not None and Path(file).resolve() != queue.path.resolve():
            queue = self._fetch(Path(file))
        waiting = queue.consume()
        rows = [row for row in queue.result() if held_out or not row.get("held_out")]
        replace_file(self.folder / RESULT, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        self.draw()
        return len(rows), waiting

    def _fetch(self, file: Path) -> ReviewQueue:
        """The queue over a copy of a file from elsewhere; the person's own copy stays as it is."""
        if file.suffix.lower() not in (".jsonl", ".csv") or not file.is_file():
            raise ValueError(f"{file} is no .jsonl or .csv file with decisions.")
        copy = self.folder / f"review.from-page{file.suffix.lower()}"
        replace_file(copy, file.read_bytes())
        probe = ReviewQueue(copy, self.rows, objection)
        try:
            probe._checked(probe.reviews())  # before anything moves
        except ValueError:
            copy.unlink()
            raise
        for name in FILES:  # what the folder's own file would say is undecided now, or is decided by the copy
            own = self.folder / name
            if own.is_file():
                ReviewQueue(own, self.rows, objection).consume()
                own.unlink(missing_ok=True)
        target = self.folder / FILES[file.suffix.lower() == ".csv"]
        copy.replace(target)
        return ReviewQueue(target, self.rows, objection)


def objection(row: Mapping[str, Any], text: str) -> str | None:
    """What speaks against an edited text: nothing to see, or another answer than the gold one."""
    from trl_r1.answers.types import declared_type
    from trl_r1.rewards.accuracy import verdict

    if not text.strip():
        return "it is empty"
    gold = row.get("solution")
    if gold is not None and verdict(text, gold, answer_type=declared_type(row)) is False:
        return f"its final answer is not the gold answer {str(gold)[:80]!r}"
    return None
