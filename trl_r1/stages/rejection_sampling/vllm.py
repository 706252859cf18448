"""Rejection sampling with vLLM on a Ray cluster: prompts out as text, draws back as every other engine gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trl_r1.models.cluster import Cluster
from trl_r1.models.load import tokenizer_of
from trl_r1.models.ray_vllm import Sampling, as_text, draw_with_vllm, ends_of, read_draw
from trl_r1.runs.rendering import keep_date, renderer_of
from trl_r1.stages.rejection_sampling.options import RejectionOptions
from trl_r1.text.records import Prompt, Row


def draw_by_vllm(
    cluster: Cluster, jobs: Sequence[tuple[list[Prompt], int, int]], options: RejectionOptions, name: str
) -> Iterator[tuple[int, list[list[Row]], float]]:
    """The draws of each job, with its number and its seconds; asked and read with the renderer of the recipe."""
    renderer = renderer_of(tokenizer_of(name), options, name)
    keep_date(renderer, options)
    ends = ends_of(name)
    sampling = Sampling(options.temperature, options.top_p, options.max_new_tokens, ends, False, options._vllm)
    asked = [([as_text(renderer, prompt) for prompt in prompts], count, seed) for prompts, count, seed in jobs]
    for number, draws, seconds in draw_with_vllm(cluster, asked, sampling, name):
        prompts = jobs[number][0]
        read = [
            [read_draw(renderer, draw, prompt) for draw in group] for prompt, group in zip(prompts, draws, strict=True)
        ]
        yield number, read, seconds
