"""What the making of cold-start data needs, checked once and handed from step to step; and what its shards hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl import ModelConfig, SFTConfig

from trl_r1.stages.cold_start.options import ColdStartOptions
from trl_r1.stages.cold_start.screening import Screened, screen
from trl_r1.stages.cold_start.sources import ChainSource, Example
from trl_r1.text.records import Completion, Origin, Problem, Row, Sample


DATA = "data.jsonl"


@dataclass(frozen=True)
class ReadySource:
    """A source that can be drawn from: its problems and its worked examples are read."""

    source: ChainSource
    problems: Sequence[Problem]  # with a `reference` where the chains exist already
    examples: Sequence[Example] = ()  # of the source's own; () takes the usual ones

    @property
    def label(self) -> str:
        """Its name in shards, counts and reports."""
        return self.source.label


@dataclass
class ColdStartJob:
    """Everything the making of the data needs, checked."""

    options: ColdStartOptions
    config: SFTConfig
    model: ModelConfig
    problems: list[Problem]  # with the prompt as the tuned model will be asked
    sources: list[ReadySource]
    answer_sources: tuple[str, ...]
    loaded: tuple[str, Any, Any] | None = None  # name, model and tokenizer that sources share while they draw

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)

    def source(self, label: str) -> ReadySource:
        """The source of this label."""
        return next(source for source in self.sources if source.label == label)

    def screen(self, samples: Sequence[Sample], filters: Sequence[str] | None = None) -> list[Screened]:
        """Verdicts on samples, by the stage's options."""
        options = self.options
        chosen = options._filters if filters is None else filters
        return screen(samples, options.layout, chosen, options.limits(), self.answer_sources)


def problem_row(problem: Problem) -> Row:
    """A problem as the digests of this stage know it: a chain that exists is its `text`."""
    row = problem.to_row()
    if problem.reference is not None:
        row["text"] = row.pop("answer")
    return row


def origin_row(origin: Origin) -> Row:
    """Where a text came from, as shards and data.jsonl hold it."""
    return {
        "source": origin.source,
        "model": origin.model,
        "model_hash": origin.model_hash,
        "seed": origin.seed,
        "prompt_hash": origin.prompt_hash,
    }


def drawn_row(sample: Sample) -> Row:
    """A sample as a line of a shard in `drawn/`."""
    completion = sample.completion
    return {
        "problem": sample.origin.place,
        "index": sample.origin.index,
        "text": completion.text,
        "clipped": completion.truncated,
        "refused": completion.refused,
        **origin_row(sample.origin),
    }


def origin_of(row: Row) -> Origin:
    """The origin in a line of a shard."""
    return Origin(
        row["source"], row["model"], row["model_hash"], row["prompt_hash"], row["seed"], row["problem"], row["index"]
    )


def sample_of(row: Row, problems: Sequence[Problem]) -> Sample:
    """The sample in a line of a shard in `drawn/`."""
    return Sample(problems[row["problem"]], Completion.of_row(row), origin_of(row))


def judged_row(sample: Sample, screened: Screened, rewritten_by: str | None = None) -> Row:
    """A sample as a line of a shard in `judged/`; the text of a dropped one stays in its first shard."""
    row = {"problem": sample.origin.place, "index": sample.origin.index, **origin_row(sample.origin)}
    if screened.text is None:
        return {**row, "dropped": screened.verdict.dropped_by, "why": screened.verdict.reason}
    return {**row, "completion": screened.text, "rewritten_by": rewritten_by}
