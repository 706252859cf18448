"""Rows of reasoning-gym's datasets: what ``reasoning_gym:chain_sum`` in a recipe stands for.

    dataset_name: reasoning_gym:chain_sum
    dataset_config: {max_terms: 2}             options of that dataset, and ``size``, the rows of the split
    dataset_split: train                       train, test or few_shot; slices as everywhere

On the command line the same as text: ``--dataset_config '{max_terms: 2}'``.

The splits stay apart whatever the seeds, sizes and options (``trl_r1.data.drawn_splits``). Different seeds would not do
it: the library's datasets with the seeds 0 and 1 have all questions but one in common
(``findings/reasoning_gym_seeds.sh``).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import importlib.util
import io
import json
import logging
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from trl_r1.data.drawn_splits import SIZES, check_size, owner, read_config
from trl_r1.rewards.reasoning_gym import MISSING
from trl_r1.rewards.reasoning_gym_entry import Entry, to_text
from trl_r1.storage.structured import did_you_mean


if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = "reasoning_gym:"
ENTRIES_PER_SEED = 1000  # entries drawn from one seed of the library
PATIENCE = 500  # draws in a row without a new question of the split, after which there are no more
EXAMPLES = ("example_correct_answer", "example_answer", "possible_answer")  # in the metadata of entries without a gold
REFUSED = {
    "composite": "it mixes other datasets, and a recipe names them one by one",
    "game_of_life_halting": "its score_answer pays any text in full (findings/reasoning_gym_halting.sh)",
    "boxnet": "its entries have no gold answer",
    "rush_hour": "its entries have no gold answer",
}


def names() -> list[str]:
    """The datasets that can be had, sorted.

    Raises:
        ValueError: reasoning-gym is not installed.
    """
    if importlib.util.find_spec("reasoning_gym") is None:
        raise ValueError(f"{PREFIX}... needs a package that is not there: {MISSING}")
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    assert reasoning_gym.create_dataset  # the package's own import is what fills DATASETS
    return sorted(set(DATASETS) - set(REFUSED))


def load_splits(
    name: str, wanted: set[str], config: str | Mapping[str, Any] | None = None, seed: int = 0
) -> dict[str, Dataset]:
    """Rows of the splits asked for, in columns ``question``, ``solution``, ``id`` and ``reasoning_gym`` (the entry, for
    the reward of that name). No question comes twice; a dataset that has fewer than asked for gives what it has.

    Args:
        name: ``reasoning_gym:`` and a name of ``names()``.
        wanted: among ``SIZES``; others are left to the caller.
        config: the dataset's options and ``size``, as a mapping or as text (YAML or JSON).
        seed: of the drawing; which split owns a question does not depend on it.

    Raises:
        ValueError: one sentence: not installed, no such dataset, an unknown or refused option.
    """
    from datasets import Dataset

    known = names()
    dataset = name.removeprefix(PREFIX)
    if dataset in REFUSED:
        raise ValueError(f"{name!r} is not offered: {REFUSED[dataset]}. There are {len(known)} others.")
    if dataset not in known:
        raise ValueError(
            f"reasoning-gym has no dataset {dataset!r}.{did_you_mean(dataset, known)} It has: {', '.join(known)}."
        )
    options = read_options(name, config)
    size = options.pop("size", None)
    return {
        split: Dataset.from_list(draw_rows(dataset, split, SIZES[split] if size is None else size, options, seed))
        for split in sorted(wanted & set(SIZES))
    }


def read_options(name: str, config: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """The options of a dataset, checked.

    Raises:
        ValueError: they are no mapping, or one is unknown or refused by the dataset.
    """
    from reasoning_gym.factory import DATASETS

    kind = DATASETS[name.removeprefix(PREFIX)][1]
    content = read_config(config)
    if content is not None and not isinstance(content, Mapping):
        raise ValueError(f"{name}: the config {config!r} must be a mapping such as {{size: 500}}.")
    options = dict(content or {})
    known = [part.name for part in dataclasses.fields(kind) if part.name != "seed"]
    for option in options:
        if option == "seed":
            raise ValueError(f"{name}: {option!r} is the run's own; leave it out of the config.")
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}.{did_you_mean(option, known)} Its options: {', '.join(known)}."
            )
    check_size(name, options.get("size", 1))
    try:
        library_dataset = kind(**options, seed=0)
        if hasattr(library_dataset, "validate"):  # power_function has none
            library_dataset.validate()
    except (AssertionError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{name} refuses the config {options!r}: {str(error).strip() or 'no reason given'}."
        ) from error
    return options


def draw_rows(dataset: str, split: str, size: int, options: Mapping[str, Any], seed: int) -> list[dict[str, str]]:
    """At most ``size`` rows with different questions that belong to the split; see ``load_splits``.

    Raises:
        ValueError: the dataset cannot make an entry with these options.
    """
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    dry = 0
    try:
        for library_dataset, entry in entries(dataset, options, seed):
            key = digest(entry["question"])
            dry += 1
            if owner(key) == split and key not in seen:
                seen.add(key)
                solution = gold(library_dataset, entry)
                if solution:
                    dry = 0
                    text = to_text(Entry(dataset, dict(options), entry))
                    rows.append(
                        {"question": entry["question"], "solution": solution, "id": key[:12], "reasoning_gym": text}
                    )
            if len(rows) == size or dry == PATIENCE:
                break
    except Exception as error:  # each generator fails in its own way where options do not go together
        raise ValueError(
            f"{PREFIX}{dataset} fails to make an entry with {dict(options)!r}: {type(error).__name__}: {error}"
        ) from error
    if len(rows) < size:
        logging.getLogger(__name__).warning(
            "%s%s has %d different questions in its split %r with these options, fewer than the %d asked for.",
            PREFIX, dataset, len(rows), split, size,
        )  # fmt: skip
    return rows


def entries(dataset: str, options: Mapping[str, Any], seed: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The library's dataset and an entry of it, without end, from stretches of the library's seeds that do not overlap."""
    import reasoning_gym

    start = int.from_bytes(hashlib.sha256(f"reasoning_gym {seed}".encode()).digest()[:4], "big") >> 1
    while True:
        with undisturbed(start):
            library_dataset = reasoning_gym.create_dataset(dataset, **options, size=ENTRIES_PER_SEED, seed=start)
        for index in range(ENTRIES_PER_SEED):
            with undisturbed(start + index):
                entry = library_dataset[index]
            yield library_dataset, entry
        start = (start + ENTRIES_PER_SEED) % 2**31


@contextlib.contextmanager
def undisturbed(seed: int) -> Iterator[None]:
    """The library may print, and draw from the process's generators, seeded here; outside, nothing is seen of it."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def digest(question: str) -> str:
    """What makes two questions one: their words, whatever the case and the spaces."""
    return hashlib.sha256(" ".join(question.split()).casefold().encode()).hexdigest()


def gold(library_dataset: Any, entry: Mapping[str, Any]) -> str:
    """The gold answer; where an entry has none, an example that its dataset gives full marks; "" where there is neither."""
    if entry["answer"] is not None:
        return str(entry["answer"]).strip()
    example = next((entry["metadata"][key] for key in EXAMPLES if entry["metadata"].get(key) is not None), None)
    if example is None:
        return ""
    text = example.strip() if isinstance(example, str) else json.dumps(example)
    return text if library_dataset.score_answer(text, copy.deepcopy(entry)) == 1.0 else ""
