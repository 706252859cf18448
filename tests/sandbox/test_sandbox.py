"""Sandboxes: a program gets what it needs, nothing else, and nothing of it stays."""

import dataclasses
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import textwrap
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile_programs import HOSTILE

from trl_r1.sandbox import LocalSandbox, NoSandbox, ResourceLimits, choice, local, open_sandbox
from trl_r1.sandbox.protocol import STATUSES
from trl_r1.sandbox.seccomp import seccomp_filter


LIMITS = ResourceLimits(wall_seconds=2.0, cpu_seconds=2.0, memory_mib=256, disk_mib=16)


def found_working() -> list[LocalSandbox]:
    """Every isolation that works here; "auto" is the first."""
    return [candidate for candidate in choice._candidates("auto", []) if not choice.probe(candidate)]


def label(sandbox: LocalSandbox) -> str:
    return f"{sandbox.isolation}{'' if sandbox.user_namespace else ' as root'}"


def chosen() -> list[LocalSandbox]:
    """The one that "auto" takes, and one of each other kind."""
    kinds: dict[str, LocalSandbox] = {}
    for candidate in WORKING:
        kinds.setdefault(candidate.isolation, candidate)
    return list(kinds.values())


WORKING = found_working() if sys.platform.startswith("linux") else []
SANDBOXES = chosen()
each_sandbox = pytest.mark.parametrize("sandbox", SANDBOXES, ids=label)


def test_this_machine_isolates():
    # a warning, because that is what pytest shows of a passed test, also when several processes run the tests
    warnings.warn(f"sandboxes tested: {', '.join(map(label, WORKING)) or 'none'}", stacklevel=1)
    if not SANDBOXES and os.environ.get("CI", "").lower() not in ("true", "1"):
        pytest.skip("no sandbox works on this machine")
    assert SANDBOXES, "CI has to run the hostile programs, and no sandbox works here: apt-get install bubblewrap"
    assert open_sandbox().describe().startswith(SANDBOXES[0].isolation)


# ---------------------------------------------------------------- programs that behave


@each_sandbox
def test_a_program_reads_and_writes(sandbox):
    outcome = sandbox.run("import sys\nprint(input()[::-1])\nprint('hm', file=sys.stderr)", "abc\n")
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", "cba\n", "hm\n")
    assert 0 < outcome.seconds < 10


@each_sandbox
def test_a_program_finds_what_judges_usually_offer(sandbox):
    code = """
        import sys, os, math, json, collections, heapq, bisect, decimal, random, re, tempfile, ctypes, threading
        import multiprocessing
        assert __name__ == "__main__" and sys.argv == ["program.py"]
        assert sys.stdin.read() == open("/dev/stdin").read() == "1\\n2\\n"
        open("/tmp/x", "w").write("kept"); assert open("x").read() == "kept"
        with tempfile.TemporaryFile() as file: file.write(b"x")
        lock = multiprocessing.Lock()
        if os.fork() == 0: os._exit(7)
        assert os.wait()[1] >> 8 == 7
        thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
        sys.setrecursionlimit(100_000)
        depth = lambda n: n and depth(n - 1) + 1
        assert depth(20_000) == 20_000
        print("é", end="")
        exit()
    """
    outcome = sandbox.run(textwrap.dedent(code), "1\n2\n")
    assert (outcome.status, outcome.stdout) == ("ok", "thread\né"), outcome


@each_sandbox
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(3)", "error"),
        ("def f(:", "error"),
        ("1 / 0", "error"),
        ("x = bytearray(1 << 30)", "memory"),
        ("while True: pass", "timeout"),
        ("import os\nos.kill(os.getpid(), 9)", "error"),
        ("import sys\nsys.exit()", "ok"),
        ("", "ok"),
    ],
)
def test_how_a_program_ended(sandbox, code, status):
    outcome = sandbox.run(code, "", dataclasses.replace(LIMITS, wall_seconds=5.0, cpu_seconds=1.0))
    assert outcome.status == status, outcome
    assert outcome.seconds < 4.0  # the processor time runs out before the wall time


@each_sandbox
def test_output_is_cut_at_the_limit(sandbox):
    limits = dataclasses.replace(LIMITS, output_bytes=10)
    assert sandbox.run("print('x' * 9)", "", limits).status == "ok"  # 9 and a newline: just fits
    outcome = sandbox.run("print('x' * 10)", "", limits)
    assert (outcome.status, outcome.stdout) == ("output", "x" * 10)


@each_sandbox
def test_megabytes_of_input_arrive(sandbox):
    outcome = sandbox.run("import sys\nprint(len(sys.stdin.read()))", "x" * 5_000_000)
    assert outcome.stdout == "5000000\n"


