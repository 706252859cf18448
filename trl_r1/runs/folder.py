"""What every act begins with: a folder that is free or its own, a model that can be loaded, libraries that keep quiet.

Shared by the acts behind the stages (`runs.rl.run_rl`, `runs.sft.run_sft` and their kin). A mistake found here is a
ValueError of one sentence, and nothing but `run.json` in a free folder was written by then.
"""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, TrainingArguments
from trl import ModelConfig

from trl_r1.models.adapters import is_adapter, merged
from trl_r1.models.gguf import is_gguf, resolve_gguf
from trl_r1.models.load import cannot_load
from trl_r1.storage import manifest
from trl_r1.storage.checkpoints import newest_complete, resolve_resume
from trl_r1.storage.files import looks_like_path, replace_file
from trl_r1.text.records import Json


SUMMARY = manifest.SUMMARY


@dataclass
class RunFolder:
    """The `output_dir` of a run: first looked at, then, when everything else is in order, taken.

    `take` belongs to the main process's duties too, but is called by all: the others only learn where to resume.
    """

    config: TrainingArguments
    stage: str
    settings: Json
    explicit: bool  # the user named a checkpoint, or asked for the newest
    changes: manifest.Changes | None  # since this same run was here; None: it was not
    resume: str | None
    content: Sequence[str] = manifest.CONTENT
    lock: Any = None  # held while the run lives, by the main process

    @classmethod
    def look(
        cls,
        stage: str,
        config: TrainingArguments,
        settings: Json,
        content: Sequence[str] = manifest.CONTENT,
        later: Collection[str] = manifest.WATCHING,
    ) -> RunFolder:
        """Whether the folder can be used, without changing anything in it.

        Args:
            content: patterns of files that other settings would make untrue; until there are some all may change.
            later: settings that may change even then.

        Raises:
            ValueError: it holds another run or somebody's files, or the named checkpoint is broken.
        """
        explicit = config.resume_from_checkpoint not in (None, False)
        resume = resolve_resume(config.resume_from_checkpoint, config.output_dir) if explicit else None
        changes = manifest.belongs(config.output_dir, stage, settings, explicit, content, later)
        config.distributed_state.wait_for_everyone()  # all have looked before one writes
        return cls(config, stage, settings, explicit, changes, resume, content)

    def take(self) -> RunFolder:
        """Writes `run.json` if the folder was free, locks it, says what has changed, and finds the checkpoint to go on from.

        Raises:
            ValueError: another process is at work in it.
        """
        if self.config.distributed_state.is_main_process:
            if self.changes is None:
                manifest.claim(self.config.output_dir, self.stage, self.settings)
            self.lock = manifest.hold(self.config.output_dir)
            if self.changes:
                print(manifest.amend(self.config.output_dir, self.settings, self.changes, self.content))
        if self.changes:
            self.config.distributed_state.wait_for_everyone()  # what was measured before may just have been removed
        if self.changes is not None and not self.explicit:
            self.resume = newest_complete(self.config.output_dir)
        return self

    def let_go(self) -> None:
        """Unlocks the folder, for a process that goes on after its run."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None


def find_model(name: str | None, config: TrainingArguments, revision: str | None = "main") -> str:
    """A name that `from_pretrained` takes.

    A miniature model is built, a GGUF file converted, if it is not in the cache yet; an adapter (what a LoRA or QLoRA
    stage leaves) is merged into its base, once, in the folder `merged` beside it.

    Raises:
        ValueError: nothing of that name can be loaded.
    """
    if not name:
        raise ValueError("No model was named; set model_name_or_path to a hub id, a local folder or mini:base.")
    if name.startswith("mini:"):
        from trl_r1.mini.store import resolve_model

        with config.distributed_state.main_process_first():
            return str(resolve_model(name, config.seed))
    if is_gguf(name):
        with config.distributed_state.main_process_first():
            return resolve_gguf(name)
    if looks_like_path(name) and not Path(name).expanduser().exists():
        raise ValueError(f"model_name_or_path={name!r}: there is no such folder. Give a hub id or an existing folder.")
    if is_adapter(name):
        with config.distributed_state.main_process_first():
            return str(merged(name))
    try:
        AutoConfig.from_pretrained(
            name, revision=revision, trust_remote_code=getattr(config, "trust_remote_code", False)
        )
    except (OSError, ValueError) as error:
        raise ValueError(cannot_load(name, error)) from error
    return name


def model_options(model: ModelConfig, options: Json | str | None) -> Json:
    """`model_init_kwargs` of a trainer: what the model's own fields say, under what the recipe gave itself."""
    options = json.loads(options) if isinstance(options, str) else options
    return {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        **(options or {}),
    }


def finished(config: TrainingArguments) -> Json | None:
    """The summary of a run that was finished by an earlier start (and says so); None while there is work to do."""
    path = Path(config.output_dir) / SUMMARY
    if not path.is_file() or config.resume_from_checkpoint not in (None, False):
        return None
    if config.distributed_state.is_main_process:
        print(f"This run is finished already; its report is {path.parent / 'report.md'}.")
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def elapsed(path: Path, main: bool) -> Iterator[list[float]]:
    """Training seconds over all starts of a run; [0] is the total so far when the block ends."""
    earlier = json.loads(path.read_text())["training_seconds"] if path.is_file() else 0.0
    total, began = [earlier], time.time()
    try:
        yield total
    finally:
        total[0] = earlier + time.time() - began
        if main:
            replace_file(path, json.dumps({"training_seconds": total[0]}))


def quiet_libraries() -> None:
    """Only warnings from the libraries, so that a run's own lines can be read."""
    import datasets
    import transformers

    if os.environ.get("RANK", "0") != "0":
        transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.|trl\.")
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
