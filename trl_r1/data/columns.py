"""Columns: a dataset's name in, rows with known columns out, or one sentence that says what is wrong.

    load_rows        hub id | .jsonl .json .parquet .csv file, or a folder of them | save_to_disk folder | mini:name
                     | reasoning_gym:name | drill:name
    require_columns  are the columns there that were asked for?
    to_prompts       question and gold answer -> ``prompt`` and ``solution``, everything else kept

Every complaint is a ValueError of one sentence or two, fit to be shown to a user without a traceback.
"""

import codecs
import difflib
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_r1.answers.extract import gold_text
from trl_r1.data.drawn_splits import SIZES
from trl_r1.data.exact_numbers import read_exactly
from trl_r1.data.splits import no_split, reason, take_split, unsliced
from trl_r1.models.templates import Template, find_template, render, with_system
from trl_r1.storage.files import READERS, looks_like_path


if TYPE_CHECKING:
    from datasets import Dataset


SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}

# Words for the same thing, for the "did you mean" of a column that is not there.
SYNONYMS = (
    {"question", "problem", "prompt", "instruction", "query", "input"},
    {"solution", "answer", "final_answer", "ground_truth", "gold", "target", "expected_answer", "label", "output"},
    {"language", "lang", "locale"},
)

# Arguments TRL calls reward functions with; a dataset column of that name would be passed twice.
RESERVED = {"prompts", "completions", "completion", "completion_ids", "trainer_state", "log_extra", "log_metric"}

NEW = "trl_r1_new_"  # prefix of columns while they are made


def load_rows(
    name: str, split: str = "train", config: str | Mapping[str, Any] | None = None, seed: int = 0
) -> "Dataset":
    """Rows of a dataset by name.

    Args:
        name: what exists on this disk is taken from it: a data file, a folder of data files, a folder written by
            ``save_to_disk`` (Dataset or DatasetDict). ``mini:<name>`` is the miniature world, and
            ``reasoning_gym:<name>`` a dataset of that package, ``drill:<name>`` small exercises. Everything else is a
            dataset on the hub.
        split: which split, a slice (``train[:100]``) if wanted. A single file, and a saved Dataset, is called
            ``train``; a file also by its own name (``test.jsonl`` is ``test``). Of ``mini:<name>`` only a slice.
        config: of a hub dataset; the options of one of reasoning-gym, as a mapping or a text of YAML or JSON.
        seed: of the miniature world and of reasoning-gym; nothing else is random.

    Raises:
        ValueError: nothing of that name, unreadable, no such split, or empty.
    """
    if not name or not str(name).strip():
        raise ValueError(
            "No dataset was named; give a hub id, a local file or folder, mini:<name> or reasoning_gym:<name>."
        )
    name = str(name)
    if name.startswith("mini:"):
        from trl_r1.mini.store import load_split

        rows = load_split(name, seed)  # the name says which split; ``split`` can only cut a slice from it
        rows = take_split(dict.fromkeys(unsliced(split), rows), split, name)
    elif name.startswith(("reasoning_gym:", "drill:")):
        if not unsliced(split) <= set(SIZES):
            raise ValueError(no_split(split, name, SIZES))
        if name.startswith("drill:"):
            from trl_r1.data.drills import load_splits
        else:
            from trl_r1.data.gym import load_splits
        rows = take_split(load_splits(name, unsliced(split), config, seed), split, name)
    elif config is not None and not isinstance(config, str):
        raise ValueError(
            f"{name!r} takes the name of a configuration as its config, not the mapping {dict(config)!r}."
        )
    else:
        path = Path(name).expanduser()
        if path.is_file():
            rows = take_split(read_file(path), split, name)
        elif path.is_dir():
            rows = take_split(read_folder(path), split, name)
        elif looks_like_path(name):
            raise ValueError(f"There is no file or folder {name!r}{nearby(path)}.")
        else:
            rows = read_hub(name, split, config)
    if len(rows) == 0:
        raise ValueError(f"{name!r} has no rows in split {split!r}; there is nothing to train or evaluate on.")
    return rows


def nearby(path: Path) -> str:
    """How an error message goes on after "there is no file": the closest existing name, or the missing folder."""
    if not path.parent.is_dir():
        return f" (the folder {str(path.parent)!r} does not exist either)"
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {str(path.parent / near[0])!r}?" if near else f" in {str(path.parent.resolve())!r}"


