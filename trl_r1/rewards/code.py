"""Code: does the program in a reply pass the row's tests? It runs in a sandbox (``trl_r1.sandbox``).

Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2, accuracy rewards: "for LeetCode problems, a compiler can be used to
generate feedback based on predefined test cases"; the columns are those of open-r1/verifiable-coding-problems-python.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from trl_r1.rewards.code_tests import Case, Unreadable, paired, read_cases
from trl_r1.sandbox.choice import BACKENDS, open_sandbox
from trl_r1.sandbox.protocol import DEFAULT_LIMITS, ResourceLimits, Sandbox
from trl_r1.storage.structured import option
from trl_r1.text.completions import ANSWER, THINK, after_reasoning, reply
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning, checked_tags


PYTHON_TAGS = frozenset({"python", "python3", "py", "py3", "pypy", "pypy3"})


# ---------------------------------------------------------------- extraction


def extract_program(
    text: str, prefilled_think: bool = False, think: tuple[str, str] = THINK, answer: tuple[str, str] = ANSWER
) -> str | None:
    r"""The program that a reply submits; None if there is none.

    It is looked for after the thought, and inside the last ``<answer>`` if there is one. The last fenced block marked
    as Python counts; without one, the last unmarked block; without any fence, all of the ``<answer>``. A fence that is
    never closed was cut off, and is no program.

    >>> extract_program("<think>```python\n1\n```</think>\n```python\nprint(2)\n```\nDone.")
    'print(2)\n'
    """
    region = after_reasoning(text, think, prefilled_think)
    start = region.rfind(answer[0])
    if start >= 0:
        region = region[start + len(answer[0]) :].partition(answer[1])[0]
    blocks = fenced_blocks(region)
    for tags in (PYTHON_TAGS, {""}):
        for tag, program in reversed(blocks):
            if tag in tags and program.strip():
                return program
    if start >= 0 and not blocks and "```" not in region and region.strip():
        return region.strip("\n") + "\n"
    return None


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """(tag in lower case, content) of every closed Markdown fence, in order. Linear in the length of the text."""
    blocks: list[tuple[str, str]] = []
    fence, tag, indent = "", "", 0
    lines: list[str] = []
    for line in text.split("\n"):
        stripped = line.strip()
        mark = stripped[: len(stripped) - len(stripped.lstrip(stripped[:1]))] if stripped[:1] in ("`", "~") else ""
        if not fence:
            if len(mark) >= 3 and "`" not in stripped[len(mark) :]:
                fence, indent, lines = mark, len(line) - len(line.lstrip()), []
                tag = (stripped[len(mark) :].split() or [""])[0].strip("{}.").lower()
        elif mark.startswith(fence) and mark == stripped:
            blocks.append((tag, "\n".join(lines) + "\n"))
            fence = ""
        else:
            lines.append(line[indent:] if not line[:indent].strip() else line)
    return blocks


# ---------------------------------------------------------------- judging


class Report(NamedTuple):
    """What became of one program. ``verdict`` is "passed", "no program", "no tests", "unreadable tests", "wrong",
    "error", "timeout", "memory", "output" or "infrastructure": the first thing that went wrong."""

    verdict: str
    passed: int = 0
    tests: int = 0


def judge_program(
    program: str,
    cases: Sequence[Case],
    sandbox: Sandbox,
    limits: ResourceLimits = DEFAULT_LIMITS,
    tolerance: float | None = None,
    stop_at_failure: bool = True,
    timeouts: int = 3,
) -> Report:
    """Run a program's tests in order; each in a sandbox of its own, so that none can prepare the next.

    Args:
        tolerance: see ``same_output`` and ``same_value``.
        stop_at_failure: leave out the tests after the first failed one.
        timeouts: so many tests that time out end the judging; the rest counts as failed.

    Returns:
        A report whose verdict is "infrastructure" if some test could not be run, twice, so that nothing is known.
    """
    passed, verdict, late = 0, "passed", 0
    for case in cases:
        result = _remembered(program, case, sandbox, limits, tolerance)
        if result == "infrastructure":
            return Report(result, passed, len(cases))
        if result == "passed":
            passed += 1
            continue
        verdict = result if verdict == "passed" else verdict
        late += result == "timeout"
        if stop_at_failure or late >= timeouts:
            break
    return Report(verdict, passed, len(cases))


_REMEMBERED = 50_000
_memory: OrderedDict[bytes, str] = OrderedDict()
_memory_lock = threading.Lock()


def _remembered(program: str, case: Case, sandbox: Sandbox, limits: ResourceLimits, tolerance: float | None) -> str:
    content = repr((program, case, sandbox, limits, tolerance))
    key = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    with _memory_lock:
        if key in _memory:
            _memory.move_to_end(key)
            return _memory[key]
    result = case.run(program, sandbox, limits, tolerance)
    if result == "infrastructure":
        return case.run(program, sandbox, limits, tolerance)  # once more, and never remembered
    if result == "timeout":
        return result  # the machine may have been busy
    with _memory_lock:
        _memory[key] = result
        while len(_memory) > _REMEMBERED:
            _memory.popitem(last=False)
    return result


def _after_fork() -> None:
    global _memory_lock
    _memory_lock = threading.Lock()  # another thread may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def default_workers(backend: str) -> int:
    """``TRL_R1_SANDBOX_WORKERS``, else 8 for a server, else the processors this process may use, at most 8."""
    count = os.environ.get("TRL_R1_SANDBOX_WORKERS")
    if count is not None:
        if not count.isdigit() or int(count) < 1:
            raise ValueError(f"TRL_R1_SANDBOX_WORKERS={count!r} is not a number of programs. Set 1 or more.")
        return int(count)
    if backend in ("sandbox_fusion", "piston"):
        return 8
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


# ---------------------------------------------------------------- the reward


@dataclass(frozen=True)
class Code(ReadsReasoning):
    """1.0 if the program in a reply passes all of the row's tests, else 0.0; ``partial`` pays the share passed.

    None where nothing can be said: the row has no readable tests, or the sandbox failed. A reply without a program
    earns 0. The expected outputs are never where the program runs, so it cannot print its way to a verdict.

    Raises, when called, ``NoSandbox`` if this machine isolates nothing (see ``describe``).

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2. Departure: ``partial`` is ours, and off: guessing the most common
    output would pay.
    """

    tests_column: str = option(
        "verification_info", "Dataset column with the tests; without it, `inputs`, `outputs` and `fn_name` are read."
    )
    partial: bool = option(False, "Pay the share of tests passed instead of all or nothing.")
    tolerance: float | None = option(None, "Numbers may differ by this much, absolutely or relatively. None: exact.")
    max_tests: int | None = option(None, "Run only the first so many tests of a row.")
    backend: str = option("auto", f"One of: {', '.join(BACKENDS)}.")
    url: str = option("", "Server of the sandbox_fusion or piston backend.")
    allow_unsafe_local: bool = option(
        False, "Without a sandbox, run programs unisolated. They can do whatever you can."
    )
    packages: tuple[str, ...] = option((), "Directories with packages that programs may import, read-only.")
    wall_seconds: float = option(10.0, "Wall time of one test, in seconds.")
    cpu_seconds: float = option(5.0, "Processor time of one test, in seconds.")
    memory_mib: int = option(512, "Memory of one test, in MiB.")
    workers: int | None = option(None, "Programs at once. None: TRL_R1_SANDBOX_WORKERS or the processors, at most 8.")
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    name: str = option("code", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"backend={self.backend!r} is unknown. Choose one of: {', '.join(BACKENDS)}.")
        if self.backend in ("sandbox_fusion", "piston") and not self.url:
            raise ValueError(
                f"backend={self.backend!r} needs the url of a server, for instance url='http://host:8080'."
            )
        if self.tolerance is not None and not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"tolerance={self.tolerance} is no distance. Give a number from 0 on, or None.")
        for count in ("max_tests", "workers"):
            value = getattr(self, count)
            if value is not None and value < 1:
                raise ValueError(f"{count}={value}: give 1 or more, or None.")
        self._limits()
        packages = (self.packages,) if isinstance(self.packages, str) else tuple(self.packages)
        object.__setattr__(self, "packages", packages)
        object.__setattr__(self, "think", checked_tags(self.think))

    def describe(self) -> str:
        """Where programs run: the sandbox in use, and why nothing better. Raises ``NoSandbox`` if there is none."""
        return self._sandbox().describe()

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        programs = [
            extract_program(reply(completion), prefilled, think)
            for completion, prompt in zip(completions, prompts or [None] * len(completions), strict=True)
            for think, prefilled in (self.reading(completion, prompt),)
        ]
        reports = self.judge(programs, self._cases(columns, len(completions)))
        if log_extra is not None:
            log_extra(f"{self.name}_program", [program or "" for program in programs])
            log_extra(f"{self.name}_verdict", [r.verdict for r in reports])
            log_extra(f"{self.name}_tests", [f"{r.passed}/{r.tests}" for r in reports])
        if log_metric is not None:
            for verdict in (
                "no program",
                "error",
                "timeout",
                "memory",
                "output",
                "infrastructure",
                "unreadable tests",
            ):
                share = sum(r.verdict == verdict for r in reports) / max(1, len(reports))
                log_metric(f"{self.name}/{verdict.replace(' ', '_')}", share)
        return [self._score(report) for report in reports]

    def judge(self, programs: Sequence[str | None], cases: Sequence[list[Case] | str]) -> list[Report]:
        """Reports on programs, in order; ``cases`` are each program's tests, or the verdict where there are none."""
        sandbox = self._sandbox()
        limits = self._limits()
        work: dict[tuple[str, str], tuple[str, list[Case]]] = {}  # equal programs with equal tests run once
        keys: list[Report | tuple[str, str]] = []
        for program, tests in zip(programs, cases):
            if isinstance(tests, str):
                keys.append(Report(tests))
            elif program is None:
                keys.append(Report("no program", 0, len(tests)))
            else:
                tests = tests[: self.max_tests]
                keys.append((program, repr(tests)))
                work[program, repr(tests)] = (program, tests)
        workers = min(self.workers or default_workers(self.backend), len(work)) or 1

        def run(item: tuple[str, list[Case]]) -> Report:
            return judge_program(*item, sandbox, limits, self.tolerance, not self.partial)

        with ThreadPoolExecutor(workers, thread_name_prefix="trl_r1_code") as pool:
            done = dict(zip(work, pool.map(run, work.values())))
        return [key if isinstance(key, Report) else done[key] for key in keys]

    def _cases(self, columns: dict[str, Any], rows: int) -> list[list[Case] | str]:
        cells = columns.get(self.tests_column)
        if cells is None and columns.get("inputs") is not None and columns.get("outputs") is not None:
            names = columns.get("fn_name") or [None] * rows
            return [_read(paired, *row) for row in zip(columns["inputs"], columns["outputs"], names)]
        if cells is None:
            raise ValueError(
                f"{self.name} needs a column {self.tests_column!r} with tests, or inputs and outputs. "
                f"The rows have: {', '.join(sorted(columns)) or 'none'}. Name yours with tests_column."
            )
        texts = {cell: _read(read_cases, cell) for cell in {cell for cell in cells if isinstance(cell, str)}}
        return [texts[cell] if isinstance(cell, str) else _read(read_cases, cell) for cell in cells]

    def _sandbox(self) -> Sandbox:
        return open_sandbox(self.backend, self.url, self.allow_unsafe_local, self.packages)

    def _limits(self) -> ResourceLimits:
        return ResourceLimits(self.wall_seconds, self.cpu_seconds, self.memory_mib)

    def _score(self, report: Report) -> float | None:
        if report.verdict in ("infrastructure", "no tests", "unreadable tests"):
            return None
        return report.passed / report.tests if self.partial and report.tests else float(report.verdict == "passed")


def _read(read: Callable[..., list[Case] | None], *cells: Any) -> list[Case] | str:
    try:
        return read(*cells) or "no tests"
    except Unreadable:
        return "unreadable tests"


code_reward = Code()
