"""Ray Data with vLLM (`ray.data.llm`): texts for many units, from engines that batch continuously, on any number of GPUs.

    draw_with_vllm(cluster, requests, sampling, name)      a row per text through Ray's own vLLM stage, gathered by unit

Thin on purpose: Ray tokenizes, batches, restarts and spreads. Never run by us for want of a GPU with vLLM: what is tested
is what goes in and what comes out.

Determinism  Each text has a seed of its own, which depends on its unit, prompt and index. An engine that batches
             continuously does not promise equal texts for equal seeds, so a text is drawn once and then lives in its shard.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from trl_r1.models.cluster import Cluster, connected, name_worker_deaths
from trl_r1.models.engines import EngineError
from trl_r1.models.rendering import Renderer, TemplateReasoningFormat
from trl_r1.models.sampling import end_tokens
from trl_r1.storage.shards import seed_of
from trl_r1.text.records import Completion, Json, Prompt, Row


Request = tuple[Sequence[Prompt], int, int]  # prompts, samples of each, seed


IDS = "ids"  # key of a draw: its tokens, until `read_draw` has read them


def as_text(renderer: Renderer, prompt: Prompt) -> str:
    """A prompt as vLLM is given it: rendered here, with an opening of the reply and its row's own options, and without the
    token of the beginning that vLLM's tokenizer puts there itself."""
    text = renderer.prompt_text(prompt)
    bos, tokenizer = renderer.tokenizer.bos_token, renderer.tokenizer
    adds_bos = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [tokenizer.bos_token_id]
    return text.removeprefix(str(bos)) if adds_bos and not isinstance(prompt, str) else text


def read_draw(renderer: Renderer, draw: Row, prompt: Prompt) -> Row:
    """A draw with its thought in ``<think>`` tags, as `InProcess` gives it: read from its tokens where the marks of the
    thought are special ones, which vLLM's text lacks."""
    completion = Completion.of_row(draw)
    text = renderer.decode(draw[IDS]) if renderer.facts.marks_are_special else completion.text
    text, opened = TemplateReasoningFormat(renderer).portable(text, prompt)
    return replace(completion, text=text, opened=opened).to_row()


@dataclass(frozen=True)
class Sampling:
    """How the texts are drawn, and by what."""

    temperature: float
    top_p: float
    max_new_tokens: int
    ends: frozenset[int]  # ids of the tokens that end a text
    chat: bool  # the prompts are conversations
    engine: Json = field(default_factory=dict)  # arguments of vLLM's engine, such as max_model_len
    batch_size: int = 64  # texts that Ray hands an engine at once


def rows_of(requests: Sequence[Request]) -> Iterator[Row]:
    """One row for every text that is wanted.

    >>> [(row["unit"], row["place"], row["index"]) for row in rows_of([(["p"], 2, 7)])]
    [(0, 0, 0), (0, 0, 1)]
    """
    for unit, (prompts, samples, seed) in enumerate(requests):
        for place, prompt in enumerate(prompts):
            for index in range(samples):
                yield {
                    "unit": unit,
                    "place": place,
                    "index": index,
                    "prompt": json.dumps(prompt),
                    "seed": seed_of(seed, place, index),
                }


def ask(sampling: Sampling, row: Row) -> Row:
    """A row as Ray's vLLM stage wants it: the policy as it is, restricted by temperature and top-p alone."""
    options = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": sampling.max_new_tokens,
        "seed": int(row["seed"]),
    }
    request = {"messages" if sampling.chat else "prompt": json.loads(row["prompt"])}
    return {**request, "sampling_params": options, **{name: row[name] for name in ("unit", "place", "index")}}


def take(sampling: Sampling, row: Row) -> Row:
    """What Ray's vLLM stage answered, as a draw in JSON. Its rows do not say why a text ended; its last token does."""
    tokens = [int(token) for token in row["generated_tokens"]]
    truncated = len(tokens) >= sampling.max_new_tokens and tokens[-1] not in sampling.ends
    draw = {**Completion(str(row["generated_text"]), len(tokens), truncated).to_row(), IDS: tokens}
    return {**{name: int(row[name]) for name in ("unit", "place", "index")}, "draw": json.dumps(draw)}


def gathered(rows: Iterable[Row], requests: Sequence[Request]) -> Iterator[tuple[int, list[list[Row]]]]:
    """(unit, its (P, K) draws) as soon as the last text of the unit is there, whatever the order the texts come in."""
    open_units: dict[int, dict[tuple[int, int], Row]] = {}
    for row in rows:
        unit = int(row["unit"])
        prompts, samples, _ = requests[unit]
        there = open_units.setdefault(unit, {})
        there[int(row["place"]), int(row["index"])] = json.loads(row["draw"])
        if len(there) == len(prompts) * samples:
            del open_units[unit]
            yield unit, [[there[place, index] for index in range(samples)] for place in range(len(prompts))]
    if open_units:
        raise EngineError(f"Ray Data ended with {len(open_units)} units unfinished; start this again for the rest.")


def processor_of(cluster: Cluster, sampling: Sampling, name: str) -> Callable[[Any], Any]:
    """Ray's chain of stages: tokenize, generate, detokenize, ours around them.

    Raises:
        EngineError: this Ray has no such chain, or what it needs is not installed.
    """
    try:
        from ray.data import llm

        config = llm.vLLMEngineProcessorConfig(
            model_source=name,
            engine_kwargs=dict(sampling.engine),
            concurrency=cluster.workers,
            batch_size=sampling.batch_size,
            chat_template_stage=sampling.chat,
        )
        build = llm.build_processor
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f'engine: ray_vllm needs Ray with vLLM ({error}): pip install "ray[llm]>=2.55" where it runs.'
        ) from error
    return build(config, preprocess=partial(ask, sampling), postprocess=partial(take, sampling))


def ends_of(name: str) -> frozenset[int]:
    """Ids of the tokens that end a text of this model."""
    from transformers import AutoTokenizer, GenerationConfig

    try:
        config = GenerationConfig.from_pretrained(name)
    except OSError:  # a folder without generation_config.json
        config = GenerationConfig()
    return frozenset(end_tokens(SimpleNamespace(generation_config=config), AutoTokenizer.from_pretrained(name)))


def draw_with_vllm(
    cluster: Cluster, requests: Sequence[Request], sampling: Sampling, name: str
) -> Iterator[tuple[int, list[list[Row]], float]]:
    """Draws for every request, in the order in which the requests are finished.

    Yields:
        number of the request, its (P, K) draws, seconds since the one before.

    Raises:
        EngineError: the cluster or vLLM cannot be used.
    """
    if not requests:
        return
    if cluster.address in (None, "", "local") and importlib.util.find_spec("vllm") is None:
        raise EngineError('engine: ray_vllm needs vLLM on this machine: pip install "ray[llm]>=2.55"')
    with connected(cluster) as ray, name_worker_deaths(ray, cluster):
        answers = processor_of(cluster, sampling, name)(ray.data.from_items(list(rows_of(requests))))
        began = time.time()
        for unit, draws in gathered(answers.iter_rows(), requests):
            yield unit, draws, time.time() - began
            began = time.time()
