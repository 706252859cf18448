"""gpu.json: what was measured, where and when; a second call goes on from it."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gpu_sections.processes import Outcome
from trl_r1.storage.files import replace_file


class Record:
    """The sections' outcomes in FOLDER/gpu.json.

    Args:
        folder: made where it is missing.
        identity: card, device, tiny: what has to be the same for a second call.

    Raises:
        ValueError: the folder holds figures of another card, device or size, or a file that is no record.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.path = folder / "gpu.json"
        self.content: dict[str, Any] = {**identity, "sections": {}, "left_out": []}
        if self.path.is_file():
            self.content = _read(self.path)
            for key, value in identity.items():
                if self.content.get(key) != value:
                    raise ValueError(
                        f"{self.path} was measured with {key}={self.content.get(key)!r}, and this call has {value!r}. "
                        "Give another --output."
                    )

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """Outcomes by the sections' names, each with its date and commit."""
        return self.content["sections"]

    def finished(self, again: Collection[str] = ()) -> set[str]:
        """The sections that a second call leaves alone."""
        return {name for name, kept in self.sections.items() if kept["status"] == "finished" and name not in again}

    def keep(self, name: str, outcome: Outcome, commit: str | None) -> None:
        """Writes a section's outcome at once."""
        today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        self.sections[name] = {**asdict(outcome), "date": today, "commit": commit}
        self.write()

    def leave_out(self, names: list[str]) -> None:
        """Notes what there was no time for."""
        self.content["left_out"] = names
        self.write()

    def write(self) -> None:
        replace_file(self.path, json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A record's content.

    Raises:
        ValueError: there is none, or it is no record.
    """
    if not path.is_file():
        raise ValueError(f"There is no {path}. Measure first, or give the folder that holds gpu.json as --output.")
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(content["sections"], dict)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{path} is not a record of this benchmark. Remove it, or give another --output.") from error
    return content


def card_of(device: str) -> str:
    """The name of the first card as the driver tells it, without starting CUDA; of a CPU, the processor's."""
    if device == "cuda":
        try:
            asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
            told = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
            return told.strip().splitlines()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            return "GPU"
    return f"CPU, {platform.machine()}"


def commit_of(root: Path) -> str | None:
    """The checkout's short commit, with + where files differ from it; None outside a checkout."""
    try:
        asked = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
