"""What every sandbox promises: a program, its standard input and limits in; what became of it out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol


STATUSES: dict[str, str] = {
    "ok": "ended by itself with exit code 0",
    "error": "ended with another exit code, by a signal, or because it had too many processes or files",
    "timeout": "reached its limit of processor or wall time",
    "memory": "reached its limit of memory",
    "output": "wrote more than it may to standard output or standard error",
    "infrastructure": "was not judged: the sandbox itself failed; says nothing about the program",
}


@dataclass(frozen=True)
class ResourceLimits:
    """What one run of a program may use. The work directory is its only writable place and lives in memory."""

    wall_seconds: float = 10.0  # s, from the moment the program starts
    cpu_seconds: float = 5.0  # s per process, rounded up to whole seconds
    memory_mib: int = 512  # MiB: address space of one process, and private memory of all its processes together
    processes: int = 16  # processes and threads together
    output_bytes: int = 1 << 20  # bytes kept of standard output, and the same of standard error
    disk_mib: int = 32  # MiB of files in the work directory
    files: int = 1000  # files and directories in the work directory
    open_files: int = 64  # file descriptors of one process

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
                raise ValueError(f"The limit {field.name} is {value!r}. Give a positive, finite number.")


DEFAULT_LIMITS = ResourceLimits()


@dataclass(frozen=True)
class Outcome:
    """What became of one run. Text that is not UTF-8 has replacement characters in it."""

    status: str  # one of STATUSES
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0  # s of wall time the program ran, without the sandbox's own start

    @property
    def infrastructure(self) -> bool:
        return self.status == "infrastructure"


class Sandbox(Protocol):
    """Runs untrusted Python. Callable from any thread, several at once; uses no signal handler of this process."""

    def run(self, code: str, stdin: str = "", limits: ResourceLimits = DEFAULT_LIMITS) -> Outcome:
        """Run ``code`` as ``__main__`` with ``stdin`` on its standard input. Never raises for what the code does."""
        ...

    def describe(self) -> str:
        """One line: what separates the program from this machine, and what was tried before."""
        ...