def read_file(path: Path) -> dict[str, "Dataset"]:
    """The splits of one data file: ``train``, and the one its name says."""
    from datasets import Dataset

    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"{str(path)!r} is no kind of file that can be read here; use {', '.join(READERS)}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{str(path)!r} is empty; there is nothing to train or evaluate on.")
    bad = (
        first_bad_byte(path) if READERS[suffix] == "json" else None
    )  # the JSON reader lets it pass, to fail much later
    if bad is not None:
        raise ValueError(f"{str(path)!r} cannot be read as {suffix[1:]}: byte {bad} is not UTF-8.")
    readers: dict[str, Callable[[str], Any]] = {
        "json": Dataset.from_json,
        "parquet": Dataset.from_parquet,
        "csv": Dataset.from_csv,
    }
    try:
        with quiet("datasets"):  # it logs what it then raises
            rows = read_exactly(path, readers[READERS[suffix]])
    except Exception as error:  # each reader has its own family of errors; all mean that the file cannot be read
        if "corresponds to no data" in str(error):  # how datasets puts it when a file has a header and nothing else
            raise ValueError(f"{str(path)!r} has no rows; there is nothing to train or evaluate on.") from error
        raise ValueError(f"{str(path)!r} cannot be read as {suffix[1:]}: {diagnosis(path, error)}.") from error
    word = SPLIT_WORDS.get(re.split(r"[-_.]", path.stem.lower())[0], "train")
    return {"train": rows, word: rows}


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """A library's logger says nothing for a while."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def first_bad_byte(path: Path) -> int | None:
    """Where a file stops being UTF-8, in bytes from its start; None when it never does. Reads a mebibyte at a time."""
    decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
    with open(path, "rb") as file:
        while True:
            block = file.read(1 << 20)
            kept = len(decoder.getstate()[0])  # bytes of a character that the last block cut
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as bad:
                return read - kept + bad.start
            if not block:
                return None
            read += len(block)


def read_folder(path: Path) -> dict[str, "Dataset"]:
    """The splits of a folder: as ``save_to_disk`` wrote it, or data files, each in the split its name says."""
    from datasets import concatenate_datasets

    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        try:
            return read_saved(path)
        except Exception as error:  # whatever is broken inside: the folder cannot be read
            raise ValueError(f"The dataset saved in {str(path)!r} cannot be read: {reason(error)}.") from error
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS and file.is_file())
    if not files:
        raise ValueError(
            f"The folder {str(path)!r} holds no dataset: neither one written by save_to_disk nor files ending in "
            f"{', '.join(READERS)}."
        )
    parts: dict[str, list[Dataset]] = {}
    for file in files:
        splits = read_file(file)
        parts.setdefault(next((split for split in splits if split != "train"), "train"), []).append(splits["train"])
    try:
        return {split: concatenate_datasets(rows) if len(rows) > 1 else rows[0] for split, rows in parts.items()}
    except Exception as error:  # pyarrow and datasets each raise their own for columns that do not agree
        raise ValueError(
            f"The files in {str(path)!r} do not have the same columns, so they are no single dataset: {reason(error)}."
        ) from error


def read_saved(path: Path) -> dict[str, "Dataset"]:
    """The splits of a folder written by ``save_to_disk``; one without rows too, which ``load_from_disk`` cannot read."""
    from datasets import Dataset

    if (path / "dataset_dict.json").exists():
        names = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        return {name: read_saved(path / name)["train"] for name in names}
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return {"train": Dataset.load_from_disk(str(path)) if state["_data_files"] else Dataset.from_dict({})}


def read_hub(name: str, split: str, config: str | None) -> "Dataset":
    """One split of a dataset on the hub (or in the local cache of it)."""
    from datasets import load_dataset

    try:
        return load_dataset(name, config, split=split)
    except Exception as error:  # hub, network, cache and builder raise a dozen families; all end in one sentence
        said = " ".join(str(error).split())
        known = re.search(r"Unknown split .*Should be one of \[(.*?)\]", said)
        if known:
            raise ValueError(no_split(split, name, re.findall(r"'(.*?)'", known[1]))) from error
        if "BuilderConfig" in said or "Config name is missing" in said:
            raise ValueError(f"{name!r} has several configurations and {config!r} is none of them: {said}") from error
        raise ValueError(
            f"The dataset {name!r} is not a file or folder here and cannot be loaded from the hub "
            f"({type(error).__name__}: {reason(error)}). Check the spelling, the network and, for a gated "
            "dataset, `hf auth login`."
        ) from error


def diagnosis(path: Path, error: Exception) -> str:
    """What is wrong with a data file: for JSON lines the first bad line, otherwise what the reader said last."""
    if READERS[path.suffix.lower()] == "json":
        decoded = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json" and decoded.lstrip().startswith("["):
            try:
                json.loads(decoded)
            except json.JSONDecodeError as bad:
                return f"line {bad.lineno} is not JSON ({bad.msg})"
        else:
            for number, line in enumerate(decoded.split("\n"), start=1):
                try:
                    whole = not line.strip() or isinstance(json.loads(line), dict)
                except json.JSONDecodeError as bad:
                    return f"line {number} is not JSON ({bad.msg})"
                if not whole:
                    return f"line {number} is not an object with named fields"
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return reason(cause)


def require_columns(rows: "Dataset", columns: Mapping[str, str | None], name: str = "The dataset") -> None:
    """Check that the columns asked for are there.

    Args:
        rows: the dataset.
        columns: what each is for -> its name (``{"prompt": "question"}``); None means not asked for.
        name: the dataset as the user called it.

    Raises:
        ValueError: one is missing; says which, what it was for, what there is, and what was perhaps meant.
    """
    there = list(rows.column_names)
    for purpose, column in columns.items():
        if column is None or column in there:
            continue
        near = closest_column(column, there)
        raise ValueError(
            f"{name} has no column {column!r}, which was asked for as the {purpose}."
            + (f" Did you mean {near!r}?" if near else "")
            + f" Its columns are: {', '.join(there) or 'none'}. Set {purpose}_column to one of them."
        )


def closest_column(column: str, there: list[str]) -> str | None:
    """The column that was perhaps meant: nearly the same spelling, or another word for the same thing."""
    lowered = {name.lower(): name for name in reversed(there)}
    near = difflib.get_close_matches(column.lower(), lowered, n=1, cutoff=0.7)
    if near:
        return lowered[near[0]]
    for words in SYNONYMS:
        if column.lower() in words:
            return next((name for name in there if name.lower() in words), None)
    return None


def to_prompts(
    rows: "Dataset",
    question_column: str,
    solution_column: str,
    template: Template,
    language_column: str | None = None,
    drop_empty: bool = False,
    system_prompt: str | None = None,
) -> "Dataset":
    """Rows ready for GRPO: ``prompt`` from the question by a template, ``solution`` as text, all else as it was.

    Args:
        question_column: text; or conversations (lists of messages), which become prompts as they are.
        solution_column: the gold answer, of any type; becomes text.
        template: a name of TEMPLATES, or a text or messages with ``{question}``.
        language_column: becomes ``language``.
        drop_empty: leave out rows without a question or a gold answer (and say how many) instead of refusing.
        system_prompt: put before conversations that bring none of their own.

    Source columns stay, except those whose name ``prompt``, ``solution`` and ``language`` take, and those TRL passes
    to reward functions itself (``completions``, ``prompts``, ...).

    Raises:
        ValueError: a missing column, an unusable template, no rows, or an empty question or gold answer (with the
            row's number, counted from 0).
    """
    asked = {"question": question_column, "solution": solution_column, "language": language_column}
    require_columns(rows, asked)
    template = find_template(template)
    if len(rows) == 0:
        raise ValueError("The dataset has no rows; there is nothing to train or evaluate on.")

    questions, solutions = rows[question_column], rows[solution_column]
    empty = [
        number
        for number, (question, solution) in enumerate(zip(questions, solutions, strict=True))
        if is_empty(question) or is_empty(solution)
    ]
    if empty and not drop_empty:
        column = question_column if is_empty(questions[empty[0]]) else solution_column
        raise ValueError(
            f"{len(empty)} of {len(rows)} rows have no question or no gold answer, the first is row {empty[0]} "
            f"(counted from 0), where {column!r} is empty. Fill them in, or set drop_empty to leave such rows out."
        )
    if empty:
        if len(empty) == len(rows):
            raise ValueError(
                f"None of the {len(rows)} rows has both a question in {question_column!r} and a gold answer in "
                f"{solution_column!r}; nothing is left to train or evaluate on."
            )
        logging.getLogger(__name__).warning(
            "Left out %d of %d rows: no question or no gold answer.", len(empty), len(rows)
        )
        gone = set(empty)
        rows = rows.select([number for number in range(len(rows)) if number not in gone])

    def prompts_of(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = {
            f"{NEW}prompt": [to_prompt(template, question, system_prompt) for question in batch[question_column]],
            f"{NEW}solution": [gold_text(solution) for solution in batch[solution_column]],
        }
        if language_column is not None:
            made[f"{NEW}language"] = list(batch[language_column])
        return made

    final = ["prompt", "solution"] + (["language"] if language_column is not None else [])
    taken = [column for column in rows.column_names if column in {*final, *RESERVED}]
    # Under other names first: map would cast a new column to the type of an old one of that name ("4" back to 4).
    made = rows.map(prompts_of, batched=True, remove_columns=taken, desc="prompts")
    return made.rename_columns({f"{NEW}{column}": column for column in final})


def to_prompt(template: Template, question: Any, system_prompt: str | None = None) -> Template:
    """One prompt; a question that is a conversation already is one.

    Raises:
        ValueError: a system prompt for a text.
    """
    return with_system(question if isinstance(question, list) else render(template, str(question)), system_prompt)


def is_empty(value: Any) -> bool:
    """No value: None, NaN, blank text, an empty list."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return not value.strip() if isinstance(value, str) else isinstance(value, list | dict) and not value
