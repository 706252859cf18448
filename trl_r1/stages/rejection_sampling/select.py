"""Selection: what of the judged samples becomes training data, as lines with their provenance; and what it is worth.

entry_of   a judged sample on its way to kept.jsonl
select     the steps that look across samples: decontamination, near-duplicates, cap per prompt
numbers    the numbers of an evaluation, for what was drawn and for what was kept
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from trl_r1.answers.types import known_type
from trl_r1.data.filters import NOT_BY_RULE, FilterLimits
from trl_r1.data.near_duplicates import near_duplicates, over_cap
from trl_r1.evaluation.benchmark import Evaluation, plain
from trl_r1.evaluation.graded import GradedProblem, GradedSample
from trl_r1.rewards.accuracy import same_answer
from trl_r1.stages.rejection_sampling.funnel import Funnel
from trl_r1.stages.rejection_sampling.job import Entry, Judged, PreparedRejection, Row
from trl_r1.stages.rejection_sampling.mix import Share, is_simple, without_reasoning
from trl_r1.stages.rejection_sampling.options import RejectionOptions
from trl_r1.stages.rejection_sampling.pools import PromptPool
from trl_r1.storage.shards import Unit
from trl_r1.text.records import Sample


logger = logging.getLogger(__name__)


def entry_of(unit: Unit, sample: Sample, judged: Judged, limits: FilterLimits, pool: PromptPool) -> Entry:
    """A judged sample, its thought cut off where the pool wants none."""
    drops_reasoning = pool.chain == "drop" or (pool.chain == "auto" and is_simple(sample.problem.question))
    if drops_reasoning:
        text = without_reasoning(sample.completion.text, limits.layout)
        sample = replace(sample, completion=replace(sample.completion, text=text))
    verdict = judged.verdict
    return Entry(sample, judged, unit.number, verdict.dropped_by, verdict.reason if verdict.dropped_by else "")


def select(
    passed: list[Entry],
    funnel: Funnel,
    dropped: list[Entry],
    options: RejectionOptions,
    prepared: PreparedRejection,
) -> list[Entry]:
    """The steps that look across samples: duplicates, decontamination, near-duplicates, the cap per prompt."""

    def leave(name: str, reasons: Mapping[int, str]) -> None:
        nonlocal passed
        dropped.extend(replace(passed[i], dropped_by=name, reason=why) for i, why in sorted(reasons.items()))
        passed = [entry for i, entry in enumerate(passed) if i not in reasons]
        for pool in prepared.pools:
            funnel.count(name, pool, sum(entry.sample.origin.source == pool for entry in passed))

    twice: dict[int, str] = {}
    prompts: set[str] = set()
    for i, entry in enumerate(passed):
        if entry.id in prompts:
            twice[i] = "the same as an earlier one"
        prompts.add(entry.id)
    leave("duplicates", twice)
    if options._evaluation_sets:
        grams = ((i, prepared.known.shared(entry.sample.completion.text)) for i, entry in enumerate(passed))
        leave("decontamination", {i: f"shares with an evaluation set: {gram}" for i, gram in grams if gram})
    if options.near_duplicate_similarity:
        texts = [f"{entry.sample.problem.question}\n{entry.sample.completion.text}" for entry in passed]
        alike = near_duplicates(texts, options.near_duplicate_similarity)
        leave("near_duplicates", {i: f"{s:.0%} like {passed[other].id}" for i, (other, s) in alike.items()})
    if options.per_prompt is not None:
        beyond = over_cap([entry.sample.origin.prompt_hash for entry in passed], options.per_prompt)
        leave("per_prompt", dict.fromkeys(beyond, f"its prompt has {options.per_prompt} already"))
    return passed


UNREADABLE = tuple(f"{NOT_BY_RULE}: {outcome}" for outcome in ("unreadable gold", "no gold"))


def add_sample(problems: dict[tuple[str, int], GradedProblem], sample: Sample, judged: Judged, is_asked: bool) -> None:
    """Notes a sample of a problem with a gold answer, for `numbers`.

    Args:
        asked: whether anybody was asked if it is right (the filter `right`). Where nobody was, or nobody can read the gold
            answer, the problem is not judged, and has no part in pass@1 and the others.
    """
    if sample.problem.solution is None:
        return
    verdict, key = judged.verdict, (sample.origin.source, sample.origin.place)
    kind = known_type(sample.problem.answer_type)
    graded = problems.setdefault(key, GradedProblem(replace(sample.problem, answer_type=kind), [], is_asked))
    if verdict.dropped_by == "right" and verdict.reason.startswith(UNREADABLE):
        graded.judged = False
    text, right = sample.completion, verdict.correct is True
    text = replace(text, token_count=text.token_count or 0)
    graded.samples.append(GradedSample(text, judged.answer, right, float(judged.well_formed), judged.language_share))


def before_and_after(
    problems: Mapping[tuple[str, int], GradedProblem],
    kept_places: set[tuple[str, int, int]],
    options: RejectionOptions,
) -> tuple[Row | None, Row | None]:
    """The numbers of an evaluation for what was drawn and for what was kept, under the same names.

    Args:
        problems: by pool and place, with every sample in the order of its index (`add_sample`).
        kept: pool, place and index of the samples that were kept. Their cons@K is the majority of a problem's kept ones.
    """
    drawn_samples, chosen = [], []
    for (pool, place), problem in problems.items():
        drawn_samples.append(problem)
        stays = [one for index, one in enumerate(problem.samples) if (pool, place, index) in kept_places]
        if stays:
            chosen.append(replace(problem, samples=stays))
    how = {"temperature": options.temperature, "top_p": options.top_p, "max_new_tokens": options.max_new_tokens}
    tables = []
    for group in (drawn_samples, chosen):
        for problem in group:
            problem.consensus = problem.vote(same_answer)
        tables.append(Evaluation(group, how) if group else None)
    before = tables[0].to_dict() if tables[0] else None
    after = tables[1].to_dict() if tables[1] else None
    if before and after and tables[0] and tables[1]:
        for name in ("cons@K", "pass@K"):  # under the names they had before: fewer samples are kept than were drawn
            old, new = tables[1].key(name), tables[0].key(name)
            after[new], after["interval"][new] = plain(tables[1][name]), after["interval"][old]
            if old not in (new, "pass@1"):
                del after[old], after["interval"][old]
    return before, after


def warnings_of(
    texts_of: Mapping[tuple[str, int], set[str]],
    shares: list[Share],
    any_kept: bool,
    options: RejectionOptions,
    prepared: PreparedRejection,
) -> list[str]:
    """What a user should know before training on this; said on the screen too."""
    warnings = []
    if not any_kept:
        warnings.append("Nothing was kept: the table says which step dropped it all.")
    for share in shares:
        if share.short:
            warnings.append(f"The pool {share.pool} is {share.short} samples short of what the mix wants.")
    for name, pool in prepared.pools.items():
        texts = [len(group) for (of, _), group in texts_of.items() if of == name]
        if pool.draws > 1 and options.temperature > 0 and len(texts) >= 8 and max(texts) == 1:
            warnings.append(
                f"All {pool.draws} samples of every prompt of the pool {name} are the same text: whoever samples decodes "
                "greedily (`transformers serve` does when the model's generation_config has no do_sample: true)."
            )
    for line in warnings:
        logger.warning(line)
    return warnings
