"""Ten steps of the stage zero on this device, killed in the seventh and started again: the same losses and weights?

A second run without a kill says whether the device repeats itself at all. The model is small, since states are what counts:
NF4 and LoRA as the recipe has them, the optimizer's state, random states, the order of the prompts.
"""

from __future__ import annotations

import hashlib
import os
import signal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from gpu_sections.catalogue import Note, Setting


ROOT = Path(__file__).resolve().parents[2]
STEPS, SAVED, KILLED = 10, 5, 7
LONGEST = 100  # seconds for one run
COMPARED = ("step", "loss", "grad_norm", "kl")


def measure(setting: Setting, note: Note) -> None:
    """Starts no CUDA itself: the runs fork from here."""
    small = Setting(setting.device, True, setting.scratch / "resume")
    small.scratch.mkdir(exist_ok=True)
    note(steps=STEPS, killed_in_step=KILLED, checkpoint_of_step=SAVED)
    whole = one_run(small, "whole")
    ended = in_a_process(start, small, "killed", KILLED)
    folder = small.scratch / "runs" / "killed"
    if ended != -signal.SIGKILL or not (folder / f"checkpoint-{SAVED}").is_dir() or (folder / "summary.json").exists():
        raise RuntimeError(
            f"The run to be killed ended with {ended} and left {sorted(path.name for path in folder.glob('*'))}."
        )
    resumed = one_run(small, "killed")
    note(losses_equal=resumed["losses"] == whole["losses"], weights_equal=resumed["weights"] == whole["weights"],
         steps_logged=len(resumed["losses"]), gradient_norms=[row[2] for row in whole["losses"]])  # fmt: skip
    note(device_repeats_itself=one_run(small, "again") == whole)


def one_run(setting: Setting, name: str) -> dict[str, Any]:
    """A run to its end: what it logged and the digests of what it trained.

    Raises:
        RuntimeError: it did not get there.
    """
    from trl_r1.storage.files import read_json_lines

    folder = setting.scratch / "runs" / name
    ended = in_a_process(start, setting, name, None)
    if ended != 0 or not (folder / "summary.json").is_file():
        raise RuntimeError(f"The run {name!r} ended with {ended}.")
    lines = [row for row in read_json_lines(folder / "metrics.jsonl") if "loss" in row]
    weights = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))
    }
    return {"losses": [[row.get(key) for key in COMPARED] for row in lines], "weights": weights}


def in_a_process(function: Any, *args: Any) -> int | None:
    """The exit code of a function in a process of its own."""
    process = get_context("fork").Process(target=function, args=args)
    process.start()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join(10)
    return process.exitcode


def start(setting: Setting, name: str, killed: int | None) -> None:
    """The stage zero in miniature, which dies at the beginning of a step if one is given."""
    import torch
    import transformers.trainer
    from transformers import TrainerCallback

    from gpu_sections.inputs import prepared
    from trl_r1.stages import zero

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if killed is not None and state.global_step + 1 == killed:
                os.kill(os.getpid(), signal.SIGKILL)

    transformers.trainer.DEFAULT_CALLBACKS.append(Kill)
    torch.use_deterministic_algorithms(True, warn_only=True)
    _, path, settings = prepared("zero", setting, ROOT, whole=False)
    settings["rewards"] = [{"name": "gpu_sections.gradients:length_reward"}]  # random weights earn nothing else
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    more = {
        "output_dir": setting.scratch / "runs" / name,
        "max_steps": STEPS,
        "save_strategy": "steps",
        "save_steps": SAVED,
    }
    zero.main(["--config", str(path), *(word for key, value in more.items() for word in (f"--{key}", str(value)))])
