"""pipeline.json: what has run, with what settings and seeds, from which inputs, to which products; and what changed since.

A stage's own ``summary.json`` says that it is finished (it is the last thing a stage writes); the record says what it was
finished *with*, so that a later start can tell whether that is still what the file asks for.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypedDict

from trl_r1.pipeline.plan import Pipeline, Step
from trl_r1.storage import manifest
from trl_r1.storage.files import replace_file
from trl_r1.text.records import Json


FILE_NAME = "pipeline.json"
KIND = "trl_r1.pipeline"
SUMMARY = "summary.json"  # a finished stage has one
# what a later stage can build on: weights and data; not logs, evaluations or checkpoints on the way
PRODUCTS = ("*.safetensors", "pytorch_model*.bin", "*.jsonl", "*/*.safetensors")
NOT_PRODUCTS = ("metrics", "completions", "progress", "log", "alarms", "review")  # beginnings of names
NOT_FOLDERS = ("checkpoint-", "merged", ".")  # on the way, or made of a product by a later stage


@dataclass(frozen=True)
class Change:
    """Why a stage that has run is not the one the file asks for now."""

    stage: str
    what: str


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


class Product(TypedDict):
    """A file that a stage has made."""

    sha256: str
    size: int  # bytes
    mtime_ns: int


def products(folder: Path, known: Mapping[str, Product] | None = None) -> dict[str, Product]:
    """The products in a stage's folder: name -> sha256, size in bytes, time of change.

    Args:
        known: an earlier answer; a file of the same size and time is not read again.
    """
    files: dict[str, Product] = {}
    for pattern in PRODUCTS:
        for path in folder.glob(pattern):
            inside = path.parent != folder
            if path.name.startswith((*NOT_PRODUCTS, ".")) or (inside and path.parent.name.startswith(NOT_FOLDERS)):
                continue
            name = path.relative_to(folder).as_posix()
            state = path.stat()
            earlier = (known or {}).get(name)
            if earlier and (earlier["size"], earlier["mtime_ns"]) == (state.st_size, state.st_mtime_ns):
                files[name] = earlier
            else:
                files[name] = {"sha256": digest(path), "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    return dict(sorted(files.items()))


def hashes(files: Mapping[str, Product]) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in files.items()}


class Record:
    """The record of one pipeline folder, in memory and on disk; every change is written whole before it counts."""

    def __init__(self, folder: Path, content: Json):
        self.folder, self.content = folder, content

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """The record of a folder; None when the folder is free.

        Raises:
            ValueError: the folder holds something else.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            if folder.exists() and not folder.is_dir():
                raise ValueError(f"output_dir {folder} is a file; give a folder that does not exist yet or is empty.")
            if folder.is_dir() and any(entry.name != ".lock" for entry in folder.iterdir()):
                first = sorted(entry.name for entry in folder.iterdir() if entry.name != ".lock")[0]
                raise ValueError(
                    f"output_dir {folder} is not empty ({first}, ...) and holds no {FILE_NAME}, so it is not a pipeline's "
                    "folder. Choose another output_dir; nothing was changed."
                )
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path} is not readable ({error}); put a copy back or choose another output_dir."
            ) from error
        if not isinstance(content, dict) or content.get("kind") != KIND:
            raise ValueError(f"{path} is not a pipeline's record. Choose another output_dir.")
        return cls(folder, content)

    @classmethod
    def begin(cls, plan: Pipeline) -> Record:
        """A new record in memory; :meth:`save` claims the folder with it."""
        return cls(
            plan.folder,
            {
                "kind": KIND,
                "version": 1,
                "name": plan.name,
                "source": str(plan.source),
                "source_sha256": digest(plan.source),
                "seed": plan.seed,
                "scale": plan.scale,
                "started": now(),
                "versions": manifest.versions(),
                "seconds": 0.0,
                "redo": [],
                "stages": {},
            },
        )

    def save(self) -> None:
        replace_file(self.folder / FILE_NAME, json.dumps(self.content, indent=1, ensure_ascii=False))

    def of(self, name: str) -> Json:
        """What is recorded of a stage; {} when it has not been started."""
        return self.content["stages"].get(name, {})

    def finished(self, step: Step) -> bool:
        """Noted as finished, and its summary is still there (a stage may write one before its very end)."""
        return self.of(step.name).get("state") == "finished" and (step.folder / SUMMARY).is_file()

    def start(self, plan: Pipeline, step: Step) -> None:
        """Notes that a stage starts now, with what, from what. Its inputs must be finished."""
        entry = self.content["stages"].setdefault(step.name, {"starts": 0, "seconds": 0.0, "first_started": now()})
        entry.update(
            stage=step.stage,
            module=step.module,
            config=step.config,
            after=list(step.after),
            seed=step.recipe.get("seed"),
            settings=settings_of(step),
            inputs=self.inputs(plan, step),
            state="running",
            starts=entry["starts"] + 1,
            started=now(),
            versions=manifest.versions(),
        )
        self.save()

    def finish(self, step: Step) -> None:
        """Notes a finished stage and the hashes of its products."""
        entry = self.content["stages"][step.name]
        entry.update(state="finished", finished=now(), products=products(step.folder, entry.get("products")))
        entry.pop("error", None)
        self.save()

    def fail(self, step: Step, error: str) -> None:
        self.content["stages"][step.name].update(state="failed", error=error)
        self.save()

    def pause(self, step: Step, question: str) -> None:
        self.content["stages"][step.name].update(state="waits for a person", error=question)
        self.save()

    def inputs(self, plan: Pipeline, step: Step) -> dict[str, dict[str, str]]:
        """stage -> product -> sha256, for everything the step waits for."""
        return {name: hashes(self.products_of(plan[name])) for name in step.after}

    def products_of(self, step: Step) -> dict[str, Product]:
        return products(step.folder, self.of(step.name).get("products"))

    # --- what is not as it was

    def changes(self, plan: Pipeline) -> list[Change]:
        """Every stage that has run and is asked for otherwise now, in the plan's order."""
        sentences = []
        for step in plan.steps:
            entry = self.of(step.name)
            if not entry:
                continue
            what = difference(entry, step) or self.changed_product(plan, step)
            if what:
                sentences.append(Change(step.name, what))
        return sentences

    def changed_product(self, plan: Pipeline, step: Step) -> str | None:
        """What changed in a stage's inputs or products since it ran, in words."""
        entry = self.of(step.name)
        for name in entry.get("inputs", {}):
            source = next((other for other in plan.steps if other.name == name), None)
            if source is None or not self.finished(source):
                continue  # it will run again, and be compared then
            file = first_difference(entry["inputs"][name], hashes(self.products_of(source)))
            if file:
                return f"{step.name} was made from another {source.folder / file} than the one that is there now"
        if self.finished(step) and entry.get("products"):
            file = first_difference(hashes(entry["products"]), hashes(self.products_of(step)))
            if file:
                return f"{step.folder / file} is not what {step.name} left when it finished"
        return None

    # --- running again

    def repair(self, plan: Pipeline) -> list[str]:
        """Stages that failed, are asked for otherwise now, and have nothing resting on them: these just start anew."""
        return [
            step.name
            for step in plan.steps
            if self.of(step.name).get("state") == "failed"
            and not self.finished(step)
            and (difference(self.of(step.name), step) or self.changed_product(plan, step))
            and not any(self.of(name) for name in plan.followers([step.name]) if name != step.name)
        ]

    def redo(self, plan: Pipeline, names: Iterable[str]) -> list[str]:
        """Puts the named stages and all that rest on them aside, into ``previous/``; returns their names."""
        self.content["redo"] = plan.followers(names)
        self.save()
        return self.complete_redo()

    def complete_redo(self) -> list[str]:
        """Carries out (or ends, after a kill) what :meth:`redo` has noted."""
        names = list(self.content.get("redo", []))
        if not names:
            return []
        root = self.folder / "previous"
        number = self.content.get("redone", 0) + 1
        for name in names:
            for path in (self.folder / name, self.folder / "logs" / f"{name}.log"):
                if path.exists():
                    target = root / str(number) / path.relative_to(self.folder)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
            self.content["stages"].pop(name, None)
        self.content.update(redo=[], redone=number)
        self.save()
        return names


