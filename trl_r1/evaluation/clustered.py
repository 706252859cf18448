"""Chunks on a Ray cluster: every chunk of every part that is not stored yet is sampled and graded by some worker.

    sample_chunks(cluster, wanted, start)     leaves the chunks where `chunks.evaluate_in_chunks` finds them

A chunk's texts depend on its problems and its seed (see `chunks.cut`), so they equal those of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from trl_r1.evaluation.benchmark import Evaluation, Graders, evaluate
from trl_r1.evaluation.chunks import Chunk, Sampling
from trl_r1.evaluation.graded import GradedProblem
from trl_r1.models.cluster import Cluster, Work, scatter
from trl_r1.models.rendering import Renderer
from trl_r1.text.records import Json


Wanted = tuple[Chunk, Sampling]  # a chunk, and how its part's answers are drawn


def sample_chunks(
    cluster: Cluster,
    wanted: Sequence[Wanted],
    start: Callable[[], Work],
    progress: Callable[[str], None] | None = None,
) -> None:
    """Samples and stores the chunks that are not there yet, each as soon as it is finished.

    Raises:
        EngineError: the cluster cannot go on; what is stored stays.
        ValueError: a stored chunk belongs to other problems.
    """
    todo = [(chunk, sampling) for chunk, sampling in wanted if chunk.stored() is None]
    jobs = [{"rows": list(chunk.rows), "seed": chunk.seed, "sampling": sampling} for chunk, sampling in todo]
    for done, (number, content, _) in enumerate(scatter(cluster, jobs, start), start=1):
        chunk = todo[number][0]
        unpacked(content).save(chunk.path)
        if progress is not None:
            progress(f"{chunk.path.parent.name}: {done} of {len(jobs)} pieces are sampled")


def start_evaluating(
    load: Callable[[], tuple[Any, Any]],
    graders: Graders,
    threads: int,
    render: Callable[[Any, Any], Renderer] | None = None,
) -> Work:
    """In a worker: loads the model, and returns what evaluates a chunk.

    Args:
        render: (model, tokenizer) -> what renders prompts and reads replies; None is one with no options.

    Raises:
        ValueError: the model cannot be loaded there.
    """
    torch.set_num_threads(threads)
    model, tokenizer = load()
    renderer = None if render is None else render(model, tokenizer)

    def work(job: Json) -> Json:
        options: Json = {"seed": job["seed"], "progress": False, "graders": graders, **job["sampling"]}
        return packed(evaluate(model, tokenizer, job["rows"], renderer=renderer, **options))

    return work


def packed(evaluation: Evaluation) -> Json:
    """An evaluation as JSON values; NaN is Python's own word for JSON."""
    return {"problems": [problem.to_row() for problem in evaluation.problems], "settings": evaluation.settings}


def unpacked(content: Json) -> Evaluation:
    """
    >>> import json
    >>> from trl_r1.evaluation.graded import GradedSample
    >>> from trl_r1.text.records import Completion, Problem
    >>> one = GradedProblem(Problem("p", "", "4"), [GradedSample(Completion("4", 1), "4", True)])
    >>> back = unpacked(json.loads(json.dumps(packed(Evaluation([one], {"seed": 3})))))
    >>> back.problems[0].samples == one.samples, back.problems[0].consensus, back.settings
    (True, nan, {'seed': 3})
    """
    return Evaluation([GradedProblem.of_row(row) for row in content["problems"]], content["settings"])
