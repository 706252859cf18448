"""Paths: prompts in, sampled texts with their cost and the model's own doubt out.

    ModelPaths       a transformers model in this process; log-probabilities and entropies from one more forward pass
    EndpointPaths    any server of the OpenAI protocol (endpoint_paths.py)

What both are asked, and the units of what they give, stand in sampler.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trl_r1.models.rendering import Renderer
from trl_r1.models.rendering.stream import ReplyRule, ReplyStream, TokenText
from trl_r1.models.sampling import (
    continue_rows,
    end_tokens,
    evaluation_mode,
    own_randomness,
    padding,
    tokenize,
)
from trl_r1.routing.endpoint_paths import EndpointPaths, candidate, read_scored
from trl_r1.routing.sampler import Ask, Cancelled, Candidate, Sampler, Settings
from trl_r1.text.completions import THINK
from trl_r1.text.records import Json, Prompt


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "Ask",
    "Cancelled",
    "Candidate",
    "EndpointPaths",
    "ModelPaths",
    "Sampler",
    "Settings",
    "candidate",
    "read_scored",
]

SCORED_LOGITS = 1 << 25  # of one forward pass: 128 MiB in float32


@dataclass
class ModelPaths:
    """A transformers model in this process. One call at a time: `trl_r1.serving.batch_queue` serves many callers."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 64  # texts generated at a time
    scored: bool = True  # also compute log-probabilities and entropies
    name: str = ""
    renderer: Renderer | None = None  # None: one with the tokenizer's own template and no options
    writer: Any = None  # writes in the model's place, a light copy of it; log-probabilities stay the model's
    difference: Any = None  # of the two (`trl_r1.grpo.copies.writer.Difference`)

    def __post_init__(self) -> None:
        self.name = self.name or str(getattr(self.model, "name_or_path", "") or "model")
        self.rendering: Renderer = self.renderer or Renderer(self.tokenizer)

    @property
    def context(self) -> int | None:
        """Tokens of prompt and reply together that the model has positions for; None where its config does not say."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return int(positions) if positions else None

    def prompt_tokens(self, prompt: Prompt, template_options: Json | None = None) -> int:
        """How many tokens a prompt is."""
        return len(self.rendering.prompt_ids(prompt, **row_options(prompt, template_options)))

    def reply_rule(self, prompt: Prompt, settings: Settings) -> ReplyRule:
        """What a reply to this prompt is made of: its marks, whether the prompt opens the reasoning, its stop strings."""
        own = (self.rendering.facts.reasoning_open or THINK[0], self.rendering.facts.reasoning_close or THINK[1])
        return ReplyRule(
            tuple(dict.fromkeys((own, THINK))),
            self.rendering.opens_reasoning(prompt, **row_options(prompt, settings.template_options)),
            "" if isinstance(prompt, str) else self.rendering.facts.answer_open,
            settings.stop,
            settings.stop_in_reasoning,
        )

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """Equal arguments give equal texts on one machine; texts of different asks share batches.

        Raises:
            ValueError: a conversation for a tokenizer without a chat template, or a prompt without tokens.
            Cancelled: see Sampler.
        """
        own = [ask.settings or settings for ask in asks]
        ids = [self._prompt_ids(number, ask.prompt, own[number]) for number, ask in enumerate(asks)]
        rules = [self.reply_rule(ask.prompt, one) if one.stop else None for ask, one in zip(asks, own, strict=True)]
        rows = [(a, k) for a, ask in enumerate(asks) for k in range(ask.count)]
        ends = end_tokens(self.model, self.tokenizer)
        candidates: list[list[Candidate]] = [[] for _ in asks]
        writing = self.model if self.writer is None else self.writer
        devices = {parameter.device for parameter in self.model.parameters()}
        with own_randomness(seed, devices), evaluation_mode(self.model):
            for start in range(0, len(rows), self.batch_size):
                batch = rows[start : start + self.batch_size]
                prompts = [list(ids[a]) for a, _ in batch]
                limits = [
                    min(asks[a].max_new_tokens or settings.max_new_tokens, settings.max_new_tokens) for a, _ in batch
                ]
                listeners = [Stopper(self.rendering.decode, rule) if (rule := rules[a]) else None for a, _ in batch]
                watch = Watch(
                    [asks[a] for a, _ in batch], [k for _, k in batch], limits, max(map(len, prompts)), listeners
                )
                generated = generate(writing, prompts, settings, ends, padding(self.tokenizer, ends), watch)
                ended = [until_end(row, ends, limit) for row, limit in zip(generated, watch.limits, strict=True)]
                if all(ask.cancelled() for ask in asks):
                    raise Cancelled("All requests were given up.")
                doubts = self.doubts(prompts, ended) if self.scored else [(None, None)] * len(ended)
                for (a, _), tokens, (logprob, entropy) in zip(batch, ended, doubts, strict=True):
                    text, rule = self.rendering.decode(tokens), rules[a]
                    text, stopped = rule.cut(text) if rule else (text, False)
                    truncated = not stopped and (not tokens or tokens[-1] not in ends)
                    candidates[a].append(Candidate(text, len(tokens), truncated, logprob=logprob, entropy=entropy))
        return candidates

    def _prompt_ids(self, number: int, prompt: Prompt, settings: Settings) -> list[int]:
        """Raises ValueError: the number of the prompt, and why it cannot be rendered."""
        options = row_options(prompt, settings.template_options)
        if options:
            return self.rendering.prompt_ids(prompt, **options)
        return tokenize(self.tokenizer, [prompt], self.rendering)[0]

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


def row_options(prompt: Prompt, template_options: Json | None) -> dict[str, Json]:
    """What a conversation brings for its template, as the renderer takes it; a text has no template."""
    return {"chat_template_kwargs": template_options} if template_options and not isinstance(prompt, str) else {}


class Stopper:
    """Says after which token a text has reached a stop string."""

    def __init__(self, decode: Callable[[Sequence[int]], str], rule: ReplyRule) -> None:
        self.text, self.stream = TokenText(decode), ReplyStream(rule)

    def ends_with(self, token: int) -> bool:
        """Whether this token, the next of the text, completes a stop string."""
        self.stream.feed(self.text.add(token))
        return self.stream.stopped


class Watch:
    """Looks at a batch after every token: who has reached its limit or a stop string, who was given up, who wants to
    hear of tokens. ``limits`` of a row that a stop string has ended is what it has then."""

    def __init__(
        self,
        asks: Sequence[Ask],
        numbers: Sequence[int],
        limits: Sequence[int],
        width: int,
        stoppers: Sequence[Stopper | None] | None = None,
    ) -> None:
        self.asks, self.numbers, self.limits, self.width = asks, numbers, list(limits), width
        self.stoppers = stoppers or [None] * len(asks)
        self.done = [False] * len(asks)

    def __call__(self, ids: torch.Tensor, ends: set[int]) -> list[bool]:
        """(B, L) ids so far in; which rows need no further token out."""
        new_tokens = ids.shape[1] - self.width
        last = ids[:, -1].tolist()
        for row, ask in enumerate(self.asks):
            if self.done[row] or last[row] in ends:
                continue
            if ask.on_token is not None:
                ask.on_token(self.numbers[row], last[row])
            stopper = self.stoppers[row]
            if stopper is not None and stopper.ends_with(last[row]):
                self.limits[row] = min(self.limits[row], new_tokens)
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
            top_k=settings.top_k,
            stopping_criteria=StoppingCriteriaList([Steering()]),
        )


def until_end(ids: Sequence[int], ends: set[int], limit: int) -> list[int]:
    """The tokens up to and with the first end token, at most ``limit``."""
    stop = next((place for place, token in enumerate(ids[:limit]) if token in ends), None)
    return list(ids[:limit]) if stop is None else list(ids[: stop + 1])
