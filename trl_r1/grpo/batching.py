"""Less work for the same log-probabilities: rows without padding, a shared prompt read once, rows nobody asks for left out.

Shapes  B rows of a micro-batch, padded as TRL does: prompt on the left of column P, completion on its right, C columns.
        T packed tokens, R rows and L columns of an attention bucket, H heads, D head size.

Packing puts the tokens of all rows behind each other in one row of length T. The linear layers, which do most of the
work, then see no padding and every prompt once; only attention spreads the tokens out again, row by row, so that no
token sees another row. Equal prompts share all their tokens but the last, which each row keeps for itself because it
predicts that row's first completion token. Nothing is approximated: the gradient of a shared token is the sum over the
rows that used it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from trl_r1.compat.host import Batch


ATTENTION = "trl_r1_packed"  # the name under which transformers finds `packed_attention`
BUCKETS = 3  # at most; attention pads the rows of a bucket to its longest
SHORTER = 0.7  # of a bucket's longest row: a row below it opens the next bucket
SMALL = 1024  # tokens below which a further forward pass costs more than the padding it saves


@dataclass
class Packing:
    """Where each packed token stands in attention. Handed through the model's keyword arguments to every layer."""

    buckets: list[Tensor]  # (R, L) each: packed index of every place; padding, which no kept token sees, is 0
    inverse: Tensor  # (T,) where a packed token's output stands in the concatenation of the flattened buckets
    whole: bool = (
        False  # attention in float32, whatever the layers compute in: its backward in bfloat16 is slow on a CPU
    )


@dataclass
class PackedRows:
    """A micro-batch as one row."""

    ids: Tensor  # (1, T)
    positions: Tensor  # (1, T) as in the padded batch
    labels: Tensor  # (1, T) the token each one predicts, -100 where none counts
    packing: Packing
    places: Tensor  # (K,) of each predicted token: the packed token that predicts it

    def inputs(self) -> dict[str, Any]:
        """What a model's forward pass takes; the packing replaces the mask."""
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.ids.device)
        placed = {"input_ids": self.ids, "position_ids": self.positions}
        return {**placed, "packing": self.packing, "attention_mask": mask}


@dataclass
class Packed(PackedRows):
    """A micro-batch of prompts and completions as one row."""

    rows: Tensor  # (K,) of each predicted token: its row in the padded batch
    columns: Tensor  # (K,) and its completion column


def lengths_of(mask: Tensor, prompt_columns: int) -> tuple[Tensor, Tensor] | None:
    """(B,) prompt lengths and (B,) completion lengths; None if a mask has holes, so that lengths do not tell it all.

    Args:
        mask: (B, P + C), 1 for tokens.
        prompt_columns: P.
    """
    prompt, completion = mask[:, :prompt_columns], mask[:, prompt_columns:]
    left, right = prompt.sum(dim=1), completion.sum(dim=1)
    columns = torch.arange(prompt_columns, device=mask.device)
    whole = torch.equal(prompt != 0, columns >= prompt_columns - left[:, None])
    columns = torch.arange(completion.size(1), device=mask.device)
    return (left, right) if whole and torch.equal(completion != 0, columns < right[:, None]) else None


def pack(ids: Tensor, prompt_lengths: Tensor, lengths: Tensor, prompt_columns: int, keep: Tensor) -> Packed:
    """Packs the rows `keep` of a padded batch.

    Args:
        ids: (B, P + C) tokens.
        prompt_lengths: (B,), at least 1.
        lengths: (B,) of the completions; a kept row has at least 1.
        prompt_columns: P.
        keep: (K,) rows to pack, in any order.
    """
    device = ids.device
    order = keep[torch.argsort(lengths[keep] + prompt_lengths[keep], descending=True, stable=True)]  # (R,)
    _, group = torch.unique(ids[order, :prompt_columns], dim=0, return_inverse=True)
    starts = (prompt_columns - prompt_lengths[order]).tolist()  # first column of each row's prompt
    ends = (prompt_columns + lengths[order]).tolist()  # one past its last completion column
    at_row, at_column, indices = [], [], []  # of the packed tokens; indices: packed places of each row's tokens
    shared: dict[tuple[int, int], Tensor] = {}
    total = 0
    for row, number, start, end in zip(order.tolist(), group.tolist(), starts, ends):
        prefix = shared.get((number, start))
        if prefix is None:
            size = prompt_columns - 1 - start
            prefix = shared[(number, start)] = torch.arange(total, total + size)
            at_row.append(torch.full((size,), row))
            at_column.append(torch.arange(start, prompt_columns - 1))
            total += size
        size = end - prompt_columns  # last prompt token and all completion tokens but the last
        at_row.append(torch.full((size,), row))
        at_column.append(torch.arange(prompt_columns - 1, end - 1))
        indices.append(torch.cat([prefix, torch.arange(total, total + size)]))
        total += size
    rows, columns = torch.cat(at_row).to(device), torch.cat(at_column).to(device)
    own = columns >= prompt_columns - 1
    labels = torch.full_like(columns, -100)
    labels[own] = ids[rows[own], columns[own] + 1]
    return Packed(
        ids=ids[rows, columns][None],
        positions=columns[None],
        labels=labels[None],
        packing=packing_of(indices, total, device),
        rows=rows[own],
        columns=columns[own] + 1 - prompt_columns,
        places=own.nonzero().squeeze(1),
    )


