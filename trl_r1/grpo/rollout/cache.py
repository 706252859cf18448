"""Keys and values of the rows still running: filled once per prompt, shared out to its completions, grown in blocks.

Shapes  P prompts, N rows (completions), n of them running, H key-value heads, D head size, L columns (tokens).

All rows write the same column of a step, because prompts are padded on the left. A row that ends is overwritten by one
from the end of the batch, so removing rows copies those few and allocates nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class BlockLayer(DynamicLayer):
    """One attention layer's keys and values, (rows, H, capacity, D), of which the first `filled` columns count."""

    def __init__(self, block: int, **kwargs: Any):
        super().__init__()
        self.is_initialized: bool = False
        self.block = block
        self.filled = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Appends (rows, H, l, D) and returns everything the row has, (rows, H, filled, D)."""
        rows, _, new, _ = key_states.shape
        end = self.filled + new
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values = key_states, value_states  # of the prompts; spread() copies them
            self.is_initialized = True
        else:
            if end > self.keys.shape[2]:
                self._reserve(rows, end)
            self.keys[:rows, :, self.filled : end] = key_states
            self.values[:rows, :, self.filled : end] = value_states
        self.filled = end
        return self.keys[:rows, :, :end], self.values[:rows, :, :end]

    def _reserve(self, rows: int, columns: int) -> None:
        """Room for `columns` and a block more, for the first `rows` rows only."""
        self.keys = self._larger(self.keys, rows, columns)
        self.values = self._larger(self.values, rows, columns)

    def _larger(self, old: Tensor, rows: int, columns: int) -> Tensor:
        new = old.new_empty(rows, old.shape[1], columns - 1 + self.block, old.shape[3])
        new[:, :, : self.filled] = old[:rows, :, : self.filled]
        return new

    def spread(self, source: Tensor) -> None:
        """Row i becomes a copy of row source[i]; (N,) indices into the rows there are."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_empty(len(source), old.shape[1], self.filled + self.block, old.shape[3])
            new[:, :, : self.filled] = old[:, :, : self.filled].index_select(0, source)
            setattr(self, name, new)

    def move(self, source: Tensor, target: Tensor) -> None:
        """Row target[i] becomes a copy of row source[i]."""
        for states in (self.keys, self.values):
            states[target, :, : self.filled] = states[source, :, : self.filled]

    def get_seq_length(self, *args: Any) -> int:
        return self.filled

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:  # type: ignore[override]
        """Columns a query sees, and the first of them; transformers 4 passes positions, 5 passes their number."""
        return self.filled + (query if isinstance(query, int) else query.shape[0]), 0


class BlockCache(Cache):
    """A `BlockLayer` per attention layer; sliding-window layers keep all columns, the mask hides the old ones."""

    def __init__(self, layers: int, block: int = 64):
        super().__init__(layers=[BlockLayer(block) for _ in range(layers)])

    def spread(self, source: Tensor) -> None:
        """Shares the prompts' columns out: row i of the batch from now on is a copy of row source[i]."""
        for layer in self.layers:
            if layer.is_initialized:  # models that share keys between layers leave some unused
                layer.spread(source)

    def remove(self, running: Tensor) -> Tensor:
        """Drops the rows that are not running.

        Args:
            running: (n,) bool on the cache's device.

        Returns:
            (n',) which row stands at each place now; apply it to everything that is kept per row.
        """
        stay = int(running.sum())
        order = torch.arange(stay, device=running.device)
        holes = (~running[:stay]).nonzero().squeeze(1)
        if len(holes):
            late = running[stay:].nonzero().squeeze(1) + stay
            for layer in self.layers:
                if layer.is_initialized:
                    layer.move(late, holes)
            order[holes] = late
        return order
