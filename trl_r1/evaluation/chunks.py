"""Chunks: a long evaluation as small files, so that a killed one goes on where it stopped, and processes share it.

    <folder>/chunks/<part>/00000.json ...   while it runs: one Evaluation per chunk of problems
    <folder>/<part>.json                    when it is whole; the chunks go

A chunk's texts depend on the seed, its number and its size alone, so an evaluation that was killed equals one that was
not, whatever the number of processes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from trl_r1.evaluation.benchmark import Evaluation, Graders, evaluate
from trl_r1.models.rendering import Renderer
from trl_r1.text.records import Json, Row


if TYPE_CHECKING:
    from accelerate import PartialState
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class Sampling(TypedDict):
    """How the answers of a part are drawn: options of `evaluate`."""

    samples: int
    temperature: float
    top_p: float
    max_new_tokens: int
    batch_size: int


SEED_STEP = 1000  # between the seeds of neighbouring chunks


def evaluate_in_chunks(
    load: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    problems: Sequence[Row],
    folder: Path,
    part: str,
    *,
    chunk: int,
    state: PartialState | None = None,
    seed: int = 0,
    graders: Graders,
    progress: Callable[[str], None] | None = None,
    about: Json | None = None,
    render: Callable[[Any, Any], Renderer] | None = None,
    **sampling: Any,
) -> Evaluation:
    """The stored evaluation of a part, or a new one that takes up what an earlier start has done.

    Args:
        load: the model and its tokenizer; only called if something is left to sample.
        problems: rows with prompt, solution, language.
        folder, part: where it is stored; see the module.
        chunk: problems per file.
        state: of the processes; every process takes every n-th chunk, and all get the whole result.
        progress: told a line after every chunk.
        about: added to the evaluation's settings.
        render: (model, tokenizer) -> what renders prompts and reads replies; None is one with no options.
        **sampling: samples, temperature, top_p, max_new_tokens, batch_size as of ``evaluate``.

    Raises:
        ValueError: the whole evaluation is there and cannot be read, or a chunk belongs to other problems.
    """
    whole = folder / f"{part}.json"
    if whole.is_file():
        return Evaluation.load(whole)  # chunks that a kill left beside it are never read again
    rank, processes = (state.process_index, state.num_processes) if state is not None else (0, 1)
    chunks = cut(problems, folder, part, chunk, seed)
    right, judged = 0.0, 0
    here: dict[int, Evaluation] = {}
    for number, one in enumerate(chunks):
        if number % processes != rank:
            continue
        result = one.stored()
        if result is None:
            model, tokenizer = load()
            options: Json = {"seed": one.seed, "progress": False, "graders": graders, **sampling}
            renderer = None if render is None else render(model, tokenizer)
            result = evaluate(model, tokenizer, one.rows, renderer=renderer, **options)
            result.save(one.path)
        here[number] = result
        scored = [value for value in result.per_problem("pass@1") if value == value]
        right, judged = right + sum(scored), judged + len(scored)
        if progress is not None and rank == 0:
            mean = f"{right / judged:.1%}" if judged else "not judged"
            progress(
                f"{part}: {min((number + 1) * chunk, len(problems))} of {len(problems)} problems, pass@1 so far {mean}"
            )
    if state is not None:
        state.wait_for_everyone()  # all chunks are there
    evaluation = assemble([here.get(number) or Evaluation.load(one.path) for number, one in enumerate(chunks)])
    evaluation.settings |= {"seed": seed, "chunk": chunk, **(about or {})}
    if state is not None:
        state.wait_for_everyone()  # all have read them
    if rank == 0:
        evaluation.save(whole)
        store = folder / "chunks" / part
        shutil.rmtree(store)
        if not any(store.parent.iterdir()):
            store.parent.rmdir()
    if state is not None:
        state.wait_for_everyone()
    return evaluation


@dataclass(frozen=True)
class Chunk:
    """One piece of a part: its problems, its seed, and where it is stored."""

    rows: Sequence[Row]
    seed: int
    path: Path

    def stored(self) -> Evaluation | None:
        """The stored evaluation; None where there is none, or a damaged one, which is set aside and sampled again.

        Raises:
            ValueError: it is one of other problems.
        """
        if not self.path.is_file():
            return None
        try:
            result = Evaluation.load(self.path)
        except ValueError as error:
            aside = self.path.with_name(self.path.name + ".damaged")
            self.path.replace(aside)
            logger.warning("%s It is set aside as %s and sampled again.", error, aside.name)
            return None
        if [p.gold for p in result.problems] != [str(row["solution"]) for row in self.rows]:
            raise ValueError(
                f"{self.path} holds other problems than the dataset has there now; remove {self.path.parent} to sample "
                "them again."
            )
        return result


def cut(problems: Sequence[Row], folder: Path, part: str, chunk: int, seed: int) -> list[Chunk]:
    """The chunks of a part. A chunk's seed depends on its number alone, not on who samples it."""
    store = folder / "chunks" / part
    return [
        Chunk(problems[start : start + chunk], seed + SEED_STEP * number, store / f"{number:05d}.json")
        for number, start in enumerate(range(0, len(problems), chunk))
    ]


def assemble(parts: Sequence[Evaluation]) -> Evaluation:
    """One evaluation out of consecutive ones; seconds and tokens add up."""
    settings = dict(parts[0].settings)
    for total in ("seconds", "tokens"):
        if total in settings:
            settings[total] = round(sum(part.settings.get(total, 0) for part in parts), 1)
    return Evaluation([problem for part in parts for problem in part.problems], settings, parts[0].level)
