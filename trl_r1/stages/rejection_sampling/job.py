"""What a run of rejection sampling is handed from step to step, and how it writes rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trl_r1.data.near_duplicates import Contamination
from trl_r1.data.review import sample_id
from trl_r1.runs.folder import RunFolder
from trl_r1.stages.rejection_sampling.pools import PromptPool
from trl_r1.storage.shards import Unit, write_or_tell
from trl_r1.text.records import Problem, Prompt, Row, Sample, Verdict


STAGE = "rejection_sampling"


@dataclass
class PreparedRejection:
    """What `prepare_rejection` found in order: nothing has been sampled yet."""

    pools: dict[str, PromptPool]
    problems: dict[str, list[Problem]]  # by pool, without those an evaluation set holds
    contaminated: dict[str, int]  # by pool, how many prompts those were
    known: Contamination
    model: str  # for load_policy, or the server's name for it
    model_hash: str
    folder: RunFolder
    settings: Row


@dataclass(frozen=True)
class Judged:
    """A drawn sample's verdict, and what the report wants to know about the text."""

    verdict: Verdict
    answer: str | None = None  # the final answer, where somebody judged it
    language_share: float | None = None  # of the words in the asker's language, in [0, 1]
    well_formed: bool = False

    def to_row(self, sample: Sample) -> Row:
        """As a line of a shard in `judged/`."""
        return {
            "place": sample.origin.place,
            "index": sample.origin.index,
            "filter": self.verdict.dropped_by,
            "why": self.verdict.reason,
            "right": self.verdict.correct,
            "by": self.verdict.decided_by,
            "answer": self.answer,
            "language": self.language_share,
            "layout": self.well_formed,
        }

    @classmethod
    def of_row(cls, row: Row) -> Judged:
        """From a line of a shard."""
        verdict = Verdict(row["right"], row["by"], row["filter"], row["why"])
        return cls(verdict, row["answer"], row["language"], row["layout"])


@dataclass(frozen=True)
class Entry:
    """A judged sample on its way to kept.jsonl or to the log of what was dropped."""

    sample: Sample  # its text without the thought where the pool wants none
    judged: Judged
    unit: int
    dropped_by: str = ""
    reason: str = ""

    @cached_property
    def id(self) -> str:
        """16 hex digits of prompt and text."""
        return sample_id(self.sample.problem.prompt, self.sample.completion.text)

    @property
    def place(self) -> tuple[str, int, int]:
        """Pool, problem and index: which draw this was."""
        origin = self.sample.origin
        return origin.source, origin.place, origin.index

    def provenance(self, filters: Sequence[str] = ()) -> Row:
        """Where the line came from."""
        origin, opened = self.sample.origin, self.sample.completion.opened
        return {
            "stage": STAGE,
            "model": origin.model,
            "model_hash": origin.model_hash or None,
            "prompt_hash": origin.prompt_hash,
            "seed": origin.seed,
            "index": origin.index,
            "pool": origin.source,
            "place": origin.place,
            "unit": self.unit,
            **({} if opened is None else {"thought_opened_by_prompt": opened}),
            "filters": list(filters),
        }

    def to_row(self, filters: Sequence[str] = ()) -> Row:
        """As a line of kept.jsonl (docs/rejection_sampling.md)."""
        problem, verdict = self.sample.problem, self.judged.verdict
        return {
            "id": self.id,
            "prompt": problem.prompt,
            "completion": self.sample.completion.text,
            "question": problem.question,
            "solution": problem.solution,
            "language": problem.language,
            "domain": problem.domain,
            **getattr(problem.prompt, "own", {}),
            "score": {
                "right": verdict.correct,
                "by": verdict.decided_by or None,
                "language": self.judged.language_share,
                "tokens": self.sample.completion.token_count,
            },
            "provenance": self.provenance(filters),
        }


def write_lines(path: Path, rows: list[Row]) -> None:
    """JSON lines, whole or not at all."""
    write_or_tell(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def request(unit: Unit, prepared: PreparedRejection) -> tuple[list[Prompt], int, int]:
    """What is drawn for a unit: prompts, samples of each, seed."""
    problems = prepared.problems[unit.pool][unit.first : unit.last]
    return [problem.prompt for problem in problems], prepared.pools[unit.pool].draws, unit.seed


def placed(unit: Unit, draws_of_unit: list[list[Row]]) -> list[Row]:
    """The rows of a unit's shard: every draw with its prompt's place in the pool and its index."""
    return [
        {"place": place, "index": index, **draw}
        for place, draws in enumerate(draws_of_unit, start=unit.first)
        for index, draw in enumerate(draws)
    ]
