"""Tests of programs: read from a dataset's row, asked inside a sandbox, compared outside.

A program never meets what it is expected to say. A standard-input test sends the input and compares the output here. A
function test sends the *call*, and what comes back is plain data, which is compared here; it cannot bring an ``==`` of
its own. An assert is taken apart into calls of the program (asked in its sandbox) and the rest: ``== literal`` is
compared here; any other rest runs in a second sandbox, where the program's code never is. So a program that prints
"passed", exits early or patches the interpreter has only changed its own answer.
"""

from __future__ import annotations

import ast
import builtins
import json
import math
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_r1.sandbox.protocol import Outcome, ResourceLimits, Sandbox


class Unreadable(ValueError):
    """A row's tests cannot be read; nothing can be said about any program."""


# ---------------------------------------------------------------- one test


@dataclass(frozen=True)
class StdinCase:
    """Lines in, lines out."""

    stdin: str
    stdout: str

    def run(self, program: str, sandbox: Sandbox, limits: ResourceLimits, tolerance: float | None) -> str:
        """ "passed", "wrong", or the status of a run that did not end well."""
        outcome = sandbox.run(program, self.stdin, limits)
        if outcome.status != "ok":
            return outcome.status
        return "passed" if same_output(outcome.stdout, self.stdout, tolerance) else "wrong"


@dataclass(frozen=True)
class CallCase:
    """Calls of the program's functions, and what has to come of them.

    ``compare``: "json" (tuples are lists), "wrapped" (the same, or the only element of the expected list, as APPS
    writes it), "python" (as ``==`` of Python), "check" (``expected`` is the source of an expression over ``answers``).
    ``imports`` are statements that calls and ``expected`` lean on.
    """

    calls: tuple[str, ...]
    expected: Any
    compare: str = "json"
    imports: str = ""

    def run(self, program: str, sandbox: Sandbox, limits: ResourceLimits, tolerance: float | None) -> str:
        """ "passed", "wrong", or the status of a run that did not end well."""
        outcome, answers = ask(program, self.calls, sandbox, limits, self.imports)
        if outcome.status != "ok":
            return outcome.status
        if answers is None:
            return "wrong"
        if self.compare == "check":
            checker = f"answers = [decode(answer) for answer in {answers!r}]\n"
            outcome, verdict = ask(checker, (f"bool({self.expected})",), sandbox, limits, self.imports)
            return "passed" if verdict == [["b", 1]] else "infrastructure" if outcome.infrastructure else "wrong"
        right = same_value(answers[0], self.expected, tolerance, strict=self.compare == "python")
        if not right and self.compare == "wrapped" and isinstance(self.expected, list) and len(self.expected) == 1:
            right = same_value(answers[0], self.expected[0], tolerance, strict=False)
        return "passed" if right else "wrong"


Case = StdinCase | CallCase


def ask(
    program: str, calls: Sequence[str], sandbox: Sandbox, limits: ResourceLimits, imports: str = ""
) -> tuple[Outcome, list[Any] | None]:
    """Run a program, evaluate expressions in its scope: (outcome, encoded values, or None if none came back)."""
    nonce = secrets.token_hex(16)  # so that nothing a program prints by chance is taken for the values
    harness = Path(__file__).with_name("code_harness.py").read_text(encoding="utf-8")
    outcome = sandbox.run(f"{harness}\nanswer({program!r}, {list(calls)!r}, {nonce!r}, {imports!r})\n", "", limits)
    _, nonce_seen, text = outcome.stdout.rpartition(f"\n{nonce} ")
    if outcome.status != "ok" or not nonce_seen:
        return outcome, None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # the program wrote over it
        return outcome, None
    return outcome, values if isinstance(values, list) and len(values) == len(calls) else None


# ---------------------------------------------------------------- comparing


def same_output(actual: str, expected: str, tolerance: float | None = None) -> bool:
    """Whether two texts are equal line by line, without trailing whitespace and trailing empty lines.

    Args:
        tolerance: numbers may differ by this much, absolutely or relatively to the expected one, and any whitespace
            separates. None compares characters.

    >>> same_output("1 2 \\n3\\n\\n", "1 2\\n3")
    True
    """
    if tolerance is not None:
        ours, theirs = actual.split(), expected.split()
        return len(ours) == len(theirs) and all(_close(a, e, tolerance) for a, e in zip(ours, theirs))
    lines = [[line.rstrip() for line in text.rstrip().split("\n")] for text in (actual, expected)]
    return lines[0] == lines[1]


