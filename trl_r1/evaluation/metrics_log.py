"""The metrics log: one JSON object per logged step in ``<folder>/metrics.jsonl``, true to the run it describes.

After a resume the file holds each step once: what was logged after the checkpoint belongs to a future that did not
happen and is dropped. After kill -9 in the middle of a line the cut line is dropped.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trl_r1.storage.files import read_json_lines, replace_file
from trl_r1.text.records import Row


FILE = "metrics.jsonl"


class MetricsLog(TrainerCallback):
    """Writes every line the trainer logs (and ``step``) to ``<folder>/metrics.jsonl``; main process only.

    Args:
        folder: of the run; made when the first line comes.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / FILE

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Bring the file in line with where training starts.

        From a checkpoint: keep the steps up to it. From step 0 with the log of an earlier run in the folder: move that
        log aside to ``metrics.previous.jsonl`` (``.previous-2``, ...), neither mixing two runs nor losing one.
        """
        if not state.is_world_process_zero or not self.path.exists():
            return
        rows = read_json_lines(self.path)
        if state.global_step == 0:
            last = max((i for i, row in enumerate(rows) if step_of(row) > 0), default=-1)
            if last >= 0:
                os.replace(self.path, free_name(self.path))
            rows = rows[last + 1 :]  # a measurement at step 0 just before this start is ours
        else:
            rows = [row for row in rows if step_of(row) <= state.global_step]
        replace_file(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Row | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        row = {"step": state.global_step, **{key: loggable(value) for key, value in logs.items()}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+") as file:  # one write of one whole line, after whatever a killed process left
            if file.tell() and not ends_with_newline(file):
                file.write(b"\n")
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", errors="backslashreplace") + b"\n")
            file.flush()


def step_of(row: Row) -> float:
    """The step of a log line; a line without one counts as step 0."""
    step = row.get("step", 0)
    return step if isinstance(step, int | float) else 0


def loggable(value: Any) -> Any:
    """A logged value as JSON takes it: numbers as numbers, NaN and infinities as None, anything unknown as text."""
    if hasattr(value, "item") and getattr(value, "size", None) is not None and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(key): loggable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [loggable(part) for part in value]
    return str(value)


def ends_with_newline(file: Any) -> bool:
    """Whether a file opened for appending ends with a whole line; leaves the position at the end."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def free_name(path: Path) -> Path:
    """``metrics.previous.jsonl`` beside the file, numbered from 2 when it is taken."""
    candidate, number = path.with_suffix(".previous" + path.suffix), 2
    while candidate.exists():
        candidate, number = path.with_suffix(f".previous-{number}{path.suffix}"), number + 1
    return candidate
