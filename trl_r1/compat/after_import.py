"""Do something as soon as a library has been imported, without importing it.

`import trl_r1` has to make head gates known to peft, for `PeftModel.from_pretrained` in a script that names nothing else
of ours; but peft brings torch and takes seconds, and a verifier process that imports `trl_r1` needs neither. So the
registration waits for somebody to import peft. Nothing else in Python's import system is touched, and a look for the
library (`importlib.util.find_spec`) finds what it would find without us.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def after_import(library: str, act: Callable[[], object]) -> None:
    """Calls `act` once, when `library` has been imported completely; at once if it has been already."""
    if library in sys.modules:
        act()
    else:
        sys.meta_path.insert(0, _Waiting(library, act))


class _Waiting(MetaPathFinder):
    """Finds one library as all others find it, with `act` behind its loader."""

    def __init__(self, library: str, act: Callable[[], object]):
        self.library, self.act = library, act

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.library:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                spec.loader = _ThenAct(spec.loader, self) if spec.loader is not None else None
                return spec
        return None


class _ThenAct(Loader):
    """The library's own loader, and `act` after it."""

    def __init__(self, loader: Any, waiting: _Waiting):
        self._loader, self._waiting = loader, waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if self._waiting in sys.meta_path:
            sys.meta_path.remove(self._waiting)
            self._waiting.act()
