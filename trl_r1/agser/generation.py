"""Greedy answers, in batches, and contributions read off the same forward passes.

    Greedy      a transformers model in this process; ids in, so a sub-query is fed as it was cut
    SamplingServer    any OpenAI-compatible server (`trl_r1.models.engines`); text in
    a function  list of prompts -> list of texts

Contributions need the model's attention, which no server shows: with the other two, the local model still runs one
prefill per prompt, and only the answers come from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteriaList

from trl_r1.agser.recorder import Recorder
from trl_r1.agser.split import Prompt, Query
from trl_r1.models.sampling import continue_rows, end_tokens, evaluation_mode, padding
from trl_r1.text.records import Json


Generate = Callable[[list[Prompt]], list[str]]
BATCH_TOKENS = 16_384  # of one prefill; also bounds the mask, whose size is the batch times the square of its width


@dataclass
class EndLoops:
    """A stopping criterion: rows whose last ``run`` new tokens repeat with a period of at most ``longest`` are ended.

    Greedy decoding hardly ever leaves such a loop, and one row in a loop keeps a whole batch waiting.
    """

    prompt: int  # tokens before the new ones
    run: int = 12
    longest: int = 4

    def __call__(self, ids: Tensor, scores: Any = None, **options: Any) -> Tensor:
        ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        if ids.shape[1] - self.prompt >= self.run:
            last = ids[:, -self.run :]
            for period in range(1, self.longest + 1):
                ended |= (last[:, period:] == last[:, :-period]).all(1)
        return ended


@dataclass
class Reading:
    """Contributions to one prompt, per layer: what the recorder saw for one sequence."""

    norms: Tensor  # (L, M) for the M content tokens
    attention: Tensor  # (L, M)
    completeness: float


@dataclass
class Greedy:
    """Greedy decoding by a transformers model; every call leaves the model in the modes it came in."""

    model: Any
    tokenizer: Any
    max_new_tokens: int = 64
    batch_size: int = 16
    batch_tokens: int = BATCH_TOKENS
    memory: dict[tuple[int, ...], str] | None = None  # answers by their ids; None remembers nothing between calls
    end_loops: bool = False  # end answers that repeat themselves, see EndLoops

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """One answer per row of ids. Equal rows are answered once."""
        found: dict[tuple[int, ...], str] = {} if self.memory is None else self.memory
        unique = [row for row in dict.fromkeys(map(tuple, rows)) if row not in found]
        with evaluation_mode(self.model), torch.no_grad():
            for batch in self._batches(unique, len):
                ids = self._continue([list(row) for row in batch], self.max_new_tokens)
                found.update(zip(batch, self._decode(ids), strict=True))
        return [found[tuple(row)] for row in rows]

    def answer(self, queries: Sequence[Query]) -> list[tuple[str, Reading]]:
        """Greedy answers, and what each prompt token contributed to the row that predicts the first answer token."""
        out: dict[int, tuple[str, Reading]] = {}
        with evaluation_mode(self.model), torch.no_grad():
            for batch in self._batches(range(len(queries)), lambda i: len(queries[i].ids)):
                chosen = [queries[i] for i in batch]
                rows = [list(query.ids) for query in chosen]
                ids, readings = self._record(chosen, rows, self.max_new_tokens)
                for i, text, reading in zip(batch, self._decode(ids), readings, strict=True):
                    out[i] = (text, reading)
        return [out[i] for i in range(len(queries))]

    def read(self, queries: Sequence[Query], answers: Sequence[Sequence[int]] | None = None) -> list[Reading]:
        """Contributions alone: one prefill.

        Args:
            queries: P prompts.
            answers: (P) lists of answer ids to read the rows that predict them; without, the prompt's last row. An
                empty answer counts its prompt's last row.
        """
        out: dict[int, Reading] = {}

        def row(i: int) -> list[int]:
            return [*queries[i].ids, *(answers[i][:-1] if answers is not None else ())]

        with evaluation_mode(self.model), torch.no_grad():
            for batch in self._batches(range(len(queries)), lambda i: len(row(i))):
                weights = None
                if answers is not None:
                    lengths = [max(1, len(answers[i])) for i in batch]
                    most = max(lengths)
                    weights = torch.tensor([[0.0] * (most - n) + [1.0] * n for n in lengths])
                _, readings = self._record([queries[i] for i in batch], [row(i) for i in batch], 1, weights)
                out.update(zip(batch, readings, strict=True))
        return [out[i] for i in range(len(queries))]

    def _record(
        self, queries: list[Query], rows: list[list[int]], step: int, weights: Tensor | None = None
    ) -> tuple[list[list[int]], list[Reading]]:
        width = max(map(len, rows))
        places = [query.places for query in queries]
        most = max(1, *map(len, places))
        positions = torch.full((len(rows), most), -1)
        for number, (there, row) in enumerate(zip(places, rows, strict=True)):
            positions[number, : len(there)] = torch.tensor(there, dtype=torch.long) + (width - len(row))
        with Recorder(self.model, positions, width, weights) as recorder:
            ids = self._continue(rows, step)
        norms, attention = recorder.norms, recorder.attention
        return ids, [
            Reading(norms[:, b, : len(there)], attention[:, b, : len(there)], recorder.completeness)
            for b, there in enumerate(places)
        ]

    def _continue(self, rows: list[list[int]], step: int) -> list[list[int]]:
        ends = end_tokens(self.model, self.tokenizer)
        device = self.model.get_input_embeddings().weight.device
        pad = padding(self.tokenizer, ends)
        further: Json = {}
        if self.end_loops and step > 1:
            further["stopping_criteria"] = StoppingCriteriaList([EndLoops(max(map(len, rows)))])  # type: ignore[list-item]
        generated = continue_rows(self.model, rows, step, 0.0, 1.0, ends, pad, device, **further)
        return [ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids))] for ids in generated]

    def _decode(self, ids: list[list[int]]) -> list[str]:
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    def _batches(self, items: Sequence[Any], length: Callable[[Any], int]) -> Iterator[list[Any]]:
        """Items of similar length together, longest first; at most ``batch_tokens`` tokens with the padding."""
        batch: list[Any] = []
        for item in sorted(items, key=length, reverse=True):
            if batch and (len(batch) >= self.batch_size or (len(batch) + 1) * length(batch[0]) > self.batch_tokens):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch


def by_engine(engine: Any) -> Generate:
    """An `SamplingServer` (or any engine with ``draw``) as a function of prompts; one greedy text each.

    Raises:
        ValueError: an engine whose temperature is not 0.
    """
    if getattr(engine, "temperature", 0.0) != 0.0:
        raise ValueError(
            f"AGSER compares greedy answers, and the engine draws at temperature {engine.temperature}; set 0."
        )

    def generate(prompts: list[Prompt]) -> list[str]:
        return [draws[0].text for draws in engine.draw(prompts, 1, seed=0)]

    return generate
