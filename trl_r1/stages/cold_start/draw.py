"""The shards of the cold start: what the models wrote, and what became of it; both survive a kill anywhere.

    draw        problems and sources -> drawn/, every sample with where it came from
    judge_all   drawn/ -> judged/, every sample with its completion or why it was dropped

Both steps cut the work into the same units. A unit depends on its problems, its seed and the models alone.
"""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from trl_r1.models.engines import Engine, InProcess, SamplingServer
from trl_r1.models.load import find_policy, load_policy
from trl_r1.stages.cold_start.job import Maker, Row
from trl_r1.stages.cold_start.screening import COARSE, Verdict
from trl_r1.stages.cold_start.sources import ChainSource, as_reply, asking, rewriting, rewritten, take_apart
from trl_r1.storage.shards import Shards, Unit, cut, digest_of


def draw(maker: Maker) -> Shards:
    """The shards with what the models wrote, all finished when this returns."""
    pools = {s.label: len(maker.existing.get(s.label, maker.problems)) for s in maker.sources}
    units = cut(pools, maker.options.unit_prompts, maker.config.seed)
    by_label = {source.label: source for source in maker.sources}
    hashes = {s.label: identity_of(s, maker) for s in maker.sources}
    digest = digest_of(
        "cold_start", maker.problems, maker.existing, [asdict(s) for s in maker.sources], hashes,
        maker.config.seed, maker.options.source_top_p, {k: [asdict(e) for e in v] for k, v in maker.examples.items()},
    )  # fmt: skip
    shards = Shards(maker.folder / "drawn", units, digest)
    shards.open()
    todo = shards.missing()
    for label in by_label:
        mine = [unit for unit in todo if unit.pool == label]
        if not mine:
            continue
        source = by_label[label]
        engine, chat = engine_of(source, maker) if source.name != "rows" else (None, False)
        told = "reading" if engine is None else "sampling"
        for unit in tqdm(mine, desc=f"{told} {label}", leave=False, disable=maker.config.disable_tqdm):
            began = time.time()
            shards.write(unit, list(drawn_rows(source, unit, engine, chat, maker, hashes[label])), time.time() - began)
    return shards


def drawn_rows(
    source: ChainSource, unit: Unit, engine: Engine | None, chat: bool, maker: Maker, model_hash: str
) -> Iterator[Row]:
    """The rows of one unit: every sample with where it came from."""
    problems = maker.existing.get(source.label, maker.problems)[unit.first : unit.last]
    came_from = {"source": source.label, "model": source.model, "model_hash": model_hash, "seed": unit.seed}
    if engine is None:
        for place, problem in enumerate(problems, start=unit.first):
            origin = {**came_from, "model": source.dataset_name, "prompt_hash": digest_of(problem["prompt"])[:16]}
            yield {"problem": place, "index": 0, "text": problem["text"], "clipped": False, "refused": "", **origin}
        return
    prompts = [
        asking(source, problem["question"], problem["language"], chat, maker.examples.get(source.label, ()))
        for problem in problems
    ]
    for place, (problem, prompt, draws) in enumerate(
        zip(problems, prompts, engine.draw(prompts, int(source.samples or 1), unit.seed), strict=True)
    ):
        for index, one in enumerate(draws):
            yield {
                "problem": unit.first + place,
                "index": index,
                "text": as_reply(source, one.text, prompt, problem["language"]),
                "clipped": one.truncated,
                "refused": one.refused,
                **came_from,
                "prompt_hash": digest_of(prompt)[:16],
            }


def engine_of(source: ChainSource, maker: Maker) -> tuple[Engine, bool]:
    """What draws for a source, and whether it can be talked to."""
    temperature, top_p = float(source.temperature or 0.0), maker.options.source_top_p
    longest, name = int(source.max_new_tokens or 1), str(source.model)
    if source.endpoint:
        many = maker.options.endpoint_concurrency
        return SamplingServer(source.endpoint, name, temperature, top_p, longest, many), source.chat
    if maker.loaded is None or maker.loaded[0] != name:
        release(maker)
        maker.loaded = (name, *load_policy(find_policy(name, maker.config.seed), maker.model, maker.config.use_cpu))
    _, policy, tokenizer = maker.loaded
    engine = InProcess(policy, tokenizer, temperature, top_p, longest, maker.options.source_batch_size)
    return engine, source.chat and bool(getattr(tokenizer, "chat_template", None))


