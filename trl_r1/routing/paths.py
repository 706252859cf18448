"""Paths: prompts in, sampled texts with their cost and the model's own doubt out.

    ModelPaths       a transformers model in this process; log-probabilities and entropies from one more forward pass
    EndpointPaths    any server of the OpenAI protocol; log-probabilities where it reports them, no entropies

Units  tokens are generated ones, the end token included; log-probabilities and entropies are nats per generated token,
       of the model's distribution at temperature 1 whatever the sampling temperature was (a server reports what it likes:
       vLLM by default the same).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from trl_r1.models.engines import SamplingServer, read_completion
from trl_r1.models.rendering import Renderer
from trl_r1.models.sampling import (
    check_options,
    continue_rows,
    end_tokens,
    evaluation_mode,
    own_randomness,
    padding,
    tokenize,
)
from trl_r1.storage.shards import seed_of
from trl_r1.text.records import Completion, Prompt


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCORED_LOGITS = 1 << 25  # of one forward pass: 128 MiB in float32


class Cancelled(RuntimeError):
    """Nobody waits for this text any more."""


@dataclass(frozen=True)
class Candidate(Completion):
    """A completion that may be voted on. ``answer`` is filled in by the router; its tokens are always counted."""

    token_count: int = 0
    answer: str | None = None


@dataclass(frozen=True)
class Settings:
    """How texts are drawn. Temperature and top-p are DeepSeek-R1's for evaluation."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        check_options(1, self.temperature, self.top_p, self.max_new_tokens, 1, None)


@dataclass(frozen=True)
class Ask:
    """``count`` texts for one prompt."""

    prompt: Prompt
    count: int
    max_new_tokens: int | None = None  # less than the settings' say: a draft
    cancelled: Callable[[], bool] = lambda: False
    on_token: Callable[[int, int], Any] | None = None  # (which text, token id), as they come; in-process models only


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


@dataclass
class ModelPaths:
    """A transformers model in this process. One call at a time: `trl_r1.serving.batch_queue` serves many callers."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 64  # texts generated at a time
    scored: bool = True  # also compute log-probabilities and entropies
    name: str = ""
    renderer: Renderer | None = None  # None: one with the tokenizer's own template and no options

    def __post_init__(self) -> None:
        self.name = self.name or str(getattr(self.model, "name_or_path", "") or "model")
        self.rendering: Renderer = self.renderer or Renderer(self.tokenizer)

    @property
    def context(self) -> int | None:
        """Tokens of prompt and reply together that the model has positions for; None where its config does not say."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return int(positions) if positions else None

    def prompt_tokens(self, prompt: Prompt) -> int:
        """How many tokens a prompt is."""
        return len(tokenize(self.tokenizer, [prompt], self.rendering)[0])

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """Equal arguments give equal texts on one machine; texts of different asks share batches.

        Raises:
            ValueError: a conversation for a tokenizer without a chat template, or a prompt without tokens.
            Cancelled: see Sampler.
        """
        ids = tokenize(self.tokenizer, [ask.prompt for ask in asks], self.rendering)
        rows = [(a, k) for a, ask in enumerate(asks) for k in range(ask.count)]
        ends = end_tokens(self.model, self.tokenizer)
        candidates: list[list[Candidate]] = [[] for _ in asks]
        devices = {parameter.device for parameter in self.model.parameters()}
        with own_randomness(seed, devices), evaluation_mode(self.model):
            for start in range(0, len(rows), self.batch_size):
                batch = rows[start : start + self.batch_size]
                prompts = [list(ids[a]) for a, _ in batch]
                limits = [
                    min(asks[a].max_new_tokens or settings.max_new_tokens, settings.max_new_tokens) for a, _ in batch
                ]
                watch = Watch([asks[a] for a, _ in batch], [k for _, k in batch], limits, max(map(len, prompts)))
                generated = generate(self.model, prompts, settings, ends, padding(self.tokenizer, ends), watch)
                ended = [until_end(row, ends, limit) for row, limit in zip(generated, limits, strict=True)]
                if all(ask.cancelled() for ask in asks):
                    raise Cancelled("All requests were given up.")
                doubts = self.doubts(prompts, ended) if self.scored else [(None, None)] * len(ended)
                texts = [self.rendering.decode(tokens) for tokens in ended]
                for (a, _), tokens, text, (logprob, entropy) in zip(batch, ended, texts, doubts, strict=True):
                    truncated = not tokens or tokens[-1] not in ends
                    candidates[a].append(Candidate(text, len(tokens), truncated, logprob=logprob, entropy=entropy))
        return candidates

    def doubts(
        self, prompts: Sequence[list[int]], replies: Sequence[list[int]]
    ) -> list[tuple[float | None, float | None]]:
        """Mean log-probability and mean entropy of each reply's tokens after its prompt; None for an empty reply."""
        import torch

        device = self.model.get_input_embeddings().weight.device
        vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        order = sorted(range(len(replies)), key=lambda row: len(prompts[row]) + len(replies[row]))
        pairs: list[tuple[float | None, float | None]] = [(None, None)] * len(replies)
        start = 0
        while start < len(order):
            rows = [order[start]]
            for row in order[start + 1 :]:
                if (len(rows) + 1) * (len(prompts[row]) + len(replies[row])) * vocabulary > SCORED_LOGITS:
                    break
                rows.append(row)
            start += len(rows)
            width = max(len(prompts[row]) + len(replies[row]) for row in rows)
            # padded on the right: in a causal model nothing looks there, and positions are what they are
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask, reply_mask = torch.zeros_like(ids), torch.zeros(len(rows), width - 1)
            for place, row in enumerate(rows):
                whole, begin = prompts[row] + replies[row], len(prompts[row])
                ids[place, : len(whole)] = torch.tensor(whole)
                mask[place, : len(whole)] = 1
                reply_mask[place, begin - 1 : len(whole) - 1] = 1.0  # the position before a token foretells it
            ids, reply_mask = ids.to(device), reply_mask.to(device)
            with torch.no_grad():
                logits = self.model(input_ids=ids, attention_mask=mask.to(device), use_cache=False).logits[:, :-1]
            logs = logits.float().log_softmax(-1)  # (R, L - 1, V)
            chosen = logs.gather(-1, ids[:, 1:, None])[..., 0]  # (R, L - 1)
            entropies = -(logs.exp() * logs).nan_to_num(0.0).sum(-1)  # 0 log 0 = 0
            counts = reply_mask.sum(1).clamp(min=1.0)
            means = torch.stack(
                [(chosen * reply_mask).sum(1) / counts, (entropies * reply_mask).sum(1) / counts], dim=1
            ).tolist()
            for place, row in enumerate(rows):
                if replies[row]:
                    pairs[row] = (means[place][0], means[place][1])
        return pairs


