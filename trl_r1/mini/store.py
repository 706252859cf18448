"""Names of the mini world in, checkpoints and datasets out: what ``mini:...`` in a recipe stands for.

    mini:base                        the base model, built on first use and kept
    mini:train  mini:dev  mini:test  the problems, drawn on the spot

A name ending in ``-tiny`` (``mini:base-tiny``) is the same thing in seconds, for tests. Models are kept below
``$TRL_R1_CACHE``, or ``~/.cache/trl_r1``, in a folder named after everything they depend on: scale, seed, and the text
of the modules that make them, so that a changed recipe builds a new model beside the old one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from datasets import Dataset

from trl_r1.mini import corpus, model, world


PREFIX = "mini:"
MODELS = ("base",)
ROWS = {  # rows per split and scale; no two rows of a split share their digits in the same order
    "demo": {"train": 4096, "dev": 200, "test": 200},
    "tiny": {"train": 64, "dev": 16, "test": 16},
}
HELD_OUT_TERM_COUNTS = (4, 5, 6)  # dev and test leave the easiest problems out


def is_mini(name: str) -> bool:
    """Whether a name in a recipe belongs to this world."""
    return name.startswith(PREFIX)


def resolve_model(name: str, seed: int = 0) -> str:
    """The folder of a mini model, built now if it is not there yet (``mini:base``: about a minute on one core).

    Args:
        name: ``mini:base`` or ``mini:base-tiny``.
        seed: of everything in the model.

    Returns:
        A path for ``from_pretrained``.
    """
    _, scale = parse(name, MODELS)
    return str(model.build_base(cache() / f"base-{scale}-seed{seed}-{recipe_version()}", seed, scale))


def load_split(name: str, seed: int = 0) -> Dataset:
    """Problems with columns ``question`` (no template), ``solution``, ``language`` (``en`` or ``zh``) and ``id``.

    Args:
        name: ``mini:train``, ``mini:dev`` or ``mini:test``, each also with ``-tiny``. Settings are chosen on dev;
            test is for reporting.
        seed: of the drawing; which split owns a problem does not depend on it.
    """
    split, scale = parse(name, world.SPLITS)
    counts = world.TERM_COUNTS if split == "train" else HELD_OUT_TERM_COUNTS
    problems = world.draw_problems(split, ROWS[scale][split], seed, counts)
    return Dataset.from_list(
        [
            {
                "question": problem.question,
                "solution": problem.solution,
                "language": problem.language,
                "id": problem.id,
            }
            for problem in problems
        ]
    )


def parse(name: str, known: tuple[str, ...]) -> tuple[str, str]:
    """``mini:dev-tiny`` as ``("dev", "tiny")``, ``mini:dev`` as ``("dev", "demo")``."""
    kind, _, suffix = name.removeprefix(PREFIX).partition("-")
    scale = suffix or "demo"
    offered = [f"{PREFIX}{word}" for word in known] + [f"{PREFIX}{word}-tiny" for word in known]
    if name not in offered:
        raise ValueError(f"{name!r} is unknown here. Choose one of: {', '.join(offered)}.")
    return kind, scale


def cache() -> Path:
    """Where built models are kept: ``$TRL_R1_CACHE``, or ``~/.cache/trl_r1``, below it ``mini``."""
    return Path(os.environ.get("TRL_R1_CACHE") or Path.home() / ".cache" / "trl_r1").expanduser() / "mini"


def recipe_version() -> str:
    """Eight hex digits that change with the text of the modules a model is made by."""
    digest = hashlib.sha256()
    for module in (world, corpus, model):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:8]