@each_sandbox
def test_text_that_is_not_unicode_does_not_raise(sandbox):
    assert sandbox.run("print('\ud800')", "\udfff").status in ("ok", "error")
    assert sandbox.run("import os\nos.write(1, b'\\xff')").stdout == "\ufffd"
    assert sandbox.run("print(1)\x00").status == "error"


@each_sandbox
def test_directories_with_packages_can_be_shown(sandbox, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "helper.py").write_text("VALUE = 42")
    shown = dataclasses.replace(sandbox, paths=(str(tmp_path),))
    assert shown.run("import helper\nprint(helper.VALUE)").stdout == "42\n"
    outcome = shown.run(f"open({str(tmp_path / 'helper.py')!r}, 'w')")
    assert outcome.status == "error"
    assert (tmp_path / "helper.py").read_text() == "VALUE = 42"


@each_sandbox
def test_many_at_once_from_threads(sandbox):
    before = set(local.children(os.getpid()))
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda n: sandbox.run("print(int(input()) ** 2)", str(n)), range(12)))
    assert [outcome.stdout for outcome in outcomes] == [f"{n * n}\n" for n in range(12)]
    assert set(local.children(os.getpid())) <= before
    assert len(os.listdir("/proc/self/fd")) < 200


# ---------------------------------------------------------------- programs that do not


