"""Texts from a light copy of the model (`rollout_copy`), in stages that write with a model and train none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from trl_r1.grpo.copies.kinds import check_kind


FIRST = 8  # prompts that a copy is tried on


@dataclass
class WritingOptions:
    """Which model writes."""

    rollout_copy: str = field(
        default="none",
        metadata={
            "help": "Who writes: 'none' (the model), or a copy that only generates, its adapter merged and its 4 bits "
            "decoded: 'merged', 'bfloat16' (lighter and a little off: the report says how far), 'auto' (measures). See "
            "docs/performance.md."
        },
    )

    def check_writing(self, elsewhere: bool) -> None:
        """Args: elsewhere: other programs or workers write.

        Raises:
            ValueError: no such copy, or none can be made.
        """
        check_kind(self.rollout_copy)
        if self.rollout_copy != "none" and elsewhere:
            raise ValueError(
                f"rollout_copy={self.rollout_copy!r} is a copy of a model in this process, and an endpoint or the workers "
                "of a cluster write here. Set rollout_copy: none, or drop engine, endpoint and ray_workers."
            )


def load_writer(
    load: Callable[[], tuple[Any, Any]],
    options: Any,
    folder: Path,
    prompts: Callable[[Any, Any], Sequence[Sequence[int]]],
) -> tuple[Any, Any]:
    """The model that writes, and its tokenizer. How far a copy is from its model is left in `folder`.

    Args:
        load: the model itself, and its tokenizer.
        options: a `WritingOptions` with `distributed_state`.
        prompts: (model, tokenizer) -> token lists of the first prompts.

    Raises:
        ValueError: it cannot be loaded or copied, or processes are to choose for themselves.
    """
    model, tokenizer = load()
    if options.rollout_copy == "none":
        return model, tokenizer
    from trl_r1.grpo.copies.writer import Difference, writer

    state, known = options.distributed_state, Difference.load(folder)
    kind = options.rollout_copy if known is None else known.kind  # what `auto` chose, it keeps
    if kind == "none":
        return model, tokenizer
    if kind == "auto" and state.num_processes > 1:
        raise ValueError(
            "rollout_copy='auto' measures in one process, and there are several. Set rollout_copy to merged or bfloat16."
        )
    written, difference = writer(model, kind, prompts(model, tokenizer))
    if known is None and state.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        difference.save(folder)
    return written, tokenizer


def first_ids(renderer: Any, prompts: Any) -> list[list[int]]:
    """Token ids of the first prompts."""
    return [renderer.prompt_ids(prompt) for prompt in islice(prompts, FIRST)]


def told(options: Any, folder: Path) -> list[str]:
    """What a report says of the copy that wrote: one sentence, or none where the model itself did."""
    if options.rollout_copy == "none":
        return []
    from trl_r1.grpo.copies.writer import Difference

    known = Difference.load(folder)
    return [] if known is None else [str(known)]
