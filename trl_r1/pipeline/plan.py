"""A pipeline file in, a checked plan out: stages in an order that works, each with the whole recipe it will run.

    name: mini
    output_dir: runs/pipeline           # every stage gets a folder of its own name in it
    seed: 0                             # of every stage
    max_parallel: 2                     # stages beside each other; default 2 on two cores or more
    cpu: true                           # no stage uses an accelerator: they share one import of the libraries
    env: {OMP_NUM_THREADS: "1"}         # environment of the stages
    scales: {tiny: {zero: {max_steps: 2}}}      # `--scale tiny` adds these options
    stages:
      - {name: zero, stage: zero, config: mini/zero}
      - {name: sft, stage: sft, config: mini/sft, options: {dataset_name: "{zero}/kept.jsonl"}, after: [other]}

`{zero}` in an option stands for that stage's folder, and makes this stage wait for it; `{output_dir}` and `{seed}` are
the pipeline's own. A `config` is looked for beside the pipeline file, then as a path, then as a recipe's name. Every
complaint is a ValueError of one or two sentences.

Source  the stages and their order: DeepSeek-R1, arXiv:2501.12948v2, Fig. 2.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from trl_r1 import recipes
from trl_r1.errors import did_you_mean
from trl_r1.text.records import Json


MODULES = "trl_r1.stages"
KEYS = {"name", "output_dir", "seed", "max_parallel", "cpu", "env", "modules", "launch", "scales", "stages"}
STAGE_KEYS = {"name", "stage", "config", "after", "options", "launch"}
RESERVED = {"configs", "logs", "models", "previous", "output_dir", "seed"}  # folders and words of the pipeline's own
PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Step:
    """One stage of a plan. ``recipe`` is everything it will read: its recipe's keys, the options, folder and seed."""

    name: str
    stage: str
    module: str
    config: str  # the recipe as the file names it
    folder: Path
    recipe: Json
    changed: Json  # the options that differ from the recipe's own keys
    after: tuple[str, ...]  # direct predecessors, said or implied
    launch: tuple[str, ...] = ()  # options of `accelerate launch`
    cpu: bool = False  # it will use no accelerator, so it may be forked


@dataclass(frozen=True)
class Pipeline:
    """A checked plan; ``steps`` are in an order in which each stands after all it waits for."""

    name: str
    source: Path
    folder: Path
    seed: int
    max_parallel: int
    steps: tuple[Step, ...]
    env: dict[str, str] = field(default_factory=dict)
    scale: str | None = None
    warnings: tuple[str, ...] = ()
    whole: bool = True  # false for a part of the file

    def __getitem__(self, name: str) -> Step:
        for step in self.steps:
            if step.name == name:
                return step
        raise ValueError(unknown_name("stage", name, [step.name for step in self.steps]))

    def followers(self, names: Iterable[str]) -> list[str]:
        """The named stages and all that rest on them, in the plan's order."""
        reached = {self[name].name for name in names}
        for step in self.steps:  # predecessors come first, so one pass is enough
            if reached & set(step.after):
                reached.add(step.name)
        return [step.name for step in self.steps if step.name in reached]

    def until(self, name: str) -> Pipeline:
        """Only the named stage and what it rests on."""
        needed = {self[name].name}
        for step in reversed(self.steps):
            if step.name in needed:
                needed.update(step.after)
        steps = tuple(step for step in self.steps if step.name in needed)
        return replace(self, steps=steps, whole=len(steps) == len(self.steps))


