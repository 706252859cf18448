"""Names of the mini world in, checkpoints and datasets out: what ``mini:...`` in a recipe stands for.

    mini:base                        the base model, built on first use and kept
    mini:base-general                the same after it has read general pages: what R1's pipeline starts from
    mini:student                     a smaller one with the same tokenizer, to distil into

    mini:train  mini:dev  mini:test  the problems, drawn on the spot
    mini:writing  mini:factual  mini:self  mini:translation  mini:unsafe
                                     general prompts with the replies people wrote, for supervised fine-tuning
    mini:preferences  mini:safety    judged pairs, and replies labelled safe or unsafe, for reward models
    mini:general-test  mini:unsafe-test      held-out prompts that trl_r1.mini.checks can judge
    mini:general-train mini:unsafe-train     the prompts that everything above draws from
    mini:geometry      mini:geometry-test    coordinate problems with a right and a wrong chain

A name ending in ``-tiny`` (``mini:base-tiny``) is the same thing in seconds, for tests. Models are kept below
``$TRL_R1_CACHE``, or ``~/.cache/trl_r1``, in a folder named after everything they depend on: scale, seed, and the text
of the modules that make them, so that a changed recipe builds a new model beside the old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value

from trl_r1.mini import corpus, general, geometry, labels, model, wider, world
from trl_r1.storage.folders import cache_folder
from trl_r1.text.records import Row


PREFIX = "mini:"
MODELS = ("base", "base-general", "student")
ROWS = {  # rows per split and scale; no two rows of a split share their digits in the same order
    "demo": {"train": 4096, "dev": 200, "test": 200},
    "tiny": {"train": 64, "dev": 16, "test": 16},
}
GENERAL_ROWS = {  # of the general splits
    "demo": {
        "writing": 240, "factual": 240, "self": 120, "translation": 240, "unsafe": 240,
        "preferences": 5000, "safety": 2400,
        "general-test": 200, "unsafe-test": 270, "general-train": 600, "unsafe-train": 400,
    },
    "tiny": {
        "writing": 16, "factual": 16, "self": 16, "translation": 16, "unsafe": 16,
        "preferences": 64, "safety": 64,
        "general-test": 16, "unsafe-test": 16, "general-train": 32, "unsafe-train": 32,
    },
}  # fmt: skip
GEOMETRY_ROWS = {"demo": {"geometry": 2048, "geometry-test": 200}, "tiny": {"geometry": 64, "geometry-test": 16}}
SPLITS = (*world.SPLITS, *GENERAL_ROWS["demo"], *GEOMETRY_ROWS["demo"])
HELD_OUT_TERM_COUNTS = (4, 5, 6)  # dev and test leave the easiest problems out


def is_mini(name: str) -> bool:
    """Whether a name in a recipe belongs to this world."""
    return name.startswith(PREFIX)


def resolve_model(name: str, seed: int = 0) -> str:
    """The folder of a mini model, built now if it is not there yet (``mini:base``: about a minute on one core).

    Args:
        name: ``mini:base``, ``mini:base-general`` or ``mini:student``, each also with ``-tiny``.
        seed: of everything in the model.

    Returns:
        A path for ``from_pretrained``.
    """
    kind, scale = parse(name, MODELS)
    base = cache() / f"base-{scale}-seed{seed}-{recipe_version()}"
    if kind == "base":
        return str(model.build_base(base, seed, scale))
    version = recipe_version(world, corpus, model, general, labels, wider)
    path = cache() / f"base-general-{scale}-seed{seed}-{version}"
    if not path.exists():
        wider.build_general(path, model.build_base(base, seed, scale), seed, scale)
    if kind == "student":
        return str(wider.build_student(cache() / f"student-{scale}-seed{seed}-{version}", path, seed, scale))
    return str(path)


def load_split(name: str, seed: int = 0) -> Dataset:
    """Rows of a split.

    Problems (train, dev, test) have the columns ``question`` (no template), ``solution``, ``language`` (``en`` or
    ``zh``) and ``id``. General splits have ``question``, ``solution`` (None: no gold answer to be paid for),
    ``language``, ``domain``, ``reward_for`` (``helpfulness`` or ``harmlessness``) and ``id``, and what the split is for:
    ``completion`` (the five domains, safety), ``label`` (safety: 1 safe, 0 not), ``reply_a``, ``reply_b``, ``scores_a``,
    ``scores_b`` (preferences). Geometry has the
    columns of a problem, ``answer_type``, ``chain``, ``wrong_chain`` and ``wrong_step`` (counted from 0).

    Args:
        name: ``mini:`` and a name of ``SPLITS``, also with ``-tiny``. Settings are chosen on dev; what ends in test is
            for reporting.
        seed: of the drawing; which split owns a prompt does not depend on it.
    """
    split, scale = parse(name, SPLITS)
    if split in world.SPLITS:
        return Dataset.from_list(problem_rows(split, ROWS[scale][split], seed))
    if split in GEOMETRY_ROWS[scale]:
        side = "test" if split.endswith("-test") else "train"
        return Dataset.from_list(geometry.rows(side, GEOMETRY_ROWS[scale][split], seed))
    rows = DATASETS[split](GENERAL_ROWS[scale][split], seed)
    kinds = {column: Value("string") for column in ("question", "solution", "language", "domain", "reward_for", "id")}
    more = {column: kind for column, kind in MORE_COLUMNS.items() if column in rows[0]}
    return Dataset.from_list(rows, features=Features({**kinds, **more}))


def problem_rows(split: str, count: int, seed: int) -> list[Row]:
    """Problems as rows."""
    counts = world.TERM_COUNTS if split == "train" else HELD_OUT_TERM_COUNTS
    problems = world.draw_problems(split, count, seed, counts)
    return [{"question": p.question, "solution": p.solution, "language": p.language, "id": p.id} for p in problems]


def prompt_rows(split: str, *domains: str) -> Callable[[int, int], list[Row]]:
    """A drawer of general prompts alone."""
    return lambda count, seed: [
        labels.row(request) for request in general.draw_requests(split, count, seed, domains or None)
    ]


DATASETS: dict[str, Callable[[int, int], list[Row]]] = {
    **{domain: partial(labels.draw_demonstrations, domain) for domain in labels.DOMAINS},
    "preferences": labels.draw_judged_pairs,
    "safety": labels.draw_safety_labels,
    "general-test": prompt_rows("test"),
    "unsafe-test": prompt_rows("test", "unsafe"),
    "general-train": prompt_rows("train"),
    "unsafe-train": prompt_rows("train", "unsafe"),
}
MORE_COLUMNS = {
    "completion": Value("string"),
    "label": Value("int64"),
    "reply_a": Value("string"),
    "reply_b": Value("string"),
    "scores_a": [Value("float64")],
    "scores_b": [Value("float64")],
}


def parse(name: str, known: tuple[str, ...]) -> tuple[str, str]:
    """``mini:dev-tiny`` as ``("dev", "tiny")``, ``mini:general-test`` as ``("general-test", "demo")``."""
    offered = {f"{PREFIX}{word}": (word, "demo") for word in known}
    offered |= {f"{PREFIX}{word}-tiny": (word, "tiny") for word in known}
    if name not in offered:
        raise ValueError(f"{name!r} is unknown here. Choose one of: {', '.join(offered)}.")
    return offered[name]


def cache() -> Path:
    """Where built models are kept: ``$TRL_R1_CACHE``, or ``~/.cache/trl_r1``, below it ``mini``."""
    return cache_folder() / "mini"


def recipe_version(*modules: Any) -> str:
    """Eight hex digits that change with the text of the modules a model is made by; by default those of ``mini:base``."""
    digest = hashlib.sha256()
    for module in modules or (world, corpus, model):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:8]
