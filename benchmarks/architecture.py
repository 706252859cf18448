"""The package's architecture in numbers, from its syntax alone: nothing of it is imported. Prints one JSON line.

    python benchmarks/architecture.py                        (this tree)
    python benchmarks/architecture.py --root ../other/tree    (any other; the folder that holds trl_r1/)
    python benchmarks/architecture.py --explain               (before the line: circles, edges that run up, long files)

A room is a package directly under trl_r1/ or a loose module there; `trl_r1` itself is the room of `__init__.py`. An edge
is a pair of rooms of which one imports the other, counted once. Imports inside functions and under `TYPE_CHECKING` are
edges like any other, as is `importlib.import_module("trl_r1....")` with a literal; `lazy_edges` of them exist in no other
form. That importing `a.b` runs `a/__init__.py` is not an edge. Names in other strings (the tables of lazy exports and of
the command line, `python -m ...`) are none either.

rooms, edges, lazy_edges     see above
cycles, module_cycles        strongly connected groups of more than one room, of more than one module
two_way_pairs                pairs of rooms that import each other
edges_up                     edges whose target does not lie on a lower floor of FLOORS; lazy_edges_up: of these, only lazy
unplaced_rooms               rooms that FLOORS does not name (their edges are not counted as running up)
dict_str_any, fmt_skip       occurrences of `dict[str, Any]` and of `# fmt: skip` in the text
files_above_400              lines, docstrings and blanks included
functions_above_80           from `def` to the last line, docstring included, decorators not; methods and inner functions too
files_at_top                 Python files directly in trl_r1/
tokens                       by `tokenize`, without comments, docstrings (any string that stands as a statement), line ends
                             and indents. Python 3.12 and later split f-strings: compare numbers of one Python.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import sys
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple


PACKAGE = "trl_r1"
LONGEST_FILE, LONGEST_FUNCTION = 400, 80
# An import may only go to a lower floor (a later line); rooms of one floor do not import each other.
FLOORS = (
    (PACKAGE,),
    ("cli",),
    ("commands",),
    ("review",),
    ("serving", "pipeline", "stages"),
    ("routing", "runs"),
    ("agser", "monitor"),
    ("audit", "grpo", "evaluation"),
    ("data",),
    ("rewards",),
    ("claims", "models"),
    ("answers", "mini"),
    ("sandbox", "storage", "recipes", "gate", "compat"),
    ("text",),
    ("version", "errors", "network"),
)
LAYOUT_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


class Import(NamedTuple):
    """One import of one module of the package by another."""

    source: str  # full module names
    target: str
    lazy: bool  # inside a function, under TYPE_CHECKING, or import_module with a literal
    line: int


@cache
def tree_of(path: Path) -> ast.Module:
    """A file's syntax, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def modules_of(root: Path) -> dict[str, Path]:
    """Every module's full name and file. A package bears its own name: `trl_r1.data` is `trl_r1/data/__init__.py`."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """The room a module lies in; the package itself is a room of its own name.

    >>> room_of("trl_r1.grpo.rollout.cache"), room_of("trl_r1")
    ('grpo', 'trl_r1')
    """
    return (module.split(".") + [PACKAGE])[1]


def is_type_checking(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:` or `if typing.TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _named_modules(node: ast.AST, source: str, is_package: bool, known: Mapping[str, Path]) -> list[str]:
    """The modules that one statement or call imports: `from a import b` means `a.b` where that is a module, else `a`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = source.split(".")
            parts = parts[: len(parts) - node.level + is_package]
            base = ".".join([*parts, *([base] if base else [])])
        targets = (name if (name := f"{base}.{alias.name}") in known else base for alias in node.names)
        return list(dict.fromkeys(targets))
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return [str(node.args[0].value)] if function == "import_module" else []
    return []


def imports_of(root: Path) -> list[Import]:
    """Every import between two modules of the package, lazy ones included, in the order of the files."""
    known = modules_of(root)
    found = []

    def walk(node: ast.AST, source: str, is_package: bool, lazy: bool) -> None:
        for target in _named_modules(node, source, is_package, known):
            if target in known and target != source:
                found.append(Import(source, target, lazy or isinstance(node, ast.Call), node.lineno))
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(node)
        for child in ast.iter_child_nodes(node):
            walk(child, source, is_package, lazy)

    for name, path in known.items():
        walk(tree_of(path), name, path.name == "__init__.py", False)
    return found