def _close(actual: str, expected: str, tolerance: float) -> bool:
    if actual == expected:
        return True
    try:
        return math.isclose(float(actual), float(expected), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False


def same_value(encoded: Any, expected: Any, tolerance: float | None = None, strict: bool = False) -> bool:
    """Whether a value that a program sent equals ours. It may have sent anything: what is malformed is not equal.

    Args:
        encoded: as ``encode`` in ``code_harness.py`` writes it.
        tolerance: of floats, absolute or relative. None compares exactly.
        strict: as Python's ``==``. Otherwise as JSON: tuples are lists, keys may be their text.
    """
    try:
        return _same(encoded, expected, tolerance, strict)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError, RecursionError):
        return False


def _same(encoded: Any, expected: Any, tolerance: float | None, strict: bool) -> bool:
    kind, *rest = encoded
    if kind in ("l", "t"):
        kinds = {"l": list, "t": tuple}[kind] if strict else (list, tuple)
        if not isinstance(expected, kinds) or len(rest[0]) != len(expected):
            return False
        return all(_same(item, ours, tolerance, strict) for item, ours in zip(rest[0], expected))
    if kind == "e":  # sizes first: a set is built only if it is as small as ours
        if not isinstance(expected, (set, frozenset)) or len(rest[0]) != len(expected):
            return False
        return {_scalar(item) for item in rest[0]} == expected
    if kind == "d":
        if not isinstance(expected, Mapping) or len(rest[0]) != len(expected):
            return False
        met = set()
        for key, value in rest[0]:
            ours = _scalar(key)
            if not strict and ours not in expected:
                ours = str(ours)
            if ours not in expected or not _same(value, expected[ours], tolerance, strict):
                return False
            met.add(ours)
        return len(met) == len(expected)
    value = _scalar(encoded)
    if tolerance is not None and isinstance(value, (int, float)) and isinstance(expected, (int, float)):
        return value == expected or math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance)
    return bool(value == expected)


def _scalar(encoded: Any) -> Any:
    """One value without parts, or a tuple of such as a key."""
    kind, *rest = encoded
    if kind == "t":
        return tuple(_scalar(item) for item in rest[0])
    if kind == "e":
        return frozenset(_scalar(item) for item in rest[0])
    return {
        "n": lambda: None,
        "b": lambda: bool(rest[0]),
        "i": lambda: int(rest[0], 16),
        "f": lambda: float.fromhex(rest[0]),
        "c": lambda: complex(float.fromhex(rest[0]), float.fromhex(rest[1])),
        "s": lambda: str(rest[0]),
        "y": lambda: bytes.fromhex(rest[0]),
    }[kind]()


# ---------------------------------------------------------------- reading rows