def read(
    file: str,
    output_dir: str | None = None,
    seed: int | None = None,
    scale: str | None = None,
    max_parallel: int | None = None,
    changes: Iterable[str] = (),
) -> Pipeline:
    """The plan a pipeline file describes.

    Args:
        file: a path, or the name of a recipe such as ``mini/pipeline``.
        output_dir, seed, max_parallel: instead of the file's. Without an output_dir, another seed or a scale gets a
            folder of its own beside the file's (``runs/pipeline-tiny-seed1``).
        scale: a name of the file's ``scales``.
        changes: options as ``stage.key=value``, the value in YAML; they win.

    Raises:
        ValueError: anything that can be seen to be wrong before a stage starts.
    """
    source = recipes.find(file)
    content = load(source)
    strange(source, content, KEYS)
    if not isinstance(content.get("stages"), list) or not content["stages"]:
        raise ValueError(f"{source} needs `stages`, a list such as [{{name: zero, stage: zero, config: mini/zero}}].")
    scales = content.get("scales") or {}
    if scale is not None and scale not in scales:
        raise ValueError(unknown_name("scale", scale, list(scales), f" in {source}"))
    own_seed = whole(source, "seed", content.get("seed", 0), 0)
    chosen_seed = own_seed if seed is None else whole(source, "seed", seed, 0)
    base = str(content.get("output_dir") or f"runs/{content.get('name') or source.stem}")
    folder = Path(
        output_dir
        or base + (f"-{scale}" if scale else "") + (f"-seed{chosen_seed}" if chosen_seed != own_seed else "")
    )
    default = min(2, os.cpu_count() or 1)
    parallel = whole(source, "max_parallel", max_parallel or content.get("max_parallel") or default, 1)
    names = [str(entry.get("name") or entry.get("stage")) for entry in check_entries(source, content["stages"])]
    folders = {name: str(folder / name) for name in names}
    words = {**folders, "output_dir": str(folder), "seed": str(chosen_seed)}
    overrides = by_stage(changes, names)
    small = scales[scale] if scale else {}
    for name in small:
        if name not in names:
            raise ValueError(unknown_name("stage", name, names, f" in the scale {scale!r} of {source}"))

    steps = []
    for name, entry in zip(names, content["stages"]):
        options = {**(entry.get("options") or {}), **(small.get(name) or {}), **overrides.get(name, {})}
        after = waits_for(name, entry, options, names, words)
        steps.append(step_of(name, entry, fill_in(options, words), after, content, source, folder, chosen_seed))
    ordered = in_order(steps)
    env = {str(key): str(value) for key, value in fill_in(content.get("env") or {}, words).items()}
    return Pipeline(
        name=str(content.get("name") or source.stem),
        source=source,
        folder=folder,
        seed=chosen_seed,
        max_parallel=parallel,
        steps=tuple(ordered),
        env=env,
        scale=scale,
        warnings=tuple(departures(ordered, folders)),
    )


def waits_for(
    name: str, entry: Mapping[str, Any], options: Json, names: Sequence[str], words: Mapping[str, str]
) -> tuple[str, ...]:
    """The stages that a stage comes after: those it names, then those whose folders its options refer to.

    Raises:
        ValueError: it refers to, or comes after, a stage that is not there, or itself.
    """
    used = set(placeholders(options))
    for word in used - set(words):
        near = difflib.get_close_matches(word, names, n=1)
        if near:
            raise ValueError(
                f"Stage {name!r} refers to {{{word}}}, which is none of the stages. Did you mean {{{near[0]}}}?"
            )
    after = [str(word) for word in entry.get("after") or []]
    for word in after:
        if word not in names:
            raise ValueError(unknown_name("stage", word, list(names), f", which {name!r} comes after"))
    if name in (used & set(names)) | set(after):
        raise ValueError(f"Stage {name!r} waits for itself; take {name!r} out of its `after` and options.")
    return (*after, *(word for word in names if word in used and word not in after))


def step_of(
    name: str,
    entry: Mapping[str, Any],
    options: Json,
    after: tuple[str, ...],
    content: Mapping[str, Any],
    source: Path,
    folder: Path,
    seed: int,
) -> Step:
    """One stage of the plan: its recipe as it will run.

    Args:
        entry: of ``stages`` in the file; content: all of the file, found at ``source``.
        options: of this stage, placeholders filled; they win over its recipe.
        folder: of the pipeline.
    """
    config = entry.get("config") or entry["stage"]
    beside = source.parent / str(config)
    recipe = load(beside if beside.is_file() else recipes.find(str(config)))
    module = f"{content.get('modules') or MODULES}.{str(entry['stage']).replace('-', '_')}"
    find_module(module)
    return Step(
        name=name,
        stage=str(entry["stage"]).replace("-", "_"),
        module=module,
        config=str(config),
        folder=folder / name,
        recipe={**recipe, "seed": seed, **options, "output_dir": str(folder / name)},
        changed={key: value for key, value in options.items() if recipe.get(key, ...) != value},
        after=after,
        launch=tuple(map(str, entry.get("launch") or content.get("launch") or ())),
        cpu=bool(content.get("cpu") or {**recipe, **options}.get("use_cpu")),
    )


def check_entries(source: Path, entries: list[Any]) -> list[Json]:
    """The entries of ``stages``, each a mapping with known keys and a name of its own."""
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not entry.get("stage"):
            raise ValueError(f"Stage {number} of {source} needs at least `stage`, as in {{name: zero, stage: zero}}.")
        strange(f"Stage {number} of {source}", entry, STAGE_KEYS)
        for key, kind, like in (
            ("options", dict, "{max_steps: 10}"),
            ("after", list, "[zero]"),
            ("launch", list, "[]"),
        ):
            if entry.get(key) is not None and not isinstance(entry[key], kind):
                raise ValueError(f"Stage {number} of {source}: {key}={entry[key]!r} must be written like {like}.")
        name = str(entry.get("name") or entry["stage"])
        if not re.fullmatch(r"\w+", name) or name in RESERVED:
            raise ValueError(f"Stage {number} of {source} cannot be called {name!r}; take letters, digits and _.")
        if name in names:
            raise ValueError(f"{source} has two stages called {name!r}; give one another name.")
        names.add(name)
    return entries


