"""What a model said in an evaluation, kept in its folder as it comes, so that a killed one goes on where it stopped.

    <folder>/drawn.jsonl    the settings that decide what is said; then a line per answer

    greedy    token ids of a prompt -> the answer with its tokens
    served    a prompt as text -> what a server answered
    sampled   the name of a draw -> its texts

An answer is found by what was asked, not by its number, so another evaluation of the same model in the same folder (another
share, measure or split) asks only what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Generic, TypeVar

from trl_r1.agser.generation import Generated
from trl_r1.storage.files import append_json_lines, read_json_lines
from trl_r1.text.records import Json, Row


FILE = "drawn.jsonl"
K = TypeVar("K")
V = TypeVar("V")


class Kept(MutableMapping[K, V], Generic[K, V]):
    """A mapping that writes every new entry down; nothing can be taken out of it."""

    def __init__(self, write: Callable[[K, V], object]) -> None:
        self.entries: dict[K, V] = {}
        self.write = write

    def __getitem__(self, key: K) -> V:
        return self.entries[key]

    def __setitem__(self, key: K, value: V) -> None:
        self.entries[key] = value
        self.write(key, value)

    def __delitem__(self, key: K) -> None:
        raise TypeError("What a model has said stays; delete the file to forget it.")

    def __iter__(self) -> Iterator[K]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class AnswerStore:
    """The answers of one model under one set of settings.

    Args:
        folder: made when needed.
        settings: all that decides an answer beside the prompt, as JSON values.

    Raises:
        ValueError: the folder holds answers that were given under other settings; says which.
    """

    def __init__(self, folder: Path, settings: Json) -> None:
        self.path = folder / FILE
        self.greedy: Kept[tuple[int, ...], Generated] = Kept(
            lambda ids, answer: self._add({"ids": ids, "answer": asdict(answer)})
        )
        self.served: Kept[str, str] = Kept(lambda prompt, text: self._add({"prompt": prompt, "text": text}))
        self.sampled: Kept[str, list[list[str]]] = Kept(lambda name, texts: self._add({"draw": name, "texts": texts}))
        head, *lines = read_json_lines(self.path) or [{}]
        if head:
            self._check(folder, head.get("settings"), settings)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._add({"settings": settings})
        for line in lines:
            if "answer" in line:
                answer = line["answer"]
                self.greedy.entries[tuple(line["ids"])] = Generated(**{**answer, "ids": tuple(answer["ids"])})
            elif "text" in line:
                self.served.entries[line["prompt"]] = line["text"]
            elif "texts" in line:
                self.sampled.entries[line["draw"]] = line["texts"]

    @staticmethod
    def _check(folder: Path, there: object, settings: Json) -> None:
        before = there if isinstance(there, dict) else {}
        differ = [name for name in settings if before.get(name) != settings[name]]
        if differ:
            changes = ", ".join(f"{name} was {before.get(name)!r} and is {settings[name]!r}" for name in differ)
            raise ValueError(
                f"{folder} holds answers that were given otherwise: {changes}. Give another --output, or delete {FILE} "
                "there."
            )

    def _add(self, row: Row) -> None:
        append_json_lines(self.path, [row])
