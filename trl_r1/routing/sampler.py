"""What a sampler is asked and what it gives: prompts in, sampled texts with their cost and the model's own doubt out.

Units  tokens are generated ones, the end token included; log-probabilities and entropies are nats per generated token,
       of the model's distribution at temperature 1 whatever the sampling temperature was (a server reports what it likes:
       vLLM by default the same).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trl_r1.models.sampling import check_options
from trl_r1.text.records import Completion, Json, Prompt


class Cancelled(RuntimeError):
    """Nobody waits for this text any more."""


@dataclass(frozen=True)
class Candidate(Completion):
    """A completion that may be voted on. ``answer`` is filled in by the router; its tokens are always counted."""

    token_count: int = 0
    answer: str | None = None
    prompt_tokens: int | None = None  # as the server counts them
    choice: Json | None = field(default=None, repr=False)  # the whole choice that a server sent


@dataclass(frozen=True)
class Settings:
    """How texts are drawn. Temperature and top-p are DeepSeek-R1's for evaluation."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 512
    top_k: int = 0  # only this many likeliest tokens; 0: all
    stop: tuple[str, ...] = ()  # strings that end a text and are not part of it
    stop_in_reasoning: bool = False  # they end the reasoning too
    template_options: Json = field(default_factory=dict)  # chat_template_kwargs
    extra: Json = field(default_factory=dict)  # further fields of a request to a server

    def __post_init__(self) -> None:
        check_options(1, self.temperature, self.top_p, self.max_new_tokens, 1, None)
        if self.top_k < 0:
            raise ValueError(f"top_k={self.top_k} is negative; 0 switches it off.")


@dataclass(frozen=True)
class Ask:
    """``count`` texts for one prompt."""

    prompt: Prompt
    count: int
    max_new_tokens: int | None = None  # less than the settings' say: a draft
    cancelled: Callable[[], bool] = lambda: False
    on_token: Callable[[int, int], Any] | None = None  # (which text, token id), as they come; in-process models only
    settings: Settings | None = None  # its own stop strings and template options; None: the call's


class Sampler(Protocol):
    """What draws paths; ``name`` stands for the model in cache keys and records."""

    @property
    def name(self) -> str:
        """Of the model."""
        ...

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """``ask.count`` paths for each ask, in order.

        Raises:
            Cancelled: every ask was given up before its texts were done.
        """
        ...
