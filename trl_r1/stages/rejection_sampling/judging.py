"""Judging: drawn samples in, a verdict on each out; a function of the samples, the options and, at most, a judge model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trl_r1.answers.types import known_type
from trl_r1.data.filters import FilterLimits, decide_right, first_objection, language_share
from trl_r1.rewards.accuracy import extract
from trl_r1.rewards.format import SPECIAL_TOKEN, well_formed
from trl_r1.stages.rejection_sampling.job import Judged, PreparedRejection, Row
from trl_r1.stages.rejection_sampling.options import RejectionOptions
from trl_r1.stages.rejection_sampling.pools import PromptPool
from trl_r1.storage.shards import Unit, digest_of
from trl_r1.text.completions import THINK, completed
from trl_r1.text.records import Completion, Origin, Sample, Verdict


def samples_of(unit: Unit, rows: Sequence[Row], prepared: PreparedRejection, limits: FilterLimits) -> list[Sample]:
    """The samples of a unit's shard, as whole texts: with the mark that the prompt has written before them."""
    pool, problems = prepared.pools[unit.pool], prepared.problems[unit.pool]
    reused = bool(pool.answer_column)
    model = pool.dataset_name if reused else prepared.settings["model_name_or_path"] or prepared.model
    return [
        Sample(
            problems[row["place"]],
            Completion.of_row(row) if reused else whole(Completion.of_row(row), limits),
            Origin(
                source=unit.pool,
                model=model,
                model_hash="" if reused else prepared.model_hash,
                prompt_hash=digest_of(problems[row["place"]].prompt)[:16],
                seed=unit.seed,
                place=row["place"],
                index=row["index"],
            ),
        )
        for row in rows
    ]


def whole(completion: Completion, limits: FilterLimits) -> Completion:
    """A drawn completion with the mark that its prompt has written, where one was found or the limits say so."""
    stated = limits.prefilled_think
    opened = completion.opened if stated is None else stated
    mark = SPECIAL_TOKEN if stated and limits.layout == "cold_start" else THINK[0]
    return replace(completion, text=completed(completion.text, opened, mark), opened=opened)


def judge_unit(
    samples: Sequence[Sample], options: RejectionOptions, limits: FilterLimits, pool: PromptPool
) -> list[Judged]:
    """For each sample which filter objects and why, and what the report needs to know about it.

    Raises:
        JudgeError: the judge cannot be asked.
    """
    limits = replace(limits, prefilled_think=False)  # the texts are whole
    verdicts = [Verdict() for _ in samples]
    if "right" in pool.filters:
        judgeable = [n for n, one in enumerate(samples) if one.completion.text.strip() and not one.completion.refused]
        decided = decide_right(
            [samples[n] for n in judgeable],
            sources=options._sources,
            judge_client=options.judge_client(),
        )
        for number, verdict in zip(judgeable, decided, strict=True):
            verdicts[number] = verdict
    return [
        Judged(
            first_objection(sample, verdict, limits, pool.filters),
            answer_of(sample, options._sources) if verdict.decided_by else None,
            language_share(sample),
            well_formed(sample.completion.text, layout=limits.layout),
        )
        for sample, verdict in zip(samples, verdicts, strict=True)
    ]


def answer_of(sample: Sample, sources: Sequence[str]) -> str | None:
    """The final answer of a drawn text; of one that was cut off, only a closed one."""
    completion = sample.completion
    kind = known_type(sample.problem.answer_type)
    return extract(completion.text, tuple(sources), truncated=completion.truncated, kind=kind)
