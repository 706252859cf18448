"""run.json: whose folder this is. A second run of the same settings resumes in it; another run is refused.

A folder is locked only against what would make its content untrue. Before there is any (`CONTENT`) every setting may change;
after that what is only measured or written (`WATCHING`, or what a stage names) may; of a finished run nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Collection, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json
from trl_r1.version import __version__


FILE_NAME = "run.json"
PACKAGES = ("torch", "trl", "transformers", "peft", "accelerate", "bitsandbytes", "datasets")
# what may differ between two starts of one run: where it lies, how it is watched, what the machine decides
VOLATILE = {
    "output_dir", "logging_dir", "resume_from_checkpoint", "report_to", "run_name", "disable_tqdm", "local_rank",
    "push_to_hub", "hub_token", "hub_model_id", "hub_private_repo", "log_level", "log_on_each_node", "project",
    "dataloader_num_workers", "save_total_limit", "deepspeed_plugin", "distributed_state", "trackio_space_id",
}  # fmt: skip


SUMMARY = "summary.json"  # the last file of a run
CONTENT = ("checkpoint-*", "*.safetensors", "*/checkpoint-*", "*/*.safetensors")  # what a training leaves
# what a setting changes nothing about: the trajectory is the same, it is looked at otherwise or written more often
WATCHING = frozenset(
    {
        "evaluation_problems", "evaluation_samples", "evaluation_batch_size", "probe_every", "probe_problems",
        "probe_samples", "drift_every", "logging_steps", "logging_strategy", "logging_first_step", "save_steps",
        "save_strategy", "log_completions", "num_completions_to_print", "log_unique_prompts",
    }
)  # fmt: skip
BEFORE_TRAINING = ("evaluation_before.json", "hidden_before.json", "metrics.jsonl", "seconds.json", "data.jsonl")

Changes = dict[str, tuple[Any, Any]]  # a setting -> its value then and now


def versions() -> dict[str, str]:
    """Installed versions of what decides a run's numbers."""
    packages = {"trl_r1": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            packages[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            packages[package] = "not installed"
    return packages


def settings_of(*parts: Any) -> Json:
    """All fields of the given dataclass instances that decide a run's numbers, JSON-able, sorted by name."""
    merged: Json = {}
    for part in parts:
        fields = part.to_dict() if hasattr(part, "to_dict") else vars(part)
        merged.update({key: value for key, value in fields.items() if key not in VOLATILE and not key.startswith("_")})
    return json.loads(json.dumps(dict(sorted(merged.items())), default=str))


def belongs(
    output_dir: str | Path,
    stage: str,
    settings: Json,
    explicit_resume: bool,
    content: Sequence[str] = CONTENT,
    later: Collection[str] = WATCHING,
) -> Changes | None:
    """What has changed since this same run was in `output_dir` (then it resumes there); None for a free folder.

    Args:
        content: patterns of files that other settings would make untrue.
        later: settings that may change though there are such files.

    Raises:
        ValueError: the folder holds another run, or files that no run of ours wrote. Nothing is changed.
    """
    folder = Path(output_dir)
    path = folder / FILE_NAME
    if path.is_file():
        if explicit_resume:
            return {}
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path} is not readable ({error}), so it cannot be told whose folder {folder} is. Choose another "
                "output_dir."
            ) from error
        difference, changes = _difference(before, stage, settings)
        if difference and not _may_change(folder, changes, content, later):
            hint = ""
            if changes and set(changes) <= set(later):
                hint = f" Or remove its {SUMMARY}, and it goes on with that change."
            raise ValueError(
                f"output_dir {folder} holds another run, started {before.get('started')}: {difference}. Choose another "
                f"output_dir, or remove the folder if that run is not needed.{hint}"
            )
        return changes
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir {folder} is a file; give a folder that does not exist yet or is empty.")
    # a run killed while it wrote its first file leaves a nameless half of it, which is nobody's
    there = sorted(p.name for p in folder.iterdir() if not p.match(f".{FILE_NAME}.*.tmp")) if folder.is_dir() else []
    if there:
        first = there[0]
        raise ValueError(
            f"output_dir {folder} is not empty ({first}, ...) and holds no {FILE_NAME}, so it is not a run of this "
            "package. Choose another output_dir; nothing was changed."
        )
    return None


def _may_change(folder: Path, changes: Changes, content: Sequence[str], later: Collection[str]) -> bool:
    """Whether a run goes on with other settings; `changes` is empty where it is of another stage."""
    if not changes or (folder / SUMMARY).is_file():
        return False
    return set(changes) <= set(later) or not has_content(folder, content)


def has_content(folder: Path, content: Sequence[str] = CONTENT) -> bool:
    """Whether a run's folder holds what it was started for, or a part of it; a half-written checkpoint is none."""
    found = (path for pattern in content for path in folder.glob(pattern) if path.name != FILE_NAME)
    return any(not path.is_dir() or (path / "trainer_state.json").is_file() for path in found)


def amend(output_dir: str | Path, settings: Json, changes: Changes, content: Sequence[str] = CONTENT) -> str:
    """Writes the changed settings into `run.json`, keeps what they were, and says so in a line.

    Where nothing has been trained, what was measured for the settings before (`BEFORE_TRAINING`) is removed.
    """
    folder = Path(output_dir)
    record = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    record["settings"] = settings
    was = {key: then for key, (then, _) in changes.items()}
    today = datetime.now(timezone.utc).isoformat(timespec="seconds")
    record["changed"] = [*record.get("changed", []), {"at": today, "versions": versions(), "was": was}]
    if not has_content(folder, content):
        for name in BEFORE_TRAINING:
            (folder / name).unlink(missing_ok=True)
    replace_file(folder / FILE_NAME, json.dumps(record, indent=1, ensure_ascii=False))
    told = ", ".join(f"{key} was {then!r} and is {now!r}" for key, (then, now) in changes.items())
    return f"This run goes on with changed settings: {told}."


def claim(output_dir: str | Path, stage: str, settings: Json) -> None:
    """Writes `run.json` into a folder that `belongs` found free."""
    record = {
        "stage": stage,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
        "settings": settings,
    }
    replace_file(Path(output_dir) / FILE_NAME, json.dumps(record, indent=1, ensure_ascii=False))


def hold(output_dir: str | Path) -> FileLock:
    """Keeps a claimed folder for this process until it ends (a killed one lets go too).

    Raises:
        ValueError: another process is at work in it.
    """
    lock = FileLock(Path(output_dir) / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"Another process is training in {output_dir} right now. Wait for it, stop it, or choose another output_dir."
        ) from None
    return lock


def _difference(before: Json, stage: str, settings: Json) -> tuple[str | None, Changes]:
    """The first difference between two runs, in words, and all differences of settings."""
    if before.get("stage") != stage:
        return f"it is a run of the stage {before.get('stage')!r}, this is {stage!r}", {}
    old = before.get("settings", {})
    changed = {key: (old[key], settings[key]) for key in settings if key in old and old[key] != settings[key]}
    if not changed:
        return None, {}
    key, (then, now) = next(iter(changed.items()))
    more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    return f"{key} was {then!r} there and is {now!r} here{more}", changed
