"""Names that a package offers and imports on first use, so that importing the package itself costs nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of ``package`` (PEP 562), which find each name in its home module.

    ``homes`` maps an exported name to the module that it lives in. A name that is not there raises AttributeError with
    those that are.
    """

    def find(name: str) -> Any:
        if name not in homes:
            offered = ", ".join(sorted(homes))
            raise AttributeError(f"module {package!r} has no attribute {name!r}. It offers: {offered}.")
        return getattr(importlib.import_module(homes[name]), name)

    def names() -> list[str]:
        return sorted({*vars(importlib.import_module(package)), *homes})

    return find, names
