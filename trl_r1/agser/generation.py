"""Greedy answers, in batches, and contributions read off the same forward passes.

    Greedy      a transformers model in this process; ids in, so a sub-query is fed as it was cut
    SamplingServer    any OpenAI-compatible server (`trl_r1.models.engines`); text in
    a function  list of prompts -> list of texts

Contributions need the model's attention, which no server shows: with the other two, the local model still runs one
prefill per prompt, and only the answers come from elsewhere.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteriaList

from trl_r1.agser.recorder import Recorder
from trl_r1.agser.split import Prompt, Query
from trl_r1.models.rendering import Renderer
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

    def first(self, ids: Sequence[int]) -> int:
        """How many of a row's new tokens there are when it is ended; all of them where it never is."""
        for count in range(self.run, len(ids)):
            last = ids[count - self.run : count]
            if any(last[period:] == last[:-period] for period in range(1, self.longest + 1)):
                return count
        return len(ids)


@dataclass(frozen=True)
class Generated:
    """A greedy answer, and the tokens that were drawn for it."""

    text: str
    ids: tuple[int, ...]  # the end token last, where it was drawn
    ended: bool  # by an end token; else the limit or a loop cut it

    def cut(self, cut: Callable[[str], str] | None, tokenizer: Any) -> Generated:
        """What a function leaves of the text, with the tokens drawn up to there, the first at least.

        The end token stays where all of the text does. Where the function returns what the text does not hold, its
        own tokens stand in.
        """
        text = self.text if cut is None else cut(self.text)
        if text.strip() == self.text.strip():
            return replace(self, text=text)
        start = self.text.find(text)
        if start < 0:
            return Generated(text, tuple(tokenizer(text, add_special_tokens=False)["input_ids"]), False)
        told = self.text[: start + len(text)]

        def holds(count: int) -> bool:
            return tokenizer.decode(self.ids[:count], skip_special_tokens=True)[: len(told)] == told

        count = bisect.bisect_left(range(len(self.ids)), True, lo=1, key=holds)
        return Generated(text, self.ids[:count], False)


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
    memory: MutableMapping[tuple[int, ...], Generated] | None = None  # by prompt ids; None remembers nothing
    end_loops: bool = False  # end answers that repeat themselves, see EndLoops
    renderer: Renderer | None = None  # decodes answers where the marks of a thought are special tokens

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """One answer per row of ids. Equal rows are answered once."""
        return [found.text for found in self.replies(rows)]

    def replies(self, rows: Sequence[Sequence[int]]) -> list[Generated]:
        """The same with their tokens."""
        found: MutableMapping[tuple[int, ...], Generated] = {} if self.memory is None else self.memory
        unique = [row for row in dict.fromkeys(map(tuple, rows)) if row not in found]
        with evaluation_mode(self.model), torch.no_grad():
            for batch in self._batches(unique, len):
                found.update(
                    zip(batch, self._continue([list(row) for row in batch], self.max_new_tokens), strict=True)
                )
        return [found[tuple(row)] for row in rows]

    def answer(self, queries: Sequence[Query]) -> list[tuple[str, Reading]]:
        """Greedy answers, and what each prompt token contributed to the row that predicts the first answer token."""
        out: dict[int, tuple[str, Reading]] = {}
        with evaluation_mode(self.model), torch.no_grad():
            for batch in self._batches(range(len(queries)), lambda i: len(queries[i].ids)):
                chosen = [queries[i] for i in batch]
                rows = [list(query.ids) for query in chosen]
                replies, readings = self._record(chosen, rows, self.max_new_tokens)
                for i, reply, reading in zip(batch, replies, readings, strict=True):
                    out[i] = (reply.text, reading)
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
    ) -> tuple[list[Generated], list[Reading]]:
        width = max(map(len, rows))
        places = [query.places for query in queries]
        most = max(1, *map(len, places))
        positions = torch.full((len(rows), most), -1)
        for number, (there, row) in enumerate(zip(places, rows, strict=True)):
            positions[number, : len(there)] = torch.tensor(there, dtype=torch.long) + (width - len(row))
        with Recorder(self.model, positions, width, weights) as recorder:
            replies = self._continue(rows, step)
        norms, attention = recorder.norms, recorder.attention
        return replies, [
            Reading(norms[:, b, : len(there)], attention[:, b, : len(there)], recorder.completeness)
            for b, there in enumerate(places)
        ]

    def _continue(self, rows: list[list[int]], step: int) -> list[Generated]:
        ends = end_tokens(self.model, self.tokenizer)
        device = self.model.get_input_embeddings().weight.device
        pad = padding(self.tokenizer, ends)
        further: Json = {}
        loops = EndLoops(max(map(len, rows))) if self.end_loops and step > 1 else None
        if loops is not None:
            further["stopping_criteria"] = StoppingCriteriaList([loops])  # type: ignore[list-item]
        drawn = continue_rows(self.model, rows, step, 0.0, 1.0, ends, pad, device, **further)
        if loops is not None:  # what stands behind is padding, which may look like an end token
            drawn = [ids[: loops.first(ids)] for ids in drawn]
        stops = [next((i for i, token in enumerate(ids) if token in ends), len(ids)) for ids in drawn]
        answers = [ids[:stop] for ids, stop in zip(drawn, stops, strict=True)]
        if self.renderer is not None and self.renderer.facts.marks_are_special:
            texts = [self.renderer.decode(ids) for ids in answers]
        else:
            texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [
            Generated(text, tuple(ids[: stop + 1]), stop < len(ids))
            for text, ids, stop in zip(texts, drawn, stops, strict=True)
        ]

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
