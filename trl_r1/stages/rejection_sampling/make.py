"""The act behind the stage rejection_sampling: many texts of a checkpoint in, the right and readable ones out.

    samples/    what was drawn, shard by shard                         (costly; survives everything)
    judged/     for each of them whether and why it was dropped        (may ask a judge model; survives everything)
    kept.jsonl  what passed, after the steps that look at all of it: decontamination, near-duplicates, cap, mix

Everything after `samples/` is a function of what lies there, and every shard is a function of its prompts and its seed,
so a run that was killed anywhere, any number of times, ends with the same `kept.jsonl`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path

import torch
from tqdm.auto import tqdm
from trl import ModelConfig

from trl_r1.data.filters import FILTERS, FilterLimits
from trl_r1.evaluation.graded import GradedProblem
from trl_r1.models.cluster import Cluster, Work, scatter
from trl_r1.models.engines import Engine, InProcess
from trl_r1.models.load import base_of, find_policy, load_policy, model_digest
from trl_r1.models.templates import check_template_options
from trl_r1.runs.folder import SUMMARY, RunFolder
from trl_r1.runs.options import RAY_NAMES, check_cluster
from trl_r1.runs.preview import as_read
from trl_r1.runs.processor import check_processor
from trl_r1.runs.rendering import keep_date, renderer_of
from trl_r1.runs.run import Run
from trl_r1.runs.writing import first_ids, load_writer, told
from trl_r1.stages.rejection_sampling.funnel import DRAWN, Funnel, write_report
from trl_r1.stages.rejection_sampling.job import (
    STAGE,
    Entry,
    Judged,
    PreparedRejection,
    placed,
    request,
    write_lines,
)
from trl_r1.stages.rejection_sampling.judging import judge_unit, samples_of
from trl_r1.stages.rejection_sampling.mix import mix
from trl_r1.stages.rejection_sampling.options import RejectionOptions
from trl_r1.stages.rejection_sampling.pools import contamination, load_pool
from trl_r1.stages.rejection_sampling.select import (
    add_sample,
    before_and_after,
    entry_of,
    select,
    warnings_of,
)
from trl_r1.stages.rejection_sampling.vllm import draw_by_vllm
from trl_r1.storage import manifest
from trl_r1.storage.shards import ShardError, Shards, Unit, cut, digest_of
from trl_r1.text.records import Completion, Json, Prompt, Row, Sample


logger = logging.getLogger(__name__)

KEPT = "kept.jsonl"
DROPPED = "log_dropped.jsonl"  # a log: no later stage builds on it
# what may differ between two starts of one run: who is asked where and how patiently, not what is asked
PATIENCE = (
    "endpoint",
    "endpoint_concurrency",
    "endpoint_attempts",
    "endpoint_seconds",
    "judge_endpoint",
    "judge_attempts",
    "judge_seconds",
    "use_cpu",
    *RAY_NAMES,
)


DRAWN_TEXTS = ("samples/[0-9]*.jsonl",)
JUDGING = (  # what may change once texts are drawn: they are kept, and judged and selected anew
    "answer_sources", "judge_model", "filters", "near_duplicate_similarity", "per_prompt", "mix", "mix_total",
    *(entry.name for entry in fields(FilterLimits)),
)  # fmt: skip


def prepare_rejection(options: RejectionOptions, limits: FilterLimits, model: ModelConfig) -> PreparedRejection:
    """Checks everything a user can get wrong, in the order of cost.

    Raises:
        ValueError, EngineError: one sentence. Nothing was written by then, except `run.json` if the folder was free.
    """
    server = options.server(model.model_name_or_path) if options.engine == "endpoint" else None
    options.judge_client()  # its options are checked by making it
    check_cluster(options, options.distributed_state)
    pools = {pool.name: pool for pool in options._pools}
    problems = {name: load_pool(pool, options.seed, options.drop_empty) for name, pool in pools.items()}
    kinds = {type(problem.prompt) for rows in problems.values() for problem in rows}
    if len(kinds) > 1:
        raise ValueError(
            "Some pools have prompts that are text, others conversations; one data set takes one kind. Give all pools a "
            "text template, or all a chat template."
        )
    check_template_options(options._kwargs, (problem.prompt for rows in problems.values() for problem in rows))
    known = contamination(options._evaluation_sets, options.seed)
    contaminated = {}
    for name, rows in problems.items():
        clean = [problem for problem in rows if known.shared(problem.question) is None]
        contaminated[name] = len(rows) - len(clean)
        if not clean:
            raise ValueError(
                f"Every prompt of the pool {name!r} shares its words with an evaluation set; none is left."
            )
        problems[name] = clean
    settings = manifest.settings_of(options, limits) | model_settings(model)
    decisive = {name: value for name, value in settings.items() if name not in PATIENCE}
    if decisive["prefilled_think"] is None:  # found out, which to earlier runs was false
        del decisive["prefilled_think"]
    folder = RunFolder.look(STAGE, options, decisive, DRAWN_TEXTS, JUDGING)  # type: ignore[arg-type]
    if server is not None:
        if not (Path(options.output_dir) / SUMMARY).is_file():
            server.check()
        path, model_hash = server.model, f"endpoint:{server.model}"
    else:
        with options.distributed_state.main_process_first():
            path = find_policy(model.model_name_or_path, options.seed)
        if options.engine == "ray_vllm" and (base_of(path) or model.load_in_4bit or model.load_in_8bit):
            raise ValueError(
                f"engine: ray_vllm takes whole weights, and {path!r} is an adapter or is to be quantised; give the merged "
                "checkpoint (such as runs/zero/merged) and set load_in_4bit and load_in_8bit to false."
            )
        if options.engine == "transformers":
            check_processor(STAGE, options, model, path, options.generations(problems, path))
        model_hash = model_digest(path, model.model_revision)
    return PreparedRejection(pools, problems, contaminated, known, path, model_hash, folder.take(), settings)


def model_settings(model: ModelConfig) -> Row:
    """The fields of the model's configuration that decide what is sampled."""
    names = (
        "model_name_or_path",
        "model_revision",
        "dtype",
        "attn_implementation",
        "load_in_4bit",
        "load_in_8bit",
        "bnb_4bit_quant_type",
        "use_bnb_nested_quant",
    )
    return {name: getattr(model, name, None) for name in names}


