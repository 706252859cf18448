"""Shards: work cut into numbered units, each written whole or not at all, so that a kill loses one unit at most.

    units.json      the manifest: every unit with its range and its seed, and a digest of all that decides the results
    00000.jsonl     one finished unit: a first line about itself (number, rows, seconds, SHA-256 of the rest), then rows

A unit's result depends on its range and its seed, never on other units, the order they are done in, or a restart; so the
rows after any number of kills are the rows of an uninterrupted run. A shard that cannot be read (cut, altered, of other
work) is set aside as ``00000.jsonl.damaged`` and its unit is done again: nothing is guessed, nothing is lost, and what
is redone is equal where the worker is deterministic. Two folders of shards can stand for two steps of the same units.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trl_r1.errors import InfrastructureError
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Row


logger = logging.getLogger(__name__)

MANIFEST = "units.json"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def seed_of(*parts: Any) -> int:
    """A seed in [0, 2^31) that depends on all parts and on nothing else.

    >>> seed_of(0, "reasoning", 3) == seed_of(0, "reasoning", 3) != seed_of(0, "reasoning", 4)
    True
    """
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:4], "big") >> 1


class ShardError(InfrastructureError):
    """Shards cannot be written or read, in one sentence; what was finished before is kept."""


class OtherWork(ShardError, ValueError):
    """The folder holds the shards of other work: the data, the model or the settings have changed."""


@dataclass(frozen=True)
class Unit:
    """One piece of work: the prompts ``first`` up to but not including ``last`` of a pool."""

    number: int
    pool: str
    first: int
    last: int
    seed: int


def cut(pools: dict[str, int], size: int, seed: int) -> list[Unit]:
    """Units of at most ``size`` prompts for pools of given lengths; each unit gets a seed of its own.

    The seed depends on the run's seed, the pool's name and the first prompt alone, so adding a pool or prompts at the
    end changes no other unit.

    >>> [(u.number, u.pool, u.first, u.last) for u in cut({"a": 3, "b": 1}, size=2, seed=0)]
    [(0, 'a', 0, 2), (1, 'a', 2, 3), (2, 'b', 0, 1)]

    Raises:
        ValueError: the size is below 1.
    """
    if size < 1:
        raise ValueError(f"unit_prompts={size} makes no units; give a whole number of at least 1.")
    ranges = [
        (pool, first, min(first + size, length)) for pool, length in pools.items() for first in range(0, length, size)
    ]
    return [
        Unit(number, pool, first, last, seed_of(seed, pool, first))
        for number, (pool, first, last) in enumerate(ranges)
    ]


def digest_of(*parts: Any) -> str:
    """64 hex digits that change with anything in the parts (JSON values, or what ``str`` shows)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Shards:
    """The finished units of one piece of work in one folder.

    Args:
        folder: made when needed.
        units: all units of the work.
        digest: of all that decides the results; see ``digest_of``.
    """

    folder: Path
    units: Sequence[Unit]
    digest: str

    def open(self, derived: bool = False) -> None:
        """Writes the manifest, or checks that the folder holds this work; removes what a killed writer left half done.

        Args:
            derived: the units can be made again from others, so those of other work are set aside, as ``earlier`` in the
                folder, and not refused.

        Raises:
            OtherWork: the folder holds other work.
            ShardError: the disk is full, or the folder cannot be written.
        """
        path = self.folder / MANIFEST
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                there, cut_as = content["digest"], content["units"]
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise ShardError(
                    f"{path} cannot be read ({error}), so it is unknown whose shards these are."
                ) from error
            same = there == self.digest and cut_as == [asdict(unit) for unit in self.units]
            finished = sorted(self.folder.glob("[0-9]*.jsonl"))
            if not same and finished and not derived:
                raise OtherWork(
                    f"{self.folder} holds shards of other work: the prompts, the model or the settings have changed "
                    "since. Choose another output_dir, or undo the change."
                )
            if not same:
                for unit in finished:
                    (self.folder / "earlier").mkdir(exist_ok=True)
                    unit.replace(self.folder / "earlier" / unit.name)
                if finished:
                    logger.warning(
                        "The %d units in %s were made with other settings; they are set aside in its folder 'earlier' and "
                        "made anew.", len(finished), self.folder,
                    )  # fmt: skip
                path.unlink()
        if not path.is_file():
            content = {"digest": self.digest, "units": [asdict(unit) for unit in self.units]}
            self._write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        for left_over in self.folder.glob(".*.tmp"):
            left_over.unlink(missing_ok=True)

    def path(self, unit: Unit) -> Path:
        """Where a finished unit lies."""
        return self.folder / f"{unit.number:05d}.jsonl"

    def write(self, unit: Unit, rows: Iterable[Row], seconds: float = 0.0) -> None:
        """Writes a finished unit, whole or not at all.

        Raises:
            ShardError: the disk is full, or the folder cannot be written; the other shards are untouched.
        """
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
        body = _encoded("".join(line + "\n" for line in lines))
        head = {
            "unit": unit.number,
            "rows": len(lines),
            "sha256": hashlib.sha256(body).hexdigest(),
            "digest": self.digest,
            "seconds": round(seconds, 3),
        }
        self._write(self.path(unit), json.dumps(head).encode() + b"\n" + body)

    def read(self, unit: Unit) -> list[Row]:
        """The rows of a finished unit.

        Raises:
            ShardError: it is not there, or not what was written.
        """
        _, rows = self._load(unit)
        return rows

    def seconds(self) -> float:
        """What the finished units took together."""
        return sum(float(self._load(unit)[0].get("seconds", 0.0)) for unit in self.units if self.path(unit).is_file())

    def missing(self) -> list[Unit]:
        """The units that are still to be done; shards that cannot be read are set aside, said, and among them."""
        todo = []
        for unit in self.units:
            path = self.path(unit)
            if not path.exists():
                todo.append(unit)
                continue
            try:
                self._load(unit)
            except ShardError as error:
                aside = path.with_name(path.name + ".damaged")
                path.replace(aside)
                logger.warning("%s It is set aside as %s and its unit is done again.", error, aside.name)
                todo.append(unit)
        return todo

    def rows(self) -> Iterator[tuple[Unit, list[Row]]]:
        """All units with their rows, in order.

        Raises:
            ShardError: one is not finished or cannot be read.
        """
        for unit in self.units:
            yield unit, self.read(unit)

    def _load(self, unit: Unit) -> tuple[Row, list[Row]]:
        path = self.path(unit)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ShardError(f"The shard {path} is missing.") from None
        except OSError as error:
            raise ShardError(f"The shard {path} cannot be read ({error.strerror}).") from error
        first, _, body = content.partition(b"\n")
        try:
            head = json.loads(first)
            number, rows, checksum, digest = (head[key] for key in ("unit", "rows", "sha256", "digest"))
        except (ValueError, LookupError, TypeError):
            raise ShardError(f"The shard {path} is damaged: its first line is not what was written.") from None
        if number != unit.number or digest != self.digest:
            raise ShardError(f"The shard {path} belongs to other work.")
        if hashlib.sha256(body).hexdigest() != checksum:
            raise ShardError(f"The shard {path} is damaged: its rows are not what was written.")
        parsed = [json.loads(line) for line in body.decode("utf-8").split("\n") if line]
        if len(parsed) != rows:
            raise ShardError(f"The shard {path} is damaged: it has {len(parsed)} rows instead of {rows}.")
        return head, parsed

    def _write(self, path: Path, content: str | bytes) -> None:
        write_or_tell(path, content)


def write_or_tell(path: Path, content: str | bytes) -> None:
    """`replace_file` whose failure is one sentence.

    Raises:
        ShardError: the disk is full, or the file cannot be written. What was at ``path`` before is still there.
    """
    try:
        replace_file(path, content)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise ShardError(
                f"There is no room for {path} ({error.strerror}). Nothing that was finished is lost: make room, then "
                "start this again."
            ) from error
        raise ShardError(f"{path} cannot be written ({error.strerror or error}).") from error


def _encoded(text: str) -> bytes:
    """UTF-8; half a character, which a model can be made to write, as its JSON escape (see ``files.replace_file``)."""
    return text.encode("utf-8", errors="backslashreplace")
