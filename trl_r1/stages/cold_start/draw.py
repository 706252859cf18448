"""The shards of the cold start: what the models wrote, and what became of it; both survive a kill anywhere.

    draw        problems and sources -> drawn/, every sample with where it came from
    judge_all   drawn/ -> judged/, every sample with its completion or why it was dropped

Both steps cut the work into the same units. A unit depends on its problems, its seed and the models alone.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import torch
from tqdm.auto import tqdm

from trl_r1.models.engines import Engine, InProcess, SamplingServer, for_server
from trl_r1.models.load import find_policy, load_policy, model_digest
from trl_r1.models.rendering import Renderer, UnfitTemplate
from trl_r1.runs.rendering import read_kwargs, renderer_of
from trl_r1.stages.cold_start.job import ColdStartJob, ReadySource, drawn_row, judged_row, problem_row, sample_of
from trl_r1.stages.cold_start.screening import COARSE, Screened
from trl_r1.stages.cold_start.sources import (
    AskedInTurns,
    ChainSource,
    as_reply,
    asking,
    examples_of_source,
    rewriting,
    rewritten,
    take_apart,
)
from trl_r1.storage.shards import Shards, Unit, cut, digest_of
from trl_r1.text.records import Completion, Messages, Origin, Problem, Prompt, Row, Sample


STAGE = "cold_start"


def draw(job: ColdStartJob) -> Shards:
    """The shards with what the models wrote, all finished when this returns."""
    options, config = job.options, job.config
    units = cut({source.label: len(source.problems) for source in job.sources}, options.unit_prompts, config.seed)
    hashes = {source.label: identity_of(source, job) for source in job.sources}
    existing = {
        s.label: [problem_row(problem) for problem in s.problems] for s in job.sources if s.source.name == "rows"
    }
    examples = {s.label: [asdict(example) for example in s.examples] for s in job.sources if s.examples}
    digest = digest_of(
        STAGE,
        [problem_row(problem) for problem in job.problems],
        existing,
        [said_by(source.source) for source in job.sources],
        hashes,
        config.seed,
        options.source_top_p,
        examples,
    )
    shards = Shards(job.folder / "drawn", units, digest)
    shards.open()
    todo = shards.missing()
    for source in job.sources:
        units_of_source = [unit for unit in todo if unit.pool == source.label]
        if not units_of_source:
            continue
        engine, chat = (None, False) if source.source.name == "rows" else engine_of(source.source, job)
        verb = "reading" if engine is None else "sampling"
        for unit in tqdm(units_of_source, desc=f"{verb} {source.label}", leave=False, disable=config.disable_tqdm):
            began = time.time()
            origin = Origin(source.label, source.source.model, hashes[source.label], seed=unit.seed)
            samples = reused(source, unit, origin) if engine is None else draw_unit(source, unit, engine, chat, origin)
            shards.write(unit, map(drawn_row, samples), time.time() - began)
    return shards


def said_by(source: ChainSource) -> Row:
    """A source as the digest of its shards knows it; what earlier versions did not know counts where it is set."""
    new = {"prefilled_think": False, "system_prompt": None, "chat_template_kwargs": None}
    row = {name: value for name, value in asdict(source).items() if value is not None or name not in new}
    return {"prefilled_think": False} | row


def reused(source: ReadySource, unit: Unit, origin: Origin) -> Iterator[Sample]:
    """The samples of one unit of a source whose chains exist already."""
    for place in range(unit.first, unit.last):
        problem = source.problems[place]
        prompt_hash = digest_of(problem.prompt)[:16]
        came_from = replace(origin, model=source.source.dataset_name, prompt_hash=prompt_hash, place=place)
        yield Sample(problem, Completion(problem.reference or ""), came_from)


def draw_unit(source: ReadySource, unit: Unit, engine: Engine, chat: bool, origin: Origin) -> Iterator[Sample]:
    """The samples of one unit, each brought into the form of a reply."""
    problems = source.problems[unit.first : unit.last]
    renderer = engine.renderer if isinstance(engine, InProcess) else None
    prompts = [prompt_for(source, problem, chat, renderer) for problem in problems]
    completions = engine.draw(prompts, int(source.source.samples or 1), unit.seed)
    for place, (problem, prompt, group) in enumerate(zip(problems, prompts, completions, strict=True), unit.first):
        prompt_hash = digest_of(prompt)[:16]
        for index, completion in enumerate(group):
            text = as_reply(source.source, completion.text, prompt, problem.language, completion.opened)
            came_from = replace(origin, prompt_hash=prompt_hash, place=place, index=index)
            yield Sample(problem, replace(completion, text=text), came_from)


def prompt_for(source: ReadySource, problem: Problem, chat: bool, renderer: Renderer | None) -> Prompt:
    """What a source asks about a problem; worked examples stand in the user's message where the template would not show
    them as earlier turns with their thoughts."""
    question: str | Messages = problem.turns if isinstance(problem, AskedInTurns) else problem.question
    language = problem.language
    prompt = asking(source.source, question, language, chat, source.examples)
    shown = examples_of_source(source.source, language, source.examples)
    if isinstance(prompt, str) or not shown or renderer is None:
        return prompt
    try:
        text = renderer.prompt_text(prompt)
    except UnfitTemplate:
        text = ""
    if all(example.reasoning in text for example in shown):
        return prompt
    return asking(source.source, question, language, chat, source.examples, turns=False)


def engine_of(source: ChainSource, job: ColdStartJob) -> tuple[Engine, bool]:
    """What draws for a source, and whether it can be talked to."""
    temperature, top_p = float(source.temperature or 0.0), job.options.source_top_p
    longest, name = int(source.max_new_tokens or 1), str(source.model)
    own = source.chat_template_kwargs
    template_options = read_kwargs(getattr(job.config, "chat_template_kwargs", None)) if own is None else own
    if source.endpoint:
        many, extra = job.options.endpoint_concurrency, for_server(dict(template_options))
        return SamplingServer(source.endpoint, name, temperature, top_p, longest, many, extra=extra), source.chat
    if job.loaded is None or job.loaded[0] != name:
        release(job)
        job.loaded = (name, *load_policy(find_policy(name, job.config.seed), job.model, job.config.use_cpu))
    _, policy, tokenizer = job.loaded
    asked = SimpleNamespace(chat_template_kwargs=template_options, output_dir=job.config.output_dir)
    renderer = renderer_of(tokenizer, asked, model=policy)
    engine = InProcess(policy, tokenizer, temperature, top_p, longest, job.options.source_batch_size, renderer)
    return engine, source.chat and bool(getattr(tokenizer, "chat_template", None))


def identity_of(source: ReadySource, job: ColdStartJob) -> str:
    """What a source's model is, byte by byte where it lies on this disk: 16 hex digits; the server's name for a server."""
    if source.source.name == "rows":
        return digest_of([problem_row(problem) for problem in source.problems])[:16]
    if source.source.endpoint:
        return f"endpoint:{source.source.model}"
    return model_digest(find_policy(source.source.model, job.config.seed), job.model.model_revision)


def release(job: ColdStartJob) -> None:
    """Gives a model's memory back before the next one is loaded."""
    job.loaded = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# --- judging