class Watch:
    """Looks at a batch after every token: who has reached its limit, who was given up, who wants to hear of tokens."""

    def __init__(self, asks: Sequence[Ask], numbers: Sequence[int], limits: Sequence[int], width: int) -> None:
        self.asks, self.numbers, self.limits, self.width = asks, numbers, limits, width
        self.done = [False] * len(asks)

    def __call__(self, ids: torch.Tensor, ends: set[int]) -> list[bool]:
        """(B, L) ids so far in; which rows need no further token out."""
        new_tokens = ids.shape[1] - self.width
        last = ids[:, -1].tolist()
        for row, ask in enumerate(self.asks):
            if ask.on_token is not None and not self.done[row] and last[row] not in ends:
                ask.on_token(self.numbers[row], last[row])
        given_up = {id(ask): ask.cancelled() for ask in self.asks}
        for row, ask in enumerate(self.asks):
            if last[row] in ends or new_tokens >= self.limits[row] or given_up[id(ask)]:
                self.done[row] = True
        return list(self.done)


def generate(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    settings: Settings,
    ends: set[int],
    pad: int,
    watch: Watch,
) -> list[list[int]]:
    """New token ids for each row of prompt ids, left-padded, as transformers' ``generate`` makes them."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Steering(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
            return torch.tensor(watch(input_ids, ends), device=input_ids.device)

    with torch.no_grad():
        return continue_rows(
            model,
            list(prompts),
            max(watch.limits),
            settings.temperature,
            settings.top_p,
            ends,
            pad,
            model.get_input_embeddings().weight.device,
            stopping_criteria=StoppingCriteriaList([Steering()]),
        )


def until_end(ids: Sequence[int], ends: set[int], limit: int) -> list[int]:
    """The tokens up to and with the first end token, at most ``limit``."""
    stop = next((place for place, token in enumerate(ids[:limit]) if token in ends), None)
    return list(ids[:limit]) if stop is None else list(ids[: stop + 1])


# --- servers


def read_scored(content: bytes) -> Completion | None:
    """As ``read_completion``, with the mean log-probability of either kind of answer, where the server reports it.

    >>> read_scored(b'{"choices": [{"text": "4", "logprobs": {"token_logprobs": [-0.5, -1.5]}}]}').logprob
    -1.0
    """
    completion = read_completion(content)
    if completion is None:
        return None
    logprobs = json.loads(content)["choices"][0].get("logprobs") or {}
    numbers = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if numbers is None and isinstance(logprobs, dict):
        numbers = [entry.get("logprob") for entry in logprobs.get("content") or [] if isinstance(entry, dict)]
    numbers = [number for number in numbers or [] if isinstance(number, int | float) and number <= 0.0]
    logprob = sum(numbers) / len(numbers) if numbers else None
    return replace(completion, logprob=logprob)


@dataclass
class EndpointPaths:
    """A server of the OpenAI protocol. Calls may overlap; each opens up to ``endpoint.concurrency`` connections."""

    endpoint: SamplingServer
    logprobs: bool = True  # ask for them; a server that refuses such requests needs False

    @property
    def name(self) -> str:
        """The model's name at its address."""
        return f"{self.endpoint.model}@{self.endpoint.endpoint}"

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """As the server samples; equal seeds give equal texts where it keeps that promise.

        Raises:
            EngineError: the server cannot be reached, denies the key, or refuses every text of an ask.
            Cancelled: see Sampler. A request under way is not broken off; its text is not read.
        """
        candidates: list[list[Candidate]] = []
        for number, ask in enumerate(asks):
            if ask.cancelled():
                candidates.append([])
                continue
            extra = dict(self.endpoint.extra)
            if self.logprobs:
                extra |= {"logprobs": 1} if isinstance(ask.prompt, str) else {"logprobs": True}
            server = replace(
                self.endpoint,
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_new_tokens=min(ask.max_new_tokens or settings.max_new_tokens, settings.max_new_tokens),
                extra=extra,
                read=read_scored,
            )
            draws = server.draw([ask.prompt], ask.count, seed_of(seed, number))[0]
            candidates.append([candidate(completion) for completion in draws])
        if asks and all(ask.cancelled() for ask in asks):
            raise Cancelled("All requests were given up.")
        return candidates


def candidate(completion: Completion) -> Candidate:
    """A completion to be voted on; where a server does not count tokens, four characters are taken for one."""
    counted = completion.token_count
    return Candidate(
        completion.text,
        -(-len(completion.text) // 4) if counted is None else counted,
        completion.truncated,
        completion.refused,
        completion.logprob,
    )
