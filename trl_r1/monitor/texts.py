"""What the sampled texts of a step say about the run: distributions of thought length and steps, reflection, language.

measure    completions (and their prompts) -> metrics by name, each a mean or a percentile over the completions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trl_r1.rewards.language import consistency, prompt_language
from trl_r1.text.steps import REFLECTION_WORDS, reasoning, reasoning_steps, reflection_words


PERCENTILES = (10, 50, 90)
LONGEST = 40_000  # characters of a thought that are read


def spread_evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` places, evenly over them and without chance.

    >>> spread_evenly(10, 4), spread_evenly(3, 4)
    ([0, 3, 6, 9], [0, 1, 2])
    """
    if count <= most:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, most).round().astype(int).tolist()))


def measure(
    completions: Sequence[Any],
    prompts: Sequence[Any] | None = None,
    count_tokens: Callable[[list[str]], list[int]] | None = None,
) -> dict[str, float]:
    """Metrics of a batch of completions, (N,) of each; {} of none.

    Args:
        prompts: whose language a thought should be in; without them language is left out.
        count_tokens: lengths in tokens of many texts; without it a thought's length is left out.

    Returns:
        ``thought_tokens/p10``, ``/p50``, ``/p90``    tokens of the thought
        ``steps/p10``, ``/p50``, ``/p90``             reasoning steps (``trl_r1.text.steps.reasoning_steps``)
        ``reflection``, ``reflection/<word>``         the paper's ten words per completion, together and each
        ``language``                                  share of the thought's words in the prompt's language, mean
    """
    reasonings = [reasoning(completion)[:LONGEST] for completion in completions]
    if not reasonings:
        return {}
    measures: dict[str, float] = {}
    if count_tokens is not None:
        measures |= percentiles("thought_tokens", count_tokens(reasonings))
    measures |= percentiles("steps", [reasoning_steps(text) for text in reasonings])
    counted = [reflection_words(text) for text in reasonings]
    measures["reflection"] = sum(sum(words.values()) for words in counted) / len(counted)
    measures |= {f"reflection/{word}": sum(w[word] for w in counted) / len(counted) for word in REFLECTION_WORDS}
    shares = [
        share
        for text, target in zip(reasonings, _targets(prompts, len(reasonings)), strict=True)
        if target is not None and (share := consistency(text, target)) is not None
    ]
    if shares:
        measures["language"] = sum(shares) / len(shares)
    return measures


def _targets(prompts: Sequence[Any] | None, count: int) -> list[str | None]:
    if prompts is None:
        return [None] * count
    targets: dict[str, str | None] = {}
    for prompt in prompts[:count]:  # the rows of a group share their prompt
        if str(prompt) not in targets:
            targets[str(prompt)] = prompt_language(prompt)
    return [targets[str(prompt)] for prompt in prompts[:count]]


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """``name/p10``, ``name/p50``, ``name/p90`` of the values, linear between them."""
    quantiles = np.percentile(np.asarray(values, dtype=float), PERCENTILES)
    return {f"{name}/p{percent}": float(value) for percent, value in zip(PERCENTILES, quantiles, strict=True)}
