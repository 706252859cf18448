"""Checkpoints that can be trusted: complete ones are found, broken ones are named, and they lie where resuming is exact."""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import TrainerState


logger = logging.getLogger(__name__)

WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
BESIDE = (  # the last two are written under FSDP with FULL_STATE_DICT
    "optimizer.pt",
    "scheduler.pt",
    "reference.safetensors",
    "critic.safetensors",
    "optimizer.bin",
    "pytorch_model_fsdp.bin",
)


def checkpoint_folder(trainer: Trainer, trial: Any = None) -> Path:
    """Where a trainer writes the checkpoint of its present step; made if it is not there yet."""
    folder = Path(trainer._get_output_dir(trial=trial)) / f"checkpoint-{trainer.state.global_step}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def what_is_broken(checkpoint: str | os.PathLike) -> str | None:
    """What keeps a run from resuming at `checkpoint`, as half a sentence; None when it is complete.

    The trainer writes `trainer_state.json` last, so a kill in mid-write leaves a folder without it. The sizes of the
    tensor files are compared with what their headers announce, so that a truncated copy is noticed too.
    """
    folder = Path(checkpoint)
    if not folder.is_dir():
        return "it does not exist"
    state = folder / "trainer_state.json"
    if not state.is_file():
        return "trainer_state.json is missing (the run was stopped while writing it)"
    try:
        json.loads(state.read_text())
    except ValueError:
        return "trainer_state.json is cut off"
    if (folder / "model.safetensors.index.json").is_file():
        names = set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values())
    else:
        names = {name for name in WEIGHTS if (folder / name).is_file()}
        if not names and not any(folder.glob("pytorch_model_fsdp*")) and not any(folder.glob("global_step*")):
            return "it holds no weights"
    for name in sorted(names):
        problem = _truncated(folder / name)
        if problem:
            return problem
    for name in BESIDE:
        if (folder / name).exists():
            problem = _truncated(folder / name)
            if problem:
                return problem
    return None


def _truncated(path: Path) -> str | None:
    if not path.is_file():
        return f"{path.name} is missing"
    if path.suffix == ".safetensors":
        size = path.stat().st_size
        with open(path, "rb") as file:
            header = int.from_bytes(file.read(8), "little")
            if size < 8 or header > size:
                return f"{path.name} is cut off"
            try:
                tensors = json.loads(file.read(header))
            except ValueError:
                return f"{path.name} is damaged"
        ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
        if 8 + header + max(ends, default=0) != size:
            return f"{path.name} is cut off"
    elif not zipfile.is_zipfile(path):  # what torch.save writes
        return f"{path.name} is cut off"
    return None


def newest_complete(folder: str | os.PathLike) -> str | None:
    """The complete checkpoint with the highest step in `folder`, or None; broken ones are skipped with a warning."""
    complete = []
    for path in Path(folder).glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and path.is_dir():
            complete.append((int(match.group(1)), path))
    for _, path in sorted(complete, reverse=True):
        problem = what_is_broken(path)
        if problem is None:
            return str(path)
        logger.warning("Skipping %s: %s.", path, problem)
    return None


def resolve_resume(resume_from_checkpoint: str | bool | None, folder: str | os.PathLike) -> str | None:
    """What `Trainer.train(resume_from_checkpoint=...)` should get: a complete checkpoint or None.

    Raises:
        ValueError: a named checkpoint is broken or missing, or True was given and the folder has no complete one.
    """
    if resume_from_checkpoint is None or resume_from_checkpoint is False:
        return None
    if isinstance(resume_from_checkpoint, str) and resume_from_checkpoint.lower() not in ("true", "1", "yes"):
        problem = what_is_broken(resume_from_checkpoint)
        if problem:
            other = newest_complete(Path(resume_from_checkpoint).parent)
            raise ValueError(
                f"Cannot resume from {resume_from_checkpoint}: {problem}. "
                + (f"The newest complete checkpoint beside it is {other}." if other else "Start without it.")
            )
        return resume_from_checkpoint
    checkpoint = newest_complete(folder)
    if checkpoint is None:
        raise ValueError(
            f"Cannot resume: {folder} holds no complete checkpoint. Start without resume_from_checkpoint."
        )
    return checkpoint


def train(trainer: Trainer, resume: str | None) -> None:
    """``trainer.train(resume_from_checkpoint=resume)``; a checkpoint of the last step is loaded and not trained further.

    The Trainer compares with ``max_steps`` only after a step (transformers 5.23), so a run that was killed between its
    last step and its end, say in the evaluation, would take one step too many and end with other weights.
    DeepSpeed and FSDP load their weights inside the training loop: there that step is still taken.
    """
    if (
        resume is not None
        and 0 < trainer.args.max_steps
        and not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled)
    ):
        state = TrainerState.load_from_json(os.path.join(resume, "trainer_state.json"))
        if state.global_step >= trainer.args.max_steps:
            trainer._load_from_checkpoint(resume)
            trainer.state = state
            return
    trainer.train(resume_from_checkpoint=resume)


class SaveAtBoundary(TrainerCallback):
    """Moves a checkpoint that would fall between two generations to the next moment without left-over rollouts.

    TRL generates every ``steps_per_generation * num_iterations`` micro-steps and drops the rollouts it still holds when it
    resumes, so only where none are left does a resumed run equal an uninterrupted one. The last step of a run is saved
    where it is.

    Args:
        left_over: tells how many micro-steps the rollouts at hand still serve; 0 at a boundary.
        micro_steps: gradient accumulation, for the sentence that says where the checkpoint goes.
    """

    def __init__(self, left_over: Callable[[], int], micro_steps: int):
        self.left_over, self.micro_steps = left_over, micro_steps
        self.pending = False
        self.has_spoken = False

    def _move(self, state, control):
        left_steps = self.left_over()
        if control.should_save and left_steps and state.global_step < state.max_steps:
            control.should_save = False
            self.pending = True
            if not self.has_spoken and state.is_world_process_zero:
                self.has_spoken = True
                logger.warning(
                    "The checkpoint due at step %d is moved to step %d, where the rollouts at hand are used up: only there "
                    "does a resumed run equal an uninterrupted one. Later ones move alike.",
                    state.global_step,
                    state.global_step + -(-left_steps // self.micro_steps),
                )
        elif self.pending and not left_steps:
            control.should_save = True
            self.pending = False

    def on_step_end(self, args, state, control, **kwargs):
        self._move(state, control)

    def on_epoch_end(self, args, state, control, **kwargs):
        self._move(state, control)