def run_rejection(
    options: RejectionOptions, limits: FilterLimits, model: ModelConfig, prepared: PreparedRejection
) -> Json | None:
    """Samples, judges, selects and reports; returns the summary (None in processes that only helped to sample).

    Raises:
        EngineError, JudgeError, ShardError: one sentence; what was finished is kept, and a later start goes on there.
    """
    run = Run(STAGE, options)
    if run.summary is not None:
        return run.summary
    folder, state = run.folder, options.distributed_state
    if state.is_main_process:
        for left_over in folder.glob(".*.tmp"):
            left_over.unlink(missing_ok=True)
    sizes = {name: len(rows) for name, rows in prepared.problems.items()}
    units = cut(sizes, options.unit_prompts, options.seed)
    drawing = {
        name: prepared.settings[name]
        for name in (
            "temperature",
            "top_p",
            "max_new_tokens",
            "sampling_batch_size",
            "engine",
            "endpoint_extra",
            "dtype",
            "load_in_4bit",
            "load_in_8bit",
        )
    } | ({"chat_template_kwargs": options._kwargs} if options._kwargs else {})
    drawing |= {"rollout_copy": options.rollout_copy} if options.rollout_copy != "none" else {}
    counts = {name: pool.draws for name, pool in prepared.pools.items()}
    rows = {name: [problem.to_row() for problem in problems] for name, problems in prepared.problems.items()}
    samples = Shards(folder / "samples", units, digest_of(STAGE, rows, counts, drawing, prepared.model_hash))
    judging = {name: prepared.settings[name] for name in ("judge_model", "answer_sources")}
    filters = {name: pool.filters for name, pool in prepared.pools.items()}
    judged = Shards(folder / "judged", units, digest_of(samples.digest, judging, filters, limits.to_row()))
    if state.is_main_process:
        samples.open()
        judged.open(derived=True)
        for shards in (samples, judged):
            shards.missing()  # sets aside what is damaged, before anybody looks
    state.wait_for_everyone()

    own_units = {unit.number for unit in units[state.process_index :: state.num_processes]}
    draw_all(samples, [unit for unit in samples.missing() if unit.number in own_units], options, model, prepared)
    for unit in tqdm(
        [u for u in judged.missing() if u.number in own_units],
        desc="judging",
        disable=options.disable_tqdm,
        leave=False,
    ):
        began = time.time()
        unit_samples = samples_of(unit, samples.read(unit), prepared, limits)
        judged_rows = judge_unit(unit_samples, options, limits, prepared.pools[unit.pool])
        lines = [one.to_row(sample) for one, sample in zip(judged_rows, unit_samples, strict=True)]
        judged.write(unit, lines, time.time() - began)
    if not state.is_main_process:
        return None
    while not all(judged.path(unit).is_file() for unit in units):  # other processes have the rest; a launcher ends all
        time.sleep(0.5)
    return conclude(run, samples, judged, options, limits, prepared)