def identity_of(source: ChainSource, maker: Maker) -> str:
    """What a source's model is, byte by byte where it lies on this disk: 16 hex digits; the server's name for a server."""
    if source.name == "rows":
        return digest_of(maker.existing[source.label])[:16]
    if source.endpoint:
        return f"endpoint:{source.model}"
    return model_digest(find_policy(source.model, maker.config.seed), maker.model.model_revision)


def model_digest(name: str, revision: str | None = None) -> str:
    """16 hex digits for a model: of its configuration and weight files in a folder, of id and revision on the hub."""
    folder = Path(name)
    if not folder.is_dir():
        return digest_of(name, revision)[:16]
    digest = hashlib.sha256()
    wanted = ("config.json", "adapter_config.json", "*.safetensors", "pytorch_model*.bin", "tokenizer.json")
    for path in sorted({found for pattern in wanted for found in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def release(maker: Maker) -> None:
    """Gives a model's memory back before the next one is loaded."""
    maker.loaded = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# --- judging


def judge_all(maker: Maker, drawn: Shards) -> Shards:
    """The shards with what became of every sample, all finished when this returns."""
    options = maker.options
    digest = digest_of(
        drawn.digest, options.layout, options._filters, asdict(options.limits()), maker.answer_sources,
        options.rewrite_model, options.rewrite_endpoint, options.rewrite_max_new_tokens,
    )  # fmt: skip
    shards = Shards(maker.folder / "judged", drawn.units, digest)
    shards.open()
    todo = shards.missing()
    engine: Engine | None = None
    chat = True
    if todo and options.rewrite_model:
        editor = ChainSource(
            "reflection", model=options.rewrite_model, endpoint=options.rewrite_endpoint, temperature=0.0,
            max_new_tokens=options.rewrite_max_new_tokens,
        )  # fmt: skip
        engine, chat = engine_of(editor, maker)
    for unit in tqdm(todo, desc="judging", leave=False, disable=maker.config.disable_tqdm):
        began = time.time()
        shards.write(unit, judged_rows(drawn.read(unit), unit, engine, chat, maker), time.time() - began)
    del engine
    release(maker)
    return shards


def judged_rows(rows: list[Row], unit: Unit, engine: Engine | None, chat: bool, maker: Maker) -> list[Row]:
    """The samples of one unit with `completion`, or with `dropped` (the filter that objected) and `why`."""
    problems = maker.existing.get(unit.pool, maker.problems)
    samples = [{**problems[row["problem"]], **row} for row in rows]
    if engine is None:
        return told(rows, maker.screen(samples))
    verdicts = maker.screen(samples, [name for name in maker.options._filters if name in COARSE])
    alive = [place for place, verdict in enumerate(verdicts) if verdict.completion is not None]
    prompts = []
    for place in alive:
        reasoning, summary = take_apart(samples[place]["text"]) or ("", "")
        asked, language = samples[place]["question"], samples[place]["language"]
        prompts.append(rewriting(asked, reasoning, summary, language, chat))
    draws = engine.draw(prompts, 1, unit.seed) if prompts else []
    for place, (one,) in zip(alive, draws, strict=True):
        changed = {"text": rewritten(one.text, chat) or one.text, "clipped": one.truncated, "refused": one.refused}
        samples[place] = {**samples[place], **changed}
    for place, verdict in zip(alive, maker.screen([samples[place] for place in alive]), strict=True):
        verdicts[place] = verdict if verdict.completion else replace(verdict, dropped=f"rewritten, {verdict.dropped}")
    return told(rows, verdicts, maker.options.rewrite_model)


def told(rows: list[Row], verdicts: list[Verdict], editor: str | None = None) -> list[Row]:
    """Samples and verdicts as the rows of a shard; the text of a dropped sample stays in its first shard."""
    found = []
    for row, verdict in zip(rows, verdicts, strict=True):
        kept = {key: value for key, value in row.items() if key not in ("text", "clipped", "refused")}
        if verdict.completion is None:
            found.append({**kept, "dropped": verdict.dropped, "why": verdict.why})
        else:
            found.append({**kept, "completion": verdict.completion, "rewritten_by": editor})
    return found