def cycles_of(edges: set[tuple[str, str]]) -> list[list[str]]:
    """The strongly connected groups of more than one node, each sorted."""
    targets: dict[str, set[str]] = {}
    for source, target in edges:
        targets.setdefault(source, set()).add(target)

    def reachable(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for target in targets.get(waiting.pop(), set()) - seen:
                seen.add(target)
                waiting.append(target)
        return seen

    reach = {node: reachable(node) for node in targets}
    groups = {tuple(sorted(m for m in reach[n] if n in reach.get(m, ()))) for n in reach if n in reach[n]}
    return [list(group) for group in sorted(groups) if len(group) > 1]


def room_edges(imports: list[Import]) -> dict[tuple[str, str], list[Import]]:
    """The edges between rooms, each with the imports behind it."""
    edges: dict[tuple[str, str], list[Import]] = {}
    for one in imports:
        pair = room_of(one.source), room_of(one.target)
        if pair[0] != pair[1]:
            edges.setdefault(pair, []).append(one)
    return edges


def floor_of(room: str) -> int | None:
    """The floor, 0 the highest; None for a room that FLOORS does not name."""
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def runs_up(source: str, target: str) -> bool:
    """Whether an edge between two rooms breaks the floors."""
    above, below = floor_of(source), floor_of(target)
    return above is not None and below is not None and below <= above


def long_functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function of a file that is too long."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield node.name, lines


def token_count(path: Path) -> int:
    """The tokens of a module that are code."""
    docstrings = {
        (node.value.lineno, node.value.col_offset)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return sum(token.type not in LAYOUT_TOKENS and token.start not in docstrings for token in tokens)


def measure(root: Path) -> dict[str, int]:
    """The numbers named at the top of this file."""
    known, imports = modules_of(root), imports_of(root)
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    edges = room_edges(imports)
    lazy = {pair for pair, behind in edges.items() if all(one.lazy for one in behind)}
    up = {pair for pair in edges if runs_up(*pair)}
    rooms = {room_of(name) for name in known}
    return {
        "rooms": len(rooms),
        "modules": len(known),
        "edges": len(edges),
        "lazy_edges": len(lazy),
        "cycles": len(cycles_of(set(edges))),
        "two_way_pairs": sum((target, source) in edges for source, target in edges) // 2,
        "module_cycles": len(cycles_of({(one.source, one.target) for one in imports})),
        "edges_up": len(up),
        "lazy_edges_up": len(up & lazy),
        "unplaced_rooms": sum(floor_of(room) is None for room in rooms),
        "dict_str_any": sum(text.count("dict[str, Any]") for text in texts.values()),
        "fmt_skip": sum(text.count("# fmt: skip") for text in texts.values()),
        "files_above_400": sum(len(text.splitlines()) > LONGEST_FILE for text in texts.values()),
        "functions_above_80": sum(len(list(long_functions(path))) for path in known.values()),
        "files_at_top": sum(path.parent == root / PACKAGE for path in known.values()),
        "lines": sum(len(text.splitlines()) for text in texts.values()),
        "tokens": sum(map(token_count, known.values())),
    }


def explain(root: Path) -> Iterator[str]:
    """A line for everything that stands in the way of the zeros."""
    known, imports = modules_of(root), imports_of(root)
    edges = room_edges(imports)
    for group in cycles_of(set(edges)):
        yield f"circle of rooms: {', '.join(group)}"
    for group in cycles_of({(one.source, one.target) for one in imports}):
        yield f"circle of modules: {', '.join(group)}"
    for pair, behind in sorted(edges.items()):
        if runs_up(*pair):
            yield f"up: {pair[0]} -> {pair[1]}"
            for one in behind:
                yield f"    {known[one.source].relative_to(root)}:{one.line} {one.target}{' (lazy)' * one.lazy}"
    for path in known.values():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE:
            yield f"long file: {path.relative_to(root)} {lines}"
        for name, length in long_functions(path):
            yield f"long function: {path.relative_to(root)} {name} {length}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parent.parent, help="the folder that holds trl_r1/"
    )
    parser.add_argument(
        "--explain", action="store_true", help="say first where circles, upward edges and long code lie"
    )
    args = parser.parse_args(argv)
    if not (args.root / PACKAGE).is_dir():
        parser.error(f"--root {args.root} holds no folder {PACKAGE}/. Give the folder of a checkout.")
    if args.explain:
        for line in explain(args.root):
            print(line)
    print(json.dumps(measure(args.root)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
