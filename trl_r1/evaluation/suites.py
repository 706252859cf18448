"""Suites: a recipe's list of benchmarks in, problems ready to be put to a model out.

    datasets:
      - aime24                                             a name of BENCHMARKS, from the hub
      - {benchmark: gsm8k, name: data/gsm8k_test.jsonl}    the same columns, another file
      - {name: mine.jsonl, question_column: q, solution_column: a, language: en, problems: 50, samples: 8}

Every dataset is asked once per entry of ``shots``: 0 is zero-shot; n puts n worked examples before the question, which
DeepSeek-R1 is found to be hurt by ("few-shot prompting consistently degrades its performance", v1 Sec. 5).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_r1.data.columns import is_empty, load_rows, require_columns, to_prompts
from trl_r1.data.spec import DatasetSpec
from trl_r1.errors import did_you_mean
from trl_r1.models.rendering.prompts import own_options
from trl_r1.models.templates import Template, find_template, render, with_system
from trl_r1.storage.structured import option, read_entries, refuse_twins
from trl_r1.text.records import Json, Messages, Row


if TYPE_CHECKING:
    from datasets import Dataset

# Columns and splits as their owners publish them; samples as DeepSeek-R1 v2, D.1 takes them (64 for AIME, 16 for MATH).
BENCHMARKS: dict[str, Json] = {
    "aime24": {
        "name": "HuggingFaceH4/aime_2024",
        "split": "train",
        "question_column": "problem",
        "solution_column": "answer",
        "language": "en",
        "samples": 64,
    },
    "math500": {
        "name": "HuggingFaceH4/MATH-500",
        "split": "test",
        "question_column": "problem",
        "solution_column": "answer",
        "language": "en",
        "samples": 16,
    },
    "gsm8k": {
        "name": "openai/gsm8k",
        "config": "main",
        "split": "test",
        "question_column": "question",
        "solution_column": "answer",
        "language": "en",
        "shots_from": {"name": "openai/gsm8k", "config": "main", "split": "train", "reply_column": "answer"},
    },
}


@dataclass(frozen=True)
class Shots:
    """Where worked examples come from: a question and the reply that is shown after it."""

    name: str = option(like="worked.jsonl")
    config: str | Mapping[str, Any] | None = None
    split: str = "train"
    question_column: str = "question"
    reply_column: str = "reply"


@dataclass(frozen=True)
class Entry(DatasetSpec):
    """One benchmark of a run."""

    name: str = option(help="As load_rows takes it.", like="mine.jsonl")
    label: str = option("", "In the report, and the name of its files.")
    split: str | None = None
    solution_column: str = "solution"
    language: str | None = None  # of every problem, where no column says it
    problems: int | None = option(None, "Only the first so many.", ge=1)
    samples: int | None = option(None, "K of pass@K; None takes the run's.", ge=1)
    shots_from: Shots | None = None


def read_suite(given: Any) -> list[Entry]:
    """The `datasets` of a recipe (YAML, or JSON or names on the command line) as entries with distinct labels.

    Raises:
        ValueError: it is no such list, an unknown benchmark, an unknown key, or two entries of one label.
    """
    entries = read_entries("datasets", given, Entry, complete=with_usual, also=("benchmark",))
    refuse_twins("datasets", (entry.label for entry in entries), "label")
    return entries


def with_usual(entry: Json) -> Json:
    """An element of that list with what is usual for its benchmark, and with a label.

    Raises:
        ValueError: there is no such benchmark.
    """
    benchmark = entry.pop("benchmark", None)
    if benchmark is None and set(entry) == {"name"} and entry["name"] in BENCHMARKS:
        benchmark = entry.pop("name")
    if benchmark is not None and benchmark not in BENCHMARKS:
        raise ValueError(
            f"datasets: no benchmark is called {benchmark!r}.{did_you_mean(benchmark, BENCHMARKS)} "
            f"Known: {', '.join(BENCHMARKS)}; any other file needs {{name: ...}}."
        )
    usual = dict(BENCHMARKS.get(benchmark or "", {}))
    if entry.get("name", usual.get("name")) != usual.get("name"):
        for key in ("config", "split"):  # these belong to the hub's copy
            usual.pop(key, None)
    merged = {**usual, **entry}
    merged.setdefault("label", benchmark or re.sub(r"[^\w.-]+", "-", Path(str(merged.get("name"))).stem).strip("-."))
    return merged


def load_entry(entry: Entry, seed: int = 0) -> Dataset:
    """The rows of an entry, cut to its number of problems.

    Raises:
        ValueError: nothing of that name, unreadable, a column is missing.
    """
    rows = entry.load(seed)
    return rows if entry.problems is None else rows.select(range(min(entry.problems, len(rows))))


def problems_of(
    entry: Entry,
    template: Template,
    shots: int = 0,
    seed: int = 0,
    system_prompt: str | None = None,
    columns: bool = False,
) -> list[Row]:
    """Rows with ``question``, ``prompt``, ``solution``, ``language``, the examples already in the prompt, and what a row
    says about its own rendering.

    Args:
        shots: examples before the question, the same for every problem except where one is the problem itself.
        seed: of the choice of examples (and of the miniature world).
        system_prompt: before conversations that bring none of their own.
        columns: keep the dataset's others too, which a reward that verifies the replies reads.

    Raises:
        ValueError: as ``load_entry``; no examples to take, or too few.
    """
    rows = load_entry(entry, seed)
    template = find_template(template)
    examples = choose_shots(entry, shots, seed) if shots else []
    made = to_prompts(rows, entry.question_column, entry.solution_column, template, entry.language_column)
    questions = rows[entry.question_column]
    return [
        {
            **(row if columns else {}),
            "question": question,
            "prompt": with_system(
                with_shots(template, examples, question, shots) if shots else row["prompt"], system_prompt
            ),
            "solution": row["solution"],
            "language": row.get("language") or entry.language,
            **own_options(row),
        }
        for question, row in zip(questions, made, strict=True)
    ]


def choose_shots(entry: Entry, count: int, seed: int) -> list[tuple[str, str]]:
    """``count`` + 1 drawn (question, reply) examples: the spare one stands in where an example is the question itself."""
    if entry.shots_from is None:
        raise ValueError(
            f"shots={count}, but the dataset {entry.label!r} has no `shots_from`: name a file of worked examples with "
            "question and reply."
        )
    source = entry.shots_from
    rows = load_rows(source.name, source.split, source.config, seed)
    require_columns(rows, {"question": source.question_column, "reply": source.reply_column})
    usable = [
        (str(question), str(reply))
        for question, reply in zip(rows[source.question_column], rows[source.reply_column], strict=True)
        if not is_empty(question) and not is_empty(reply)
    ]
    if len(usable) <= count:
        raise ValueError(f"shots={count} needs {count + 1} worked examples; {source.name!r} has {len(usable)}.")
    return random.Random(f"shots {seed}").sample(usable, count + 1)


def with_shots(template: Template, examples: Sequence[tuple[str, str]], question: Any, count: int) -> Template:
    """The prompt with its examples: earlier turns of a conversation, or for text the same template filled in before.

    >>> with_shots("Q: {question} A:", [("1+1?", "2"), ("spare", "")], "2+2?", 1)
    'Q: 1+1? A: 2\\n\\nQ: 2+2? A:'
    """
    if not isinstance(question, str):
        raise ValueError(
            "Few-shot examples go before a question in words; this dataset asks with whole conversations."
        )
    shown = [(asked, reply) for asked, reply in examples if asked.strip() != question.strip()][:count]
    last = render(template, question)
    if isinstance(last, str):
        before = [f"{render(template, asked)}{joint(reply)}{reply}" for asked, reply in shown]
        return "\n\n".join([*before, last])
    turns: Messages = []
    for asked, reply in shown:
        turn: Messages = [*render(template, asked)]  # type: ignore[list-item]  # messages, as the last one is no text
        opening = str(turn.pop().get("content") or "") if turn[-1].get("role") == "assistant" else ""
        whole = reply if reply.startswith(opening) else opening + reply
        turns += [*turn, {"role": "assistant", "content": whole}]
    return [*turns, *last]


def joint(reply: str) -> str:
    """A space between prompt and reply, unless the reply brings its own, or opens its thought tag as models write it."""
    return "" if reply[:1].isspace() or reply.startswith("<think>") else " "
