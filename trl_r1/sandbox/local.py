"""Running a program on this machine, watched from outside: start, limits, the end of everything it started.

    this process  --starts-->  bwrap or namespaces.py  --clones-->  process 1 in there  --forks-->  stage.py, program

The kernel ends every process of a process namespace when its process 1 ends, and both layers above die with their
parent, so one SIGKILL ends the tree, and the death of the trainer does as well. Limits are kept twice: by the kernel
per process (rlimits, tmpfs sizes), and by ``_Watch``, which 20 times a second adds up what the whole tree uses.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from trl_r1.sandbox.places import BOX, python, visible_places
from trl_r1.sandbox.protocol import DEFAULT_LIMITS, Outcome, ResourceLimits
from trl_r1.sandbox.seccomp import DENIED, seccomp_filter


START_SECONDS = 30.0  # the sandbox has to be ready by then, however busy the machine
END_SECONDS = 10.0  # the kernel has to have ended the processes of a killed namespace by then
TICK_SECONDS = 0.05
ENVIRONMENT = {  # all that a program finds in its environment
    "HOME": BOX,
    "TMPDIR": BOX,
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",  # the same verdict every time
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # each arena takes 64 MiB of address space
}
_FIRST_USER = 1_800_000_000  # user ids that nobody has; 65,536 processes with 4,096 runs each have their own
_runs = itertools.count()


@dataclass(frozen=True)
class LocalSandbox:
    """Programs run by this machine's kernel, apart from everything else on it.

    ``isolation`` is "bubblewrap", "unshare", or "none": limits only, which is no isolation at all.
    """

    isolation: str
    user_namespace: bool = True  # False: root makes the namespaces itself, and the program gets a user id of its own
    kernel_counts: bool = True  # whether RLIMIT_NPROC can be used; if not, only the watch counts processes
    binary: str = ""  # bwrap
    paths: tuple[str, ...] = ()  # further directories to show, read-only, and to put on sys.path
    history: str = ""  # what was tried before

    def describe(self) -> str:
        """One line: what separates the program from this machine, and why nothing better was chosen."""
        if self.isolation == "none":
            text = "no isolation: limits only; the program sees the files, the network and the processes of this user"
        else:
            how = "a user namespace" if self.user_namespace else "made by root, with a user id of its own per run"
            calls = "a filter of system calls" if seccomp_filter() else "no filter of system calls for this machine"
            text = f"{self.isolation} ({how}; {calls})"
        return f"{text}; {self.history}" if self.history else text

    def run(self, code: str, stdin: str = "", limits: ResourceLimits = DEFAULT_LIMITS) -> Outcome:
        """Run a program. See ``Sandbox.run``; ``Outcome.status`` is "infrastructure" if it could not be started."""
        with contextlib.ExitStack() as stack:
            program = _sealed(code, stack)
            source = _sealed(stdin, stack)
            seccomp = _sealed(seccomp_filter(), stack)
            environment, folder = ENVIRONMENT, "/"
            if self.isolation == "none":
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trl_r1_not_isolated_"))
                environment = {**ENVIRONMENT, "HOME": folder, "TMPDIR": folder}
            started, report = os.pipe()
            stack.callback(os.close, started)
            try:
                process = subprocess.Popen(
                    self._command(program, report, seccomp, limits),
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    env=environment,
                    cwd=folder,
                    pass_fds=(program, report, seccomp),
                    start_new_session=True,
                )
            except OSError as error:
                return Outcome("infrastructure", stderr=f"The sandbox did not start: {error}")
            finally:
                os.close(report)
            stack.enter_context(process)
            return _Watch(process, started, limits, self.isolation != "none", stack).outcome()

    def _command(self, program: int, report: int, seccomp: int, limits: ResourceLimits) -> list[str]:
        user = -1
        if not self.user_namespace:
            user = _FIRST_USER + (os.getpid() % 65536) * 4096 + next(_runs) % 4096
        processes = limits.processes if self.kernel_counts else 1 << 20
        numbers = [
            program,
            report,
            user if self.isolation == "bubblewrap" else -1,
            math.ceil(limits.cpu_seconds),
            int(limits.memory_mib),
            int(processes),
            int(limits.disk_mib),
            int(limits.open_files),
        ]
        interpreter = [python(), "-S", "-s", "-B", "-c"]
        arguments = [*map(str, numbers), *self.paths]
        stage = _text("stage.py") + "\nimport sys\n"
        if self.isolation != "unshare":
            inner = [*interpreter, stage + "stage(sys.argv[1:])\n", *arguments]
            return inner if self.isolation == "none" else [*self._bubblewrap(limits, seccomp), *inner]
        links, binds, devices = visible_places(self.paths)
        plan = {
            "parent": os.getpid(),
            "user_namespace": self.user_namespace,
            "user": user,
            "links": links,
            "binds": binds,
            "devices": devices,
            "writable": [
                [BOX, int(limits.disk_mib), int(limits.files) + 1],
                ["/dev/shm", int(limits.disk_mib), int(limits.files) + 1],
            ],
            "pivot_root": DENIED["pivot_root"][os.uname().machine == "aarch64"],
            "seccomp": seccomp_filter().hex(),
        }
        text = f"{_text('namespaces.py')}\n{stage}import json\nisolate(json.loads(sys.argv.pop(1)))\nstage(sys.argv[1:])\n"
        return [*interpreter, text, json.dumps(plan), *arguments]

    def _bubblewrap(self, limits: ResourceLimits, seccomp: int) -> list[str]:
        links, binds, devices = visible_places(self.paths)
        command = [self.binary, "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        if seccomp_filter():
            command += ["--seccomp", str(seccomp)]
        for kind in ("ipc", "pid", "net", "uts", "cgroup-try"):
            command.append(f"--unshare-{kind}")
        if self.user_namespace:
            command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
        else:  # kept until stage.py has become somebody else
            command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        ways = {str(parent) for path in [*binds, *devices] for parent in Path(path).parents}
        for way in sorted(ways - {"/"} - {link for link, _ in links}):
            command += ["--perms", "0755", "--dir", way]
        for link, target in links:
            command += ["--symlink", target, link]
        for path in binds:
            command += ["--ro-bind", path, path]
        for path in devices:
            command += ["--dev-bind", path, path]
        for path in (BOX, "/dev/shm"):
            command += ["--perms", "1777", "--size", str(int(limits.disk_mib) << 20), "--tmpfs", path]
        return [*command, "--remount-ro", "/", "--chdir", BOX, "--"]


@dataclass
class _Watch:
    """One run, from outside: reads what it writes, adds up what it uses, ends it, and waits until it has ended."""

    process: subprocess.Popen[bytes]
    started: int  # readable when the program is about to start
    limits: ResourceLimits
    isolated: bool
    stack: contextlib.ExitStack
    begun: float = 0.0
    first: int = -1  # descriptor of process 1 of the namespace
    verdict: tuple[str, str] | None = None  # status and explanation, when the watch ended it
    texts: dict[int, bytearray] = field(default_factory=dict)

    def outcome(self) -> Outcome:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = self.process.stdout.fileno(), self.process.stderr.fileno()
        for stream in (out, err):
            os.set_blocking(stream, False)
            self.texts[stream] = bytearray()
        try:
            self._follow()
        finally:
            ended = time.monotonic()
            remains = self._end()
        for stream in (out, err):
            self._read(stream)
        stdout, stderr = (bytes(self.texts[stream]).decode("utf-8", "replace") for stream in (out, err))
        if not self.begun:
            why = f"The sandbox did not start the program: {stderr.strip()[-500:] or 'it said nothing'}"
            return Outcome("infrastructure", stderr=why)
        if remains:
            return Outcome("infrastructure", stderr="The kernel has not ended all processes of the sandbox.")
        seconds = ended - self.begun
        status, why = self.verdict or (self._status(stderr, seconds), "")
        return Outcome(status, stdout, f"{stderr}{why}", seconds)

    def _follow(self) -> None:
        """Until the program ends or exceeds a limit."""
        poll = select.poll()
        ended = os.pidfd_open(self.process.pid)
        self.stack.callback(os.close, ended)
        for descriptor in (ended, self.started, *self.texts):
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + START_SECONDS
        next_look = 0.0
        while True:
            now = time.monotonic()
            if now >= deadline:
                self.verdict = ("timeout", f"\nstopped after {self.limits.wall_seconds} s")
                return
            if self.begun and now >= next_look:
                self.verdict = self._excess()
                if self.verdict:
                    return
                next_look = time.monotonic() + TICK_SECONDS
            wait = min(deadline, next_look) - now if self.begun else deadline - now
            ready = [descriptor for descriptor, _ in poll.poll(max(0.0, wait) * 1000 + 1)]
            if self.started in ready:
                poll.unregister(self.started)
                if os.read(self.started, 1):
                    self.begun = time.monotonic()
                    deadline = self.begun + self.limits.wall_seconds
                    next_look = self.begun + TICK_SECONDS / 5
                    self._find_first()
            for stream in self.texts:
                if stream in ready and not self._read(stream):
                    poll.unregister(stream)
                if len(self.texts[stream]) > self.limits.output_bytes:
                    del self.texts[stream][int(self.limits.output_bytes) :]
                    self.verdict = ("output", f"\nstopped after {self.limits.output_bytes} bytes of output")
                    return
            if ended in ready:
                return

    def _read(self, stream: int) -> bool:
        """Take what is there, up to just over the limit; False at the end of the stream."""
        text = self.texts[stream]
        while len(text) <= self.limits.output_bytes:
            try:
                data = os.read(stream, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            text += data
        if self.verdict is None and self.begun:
            self.verdict = ("output", f"\nwrote more than {self.limits.output_bytes} bytes")
        del text[int(self.limits.output_bytes) + 1 :]
        return True

    def _find_first(self) -> None:
        if self.isolated and self.first < 0:
            for pid in children(self.process.pid):
                with contextlib.suppress(ProcessLookupError):  # it has ended already
                    self.first = os.pidfd_open(pid)
                    self.stack.callback(os.close, self.first)

    def _excess(self) -> tuple[str, str] | None:
        """What the whole tree uses too much of at this moment, if anything."""
        memory = tasks = 0
        tree = children(self.process.pid)
        for pid in tree:  # grows while we walk
            memory += private_bytes(pid)
            tasks += threads(pid)
            tree += children(pid)
        if memory > self.limits.memory_mib << 20:
            return "memory", f"\nstopped: all processes together used more than {self.limits.memory_mib} MiB"
        if tasks > self.limits.processes + 8:  # the sandbox's own are among them
            return "error", f"\nstopped: more than {self.limits.processes} processes"
        if self.isolated and tree:
            with contextlib.suppress(OSError):  # it ends at this moment
                box = os.statvfs(f"/proc/{tree[-1]}/root{BOX}")
                if box.f_files - box.f_ffree > self.limits.files + 1:
                    return "error", f"\nstopped: more than {self.limits.files} files"
        return None

    def _end(self) -> bool:
        """End everything the program started; True if something is still there."""
        if self.process.poll() is None:
            self._find_first()
            if not self.isolated:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        elif not self.isolated:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.first >= 0 and not select.select([self.first], [], [], END_SECONDS)[0]

    def _status(self, stderr: str, seconds: float) -> str:
        code = self.process.returncode
        code = 128 - code if code < 0 else code
        if code == 0:
            return "ok"
        if code == 128 + signal.SIGXCPU or (code == 128 + signal.SIGKILL and seconds >= self.limits.cpu_seconds):
            return "timeout"
        return "memory" if stderr.rstrip().rpartition("\n")[2].startswith("MemoryError") else "error"


def children(pid: int) -> list[int]:
    """Process ids of the children of a process; [] when it is gone."""
    ids: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                ids += map(int, file.read().split())
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists(f"/proc/{pid}/task") and not os.path.exists("/proc/thread-self/children"):
            return _children_by_search(pid)  # a kernel without CONFIG_PROC_CHILDREN
    return ids


def _children_by_search(pid: int) -> list[int]:
    ids = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if entry.isdigit() and Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                ids.append(int(entry))
    return ids


def private_bytes(pid: int) -> int:
    """Resident memory of a process that is no file's, in bytes; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _sealed(text: str | bytes, stack: contextlib.ExitStack) -> int:
    """A descriptor to read ``text`` from, which nobody can change any more."""
    import fcntl  # not on Windows, where the servers can still be used

    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