class Host:
    """What must not be touched: a file, a process, a port, a socket; and a mark on every process of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nonce = secrets.token_hex(8)
        self.secret = secrets.token_hex(16)
        self.file = folder / "canary"
        self.file.write_text(self.secret)
        folder.chmod(0o777)
        self.file.chmod(0o666)  # whoever gets here can read and write it
        self.process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.port))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{self.nonce}")
        self.abstract.listen()
        for canary in (self.listener, self.datagrams, self.abstract):
            canary.setblocking(False)

    def fill_in(self, code: str) -> str:
        code = code.replace("CANARY_FILE", str(self.file)).replace("CANARY_PID", str(self.process.pid))
        code = code.replace("MOST_PROCESSES", str(LIMITS.processes))
        return code.replace("PORT", str(self.port)).replace("ABSTRACT", self.nonce)

    def untouched(self) -> bool:
        assert self.file.read_text() == self.secret
        assert os.listdir(self.folder) == ["canary"]
        assert not [name for name in os.listdir("/dev/shm") if name.endswith(f".{self.process.pid}")]
        assert self.process.poll() is None
        assert Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] in "SRD"
        for canary in (self.listener, self.abstract):
            with pytest.raises(BlockingIOError):
                canary.accept()
        with pytest.raises(BlockingIOError):
            self.datagrams.recv(1)
        return True

    def processes_left(self) -> list[str]:
        left = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue  # not ours, or gone
            if self.nonce.encode() in environment:
                left.append(Path(f"/proc/{entry}/cmdline").read_text()[-200:])
        return left

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for canary in (self.listener, self.datagrams, self.abstract):
            canary.close()


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host(tmp_path)
    monkeypatch.setitem(local.ENVIRONMENT, "TRL_R1_NONCE", host.nonce)
    yield host
    host.close()


@each_sandbox
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_is_contained(sandbox, name, host):
    statuses, code = HOSTILE[name]
    limits = dataclasses.replace(LIMITS, wall_seconds=1.0) if statuses == ("timeout",) else LIMITS
    outcome = sandbox.run(host.fill_in(code), "some input\n", limits)
    assert host.processes_left() == []
    assert outcome.status in statuses, outcome
    assert outcome.seconds < limits.wall_seconds + 1.0
    assert "ESCAPED" not in outcome.stdout
    assert host.secret not in outcome.stdout + outcome.stderr
    assert host.untouched()
    assert sandbox.run("print(int(input()) + 1)", "41").stdout == "42\n"


OTHERS = [sandbox for sandbox in WORKING if sandbox not in SANDBOXES]


@pytest.mark.parametrize("sandbox", OTHERS, ids=label)
@pytest.mark.parametrize(
    "name",
    ["write host files", "change the harness", "become root", "namespaces and mounts", "walk /proc"],
)
def test_the_isolation_without_root_holds_as_well(sandbox, name, host):
    test_hostile_program_is_contained(sandbox, name, host)


@each_sandbox
def test_the_kernel_alone_stops_a_fork_bomb(sandbox, monkeypatch):
    if not sandbox.kernel_counts or (sandbox.user_namespace and os.geteuid() == 0):
        pytest.skip("the kernel does not count the processes of root")
    monkeypatch.setattr(local, "TICK_SECONDS", 100.0)  # the watch looks away
    outcome = sandbox.run(HOSTILE["fork bomb"][1], "", LIMITS)
    assert outcome.status == "error"
    assert "BlockingIOError" in outcome.stderr


@each_sandbox
def test_machines_without_a_filter_isolate_too(sandbox, monkeypatch):
    monkeypatch.setattr(local, "seccomp_filter", lambda: b"")
    assert choice.probe(sandbox) == ""
    assert "no filter" in sandbox.describe()


def test_there_are_thirty_hostile_programs():
    assert len(HOSTILE) >= 30


@pytest.mark.skipif(not SANDBOXES, reason="no sandbox works on this machine")
def test_the_check_sees_a_program_that_stays(host):
    """Without isolation a daemon survives its run; the test above would notice."""
    unsafe = LocalSandbox("none", kernel_counts=False)
    code = "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(3); os._exit(0)\ntime.sleep(0.3)"
    unsafe.run(code, "", LIMITS)
    assert len(host.processes_left()) == 1
    outcome = unsafe.run(host.fill_in("print(open('CANARY_FILE').read())"), "", LIMITS)
    assert host.secret in outcome.stdout


@each_sandbox
def test_the_program_dies_with_the_trainer(sandbox, host, tmp_path):
    code = f"""
        from trl_r1.sandbox import ResourceLimits, LocalSandbox, local
        local.ENVIRONMENT["TRL_R1_NONCE"] = {host.nonce!r}
        print("ready", flush=True)
        {sandbox!r}.run("import time; time.sleep(30)", "", ResourceLimits(wall_seconds=30.0))
    """
    trainer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert trainer.stdout.readline() == b"ready\n"
    wait_until(lambda: len(host.processes_left()) >= 3)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
    wait_until(lambda: not host.processes_left(), seconds=10.0)


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@each_sandbox
def test_the_death_of_the_sandbox_itself_is_not_the_programs_fault(sandbox, monkeypatch):
    monkeypatch.setattr(local, "_text", lambda name: "raise SystemExit('broken on purpose')")
    outcome = sandbox.run("print(1)")
    assert outcome.status == "infrastructure"
    assert "broken on purpose" in outcome.stderr


@each_sandbox
def test_a_sandbox_that_is_not_ready_in_time_is_infrastructure(sandbox, monkeypatch):
    monkeypatch.setattr(local, "START_SECONDS", 0.0)
    assert sandbox.run("print(1)").status == "infrastructure"


# ---------------------------------------------------------------- choosing


def test_without_isolation_it_refuses_in_one_sentence_or_says_so(monkeypatch):
    monkeypatch.setattr(choice.shutil, "which", lambda name: None)
    monkeypatch.setattr(choice, "probe", lambda sandbox: "unshare: Operation not permitted")
    choice._probed.cache_clear()
    try:
        with pytest.raises(NoSandbox, match="bubblewrap is not installed.*Operation not permitted.*apt-get install"):
            open_sandbox()
        unsafe = open_sandbox(allow_unsafe_local=True)
        assert unsafe.describe().startswith("no isolation")
        assert unsafe.run("print(1)").stdout == "1\n"
    finally:
        choice._probed.cache_clear()


def test_the_probe_is_made_once(monkeypatch):
    probes = []
    monkeypatch.setattr(choice, "probe", lambda sandbox: probes.append(sandbox) or "")
    choice._probed.cache_clear()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: open_sandbox(), range(8)))
        assert len(probes) == 1
    finally:
        choice._probed.cache_clear()


def test_the_probe_finds_what_is_open():
    assert "network" in choice.probe(LocalSandbox("none", kernel_counts=False))


def test_a_sandbox_is_picklable_and_unknown_names_are_refused():
    sandbox = LocalSandbox("bubblewrap", binary="/usr/bin/bwrap")
    assert pickle.loads(pickle.dumps(sandbox)) == sandbox
    with pytest.raises(ValueError, match="bubblewrap, unshare"):
        open_sandbox("firejail")
    with pytest.raises(ValueError, match="url"):
        open_sandbox("piston")
    with pytest.raises(ValueError, match="wall_seconds"):
        ResourceLimits(wall_seconds=0)


def test_the_filter_is_well_formed_on_every_machine_it_knows():
    for machine in ("x86_64", "aarch64"):
        code = seccomp_filter(machine)
        count = len(code) // 8
        assert len(code) % 8 == 0
        for at in range(count):
            kind, jump, other = code[8 * at], code[8 * at + 2], code[8 * at + 3]
            if kind & 7 == 5:  # a jump stays inside
                assert at + 1 + max(jump, other) < count
    assert seccomp_filter("riscv64") == b""


def test_every_status_is_documented():
    assert set(STATUSES) == {"ok", "error", "timeout", "memory", "output", "infrastructure"}