def judge_all(job: ColdStartJob, drawn_shards: Shards) -> Shards:
    """The shards with what became of every sample, all finished when this returns."""
    options = job.options
    digest = digest_of(
        drawn_shards.digest,
        options.layout,
        options._filters,
        options.limits().to_row(),
        job.answer_sources,
        options.rewrite_model,
        options.rewrite_endpoint,
        options.rewrite_max_new_tokens,
    )
    shards = Shards(job.folder / "judged", drawn_shards.units, digest)
    shards.open(derived=True)
    todo = shards.missing()
    engine: Engine | None = None
    chat = True
    if todo and options.rewrite_model:
        rewriter = ChainSource(
            "reflection",
            model=options.rewrite_model,
            endpoint=options.rewrite_endpoint,
            temperature=0.0,
            max_new_tokens=options.rewrite_max_new_tokens,
        )
        engine, chat = engine_of(rewriter, job)
    for unit in tqdm(todo, desc="judging", leave=False, disable=job.config.disable_tqdm):
        began = time.time()
        problems = job.source(unit.pool).problems
        samples = [sample_of(row, problems) for row in drawn_shards.read(unit)]
        if engine is None:
            screened = job.screen(samples)
        else:
            screened = rewritten_and_screened(samples, job, partial(engine.draw, samples=1, seed=unit.seed), chat)
        rows = [
            judged_row(sample, one, options.rewrite_model if engine is not None else None)
            for sample, one in zip(samples, screened, strict=True)
        ]
        shards.write(unit, rows, time.time() - began)
    del engine
    release(job)
    return shards


def rewritten_and_screened(
    samples: Sequence[Sample], job: ColdStartJob, draw: Callable[..., list[list[Completion]]], chat: bool
) -> list[Screened]:
    """Drops what no rewriting can mend, has the rest rewritten, and screens that again.

    Args:
        draw: prompts in, one rewritten text of each out.
        chat: whether the rewriting model takes conversations.
    """
    screened = job.screen(samples, [name for name in job.options._filters if name in COARSE])
    alive = [place for place, one in enumerate(screened) if one.text is not None]
    prompts = []
    for place in alive:
        problem = samples[place].problem
        reasoning, summary = take_apart(samples[place].completion.text) or ("", "")
        prompts.append(rewriting(problem.question, reasoning, summary, problem.language, chat))
    changed = [
        replace(samples[place], completion=replace(one, text=rewritten(one.text, chat, one.opened) or one.text))
        for place, (one,) in zip(alive, draw(prompts) if prompts else (), strict=True)
    ]
    for place, one in zip(alive, job.screen(changed), strict=True):
        if one.text is None:
            one = replace(one, verdict=replace(one.verdict, dropped_by=f"rewritten, {one.verdict.dropped_by}"))
        screened[place] = one
    return screened
