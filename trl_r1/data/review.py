"""Human review: rows out into a file, a person's marks and edits back in, each counted exactly once.

    review.jsonl or review.csv    the queue: one row each; a person fills `decision` with keep or drop, may rewrite
                                  `completion`, and may leave a `note`
    reviews.jsonl                 the ledger: what was decided, one line per row, written whole or not at all

An import takes all decisions of a file or none. What is decided is then in the ledger, the file is set aside as
``review.done-1.jsonl`` and a new queue holds what still waits: a row without a mark, or one whose line was deleted (that
is no decision). A kill between these steps changes nothing: the same decisions read again are the same decisions.

An edited completion without a mark counts as keep. White space at its ends and kinds of line breaks are no edit.
CSV is for spreadsheets: cells that one would take for a formula carry an apostrophe in front, which the import takes off.

Source  DeepSeek-R1, arXiv:2501.12948v1, Sec. 2.3.1 ("refining the results through post-processing by human annotators");
        v2, supplement B.3.2 (a second human verification). The file format is ours.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trl_r1.storage.shards import write_or_tell
from trl_r1.text.records import Row


DECISIONS = ("keep", "drop")
SHOWN = ("question", "solution", "language")  # for the reader; changing them is refused
COLUMNS = ("id", "decision", "note", *SHOWN, "completion")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")  # how a cell begins that a spreadsheet would compute (or our mark)


def sample_id(prompt: Any, completion: str) -> str:
    """The name of a sample: 16 hex digits of the SHA-256 of its prompt (text, or messages as JSON) and completion."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(f"{text}\0{completion}".encode("utf-8", errors="backslashreplace")).hexdigest()[:16]


@dataclass(frozen=True)
class Review:
    """What a person decided about one row."""

    id: str
    decision: str  # one of DECISIONS
    completion: str | None = None  # the new text, where it was edited
    note: str = ""


@dataclass(frozen=True)
class ReviewQueue:
    """Rows for a person, the file they travel in, and the ledger of what came back.

    Args:
        path: of the file that a person edits; ``.csv``, or JSON lines.
        rows: with `id`, `prompt`, `completion` and whatever of ``SHOWN`` there is.
        objection: what speaks against an edited text, as half a sentence; None if nothing does.
    """

    path: Path
    rows: Sequence[Row]
    objection: Callable[[Row, str], str | None] = lambda row, text: None

    @property
    def ledger(self) -> Path:
        """Where decisions are kept."""
        return self.path.with_name("reviews.jsonl")

    def reviews(self) -> dict[str, Review]:
        """What has been decided so far, by id.

        Raises:
            ValueError: the ledger cannot be read.
        """
        if not self.ledger.is_file():
            return {}
        try:
            lines = self.ledger.read_text(encoding="utf-8").split("\n")
            found = [Review(**json.loads(line)) for line in lines if line]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.ledger} is not readable ({error}); it is not meant to be edited.") from error
        return {review.id: review for review in found}

    def waiting(self) -> list[Row]:
        """Rows that nobody has decided about, in their order."""
        decided = self.reviews()
        return [row for row in self.rows if row["id"] not in decided]

    def export(self) -> int:
        """Writes what waits into the file; the number of rows. A file that is there already is left alone: somebody
        may be working in it.

        Raises:
            ShardError: it cannot be written.
        """
        waiting = self.waiting()
        if waiting and not self.path.exists():
            write_or_tell(self.path, written(waiting, self.path))
        return len(waiting)

    def consume(self) -> int:
        """Takes the decisions of the file into the ledger, sets the file aside and exports what still waits.

        Returns:
            how many rows still wait for a decision.

        Raises:
            ValueError: in one sentence: the file cannot be read, names a row that is not in the queue, contradicts
                itself or the ledger, or brings a text that is refused. Nothing was taken then.
        """
        if not self.path.is_file():
            return self.export()
        decided = self.reviews()
        fresh = self._checked(decided)
        if not fresh:
            return len(self.waiting())  # nothing new: the file stays where it is
        everything = {**decided, **fresh}
        lines = [json.dumps(asdict(review), ensure_ascii=False) for review in everything.values()]
        write_or_tell(self.ledger, "".join(line + "\n" for line in lines))
        os.replace(self.path, free_name(self.path))
        return self.export()

    def result(self) -> list[Row]:
        """The rows after review: dropped ones left out, edited ones with their new text and a new id, each once.

        Rows still waiting are left out too; ask ``waiting`` first.
        """
        decided = self.reviews()
        kept: dict[str, Row] = {}
        for row in self.rows:
            review = decided.get(row["id"])
            if review is None or review.decision == "drop":
                continue
            made = reviewed(row, review)
            kept.setdefault(made["id"], made)
        return list(kept.values())

    def _checked(self, decided: Mapping[str, Review]) -> dict[str, Review]:
        """The new decisions in the file."""
        known = {row["id"]: row for row in self.rows}
        fresh: dict[str, Review] = {}
        for place, line in read_queue(self.path):
            key = line.get("id", "").strip()
            if key not in known:
                raise ValueError(
                    f"{self.path}, {place}: no row of this queue is called {key!r}. Undo the change of its id."
                )
            review = self._decision(known[key], line, f"{self.path}, {place} ({key})")
            if review is None:
                continue
            for earlier, where in ((fresh.get(key), "in another line"), (decided.get(key), "in an earlier review")):
                if earlier is not None and (earlier.decision, earlier.completion) != (
                    review.decision,
                    review.completion,
                ):
                    raise ValueError(
                        f"{self.path}, {place}: {key} is {told(review)} here and {told(earlier)} {where}. A row is "
                        "reviewed once; make the two agree or remove this line."
                    )
            if key not in decided:
                fresh[key] = review
        return fresh

    def _decision(self, row: Row, line: Mapping[str, str], where: str) -> Review | None:
        """What one line decides; None while it is undecided."""
        for column in SHOWN:
            if column in line and plain(line[column]) != plain(row.get(column)):
                raise ValueError(
                    f"{where}: its {column} was changed, which a review cannot do; put it back, or mark drop."
                )
        decision = line.get("decision", "").strip().lower()
        if decision not in ("", *DECISIONS):
            raise ValueError(
                f"{where}: decision {line['decision']!r} is unknown; write keep or drop, or leave it empty."
            )
        text = line.get("completion", row["completion"])
        edited = None if plain(text) == plain(row["completion"]) else text.replace("\r\n", "\n")
        if edited is not None:
            if decision == "drop":
                raise ValueError(f"{where}: it is marked drop and its text was edited; decide for one of the two.")
            why = self.objection(row, edited)
            if why is not None:
                raise ValueError(f"{where}: the edited text is refused: {why}. Mend it, or mark drop.")
        if not decision and edited is None:
            return None
        return Review(row["id"], decision or "keep", edited, line.get("note", "").strip())


