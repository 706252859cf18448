"""The keeper and the judge: the process side of the verifier. Runs alone, by path, so that it imports no trl_r1.

The keeper reads one JSON request per line from its standard input, has a forked judge answer it under limits, and
writes one JSON line back. ``trl_r1.sandbox.pool`` is the other side and explains the design.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any


JUDGES_RECYCLED_AFTER = 5000  # items; sympy's caches grow
STARVED = 4  # a judge that a busy machine kept waiting may take so many times its seconds by the clock


def keep(parent: int) -> None:
    """A keeper's life: read a request, have it judged, answer; end when the parent is gone."""
    import logging

    logging.disable(logging.CRITICAL)
    judges: dict[str, Callable[..., Any]] = {}
    _write(1, {"ready": True})
    judge: _Judge | None = None
    buffer = b""
    while True:
        while b"\n" not in buffer:
            readable = _wait([0], 1.0)
            if not readable:
                if os.getppid() != parent:
                    return
                continue
            data = os.read(0, 1 << 20)
            if not data:
                if judge is not None:
                    judge.kill()
                return
            buffer += data
        line, _, buffer = buffer.partition(b"\n")
        request = json.loads(line)
        name, item, seconds, mib = request["judge"], request["item"], request["seconds"], request["mib"]
        if name not in judges:
            if judge is not None:  # it was forked before this import
                judge.kill()
                judge = None
            try:
                judges[name] = _load(name)
            except ImportError as error:
                _write(1, {"missing": error.name or "", "error": str(error)})
                continue
        if judge is None or judge.mib != mib or judge.judged >= JUDGES_RECYCLED_AFTER:
            if judge is not None:
                judge.kill()
            judge = _Judge(judges, mib)
        answer = judge.ask({"judge": name, "item": item, "seconds": seconds}, seconds, parent)
        if answer is None:  # the parent is gone
            judge.kill()
            return
        if not judge.alive:
            judge = None
        _write(1, answer)


class _Judge:
    """The keeper's handle of a forked judge."""

    def __init__(self, judges: dict[str, Callable[..., Any]], mib: int) -> None:
        self.mib = mib
        self.judged = 0
        self.alive = True
        keeper = os.getpid()
        requests_out, self.requests = os.pipe()
        self.answers, answers_in = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.requests)
                os.close(self.answers)
                _live_as_judge(judges, requests_out, answers_in, mib, keeper)
            finally:
                os._exit(1)
        os.close(requests_out)
        os.close(answers_in)

    def ask(self, request: dict[str, Any], seconds: float, parent: int) -> dict[str, Any] | None:
        """The answer; None if the keeper's own parent has gone meanwhile."""
        self.judged += 1
        began = time.monotonic()
        deadline, last, used = began + seconds, began + STARVED * seconds, _processor_seconds(self.pid)
        gold_read, buffer = request["judge"] != "math_verify", b""
        try:
            _write(self.requests, request)
        except BrokenPipeError:
            self.kill()
            return {"why": "died"}
        while True:
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                worked = seconds if used is None else (_processor_seconds(self.pid) or 0.0) - used
                if worked < 0.95 * seconds and deadline < last:
                    deadline = min(last, time.monotonic() + seconds - worked)
                    continue
                self.kill()
                return {"why": "time" if gold_read else "gold"}
            readable = _wait([0, self.answers], min(seconds_left, 1.0))
            if 0 in readable or os.getppid() != parent:
                return None  # nothing is sent while an item is at work: this is the end of our input
            if self.answers in readable:
                data = os.read(self.answers, 1 << 20)
                if not data:
                    self.kill()
                    return {"why": "died" if gold_read else "gold"}
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    message: dict[str, Any] = json.loads(line)
                    if "gold read" in message:
                        gold_read = True
                        continue
                    if message.get("why") == "memory":
                        self.kill()
                        if not gold_read:
                            message["why"] = "gold"
                    return message

    def kill(self) -> None:
        if self.alive:
            self.alive = False
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.requests)
            os.close(self.answers)


def _live_as_judge(judges: dict[str, Callable[..., Any]], source: int, sink: int, mib: int, keeper: int) -> None:
    import resource

    _die_with_parent(keeper)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):  # elsewhere the system may refuse; time limits remain
        resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))
    reserve = bytearray(1 << 20)  # to report with when memory runs out
    buffer = b""
    while True:
        while b"\n" not in buffer:
            data = os.read(source, 1 << 20)
            if not data:
                return
            buffer += data
        line, _, buffer = buffer.partition(b"\n")
        request = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime + request["seconds"]) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        try:
            if request["judge"] == "math_verify":
                answer = judges["math_verify"](*request["item"], lambda: _write(sink, {"gold read": True}))
            else:
                answer = {"value": judges[request["judge"]](*request["item"])}
            data = json.dumps(answer).encode() + b"\n"
        except MemoryError:
            del reserve
            os.write(sink, b'{"why": "memory"}\n')
            return
        except Exception as error:  # a library's complaint about a model's text is a verdict, not a crash
            data = json.dumps({"why": f"error: {type(error).__name__}: {error}"[:300]}).encode() + b"\n"
        while data:
            data = data[os.write(sink, data) :]


def _die_with_parent(parent: int) -> None:
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG; the keeper has one thread, so this is safe
    if os.getppid() != parent:
        os._exit(1)


def _processor_seconds(process: int) -> float | None:
    """What a process has computed so far; None where the system does not tell."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait(descriptors: list[int], seconds: float) -> list[int]:
    import select

    return select.select(descriptors, [], [], seconds)[0]


def _write(descriptor: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def _load(name: str) -> Callable[..., Any]:
    if name == "math_verify":
        judge = _math_verify()
        judge(r"\frac{2}{4}x+\sqrt{8}", r"\frac{x}{2}+2\sqrt{2}", lambda: None)  # fills the parser's tables, once
        judge(r"(1,\infty)", "x>1", lambda: None)
        return judge
    import importlib

    module, _, attribute = name.partition(":")
    target: Any = importlib.import_module(module)
    for step in attribute.split("."):
        target = getattr(target, step, None)
    if not callable(target):
        raise ImportError(f"{name!r} is no function")
    return target


def _math_verify() -> Callable[[str, str, Callable[[], None]], dict[str, Any]]:
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]  # never ExprExtractionConfig: sympy's parse_expr evaluates text as code

    def read(text: str) -> list[Any]:
        return parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)  # type: ignore[arg-type]

    def judge(answer: str, gold: str, gold_read: Callable[[], None]) -> dict[str, Any]:
        golds = read(gold)
        if not golds:
            return {"value": None, "why": "gold"}
        gold_read()
        answers = read(answer)
        if not answers:
            return {"value": "different"}
        equal = verify(golds, answers, allow_set_relation_comp=True, timeout_seconds=None)
        return {"value": "equal" if equal else "different"}

    return judge
