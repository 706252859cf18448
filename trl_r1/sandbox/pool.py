"""Judging what may never return: a pool of processes that can be killed.

sympy can be made to think for ever, with the interpreter's lock held, by one line of a model's output; an alarm does
not stop it and works only on the main thread. So such work runs elsewhere:

    this process  --JSON lines-->  keeper  --fork-->  judge

A *keeper* is a plain child process (``subprocess``, because TRL's async trainer calls rewards from a daemonic process,
which may not have ``multiprocessing`` children, and because spawn would import the user's script again). It imports
what judging needs once, judges nothing itself, and forks a *judge* that does. A judge that exceeds its time is killed
and its successor forked in milliseconds. A judge has a limit on memory and on CPU time, so it dies even if its keeper
cannot kill it.

No orphans: a keeper always waits, with a timeout, so it notices within a second that its parent is gone (end of its
input, or another parent process id), and takes its judge with it; the kernel does the latter too (PR_SET_PDEATHSIG).

Works from any thread and after a fork; each process makes its own pool when it first needs one. One keeper serves
until it has kept a caller waiting; then more are added, up to ``TRL_R1_VERIFIER_WORKERS`` (default: the processors
this process may use, at most 4).
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from trl_r1.text.records import Json


START_SECONDS = 120.0  # a keeper has to be ready by then, on however slow a disk
GRACE_SECONDS = 5.0  # beyond an item's own limit, before the keeper itself counts as stuck
STARVED = 4  # as in pool_worker, which imports nothing of ours
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pool_worker.py")
MOST_TRIES = (
    3  # of an item whose keeper dies; two idle ones may have been killed before, and be found dead only by use
)
PATIENCE_SECONDS = 0.25  # a batch that waits this long gets another keeper


class Result(NamedTuple):
    """What became of one item. ``value`` is the judge's verdict, or None with the reason in ``why``:
    "time", "memory", "died", "gold" (nothing wrong with the answer: the gold could not be read), or "error: ..."."""

    value: Any
    why: str = ""


def run(judge: str, items: Sequence[Sequence[Any]], *, seconds: float = 2.0, megabytes: int = 1024) -> list[Result]:
    """Judge every item in this process's pool, in order of ``items``; never longer per item than the limit.

    Args:
        judge: "math_verify" (items are (answer, gold) in LaTeX; verdict "equal" or "different"), or
            ``package.module:function``, a function that takes an item's values and returns something JSON can carry.
        items: arguments, as JSON can carry them.
        seconds: processor time per item (by the clock at most ``STARVED`` times as long, if a busy machine keeps it
            waiting; where the system does not tell processor time, by the clock).
        megabytes: address space of the judging process, in MiB.

    Raises:
        ImportError: what the judge needs is not installed.
        RuntimeError: keepers cannot be started, or keep dying without an item at work.
    """
    return _shared_pool().run(judge, items, seconds=seconds, megabytes=megabytes) if items else []


def close() -> None:
    """End this process's keepers. The next ``run`` starts new ones."""
    global _pool
    with _pool_lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.close()


