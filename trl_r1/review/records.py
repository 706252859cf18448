"""What a lineage is made of: runs, their stored evaluations, answers, edges between runs; and the rows nearest an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl_r1.evaluation.benchmark import KIND
from trl_r1.text.records import Json, Row, Sample


ROWS = ("kept.jsonl", "data.jsonl")
TOKEN = re.compile(r"[^\W\d_]+|\d|[^\w\s]", re.UNICODE)
WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
SHOWN_SETTINGS = (
    "learning_rate", "max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
    "num_generations", "temperature", "beta", "epsilon", "reference_every", "advantage", "max_completion_length",
    "max_length", "packing", "use_peft", "load_in_4bit", "template", "samples", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One stage's run, as it recorded itself."""

    folder: Path
    stage: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Answer:
    """One text of a model, from an evaluation or from the rows a stage kept."""

    id: str
    place: str
    run: Run
    sample: Sample  # its origin's model: the evaluation's note of what was evaluated
    when: str  # "before" or "after" the run's training; "kept" for a row
    verdict: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] | None = None

    @property
    def prompt(self) -> str:
        """The prompt as text."""
        return as_text(self.sample.problem.prompt)

    def to_json(self) -> Json:
        """As a lineage shows it."""
        problem = self.sample.problem
        return {
            "id": self.id,
            "place": self.place,
            "prompt": problem.prompt,
            "completion": self.sample.completion.text,
            "solution": problem.solution,
            "language": problem.language,
            "when": self.when,
            "model": self.sample.origin.model,
            "verdict": self.verdict,
            "stage": self.run.stage,
            "folder": str(self.run.folder),
        } | ({} if self.row is None else {"provenance": self.row.get("provenance")})


@dataclass(frozen=True)
class Edge:
    """A setting of a run that names something made elsewhere."""

    option: str
    value: str
    path: Path | None = None  # where it lies, if it is on this disk
    run: Run | None = None  # the run that made it


def evaluations(run: Run) -> Iterator[tuple[str, Json]]:
    """The stored evaluations of a run: name of the file without ending, content."""
    for path in sorted(run.folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue  # not ours to judge
        if isinstance(content, dict) and content.get("kind") == KIND:
            yield path.stem, content


def tokens(text: str) -> list[str]:
    """Words in lower case; each digit, sign and Chinese, Japanese or Korean character for itself."""
    return [part for word in TOKEN.findall(text.lower()) for part in (list(word) if WIDE.search(word) else [word])]


def grams(text: str, longest: int = 3) -> set[tuple[str, ...]]:
    """Runs of one to three words."""
    words = tokens(text)
    return {tuple(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)}


def overlap(first: set[Any], second: set[Any]) -> float:
    """Shared runs over all runs, in [0, 1]."""
    return len(first & second) / len(first | second) if first and second else 0.0


def as_text(value: Any) -> str:
    """A prompt or a completion as text: messages by their contents."""
    if isinstance(value, list):
        return "\n".join(as_text(part.get("content")) if isinstance(part, Mapping) else str(part) for part in value)
    return value if isinstance(value, str) else "" if value is None else str(value)


def nearest(answer: Answer, rows: Iterable[Mapping[str, Any]], count: int) -> list[Row]:
    """The rows most like an answer: the same prompt first, then by shared word runs of prompt and completion.

    Returns:
        rows with ``near``: {"same_prompt", "prompt", "completion"}, shares in [0, 1].
    """
    prompt, completion_grams = grams(answer.prompt), grams(answer.sample.completion.text)
    scored: list[tuple[tuple[bool, float], int, Row]] = []
    for row in rows:
        question = row.get("prompt") or row.get("question")
        same = as_text(question).strip() == answer.prompt.strip()
        if not same and row.get("question"):
            same = bool(as_text(row["question"]).strip()) and as_text(row["question"]).strip() in answer.prompt
        near_prompt = round(overlap(prompt, grams(as_text(question))), 3)
        near_text = (
            round(overlap(completion_grams, grams(as_text(row["completion"]))), 3) if row.get("completion") else None
        )
        near = {"same_prompt": same, "prompt": near_prompt, "completion": near_text}
        scored.append(((same, near_prompt + (near_text or 0.0)), len(scored), {**row, "near": near}))
    scored.sort(key=lambda entry: (-entry[0][0], -entry[0][1], entry[1]))
    return [row for _, _, row in scored[:count]]
