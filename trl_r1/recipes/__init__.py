"""Recipes travel with the package: find one by name, list them, copy them out for editing.

Belongs here: numbers, each with its source in a comment (``recipes/*.yaml`` of the checkout), presets and the
published values. Not: code that acts on them. A new recipe is a YAML file, found by its path without the ending; a
new card is an entry of ``CARDS`` in ``presets.py``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from trl_r1.errors import did_you_mean


def folder() -> Path:
    """Where the recipes lie: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def names() -> list[str]:
    """`zero`, `mini/zero`, ...: every recipe, without its ending, sorted."""
    root = folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def find(config: str) -> Path:
    """The file a user means by `--config`: a path as it is, else the recipe of that name.

    Raises:
        ValueError: neither exists.
    """
    path = Path(config)
    if path.is_file():
        return path
    recipe = folder() / (config if config.endswith((".yaml", ".yml")) else config + ".yaml")
    if recipe.is_file():
        return recipe
    raise ValueError(
        f"There is no file and no recipe {config!r}.{did_you_mean(config, names())} Recipes: {', '.join(names())}."
    )


def headline(name: str) -> str:
    """The first comment line of a recipe: what it is."""
    first = find(name).read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()


def copy(destination: str | Path, chosen: list[str] | None = None) -> list[Path]:
    """Copies recipes (all, or those named) into a folder, keeping their sub-folders; existing files are left alone.

    Returns:
        the files written.

    Raises:
        ValueError: a name is unknown, or a file of that name is already there.
    """
    root, written = Path(destination), []
    sources = [find(name) for name in (chosen or names())]
    targets = [root / source.relative_to(folder()) for source in sources]
    there = [str(target) for target in targets if target.exists()]
    if there:
        raise ValueError(f"{there[0]} is already there and is not overwritten; copy into another folder or remove it.")
    for source, target in zip(sources, targets):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        written.append(target)
    return written
