"""The path cache: paths that were drawn for a question before, for when it is asked again; bounded, thread-safe."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from trl_r1.routing.paths import Candidate, Settings
from trl_r1.text.records import Prompt


def cache_key(model: str, prompt: Prompt, settings: Settings, seed: int | None = None) -> str:
    """What has to be equal for paths to be used again: model, prompt, sampling settings, and a seed if one was asked for."""
    parts = [model, prompt, astuple(settings), seed]
    parts += [own] if (own := getattr(prompt, "own", None)) else []  # the prompt's own options for the chat template
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class PathCache:
    """Keeps the questions used last; the oldest goes when there are too many, or too many characters, altogether."""

    questions: int = 1024
    characters: int = 50_000_000
    hits: int = 0
    _kept: OrderedDict[str, tuple[Candidate, ...]] = field(default_factory=OrderedDict, repr=False)
    _size: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.questions < 1 or self.characters < 1:
            raise ValueError("A path cache keeps at least 1 question and 1 character; for none, use no cache.")

    def get(self, key: str) -> tuple[Candidate, ...]:
        """The paths of a question; () if it is not known."""
        with self._lock:
            entry = self._kept.get(key)
            if entry is None:
                return ()
            self.hits += 1
            self._kept.move_to_end(key)
            return entry

    def put(self, key: str, paths: Sequence[Candidate]) -> None:
        """Keeps the paths of a question, unless more are kept already (two may ask the same at once)."""
        size = sum(len(path.text) for path in paths)
        with self._lock:
            before = self._kept.get(key, ())
            if len(paths) <= len(before) or size > self.characters:
                return
            self._size += size - sum(len(path.text) for path in before)
            self._kept[key] = tuple(paths)
            self._kept.move_to_end(key)
            while len(self._kept) > self.questions or self._size > self.characters:
                _, gone = self._kept.popitem(last=False)
                self._size -= sum(len(path.text) for path in gone)

    def __len__(self) -> int:
        return len(self._kept)