def settings_of(step: Step) -> Json:
    """The keys of a step's recipe that decide its result, as JSON."""
    settings = {key: value for key, value in step.recipe.items() if key not in manifest.VOLATILE}
    return json.loads(json.dumps(dict(sorted(settings.items())), default=str))


def difference(entry: Json, step: Step) -> str | None:
    """What the file asks of a stage now and did not when it ran, in words; all keys, the first in full."""
    if entry.get("stage") != step.stage:
        return f"{step.name} ran as the stage {entry.get('stage')!r} and is {step.stage!r} now"
    old, new = entry.get("settings", {}), settings_of(step)
    changed = [key for key in sorted({*old, *new}) if old.get(key, ...) != new.get(key, ...)]
    if not changed:
        return None
    key = changed[0]
    more = f" (so have {', '.join(changed[1:4])}{', ...' if len(changed) > 4 else ''})" if len(changed) > 1 else ""
    return f"{step.name} ran with {key}={old.get(key, 'unset')!r} and {key}={new.get(key, 'unset')!r} is asked for now{more}"


def first_difference(before: dict[str, str], after: dict[str, str]) -> str | None:
    return next((name for name in sorted({*before, *after}) if before.get(name) != after.get(name)), None)


def refuse(changes: list[Change], plan: Pipeline, command: str) -> str:
    """One clear sentence each: what changed, what rests on it, what to do."""
    names = list(dict.fromkeys(change.stage for change in changes))
    affected = plan.followers(names)
    roots = [name for name in names if not any(name in plan.followers([other]) for other in names if other != name)]
    others = [name for name in affected if name not in names]
    return (
        f"{'; '.join(change.what for change in changes[:3])}{'; ...' if len(changes) > 3 else ''}. "
        + (f"What rests on it: {', '.join(others)}. " if others else "")
        + f"`{command} --redo {','.join(roots)}` runs {', '.join(affected)} again and keeps the old folders under "
        f"{plan.folder / 'previous'}; or put the old value back, or choose another --output_dir. Nothing was changed."
    )
