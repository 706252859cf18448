"""Which sandbox this machine offers: each is tried once per process, by running a program that looks for the outside."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import sys
import threading

from trl_r1.sandbox.local import LocalSandbox
from trl_r1.sandbox.protocol import ResourceLimits, Sandbox
from trl_r1.sandbox.remote import Piston, SandboxFusion


BACKENDS: dict[str, str] = {
    "auto": "the best isolation that works on this machine: bubblewrap, else unshare, else none at all is refused",
    "bubblewrap": "namespaces, read-only files and a filter of system calls, by the program bwrap",
    "unshare": "the same, by system calls of our own, for machines without bwrap",
    "sandbox_fusion": "a SandboxFusion server at `url`",
    "piston": "a Piston server at `url`",
}
_lock = threading.Lock()

PROBE = """
import os, socket, sys, threading
problems = []
if os.getpid() > 9: problems.append("process namespace")
if os.getuid() == 0: problems.append("root")
if os.path.exists("/proc/self") or os.path.exists("/etc/passwd") or os.path.exists("/home"): problems.append("files")
try: open("/escaped", "w"); problems.append("writable root")
except OSError: pass
try: socket.create_connection(("127.0.0.1", PORT), timeout=1); problems.append("network")
except OSError: pass
with open("written", "w") as file: file.write("x")
thread = threading.Thread(target=problems.append, args=("",))
try: thread.start(); thread.join()
except RuntimeError: problems.append("no threads")
print("contained" if problems == [""] else "not contained: " + ", ".join(filter(None, problems)))
"""


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class NoSandbox(RuntimeError):
    """This machine offers no isolation, and running without was not allowed."""


def open_sandbox(
    backend: str = "auto",
    url: str = "",
    allow_unsafe_local: bool = False,
    paths: tuple[str, ...] = (),
) -> Sandbox:
    """A sandbox to run programs in. Cheap after the first call of a process.

    Args:
        backend: one of ``BACKENDS``.
        url: of the server, for the remote ones, for instance ``http://localhost:8080``.
        allow_unsafe_local: where no isolation works, run programs with limits only. They can then read and change
            whatever this user can.
        paths: directories with packages that programs may import; the standard library is always there.

    Raises:
        NoSandbox: none works here; the message says why, and what to install.
        ValueError: unknown backend, or a url is missing.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r} is unknown. Choose one of: {', '.join(BACKENDS)}.")
    if backend in ("sandbox_fusion", "piston"):
        if not url:
            raise ValueError(
                f"backend={backend!r} needs the url of a server, for instance url='http://localhost:8080'."
            )
        return SandboxFusion(url) if backend == "sandbox_fusion" else Piston(url)
    with _lock:
        sandbox, why_not = _probed(backend)
    if sandbox is not None:
        return dataclasses.replace(sandbox, paths=tuple(paths)) if paths else sandbox
    if allow_unsafe_local and sys.platform.startswith("linux"):
        return LocalSandbox("none", kernel_counts=False, paths=tuple(paths), history=why_not)
    raise NoSandbox(
        f"No sandbox works on this machine ({why_not}). Install bubblewrap (Debian, Ubuntu: apt-get install "
        "bubblewrap), or name a server with backend and url, or set allow_unsafe_local=True to run programs unisolated."
    )


@functools.lru_cache(maxsize=8)
def _probed(backend: str) -> tuple[LocalSandbox | None, str]:
    """The first candidate that contains the probe, and why the ones before it do not."""
    if not sys.platform.startswith("linux"):
        return None, "programs are isolated by the Linux kernel, and this is " + sys.platform
    failures: list[str] = []
    for candidate in _candidates(backend, failures):
        failure = probe(candidate)
        if failure == "no threads":  # a kernel before 5.14 counts all of the user's processes
            candidate = dataclasses.replace(candidate, kernel_counts=False)
            failure = probe(candidate)
        if not failure:
            return dataclasses.replace(candidate, history="; ".join(failures)), ""
        failures.append(f"{_label(candidate)} does not work: {failure}")
    return None, "; ".join(failures)


def _candidates(backend: str, failures: list[str]) -> list[LocalSandbox]:
    sandboxes: list[LocalSandbox] = []
    by_root = [False] if os.geteuid() == 0 else []
    if backend in ("auto", "bubblewrap"):
        binary = shutil.which("bwrap")
        if binary:
            sandboxes += [LocalSandbox("bubblewrap", user, binary=binary) for user in (*by_root, True)]
        else:
            failures.append("bubblewrap is not installed")
    if backend in ("auto", "unshare"):
        sandboxes += [LocalSandbox("unshare", user) for user in (*by_root, True)]
    return sandboxes


def _label(candidate: LocalSandbox) -> str:
    return candidate.isolation if candidate.user_namespace else f"{candidate.isolation} as root"


def probe(sandbox: Sandbox) -> str:
    """Why a sandbox does not isolate; "" if it does. One run of a program that looks for the outside.

    A socket of ours listens on the loopback while it looks.
    """
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = PROBE.replace("PORT", str(listener.getsockname()[1]))
        outcome = sandbox.run(code, "", ResourceLimits(processes=4))
    if outcome.status != "ok":
        return outcome.stderr.strip().rpartition("\n")[2][-300:] or outcome.status
    output = outcome.stdout.strip()
    if output == "contained":
        return ""
    problem = output.removeprefix("not contained: ")
    return problem if problem == "no threads" else f"it leaves open: {problem[:300]}"