def read_cases(cell: Any) -> list[Case] | None:
    """The tests in a dataset's cell; None if they are for another language than Python.

    Understood, also as JSON text:
        {"language": "python", "test_cases": [{"type": "stdin_stdout", "input": ..., "output": ...},
            {"type": "function_call", "fn_name": ..., "input": [arguments], "output": ...}]}
        {"inputs": [...], "outputs": [...], "fn_name": None or a name}    (APPS, TACO)
        ["assert f(2) == 4", ...]                                         (MBPP)
        a list of test cases like those of the first

    Raises:
        Unreadable: none of these, or no test at all.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if text.startswith(("{", "[")):
            try:
                cell = json.loads(text)
            except (ValueError, RecursionError):
                cell = [text]
        else:
            cell = [text]
    if isinstance(cell, Mapping):
        language = cell.get("language")
        if language and str(language).lower() not in ("python", "python3", "py", "pypy3"):
            return None
        if cell.get("inputs") is not None and cell.get("outputs") is not None:
            return _nonempty(paired(cell["inputs"], cell["outputs"], cell.get("fn_name")))
        name = cell.get("fn_name")
        cell = cell.get("test_cases") or cell.get("tests")
        if isinstance(cell, str):
            return read_cases(cell)
        if isinstance(cell, Mapping):  # one dict of columns instead of a list of rows
            if cell.get("inputs") is not None:
                return read_cases(cell)
            columns = {key: value for key, value in cell.items() if isinstance(value, Sequence)}
            cell = [dict(zip(columns, row)) for row in zip(*columns.values())]
        if name and isinstance(cell, Sequence):
            cell = [{"fn_name": name, **row} if isinstance(row, Mapping) else row for row in cell]
    if not isinstance(cell, Sequence):
        raise Unreadable(f"{type(cell).__name__} is no tests")
    cases: list[Case] = []
    for row in cell:
        if isinstance(row, str):
            cases += assert_cases(row)
        elif isinstance(row, Mapping) and "input" in row and "output" in row:
            cases += paired([row["input"]], [row["output"]], row.get("fn_name"))
        else:
            raise Unreadable(f"{str(row)[:100]!r} is no test")
    return _nonempty(cases)


def _nonempty(cases: list[Case]) -> list[Case]:
    if not cases:
        raise Unreadable("there is no test")
    return cases


def paired(inputs: Any, outputs: Any, fn_name: Any) -> list[Case]:
    """Tests from inputs and the outputs that belong to them; of a function if it has a name."""
    lists = all(isinstance(cell, Sequence) and not isinstance(cell, str) for cell in (inputs, outputs))
    if not lists or len(inputs) != len(outputs):
        raise Unreadable("inputs and outputs are not two lists of one length")
    if not fn_name:
        return [StdinCase(_lines(stdin), _lines(stdout)) for stdin, stdout in zip(inputs, outputs)]
    if not isinstance(fn_name, str) or not fn_name.isidentifier():
        raise Unreadable(f"{fn_name!r} is no name of a function")
    cases: list[Case] = []
    for stdin, stdout in zip(inputs, outputs):
        arguments = [_value(line) for line in stdin.split("\n") if line.strip()] if isinstance(stdin, str) else stdin
        if not isinstance(arguments, (list, tuple)):
            arguments = [arguments]
        expected = _value(stdout) if isinstance(stdout, str) and isinstance(stdin, str) else stdout
        cases.append(CallCase((f"find_function({fn_name!r})(*{list(arguments)!r})",), expected, "wrapped"))
    return cases


def _lines(cell: Any) -> str:
    if isinstance(cell, (list, tuple)):
        return "\n".join(map(str, cell))
    return cell if isinstance(cell, str) else str(cell)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def assert_cases(text: str) -> list[Case]:
    """Tests from ``assert`` statements. Imports of the standard library go with them; any other import is taken to
    bring the program's own functions, which are there already.

    >>> assert_cases("assert sorted(f([2, 1])) == [1, 2]")[0].calls
    ('f([2, 1])',)
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Unreadable(f"{text[:100]!r} is no Python: {error}") from error
    try:
        return _assert_cases(statements)
    except RecursionError as error:
        raise Unreadable(f"{text[:100]!r} is nested too deeply") from error


def _assert_cases(statements: list[ast.stmt]) -> list[Case]:
    cases: list[Case] = []
    imports: list[str] = []
    known = set(dir(builtins))
    for statement in statements:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            module = statement.names[0].name if isinstance(statement, ast.Import) else statement.module or ""
            if module.partition(".")[0] in sys.stdlib_module_names:
                imports.append(ast.unparse(statement))
                known |= {(name.asname or name.name).partition(".")[0] for name in statement.names}
            continue
        if not isinstance(statement, ast.Assert):
            raise Unreadable(f"{ast.unparse(statement)[:100]!r} is no assert")
        cases.append(_assert_case(statement.test, known, "\n".join(imports)))
    return cases


def _assert_case(test: ast.expr, known: set[str], imports: str) -> CallCase:
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
        for ours, theirs in ((test.comparators[0], test.left), (test.left, test.comparators[0])):
            if _is_programs(theirs, known):
                try:
                    return CallCase((ast.unparse(theirs),), ast.literal_eval(ours), "python", imports)
                except (ValueError, TypeError):
                    continue
    calls: list[str] = []

    class Asked(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            if not _is_programs(node, known):
                return self.generic_visit(node)
            calls.append(ast.unparse(node))
            return ast.parse(f"answers[{len(calls) - 1}]", mode="eval").body

    rest = ast.unparse(Asked().visit(test))
    if not calls:
        raise Unreadable(f"{rest[:100]!r} calls nothing of the program")
    return CallCase(tuple(calls), rest, "check", imports)


def _is_programs(node: ast.AST, known: set[str]) -> bool:
    """Whether an expression is a call of the program's, like ``f(x)``, ``Solution().f(x)`` or ``f(x)[0].y``.

    Those of Python are not: ``sorted(x)``, ``math.isclose(x, y)``, ``"a".join(x)``. A function of the program may be
    called like a module (``numbers(3)``), so a module's name counts before a dot only.
    """
    called = dotted = False
    while isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
        called = called or isinstance(node, ast.Call)
        dotted = isinstance(node, ast.Attribute)  # in the end: what follows the name
        node = node.func if isinstance(node, ast.Call) else node.value
    if not called or not isinstance(node, ast.Name) or node.id in known:
        return False
    return not (dotted and node.id in sys.stdlib_module_names)
