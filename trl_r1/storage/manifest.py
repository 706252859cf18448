"""run.json: whose folder this is. A second run of the same settings resumes in it; another run is refused."""

from __future__ import annotations

import importlib.metadata
import json
import platform
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


def belongs(output_dir: str | Path, stage: str, settings: Json, explicit_resume: bool) -> bool:
    """Whether this same run was in `output_dir` before (then it resumes there); False for a free folder.

    Raises:
        ValueError: the folder holds another run, or files that no run of ours wrote. Nothing is changed.
    """
    folder = Path(output_dir)
    path = folder / FILE_NAME
    if path.is_file():
        if explicit_resume:
            return True
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path} is not readable ({error}), so it cannot be told whose folder {folder} is. Choose another "
                "output_dir."
            ) from error
        difference = _difference(before, stage, settings)
        if difference:
            raise ValueError(
                f"output_dir {folder} holds another run, started {before.get('started')}: {difference}. Choose another "
                "output_dir, or remove the folder if that run is not needed."
            )
        return True
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
    return False


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


def _difference(before: Json, stage: str, settings: Json) -> str | None:
    """The first difference between two runs, in words."""
    if before.get("stage") != stage:
        return f"it is a run of the stage {before.get('stage')!r}, this is {stage!r}"
    old = before.get("settings", {})
    changed = [key for key in settings if key in old and old[key] != settings[key]]
    if not changed:
        return None
    key = changed[0]
    more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
    return f"{key} was {old[key]!r} there and is {settings[key]!r} here{more}"
