"""Files that survive a crash: written whole or not at all; read up to the line the crash cut in half."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trl_r1.text.records import Row


READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}  # data files -> who reads them


def replace_file(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one, never half of one.

    Text becomes UTF-8; a lone surrogate (half a character, which a model can be made to write) becomes its ``\\udXXX``
    escape, which inside a JSON string means the same thing.

    Raises:
        OSError: the folder cannot be made or written; no temporary file stays behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8", errors="backslashreplace") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())  # mkstemp makes private files; a report is not one
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def current_umask() -> int:
    """The process's file mode mask (which the operating system only tells while setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read_json_lines(path: str | os.PathLike[str]) -> list[Row]:
    """The JSON objects of a file, one per line, without the lines that are not a whole object; [] without a file.

    A process killed while it writes leaves such a line, at the end or, if it was started again, in the middle.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue  # blank or cut
        if isinstance(row, dict):
            rows.append(row)
    return rows


def append_json_lines(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds rows to a file of JSON lines, beginning on a line of its own where a killed process left half of one."""
    lines = [json.dumps(row) + "\n" for row in rows]
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(["\n" if cut_off(Path(path)) else "", *lines]))


def cut_off(path: Path) -> bool:
    """Whether the last line of a file lacks its end, so that the next one must not be joined to it."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with open(path, "rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def looks_like_path(name: str) -> bool:
    """Whether a name was surely meant as a place on this disk; a hub id is ``name`` or ``owner/name``."""
    return (
        name.startswith((".", "/", "~"))
        or "\\" in name
        or name.count("/") > 1
        or name.endswith("/")
        or Path(name).suffix.lower() in {*READERS, ".txt", ".tsv", ".arrow", ".gz", ".zip"}
    )