def load(path: Path) -> Json:
    """A YAML mapping.

    Raises:
        ValueError: it cannot be read, or is something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold `key: value` lines, and holds {type(content).__name__}.")
    return content


def strange(where: Any, content: Mapping[str, Any], known: set[str]) -> None:
    for key in content:
        if key not in known:
            near = did_you_mean(key, known) or f" Known: {', '.join(sorted(known))}."
            raise ValueError(f"{where} has the unknown key {key!r}.{near}")


def unknown_name(kind: str, name: str, known: list[str], where: str = "") -> str:
    return f"There is no {kind} {name!r}{where}.{did_you_mean(name, known)} There is: {', '.join(known) or 'none'}."


def whole(source: Path, key: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{key}={value!r} of {source} must be a whole number of at least {least}.")
    return value


def by_stage(changes: Iterable[str], names: list[str]) -> dict[str, Json]:
    """``["zero.max_steps=3"]`` as ``{"zero": {"max_steps": 3}}``."""
    options: dict[str, Json] = {}
    for change in changes:
        place, equals, value = change.partition("=")
        name, dot, key = place.partition(".")
        if not (equals and dot and key):
            raise ValueError(f"--set {change!r} must be written like zero.max_steps=20.")
        if name not in names:
            raise ValueError(unknown_name("stage", name, names, f" for --set {change}"))
        options.setdefault(name, {})[key] = yaml.safe_load(value)
    return options


def placeholders(value: Any) -> Iterator[str]:
    """The words in braces anywhere in a value."""
    if isinstance(value, str):
        yield from PLACE.findall(value)
    elif isinstance(value, dict):
        for part in value.values():
            yield from placeholders(part)
    elif isinstance(value, list):
        for part in value:
            yield from placeholders(part)


def fill_in(value: Any, words: Mapping[str, str]) -> Any:
    """The value with known words in braces replaced; other braces (a template's ``{question}``) stay."""
    if isinstance(value, str):
        return PLACE.sub(lambda match: words.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: fill_in(part, words) for key, part in value.items()}
    return [fill_in(part, words) for part in value] if isinstance(value, list) else value


def find_module(module: str) -> None:
    """Raises ValueError when there is no such stage module."""
    package, _, name = module.rpartition(".")
    try:
        module_spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        raise ValueError(f"modules={package!r} cannot be imported; it is the package the stages are in.") from None
    if module_spec is None:
        home = importlib.util.find_spec(package)
        places = home.submodule_search_locations if home else None
        raise ValueError(unknown_name("stage", name, sorted(entry.name for entry in pkgutil.iter_modules(places))))


def in_order(steps: list[Step]) -> list[Step]:
    """Each after all it waits for; otherwise the file's order.

    Raises:
        ValueError: stages wait for each other in a circle.
    """
    ordered: list[Step] = []
    waiting = list(steps)
    while waiting:
        done = {step.name for step in ordered}
        ready = next((step for step in waiting if set(step.after) <= done), None)
        if ready is None:
            circle = ", ".join(
                f"{step.name} waits for {' and '.join(name for name in step.after if name not in done)}"
                for step in waiting
            )
            raise ValueError(
                f"The stages wait for each other in a circle: {circle}. Take one of these out of `after`."
            )
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def departures(steps: list[Step], folders: Mapping[str, str]) -> list[str]:
    """What a plan does otherwise than the paper, where that is a known misunderstanding.

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.3.3: the 800k samples fine-tune DeepSeek-V3-Base, not the checkpoint
    that sampled them.
    """
    sentences = []
    bases = {
        step.recipe.get(key)
        for step in steps
        for key in ("model_name_or_path", "base_model")
        if step.stage in ("zero", "cold_start") and step.recipe.get(key) not in (*folders.values(), None)
    }
    for step in steps:
        start = step.recipe.get("model_name_or_path")
        if step.stage != "sft" or start is None:
            continue
        earlier = next((name for name, folder in folders.items() if str(start).startswith(folder)), None)
        if earlier:
            sentences.append(
                f"{step.name} starts from {earlier}'s checkpoint; the paper fine-tunes the base again on the 800k samples "
                "(Sec. 2.3.3). Set its model_name_or_path to the base unless this is meant."
            )
        elif bases and start not in bases:
            sentences.append(
                f"{step.name} starts from {start!r}, the other stages from {' and '.join(sorted(map(str, bases)))}; the "
                "paper fine-tunes the same base again (Sec. 2.3.3)."
            )
    return sentences
