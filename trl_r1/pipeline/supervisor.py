"""The process below which all stages run, and with which they end: no orphan outlives a killed pipeline.

    python -m trl_r1.pipeline.supervisor        reads JSON lines on stdin, answers with JSON lines on stdout

    {"preload": [module, ...]}                              imports once what every stage would import
    {"start": id, "fork": module, "argv": [..], "log": file, "env": {..}}     a stage as a copy of this process
    {"start": id, "command": [..], "log": file, "env": {..}}                  a stage as a process of its own
    {"stop": id}                                            SIGTERM to its group, SIGKILL five seconds later
    -> {"started": id, "pid": ..}   {"ended": id, "code": ..}      code: exit status, or minus the signal

Three ways for a pipeline to die, and what ends its stages: the pipeline is killed (stdin closes: this process kills all
groups), this process is killed (the kernel kills its children: PR_SET_PDEATHSIG on Linux), both at once and a stage had
children of its own (``sweep`` at the next start finds them by the marker in their environment).

Forking saves each stage the import of torch, transformers and TRL: seven seconds of CPU time on the machine this was
measured on. Only stages that use no accelerator are forked, since CUDA does not survive a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TypedDict


MARKER = "TRL_R1_PIPELINE"  # in the environment of every process of a pipeline: its folder
LINUX = sys.platform.startswith("linux")
PATIENCE = 5.0  # seconds between SIGTERM and SIGKILL


def when_parent_dies(number: int) -> None:
    """The kernel sends this process a signal when its parent dies; 0 for none. Linux only."""
    if LINUX:
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


class Order(TypedDict, total=False):
    """A line that the supervisor is sent; see the module for which keys go together."""

    preload: list[str]
    start: str
    fork: str
    argv: list[str]
    command: list[str]
    log: str
    env: dict[str, str]
    stop: str


def die_with(parent: int) -> None:
    """In a child: the kernel kills it when its parent dies. Linux only; elsewhere the closing pipe has to do."""
    when_parent_dies(signal.SIGKILL)
    if LINUX and os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)


def become(order: Order, parent: int) -> None:
    """In a fresh fork: own group, own log, no stdin."""
    os.setsid()
    die_with(parent)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(order.get("env") or {})


def run_module(module: str, argv: list[str]) -> int:
    """What ``python -m module argv`` does, in this process; its exit status."""
    import atexit
    import runpy

    sys.argv = [module, *argv]
    sys.path[0] = os.getcwd()  # as with -m
    code = 0
    try:
        sys.modules.pop(module, None)  # runpy warns when it runs what is imported
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


class Supervisor:
    def __init__(self) -> None:
        self.children: dict[int, str] = {}  # process id -> stage
        self.deadlines: dict[int, float] = {}  # of those told to stop
        self.wake, self.woken = os.pipe()
        for end in (self.wake, self.woken):
            os.set_blocking(end, False)

    def say(self, **message: Any) -> None:
        os.write(1, (json.dumps(message) + "\n").encode())

    def obey(self, order: Order) -> None:
        if "preload" in order:
            when_parent_dies(signal.SIGKILL)  # nobody reads stdin while this imports, and there are no children yet
            for module in order["preload"]:
                try:
                    importlib.import_module(module)
                except Exception:  # the stage will fail at it too, and say so in its own log
                    traceback.print_exc()
            gc.freeze()  # what is shared with the children stays shared
            when_parent_dies(0)  # from here on the closing pipe is noticed, and the children are killed first
        elif "start" in order:
            pid = self.fork(order) if "fork" in order else self.spawn(order)
            self.children[pid] = order["start"]
            self.say(started=order["start"], pid=pid)
        elif "stop" in order:
            for pid, name in self.children.items():
                if name == order["stop"]:
                    self.signal(pid, signal.SIGTERM)
                    self.deadlines[pid] = time.monotonic() + PATIENCE

    def fork(self, order: Order) -> int:
        parent = os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for end in (self.wake, self.woken):
                os.close(end)
            become(order, parent)
            code = run_module(order["fork"], order["argv"])
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(code)

    def spawn(self, order: Order) -> int:
        parent = os.getpid()
        process = subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: become(order, parent),
            env={**os.environ, **(order.get("env") or {})},
        )
        process.returncode = 0  # reaped below, not by Popen
        return process.pid

    def signal(self, pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)

    def reap(self) -> None:
        while self.children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self.children.pop(pid, None)
            self.deadlines.pop(pid, None)
            if name is not None:
                self.signal(pid, signal.SIGKILL)  # what is left of its group
                self.say(ended=name, code=os.waitstatus_to_exitcode(status))

    def serve(self) -> None:
        """Until stdin closes; then everything below this process is killed."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.woken)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pipeline decides
        pending = b""
        while True:
            readable, _, _ = select.select([0, self.wake], [], [], 1.0 if self.deadlines else None)
            if self.wake in readable:
                with contextlib.suppress(BlockingIOError):
                    while os.read(self.wake, 512):
                        continue
            self.reap()
            for pid, deadline in list(self.deadlines.items()):
                if time.monotonic() > deadline:
                    self.signal(pid, signal.SIGKILL)
            if 0 in readable:
                block = os.read(0, 1 << 16)
                if not block:
                    break
                *lines, pending = (pending + block).split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))
        for pid in list(self.children):
            self.signal(pid, signal.SIGKILL)
        folder = os.environ.get(MARKER)
        if folder:
            sweep(folder)


def sweep(folder: str, patience: float = 10.0) -> list[int]:
    """Kills what an earlier run of this pipeline left running; returns the process ids. Linux only: reads /proc.

    The caller must hold the pipeline's lock (or be its supervisor), so that nothing with this marker is anyone else's.
    """
    if not LINUX:
        return []
    processes = [pid for pid in marked(folder) if pid != os.getpid()]
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and any(pid in processes for pid in marked(folder)):
        time.sleep(0.05)
    return processes


def marked(folder: str) -> list[int]:
    """Processes of this user whose environment names the pipeline's folder."""
    marker = f"{MARKER}={folder}".encode()
    processes = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):  # gone meanwhile, or another user's
                if marker in (place / "environ").read_bytes().split(b"\0"):
                    processes.append(int(place.name))
    return processes


if __name__ == "__main__":
    Supervisor().serve()
