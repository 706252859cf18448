"""Programs that try to get out, and how each is allowed to end.

Every program has bounds of its own, so that it stops by itself and harms nothing if a sandbox fails: at most 200
children that sleep at most 5 s, at most 3 GB of memory, 200 MB of files in its own directory, 8 s of time, sockets to
loopback only, signals only to the canary process or inside a namespace. A program that gets something it should not
prints ESCAPED. In capitals, filled in by the test: CANARY_FILE, CANARY_PID, PORT, ABSTRACT,
MOST_PROCESSES.
"""

ANY = ("ok", "error", "timeout", "memory", "output")
LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

HOSTILE: dict[str, tuple[tuple[str, ...], str]] = {
    "fork bomb": (
        ("error", "memory"),
        """
import os, time
for count in range(200):
    if os.fork() == 0:
        time.sleep(5); os._exit(0)
print("ESCAPED", count)""",
    ),
    "fork bomb of children": (
        ANY,
        """
import os, time
first = os.getpid()
for depth in range(7):
    try:
        os.fork()
    except OSError:
        break
with open("/tmp/alive", "a") as file: file.write("x")
time.sleep(1)
if os.getpid() == first and os.path.getsize("/tmp/alive") > MOST_PROCESSES: print("ESCAPED")""",
    ),
    "thread bomb": (
        ("error", "memory"),
        """
import threading, time
for count in range(200):
    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
print("ESCAPED", count)""",
    ),
    "zombie flood": (
        ("error",),
        """
import os, time
for count in range(200):
    if os.fork() == 0: os._exit(0)
time.sleep(1)
print("ESCAPED", count)""",
    ),
    "fill memory": (
        ("memory",),
        """
blocks = []
for _ in range(48):
    blocks.append(bytearray(b"x" * (64 << 20)))
print("ESCAPED")""",
    ),
    "fill memory with many processes": (
        ("memory",),
        """
import os, time
for _ in range(8):
    if os.fork() == 0:
        block = bytearray(b"x" * (90 << 20)); time.sleep(5); os._exit(0)
time.sleep(4)
print("ESCAPED")""",
    ),
    "fill shared memory by mmap": (
        ("error", "memory"),
        """
import mmap
areas = []
for _ in range(48):
    area = mmap.mmap(-1, 64 << 20)
    area.write(b"x" * (64 << 20)); areas.append(area)
print("ESCAPED")""",
    ),
    "memory in nameless files": (
        ("error",),
        """
import os
handles = [os.memfd_create(str(n)) for n in range(10)]
for handle in handles: os.write(handle, b"x" * (1 << 20))
print("ESCAPED")""",
    ),
    "memory in System V segments": (
        ("ok",),
        LIBC
        + """
found = [libc.shmget(0, 1 << 20, 0o1600) for _ in range(3)]
for segment in found:
    if segment >= 0: libc.shmctl(segment, 0, None); print("ESCAPED")""",
    ),
    "fill disk": (
        ("error",),
        """
written = 0
for number in range(200):
    with open(f"file{number}", "wb") as file: written += file.write(b"x" * (1 << 20))
    if written > 64 << 20: print("ESCAPED"); break""",
    ),
    "fill disk with one file": (
        ("error",),
        """
with open("file", "wb") as file:
    file.truncate(1 << 40)
print("ESCAPED")""",
    ),
    "fill /dev/shm": (
        ("error",),
        """
for number in range(100):
    with open(f"/dev/shm/{number}.CANARY_PID", "wb") as file: file.write(b"x" * (1 << 20))
print("ESCAPED")""",
    ),
    "ten thousand files": (
        ("error",),
        """
import os, time
os.mkdir("many")
for number in range(10_000): os.close(os.open(f"many/{number}", os.O_CREAT))
time.sleep(1)
print("ESCAPED")""",
    ),
    "read host files": (
        ("ok",),
        """
import os
for path in ("CANARY_FILE", "/etc/passwd", "/etc/shadow", "/proc/self/environ", os.path.expanduser("~root/.ssh/id_rsa")):
    try: print("ESCAPED", open(path).read()[:200])
    except OSError: pass
for path in ("/home", "/etc/ssh", "/var/log", "/sys", "/mnt"):
    if os.path.isdir(path): print("ESCAPED", os.listdir(path)[:3])""",
    ),
    "write host files": (
        ("ok",),
        """
import os
canary = "CANARY_FILE"
for path in (canary, "../" * 20 + canary, "/dev/../" + canary):
    for act in (lambda: open(path, "a").write("x"), lambda: os.remove(path), lambda: os.truncate(path, 0)):
        try: act(); print("ESCAPED", path)
        except OSError: pass
try: os.mkdir("/escaped"); print("ESCAPED")
except OSError: pass""",
    ),
    "symbolic and hard links": (
        ("ok",),
        """
import os
os.symlink("CANARY_FILE", "link"); os.symlink("loop", "loop"); os.symlink("/", "root")
for act in (lambda: open("link").read(), lambda: open("root" + "CANARY_FILE").read(), lambda: open("loop").read(),
            lambda: os.link("CANARY_FILE", "hard"), lambda: os.rename("CANARY_FILE", "mine")):
    try: act(); print("ESCAPED")
    except OSError: pass""",
    ),
    "break out of chroot": (
        ("ok",),
        """
import os
os.mkdir("jail")
up = os.open(".", os.O_RDONLY)
try: os.chroot("jail"); print("ESCAPED")
except OSError: pass
os.fchdir(up)
for _ in range(40): os.chdir("..")
if os.path.exists("." + "CANARY_FILE"): print("ESCAPED")""",
    ),
    "walk /proc": (
        ("ok",),
        """
import glob, os
for pattern in ("/proc/*/environ", "/proc/*/root/etc/passwd", "/proc/*/cwd/*", "/proc/*/fd/*", "/proc/sys/kernel/*"):
    if glob.glob(pattern): print("ESCAPED", pattern)
try: open("/proc/sysrq-trigger", "a"); print("ESCAPED")
except OSError: pass""",
    ),
    "inherited descriptors": (
        ("ok",),
        """
import os
for number in range(3, 64):
    try: kind = os.fstat(number)
    except OSError: continue
    try: os.read(number, 1); os.write(number, b"1")
    except OSError: continue
    print("ESCAPED", number, kind)""",
    ),
    "connect to loopback": (
        ("ok",),
        """
import socket
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            s = socket.socket(family, kind); s.settimeout(1)
            if kind == socket.SOCK_STREAM: s.connect((host, PORT)); print("ESCAPED")
            else: s.sendto(b"hello", (host, PORT))
        except OSError: pass""",
    ),
    "connect to an abstract socket": (
        ("ok",),
        """
import socket
try: socket.socket(socket.AF_UNIX).connect(chr(0) + "ABSTRACT"); print("ESCAPED")
except OSError: pass""",
    ),
    "exotic sockets": (
        ("ok",),
        """
import socket
for family, kind in ((16, 3), (17, 3), (40, 1), (38, 5), (2, 3)):  # netlink, packet, vsock, alg, raw
    try: socket.socket(family, kind); print("ESCAPED", family, kind)
    except OSError: pass""",
    ),
    "signal the host": (
        ("ok",),
        """
import os, signal
for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
    try: os.kill(CANARY_PID, number); print("ESCAPED")
    except OSError: pass""",
    ),
    "kill the parent": (
        ANY,
        """
import os, signal, time
if os.getppid() > 1 or os.getpid() > 9: print("ESCAPED")
else:
    for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL):
        try: os.kill(os.getppid(), number)
        except OSError: pass
    time.sleep(0.2)""",
    ),
    "trace other processes": (
        ("ok",),
        LIBC
        + """
libc.ptrace.argtypes = [ctypes.c_long] * 4
for pid in (os.getppid(), CANARY_PID):
    if libc.ptrace(0x4206, pid, 0, 0) == 0: print("ESCAPED")  # PTRACE_SEIZE, which does not stop it
if libc.ptrace(0, 0, 0, 0) == 0: print("ESCAPED")""",
    ),
    "namespaces and mounts": (
        ("ok",),
        LIBC
        + """
for flags in (0x10000000, 0x00020000, 0x40000000):
    if libc.unshare(flags) == 0: print("ESCAPED unshare")
if libc.mount(b"none", b"/box", b"tmpfs", 0, None) == 0: print("ESCAPED mount")
if libc.mount(None, b"/", None, 0x20 | 0x1000, None) == 0: print("ESCAPED remount")
if libc.umount2(b"/box", 2) == 0: print("ESCAPED umount")""",
    ),
    "rare system calls": (
        ("ok",),
        LIBC
        + """
numbers = {"x86_64": (321, 425, 250, 323, 298, 304), "aarch64": (280, 425, 219, 282, 241, 265)}.get(os.uname().machine, ())
for number in numbers:  # bpf, io_uring_setup, keyctl, userfaultfd, perf_event_open, open_by_handle_at
    if libc.syscall(number, 0, 0, 0, 0, 0) >= 0 or ctypes.get_errno() != 1: print("ESCAPED", number, ctypes.get_errno())""",
    ),
    "become root": (
        ("ok",),
        """
import os
if os.geteuid() == 0: print("ESCAPED")
for act in (lambda: os.setuid(0), lambda: os.setresgid(0, 0, 0), lambda: os.setgroups([0]),
            lambda: os.mknod("disk", 0o60600, os.makedev(8, 0)), lambda: os.nice(-5)):
    try: act(); print("ESCAPED")
    except OSError: pass
""",
    ),
    "raise the limits": (
        ("ok",),
        """
import resource as r
for which in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_FSIZE, r.RLIMIT_NOFILE, r.RLIMIT_NPROC, r.RLIMIT_CORE):
    try: r.setrlimit(which, (r.getrlimit(which)[1] + 1,) * 2); print("ESCAPED", which)
    except (OSError, ValueError): pass""",
    ),
    "change the harness": (
        ("ok",),
        """
import glob, json, os, sys
for path in (os.__file__, json.__file__, sys.executable, *glob.glob("/lib/*/libc.so.6"), "/etc/ld.so.preload"):
    try: open(path, "r+b" if os.path.exists(path) else "wb"); print("ESCAPED", path)
    except OSError: pass
for folder in sys.path:
    try: open(os.path.join(folder, "sitecustomize.py"), "w"); print("ESCAPED", folder)
    except OSError: pass""",
    ),
    "endless output": (
        ("output",),
        """
for _ in range(500_000): print("x" * 100)""",
    ),
    "endless errors": (
        ("output",),
        """
import sys
for _ in range(500_000): print("x" * 100, file=sys.stderr)""",
    ),
    "one giant line": (("output",), "import os\nfor _ in range(20): os.write(1, b'x' * (1 << 20))"),
    "ignore all signals": (
        ("timeout",),
        """
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
end = time.monotonic() + 8
while time.monotonic() < end: pass
print("ESCAPED")""",
    ),
    "sleep": (("timeout",), "import time\ntime.sleep(8)\nprint('ESCAPED')"),
    "close all output and stay": (
        ("timeout",),
        """
import os, time
os.closerange(0, 64)
time.sleep(8)""",
    ),
    "daemonise": (
        ("ok",),
        """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        time.sleep(5)
    os._exit(0)
time.sleep(0.2)""",
    ),
    "daemonise and keep the output open": (
        ("ok",),
        """
import os, time
if os.fork() == 0:
    os.setsid(); time.sleep(5); print("ESCAPED", flush=True); os._exit(0)
time.sleep(0.2)""",
    ),
    "stdin games": (
        ("ok",),
        """
import os
for act in (lambda: os.write(0, b"x"), lambda: os.ftruncate(0, 1 << 30), lambda: os.pwrite(0, b"x", 0)):
    try: act(); print("ESCAPED")
    except OSError: pass
os.lseek(0, 0, 0); os.dup2(0, 9); os.close(0)
if os.isatty(9): print("ESCAPED")""",
    ),
    "exhaust descriptors": (
        ("error",),
        """
import os
for count in range(5000): os.open("/dev/null", os.O_RDONLY)
print("ESCAPED")""",
    ),
    "deep recursion": (
        ("error", "memory", "timeout"),
        """
import sys
sys.setrecursionlimit(10**9)
def down(n): return n and down(n - 1) + 1
print(down(10_000_000), "ESCAPED")""",
    ),
    "deep recursion in C": (
        ("error", "memory", "timeout"),
        """
value = []
for _ in range(3_000_000): value = [value]
repr(value); print("ESCAPED")""",
    ),
    "segmentation fault": (("error",), "import ctypes\nctypes.string_at(0)"),
    "core dump": (("error",), "import os\nos.abort()"),
    "huge argv": (
        ("ok", "error"),
        """
import os, sys
try: os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(0.1)"] + ["x" * 100_000] * 100)
except OSError as error: print(error)""",
    ),
    "become another program": (
        ("timeout",),
        """
import os, sys
os.execve(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(8); print('ESCAPED')"], dict(os.environ))""",
    ),
    "stay by atexit and __del__": (
        ("timeout",),
        """
import atexit, time
class Late:
    def __del__(self): time.sleep(8)
late = Late()
atexit.register(time.sleep, 8)""",
    ),
    "stay by a thread": (
        ("timeout",),
        "import threading, time\nthreading.Thread(target=time.sleep, args=(8,)).start()",
    ),
    "stop itself": (("timeout",), "import os, signal\nos.getpid() < 10 and os.kill(os.getpid(), signal.SIGSTOP)"),
}