# --- drawing and judging, unit by unit


def draw_all(
    samples: Shards, todo: list[Unit], options: RejectionOptions, model: ModelConfig, prepared: PreparedRejection
) -> None:
    """Draws the texts of the units that are still to be done, each written as soon as it is finished."""
    total = sum((unit.last - unit.first) * prepared.pools[unit.pool].draws for unit in todo)
    units_to_draw = [unit for unit in todo if not prepared.pools[unit.pool].answer_column]
    with tqdm(total=total, desc="sampling", unit="text", disable=options.disable_tqdm, leave=False) as bar:
        for unit in todo:
            if prepared.pools[unit.pool].answer_column:
                began, problems = time.time(), prepared.problems[unit.pool][unit.first : unit.last]
                reused = [[Completion(problem.reference or "").to_row()] for problem in problems]
                samples.write(unit, placed(unit, reused), time.time() - began)
                bar.update(len(problems))
        cluster = options.cluster()
        draw = draw_here if cluster is None else partial(draw_on_cluster, cluster)
        for unit, draws, seconds in draw(units_to_draw, options, model, prepared, bar):
            samples.write(unit, placed(unit, draws), seconds)


Drawn = Iterator[tuple[Unit, list[list[Row]], float]]  # a unit, its (P, K) draws, seconds


def draw_here(
    units: list[Unit], options: RejectionOptions, model: ModelConfig, prepared: PreparedRejection, bar: tqdm
) -> Drawn:
    """One unit after the other, in this process."""
    if not units:
        return
    prompts = (problem.prompt for problems in prepared.problems.values() for problem in problems)
    engine = make_engine(options, model, prepared.model, prompts)
    if isinstance(engine, InProcess) and engine.renderer is not None:
        keep_date(engine.renderer, options)
    for unit in units:
        began = time.time()
        texts = engine.draw(*request(unit, prepared), bar.update)
        yield unit, [[draw.to_row() for draw in draws] for draws in texts], time.time() - began


def draw_on_cluster(
    cluster: Cluster,
    units: list[Unit],
    options: RejectionOptions,
    model: ModelConfig,
    prepared: PreparedRejection,
    bar: tqdm,
) -> Drawn:
    """The units as the workers of a Ray cluster finish them. Every worker loads the model once."""
    jobs = [request(unit, prepared) for unit in units]
    if options.engine == "ray_vllm":
        results = draw_by_vllm(cluster, jobs, options, prepared.model)
    else:
        results = scatter(cluster, jobs, partial(start_drawing, options, model, prepared.model))
    for number, draws, seconds in results:
        bar.update(sum(map(len, draws)))
        yield units[number], draws, seconds


def start_drawing(options: RejectionOptions, model: ModelConfig, name: str) -> Work:
    """In a worker: loads the model, and returns what draws the texts of a unit, with the unit's own seed."""
    torch.set_num_threads(max(1, int(options.ray_cpus_per_worker)))
    engine = make_engine(options, model, name)
    return lambda job: [[draw.to_row() for draw in draws] for draws in engine.draw(*job)]


def make_engine(options: RejectionOptions, model: ModelConfig, name: str, prompts: Iterable[Prompt] = ()) -> Engine:
    """The engine a recipe asks for; a model is loaded only when there is something to sample."""
    if options.engine == "endpoint":
        return options.server(name)
    policy, tokenizer = load_writer(
        lambda: load_policy(name, model, options.use_cpu),
        options,
        Path(options.output_dir),
        lambda policy, tokenizer: first_ids(renderer_of(tokenizer, options, model=policy), prompts),
    )
    renderer = renderer_of(tokenizer, options, model=policy)
    return InProcess(
        policy,
        tokenizer,
        options.temperature,
        options.top_p,
        options.max_new_tokens,
        options.sampling_batch_size,
        renderer,
    )


# --- selecting, over all units