class Keeper:
    """One keeper process, from the parent's side. Used by one caller at a time."""

    def __init__(self) -> None:
        if not sys.executable:
            raise RuntimeError("sys.executable is empty, so no process can be started to verify answers in.")
        code = (
            "import sys\n"
            "if sys.path and sys.path[0] == '': del sys.path[0]\n"
            "import json, os, runpy\n"
            "start = b''\n"
            "while not start.endswith(b'\\n'):\n"
            "    byte = os.read(0, 1)\n"
            "    if not byte: raise SystemExit\n"
            "    start += byte\n"
            "start = json.loads(start)\n"
            "sys.path[:] = start['path']\n"
            "runpy.run_path(start['file'], run_name='trl_r1_keeper')['keep'](start['parent'])\n"
        )
        environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}  # same verdicts in every process
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the trainer
        )
        self.ready = False
        self.buffer = b""
        self.index: int | None = None  # the item at work
        self.deadline = time.monotonic() + START_SECONDS
        self.send({"path": sys.path, "file": WORKER, "parent": os.getpid()})

    def fileno(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def send(self, message: Json) -> bool:
        """False if the keeper is gone."""
        assert self.process.stdin is not None
        data = memoryview(json.dumps(message).encode() + b"\n")
        try:
            while data:
                data = data[self.process.stdin.write(data) :]
        except (BrokenPipeError, ValueError):
            return False
        return True

    def receive(self) -> list[Json] | None:
        """The messages that have arrived; None at the end of the keeper's life."""
        data = os.read(self.fileno(), 65536)
        if not data:
            return None
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def abandon(self) -> None:
        """Close our ends of its pipes; the keeper ends itself."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def kill(self) -> None:
        self.abandon()
        self.process.kill()  # its judge follows: PR_SET_PDEATHSIG, and its own limit on CPU time
        self.process.wait()


class WorkerPool:
    """Keepers shared by the threads of one process."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = default_workers() if workers is None else workers
        if self.workers < 1:
            raise ValueError(f"workers={self.workers}: a pool needs one or more.")
        self._idle: list[Keeper] = []
        self._all: set[Keeper] = set()
        self._changed = threading.Condition()

    def run(self, judge: str, items: Sequence[Sequence[Any]], *, seconds: float, megabytes: int) -> list[Result]:
        """See the module's ``run``."""
        return Batch(self, judge, items, seconds, megabytes).run()

    def processes(self) -> list[int]:
        """Process ids of the keepers."""
        with self._changed:
            return [keeper.process.pid for keeper in self._all]

    def close(self) -> None:
        """End all keepers."""
        with self._changed:
            keepers, self._all, self._idle = list(self._all), set(), []
            self._changed.notify_all()
        for keeper in keepers:
            keeper.kill()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's keepers, which are not ours to end."""
        for keeper in self._all:
            keeper.abandon()
            keeper.process.returncode = 0  # not our child; nothing to wait for

    def take(self, wait: bool) -> Keeper | None:
        with self._changed:
            while True:
                while self._idle:
                    keeper = self._idle.pop()
                    if keeper.process.poll() is None:
                        return keeper
                    self._all.discard(keeper)
                    keeper.abandon()
                if len(self._all) < self.workers:
                    keeper = Keeper()
                    self._all.add(keeper)
                    return keeper
                if not wait:
                    return None
                self._changed.wait()

    def give_back(self, keeper: Keeper) -> None:
        with self._changed:
            if keeper in self._all:
                self._idle.append(keeper)
            self._changed.notify()

    def drop(self, keeper: Keeper) -> None:
        keeper.kill()
        with self._changed:
            self._all.discard(keeper)
            self._changed.notify()


class Batch:
    """One call's items on their way through a pool's keepers."""

    def __init__(
        self, pool: WorkerPool, judge: str, items: Sequence[Sequence[Any]], seconds: float, megabytes: int
    ) -> None:
        self.pool, self.judge, self.items, self.seconds, self.megabytes = pool, judge, items, seconds, megabytes
        self.results: list[Result | None] = [None] * len(items)
        self.todo = deque(range(len(items)))
        self.tries = [0] * len(items)
        self.failed_starts = 0
        self.ours: set[Keeper] = set()
        self.selector = selectors.DefaultSelector()

    def run(self) -> list[Result]:
        """See the module's ``run``."""
        try:
            self._hire(wait=True)
            patience = time.monotonic() + PATIENCE_SECONDS
            while self.todo or any(keeper.index is not None for keeper in self.ours):
                if not self.ours:
                    self._hire(wait=True)
                self._hand_out()
                now = time.monotonic()
                waiting = [keeper.deadline for keeper in self.ours if keeper.index is not None or not keeper.ready]
                limit = min(waiting, default=now + 1.0)
                growing = bool(self.todo) and len(self.ours) < self.pool.workers
                if growing:
                    limit = min(limit, patience)
                for key, _ in self.selector.select(max(0.0, limit - now)):
                    self._listen(key.fileobj)  # type: ignore[arg-type]
                now = time.monotonic()
                self._end_late(now)
                if growing and now >= patience:
                    self._hire(wait=False)
                    patience = now + PATIENCE_SECONDS
        finally:
            self.selector.close()
            for keeper in self.ours:
                if keeper.index is None:
                    self.pool.give_back(keeper)
                else:  # an exception came through while it worked
                    self.pool.drop(keeper)
        return [result if result is not None else Result(None, "died") for result in self.results]

    def _hire(self, wait: bool) -> None:
        keeper = self.pool.take(wait)
        if keeper is not None:
            self.ours.add(keeper)
            self.selector.register(keeper, selectors.EVENT_READ)

    def _dismiss(self, keeper: Keeper) -> None:
        self.selector.unregister(keeper)
        self.ours.discard(keeper)
        self.pool.drop(keeper)
        if keeper.index is not None:  # it died, or was stuck, with an item at work
            index, keeper.index = keeper.index, None
            if self.tries[index] < MOST_TRIES:
                self.todo.append(index)
            else:
                self.results[index] = Result(None, "died")

    def _hand_out(self) -> None:
        """An item for every keeper that is free."""
        for keeper in list(self.ours):
            if self.todo and keeper.ready and keeper.index is None:
                keeper.index = index = self.todo.popleft()
                self.tries[index] += 1
                keeper.deadline = time.monotonic() + STARVED * self.seconds + GRACE_SECONDS
                item = list(self.items[index])
                if not keeper.send(
                    {"judge": self.judge, "item": item, "seconds": self.seconds, "mib": self.megabytes}
                ):
                    self.tries[index] -= 1  # it never saw the item
                    self._dismiss(keeper)

    def _listen(self, keeper: Keeper) -> None:
        """Takes what a keeper has to say, or its end."""
        messages = keeper.receive()
        if messages is None:
            if not keeper.ready:
                self.failed_starts += 1
                if self.failed_starts >= 3:
                    raise RuntimeError(
                        f"A process to verify answers in ended as it started (exit code {keeper.process.wait()}). "
                        f"Try: {sys.executable} -c 'import math_verify'"
                    )
            self._dismiss(keeper)
            return
        for message in messages:
            if "missing" in message:
                raise _missing(self.judge, message["missing"], message["error"])
            if "ready" in message:
                keeper.ready = True
            elif keeper.index is not None:
                self.results[keeper.index] = Result(message.get("value"), message.get("why", ""))
                keeper.index = None

    def _end_late(self, now: float) -> None:
        """Ends the keepers whose time is over."""
        for keeper in list(self.ours):
            if (keeper.index is not None or not keeper.ready) and now > keeper.deadline:
                if not keeper.ready:
                    raise RuntimeError(f"A process to verify answers in was not ready after {START_SECONDS} s.")
                self.tries[keeper.index or 0] = MOST_TRIES  # stuck once is enough
                self._dismiss(keeper)


def default_workers() -> int:
    """``TRL_R1_VERIFIER_WORKERS``, else the processors this process may use, at most 4."""
    count = os.environ.get("TRL_R1_VERIFIER_WORKERS")
    if count is not None:
        if not count.isdigit() or int(count) < 1:
            raise ValueError(f"TRL_R1_VERIFIER_WORKERS={count!r} is not a number of processes. Set 1 or more.")
        return int(count)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, usable)


_PACKAGES = {  # module that may be missing -> how to get it
    **dict.fromkeys(("math_verify", "latex2sympy2_extended", "antlr4", "sympy"), "math-verify"),
    "z3": '"trl-r1[logic]"',
    "reasoning_gym": '"trl-r1[real]"',
}


def _missing(judge: str, module: str, error: str) -> ImportError:
    """What a judge that cannot be imported lacks, and how to get it where we know."""
    package = _PACKAGES.get(module.partition(".")[0])
    advice = f" Try: pip install {package}" if package else ""
    return ImportError(
        f"Judging with {judge!r} is not possible here: {error.rstrip('.')}.{advice}", name=module or None
    )


_pool: WorkerPool | None = None
_pool_lock = threading.Lock()


def _shared_pool() -> WorkerPool:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = WorkerPool()
        return _pool


def _after_fork() -> None:
    global _pool, _pool_lock
    _pool_lock = threading.Lock()  # another thread may have held the old one
    if _pool is not None:
        _pool.abandon()
        _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)