def told(review: Review) -> str:
    """A decision in words."""
    return review.decision + (f" with the text {review.completion[:40]!r}..." if review.completion is not None else "")


def plain(value: Any) -> str:
    """A cell without what editors and spreadsheets change unasked."""
    if value is None:
        return ""
    text = str(value).encode("utf-8", errors="backslashreplace").decode("utf-8")  # half a character: as files hold it
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def reviewed(row: Row, review: Review) -> Row:
    """A kept row, with its new text if it was edited, and in its provenance what was done."""
    note = {"decision": review.decision, **({"note": review.note} if review.note else {})}
    made = dict(row)
    if review.completion is not None:
        note["edited_from"] = row["id"]
        made.update(completion=review.completion, id=sample_id(row["prompt"], review.completion))
    made["provenance"] = {**(row.get("provenance") or {}), "review": note}
    return made


# --- the file


def written(rows: Sequence[Row], path: Path) -> str:
    """The queue as text, by the file's ending."""
    lines = [
        {
            "id": row["id"],
            "decision": "",
            "note": "",
            **{key: row.get(key) or "" for key in SHOWN},
            "completion": row["completion"],
        }
        for row in rows
    ]
    if path.suffix.lower() != ".csv":
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, COLUMNS, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    table.writeheader()
    for line in lines:
        table.writerow({key: f"'{value}" if str(value).startswith(FORMULA) else value for key, value in line.items()})
    return out.getvalue()


def read_queue(path: Path) -> list[tuple[str, dict[str, str]]]:
    """The lines of a queue file with their place in it, all values as text.

    Raises:
        ValueError: it cannot be read; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text ({error}). Save it as UTF-8.") from error
    if path.suffix.lower() == ".csv":
        return _read_table(path, text)
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON ({error}). Undo the last change there.") from error
        if not isinstance(row, dict) or "id" not in row:
            raise ValueError(f"{path}, line {number} is no row with an id.")
        found.append((f"line {number}", {key: "" if value is None else str(value) for key, value in row.items()}))
    return found


def _read_table(path: Path, text: str) -> list[tuple[str, dict[str, str]]]:
    first = text.split("\n", 1)[0]
    separator = ";" if first.count(";") > first.count(",") else ","  # what spreadsheets write in half of Europe
    csv.field_size_limit(1 << 30)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    if not table.fieldnames or "id" not in table.fieldnames or "decision" not in table.fieldnames:
        raise ValueError(f"{path} has no columns id and decision in its first line; put the header back.")
    try:
        rows = list(table)
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as a table ({error}).") from error
    found = []
    for number, row in enumerate(rows, start=1):
        if None in row or any(value is None for value in row.values()):
            raise ValueError(f"{path}, row {number} has another number of cells than the header; check its quotes.")
        found.append((f"row {number}", {key: unquoted(value) for key, value in row.items()}))
    return found


def unquoted(cell: str) -> str:
    """A cell without the apostrophe that kept a spreadsheet from computing it."""
    return cell[1:] if cell.startswith("'") else cell


def free_name(path: Path) -> Path:
    """``review.done-1.jsonl`` beside ``review.jsonl``, with the next number that is free."""
    number = 1
    while (candidate := path.with_name(f"{path.stem}.done-{number}{path.suffix}")).exists():
        number += 1
    return candidate
