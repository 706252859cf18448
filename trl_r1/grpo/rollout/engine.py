"""The loop: prompts in, G completions of each out, with the tokens' log-probabilities on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from trl_r1.grpo.batching import ATTENTION
from trl_r1.grpo.rollout.cache import BlockCache
from trl_r1.grpo.rollout.sampling import SamplingOptions, drawn_tokens
from trl_r1.grpo.rollout.threads import fewer_threads


SLACK = 16  # a row in so many may be finished and still be computed, before the batch closes up

ChangeLogits = Callable[[Tensor, Tensor, int], Tensor]
"""(n, V) logits, (n,) rows they belong to, number of tokens those rows have -> (n, V) logits to sample from."""


@dataclass
class Rollout:
    """What was generated for N = len(prompts) rows, and what it cost."""

    completions: list[list[int]]  # N lists of tokens, the end token included where there is one
    logps: list[list[float]]  # their log-probabilities in nats under softmax(logits / temperature), before truncation
    prompts: int = 0  # unique prompts that were prefilled
    steps: int = 0  # forward passes after the prefill
    row_steps: int = 0  # rows computed in them; the tokens of all completions at least
    tokens: int = field(init=False)  # of all completions
    drawn: list[list[float]] = field(
        init=False
    )  # as logps, of the distribution drawn from: after penalty and truncation

    def __post_init__(self) -> None:
        self.tokens = sum(map(len, self.completions))
        self.drawn = self.logps


@torch.no_grad()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    options: SamplingOptions,
    max_new_tokens: int,
    end_tokens: Sequence[int],
    pad_token: int = 0,
    block: int = 64,
    change_logits: ChangeLogits | None = None,
    finished: Callable[[list[int], list[list[int]]], None] | None = None,
    progress: bool = False,
) -> Rollout:
    """Completes every row of `prompts`; equal prompts are read once.

    The model stays in the mode it is in (as in `generate`); gradient checkpointing must be off, because it switches
    the cache off. Random numbers come from torch's global generator of the model's device.

    Args:
        model: a causal language model that `support.why_not_model` accepts, or a PeftModel around one.
        prompts: N token lists, none empty. In GRPO each occurs G times.
        options: how a token is drawn.
        max_new_tokens: a row without an end token stops there.
        end_tokens: tokens that end a row.
        pad_token: fills shorter prompts on the left; masked.
        block: columns by which the cache grows.
        change_logits: sees and may change the logits before sampling (constrained decoding, forced lengths).
        finished: called with (rows, their completions) as rows end, in no particular order within a call.
        progress: a bar of finished rows on stderr, once it takes longer than five seconds.

    Raises:
        ValueError: an empty prompt, or no room for a single token.
    """
    _check(prompts, max_new_tokens)
    device = model.device
    unique: dict[tuple[int, ...], int] = {}
    source = torch.tensor([unique.setdefault(tuple(prompt), len(unique)) for prompt in prompts], device=device)  # (N,)
    read = _Prompts(list(unique), pad_token, device)
    cache = BlockCache(len(_layers(model)), block)
    logits = _next_logits(model, cache, read.ids, read.mask, read.positions)  # (P, V)
    cache.spread(source)
    logits = logits[source]  # (N, V)

    batch = _Batch(cache, read.lengths[source], _Mask(model, read, source, max_new_tokens))
    if options.repetition_penalty != 1.0:
        batch.seen = _occurring_tokens(read, source, logits.size(-1))
    written = _Written(len(prompts), max_new_tokens, pad_token, device, options.filters)
    ends = torch.tensor(sorted(set(end_tokens)), device=device)
    running, steps, row_steps = len(prompts), 0, 0
    bar = tqdm(total=running, desc="Generating", unit="row", delay=5, leave=False, disable=not progress)

    with fewer_threads(model) as tell_rows:
        tell_rows(running)
        for step in range(max_new_tokens):
            if change_logits is not None:
                logits = change_logits(logits, batch.rows, step)
            tokens, logps, drawn = drawn_tokens(logits, options, batch.seen)  # (n,)
            written.add(batch.rows, step, tokens, logps, drawn)
            ended = batch.running & torch.isin(tokens, ends)
            if step + 1 == max_new_tokens:
                ended = batch.running
            over = batch.rows[ended.nonzero().squeeze(1)]
            if len(over):
                batch.running = batch.running & ~ended
                running -= len(over)
                bar.update(len(over))
                written.lengths[over] = step + 1
                if finished is not None:
                    finished(over.tolist(), written.tokens[over, : step + 1].tolist())
                if running == 0:
                    break
                if (len(batch.rows) - running) * SLACK > len(batch.rows):
                    tokens = batch.close_up(tokens)
                    tell_rows(len(batch.rows))
            batch.see(tokens)
            logits = _next_logits(model, cache, tokens[:, None], batch.view.at(step), batch.positions[:, None])
            batch.positions = batch.positions + 1
            steps, row_steps = steps + 1, row_steps + len(batch.rows)

    bar.close()
    return written.rollout(len(unique), steps, row_steps)


def _check(prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens} leaves no room for a token; give 1 or more.")
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise ValueError("Every prompt needs at least one token; one was empty.")


def _next_logits(model: Any, cache: BlockCache, ids: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
    """(n, V) logits of the token after ``ids`` (n, L), whose keys and values join the cache.

    The place is given as an index: ``logits_to_keep=1`` slices the hidden states, and PyTorch 2.13 multiplies such a slice
    with a frozen head row by row, each with a copy of the vocabulary's matrix of its own (should_fold in LinearAlgebra.cpp).
    """
    last = 1 if ids.size(1) == 1 else torch.tensor([ids.size(1) - 1], device=ids.device)
    logits: Tensor = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=last,
    ).logits[:, -1]
    return logits


class _Batch:
    """The n rows that are computed, finished ones among them until the batch closes up."""

    def __init__(self, cache: BlockCache, positions: Tensor, view: _Mask):
        self.cache, self.positions, self.view = cache, positions, view  # positions: (n,) of the next token
        self.rows = torch.arange(len(positions), device=positions.device)  # which row stands at each place
        self.running = torch.ones(len(positions), dtype=torch.bool, device=positions.device)
        self.seen: Tensor | None = None  # (n, V) tokens that the repetition penalty knows

    def see(self, tokens: Tensor) -> None:
        """Notes the (n,) tokens drawn, for the repetition penalty."""
        if self.seen is not None:
            self.seen[torch.arange(len(tokens), device=tokens.device), tokens] = True

    def close_up(self, tokens: Tensor) -> Tensor:
        """Drops the rows that are finished; the same of ``tokens`` (n,)."""
        order = self.cache.remove(self.running)
        self.rows, self.positions, self.running = self.rows[order], self.positions[order], self.running[order]
        self.view.keep(order)
        if self.seen is not None:
            self.seen = self.seen[order]
        return tokens[order]


class _Written:
    """What N rows have written so far, at most M tokens each."""

    def __init__(self, total: int, most: int, pad_token: int, device: Any, filtered: bool):
        self.drawn = torch.zeros(total, most, device=device) if filtered else None
        self.tokens = torch.full((total, most), pad_token, dtype=torch.long, device=device)
        self.logps = torch.zeros(total, most, device=device)
        self.lengths = torch.full((total,), most, dtype=torch.long, device=device)

    def add(self, rows: Tensor, step: int, tokens: Tensor, logps: Tensor, drawn: Tensor) -> None:
        """One more token of each of ``rows``; finished ones write past their length."""
        self.tokens[rows, step], self.logps[rows, step] = tokens, logps
        if self.drawn is not None:
            self.drawn[rows, step] = drawn

    def rollout(self, prompts: int, steps: int, row_steps: int) -> Rollout:
        """What was written, each row as long as it is, and what it cost."""
        lengths = self.lengths.tolist()

        def cut(rows: Tensor) -> list[list[Any]]:
            return [row[:length] for row, length in zip(rows.tolist(), lengths)]

        rollout = Rollout(cut(self.tokens), cut(self.logps), prompts, steps, row_steps)
        if self.drawn is not None:
            rollout.drawn = cut(self.drawn)
        return rollout


class _Prompts:
    """P prompts padded on the left: ids, mask and positions (P, L), lengths (P,)."""

    def __init__(self, prompts: list[tuple[int, ...]], pad_token: int, device: Any):
        width = max(map(len, prompts))
        self.ids = torch.tensor([[pad_token] * (width - len(prompt)) + list(prompt) for prompt in prompts]).to(device)
        self.lengths = torch.tensor([len(prompt) for prompt in prompts]).to(device)
        self.mask = (torch.arange(width, device=device) >= width - self.lengths[:, None]).long()
        self.positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)


class _Mask:
    """Which columns the one new token of every row sees.

    With SDPA (which has another name under batching 'fast') and no sliding window in reach, the (n, 1, 1, L) mask is made
    once and a slice of it is handed over, or no mask when no prompt is padded. In all other cases the model makes its own
    from the (n, L) padding mask, each step.
    """

    def __init__(self, model: Any, read: _Prompts, source: Tensor, max_new_tokens: int):
        self.width = read.mask.size(1)
        text = model.config.get_text_config()
        windows = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
        longest = self.width + max_new_tokens
        self.ready = text._attn_implementation in ("sdpa", ATTENTION) and all(
            w is None or w >= longest for w in windows
        )
        self.padded = bool((read.mask == 0).any())
        ones = read.mask.new_ones(len(source), max_new_tokens)
        self.mask = torch.cat([read.mask[source], ones], dim=1)  # (n, longest)
        if self.ready:
            self.mask = self.mask.bool()[:, None, None, :]

    def keep(self, order: Tensor) -> None:
        self.mask = self.mask[order]

    def at(self, step: int) -> Tensor | None:
        """The mask for the token after `step` + 1 generated ones, which stands in column width + step."""
        if self.ready and not self.padded:
            return None
        return self.mask[..., : self.width + step + 1]


def _layers(model: Any) -> range:
    return range(model.config.get_text_config().num_hidden_layers)


def _occurring_tokens(read: _Prompts, source: Tensor, vocabulary: int) -> Tensor:
    """(N, V) bool: the tokens of every row's prompt."""
    marks = torch.zeros(len(read.ids), vocabulary, dtype=torch.bool, device=read.ids.device)
    at, column = read.mask.nonzero(as_tuple=True)
    marks[at, read.ids[at, column]] = True
    return marks[source]