def candidates(
    samples: Shards, judged: Shards, prepared: PreparedRejection, limits: FilterLimits
) -> Iterator[tuple[Unit, Sample, Judged]]:
    """Every drawn text with its unit and its verdict, in order."""
    for (unit, unit_samples), (_, verdicts) in zip(samples.rows(), judged.rows(), strict=True):
        for sample, row in zip(samples_of(unit, unit_samples, prepared, limits), verdicts, strict=True):
            if (sample.origin.place, sample.origin.index) != (row["place"], row["index"]):
                raise ShardError(
                    f"{judged.path(unit)} does not belong to {samples.path(unit)}; remove it and start again."
                )
            yield unit, sample, Judged.of_row(row)


def conclude(
    run: Run,
    samples: Shards,
    judged: Shards,
    options: RejectionOptions,
    limits: FilterLimits,
    prepared: PreparedRejection,
) -> Json:
    """Selects, writes kept.jsonl, the log of what was dropped, the report and, last, the summary."""
    began, folder = time.time(), run.folder
    funnel = Funnel(list(prepared.pools))
    used = [name for name in FILTERS if any(name in pool.filters for pool in prepared.pools.values())]
    passed: list[Entry] = []
    dropped: list[Entry] = []
    problems: dict[tuple[str, int], GradedProblem] = {}
    texts_of: dict[tuple[str, int], set[str]] = {}
    for unit, sample, one in candidates(samples, judged, prepared, limits):
        dropped_by = one.verdict.dropped_by
        for step in [DRAWN, *used[: used.index(dropped_by) if dropped_by else len(used)]]:
            funnel.count(step, unit.pool, 1)
        texts_of.setdefault((unit.pool, sample.origin.place), set()).add(sample.completion.text)
        add_sample(problems, sample, one, "right" in prepared.pools[unit.pool].filters)
        entry = entry_of(unit, sample, one, limits, prepared.pools[unit.pool])
        (dropped if dropped_by else passed).append(entry)
    for name in used:
        funnel.count(name, next(iter(prepared.pools)), 0)  # a step that lets nothing through is a row too
    passed = select(passed, funnel, dropped, options, prepared)
    pools = {name: [entry for entry in passed if entry.sample.origin.source == name] for name in prepared.pools}
    chosen, shares = mix(pools, options._targets, options.mix_total, options.seed)
    if options._targets:
        for share in shares:
            funnel.count("mix", share.pool, share.taken)
    steps = [step for step in funnel.left if step not in (DRAWN, *FILTERS)]
    lines = [entry.to_row([*prepared.pools[entry.sample.origin.source].filters, *steps]) for entry in chosen]
    write_lines(folder / KEPT, lines)
    write_lines(
        folder / DROPPED,
        [
            {"id": one.id, "filter": one.dropped_by, "why": one.reason, "provenance": one.provenance()}
            for one in dropped
        ],
    )

    places = {entry.place for entry in chosen}
    before, after = before_and_after(problems, places, options)
    texts, name = funnel.total(DRAWN), prepared.settings["model_name_or_path"] or prepared.model
    notes = [
        f"{len(chosen)} of {texts} samples of {name} kept, from {sum(map(len, prepared.problems.values()))} prompts.",
        *(
            f"{n} prompts of the pool {pool} share their words with an evaluation set and were not sampled."
            for pool, n in prepared.contaminated.items()
            if n
        ),
        *(f"Mix: {share}." for share in shares if options._targets),
        *told(options, folder),
        *warnings_of(texts_of, shares, bool(chosen), options, prepared),
    ]  # fmt: skip
    read = as_read(prepared.model, options, next(iter(prepared.problems.values()))[0].to_row())
    first = {entry.dropped_by: entry for entry in reversed(dropped)}
    examples = {"Kept, for example": chosen[:3], "Dropped, one for each reason": list(reversed(first.values()))}
    summary = run.write(
        {
            "seconds": round(samples.seconds() + judged.seconds() + time.time() - began, 1),
            "before": before,
            "after": after,
            "samples": texts,
            "kept": len(chosen),
            "contaminated_prompts": prepared.contaminated,
            "funnel": funnel.to_list(),
            "mix": [asdict(share) for share in shares],
        },
        lambda: write_report(folder, f"{STAGE}: {name}", funnel, notes, examples, prepared.settings, read),
    )
    print("\n".join([funnel.markdown(), *notes, f"Report: {folder / 'report.md'}"]), flush=True)
    return summary
