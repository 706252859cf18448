"""Judging: drawn samples in, a verdict on each out; a function of the samples, the options and, at most, a judge model."""

from __future__ import annotations

from collections.abc import Sequence

from trl_r1.answers.types import known_type
from trl_r1.data.filters import FilterLimits, decide_right, first_objection, language_share
from trl_r1.rewards.accuracy import extract
from trl_r1.rewards.format import well_formed
from trl_r1.stages.rejection_sampling.job import Judged, PreparedRejection, Row
from trl_r1.stages.rejection_sampling.options import RejectionOptions
from trl_r1.stages.rejection_sampling.pools import PromptPool
from trl_r1.storage.shards import Unit, digest_of
from trl_r1.text.records import Completion, Origin, Sample, Verdict


def samples_of(unit: Unit, rows: Sequence[Row], prepared: PreparedRejection) -> list[Sample]:
    """The samples of a unit's shard."""
    pool, problems = prepared.pools[unit.pool], prepared.problems[unit.pool]
    reused = bool(pool.answer_column)
    model = pool.dataset_name if reused else prepared.settings["model_name_or_path"] or prepared.model
    return [
        Sample(
            problems[row["place"]],
            Completion.of_row(row),
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


def judge_unit(
    samples: Sequence[Sample], options: RejectionOptions, limits: FilterLimits, pool: PromptPool
) -> list[Judged]:
    """For each sample which filter objects and why, and what the report needs to know about it.

    Raises:
        JudgeError: the judge cannot be asked.
    """
    verdicts = [Verdict() for _ in samples]
    if "right" in pool.filters:
        judgeable = [n for n, one in enumerate(samples) if one.completion.text.strip() and not one.completion.refused]
        decided = decide_right(
            [samples[n] for n in judgeable],
            sources=options._sources,
            prefilled_think=limits.prefilled_think,
            judge_client=options.judge_client(),
        )
        for number, verdict in zip(judgeable, decided, strict=True):
            verdicts[number] = verdict
    return [
        Judged(
            first_objection(sample, verdict, limits, pool.filters),
            answer_of(sample, options._sources, limits) if verdict.decided_by else None,
            language_share(sample),
            well_formed(sample.completion.text, layout=limits.layout, prefilled_think=limits.prefilled_think),
        )
        for sample, verdict in zip(samples, verdicts, strict=True)
    ]


def answer_of(sample: Sample, sources: Sequence[str], limits: FilterLimits) -> str | None:
    """The final answer of a drawn text; of one that was cut off, only a closed one."""
    completion = sample.completion
    kind = known_type(sample.problem.answer_type)
    return extract(completion.text, tuple(sources), limits.prefilled_think, truncated=completion.truncated, kind=kind)