def packing_of(indices: list[Tensor], total: int, device: Any) -> Packing:
    """Buckets of rows of similar length.

    Args:
        indices: of each row, longest first, the packed places of its tokens.
        total: T.
    """
    starts = [0]
    for number, index in enumerate(indices):
        if len(index) < SHORTER * len(indices[starts[-1]]) and len(starts) < BUCKETS:
            starts.append(number)
    inverse = torch.zeros(total, dtype=torch.long)
    buckets, before = [], 0
    for start, end in zip(starts, [*starts[1:], len(indices)]):
        width = len(indices[start])
        bucket = torch.zeros(end - start, width, dtype=torch.long)
        for place, index in enumerate(indices[start:end]):
            bucket[place, : len(index)] = index
            inverse[index] = before + place * width + torch.arange(len(index))
        buckets.append(bucket.to(device))
        before += bucket.numel()
    return Packing(buckets, inverse.to(device))


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each row of a packing; without one, transformers' SDPA.

    Args:
        query: (1, H, T, D); key and value alike, with their own number of heads.
        sliding_window: a token sees itself and as many before it as make this many.

    Returns:
        (1, T, H, D), and None in place of the weights.
    """
    if packing is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, sliding_window=sliding_window, **kwargs
        )
    kwargs.pop("is_causal", None)
    for record in _records:
        record.append(sliding_window)
    outputs = []
    for bucket in packing.buckets:
        rows = [_spread(states, bucket) for states in (query, key, value)]
        mask = None
        if sliding_window is not None and bucket.size(1) > sliding_window:
            places = torch.arange(bucket.size(1), device=query.device)
            behind = places[:, None] - places[None, :]
            mask = ((behind >= 0) & (behind < sliding_window))[None, None]
        if packing.whole:
            with torch.autocast(query.device.type, enabled=False):
                output, _ = sdpa_attention_forward(module, *(part.float() for part in rows), mask, **kwargs)
            output = output.to(query.dtype)
        else:
            output, _ = sdpa_attention_forward(module, *rows, mask, **kwargs)  # (R, L, H, D)
        outputs.append(output.flatten(0, 1))
    return torch.cat(outputs).index_select(0, packing.inverse)[None], None


_records: list[list[int | None]] = []


@contextlib.contextmanager
def recorded_windows(record: list[int | None]) -> Iterator[None]:
    """Meanwhile every layer that attends to a packing adds its sliding window to `record`."""
    _records.append(record)
    try:
        yield
    finally:
        _records.remove(record)


def packing_fault(text: Any, change: float, tolerance: float, windows: list[int | None]) -> str | None:
    """Why a model's rows are not to be packed, found out by trying; None where nothing speaks against it.

    Args:
        text: its text config.
        change: of the log-probabilities in nats, at most, when rows are packed.
        tolerance: which change is a matter of rounding.
        windows: what `recorded_windows` saw meanwhile.
    """
    if not change <= tolerance:
        return f"its log-probabilities change by {change:.2g} nats when rows are packed"
    if windows != [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=text).layers]:
        return "its layers do not hand their sliding windows to the attention function"
    return None


def _spread(states: Tensor, bucket: Tensor) -> Tensor:
    """(1, H, T, D) -> (R, H, L, D)."""
    states_of_rows = states[0].transpose(0, 1).index_select(0, bucket.flatten())  # (R * L, H, D)
    return states_of_rows.view(*bucket.shape, *states_of_rows.shape[1:]).transpose(1, 2)


def batches_by_length(lengths: Tensor, keep: Tensor, several: bool = True) -> list[Tensor]:
    """The rows `keep`, longest first, in chunks whose rows need little padding (for models that cannot be packed).

    Args:
        lengths: (B,) tokens of every row.
        several: False keeps them in one chunk, where every process has to make the same number of forward passes.
    """
    order = keep[torch.argsort(lengths[keep], descending=True, stable=True)]
    if not several:
        return [order]
    sizes, starts = lengths[order].tolist(), [0]
    for number, size in enumerate(sizes):
        longest, rows = sizes[starts[-1]], number - starts[-1]
        if size < SHORTER * longest and rows * longest >= SMALL:
            starts.append(number)
    return [order[start:end] for start, end in zip(starts, [*starts[1:], len(sizes)])]


def regrouped(batches: list[Batch], moves: Tensor, together: bool) -> list[Batch]:
    """The rows of several micro-batches dealt out anew, so that each micro-batch has less to compute.

    Args:
        batches: of equal size and width, with `prompt_ids`, `prompt_mask` and `completion_mask`. What is not a tensor with
            one entry per row is the same in all of them and stays; where anything else is there (images), nothing moves.
        moves: (N,) bool, which of all their rows can move the loss.
        together: rows with equal prompts come together, the groups with most to compute first; else the longest rows first.

    Returns:
        as many micro-batches of the same size, with the same rows in another order.
    """
    size = len(batches[0]["prompt_ids"])
    by_row = {key for key, value in batches[0].items() if isinstance(value, Tensor) and value.ndim > 0}
    if any(len(batch[key]) != size for batch in batches for key in by_row):
        return batches
    if any(isinstance(value, (list, tuple)) for value in batches[0].values()):
        return batches
    whole = {key: torch.cat([batch[key] for batch in batches]) for key in by_row}
    cost = (whole["prompt_mask"].sum(dim=1) + whole["completion_mask"].sum(dim=1)) * moves  # (N,) tokens
    if together:
        _, group = torch.unique(whole["prompt_ids"], dim=0, return_inverse=True)  # (N,)
        costs = torch.zeros(int(group.max()) + 1, dtype=cost.dtype, device=cost.device).index_add(0, group, cost)
        order = torch.argsort(costs[group] * len(costs) + group, descending=True, stable=True)
    else:
        order = torch.argsort(cost, descending=True, stable=True)
    return [
        {**batch, **{key: value[rows] for key, value in whole.items()}}
        for batch, rows in zip(batches, order.split(size))
    ]
