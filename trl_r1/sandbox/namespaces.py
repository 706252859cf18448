"""The ``unshare`` isolation: what bubblewrap does, with the system calls that it uses, for machines without it.

Never imported: its text runs, before that of ``stage.py``, in a fresh interpreter. Three processes come of it:
this one (killed by the parent, or by the parent's death), process 1 of a new process namespace (reaps; its end is the
end of all in there), and the program. Their root is an empty tmpfs with read-only binds, without ``/proc``.

Source: user_namespaces(7), pid_namespaces(7), pivot_root(2), mount_setattr(2).
"""

import ctypes
import os
import select
import signal


LIBC = ctypes.CDLL(None, use_errno=True)
ROOT = "/proc"  # a directory that is always there and hides nothing that is bound below


def isolate(plan):  # type: ignore[no-untyped-def]
    """Return in the process that is to become the program; the other two never return.

    ``plan``: parent (process id), user_namespace (0/1), user (id outside, -1: keep), binds, devices, directories,
    disk_mib, files, seccomp (filter in hex, may be empty).
    """
    die_with_parent()
    if os.getppid() != plan["parent"]:
        os._exit(1)
    leave_namespaces(plan["user_namespace"])
    alive, ours = os.pipe()
    first = os.fork()
    if first:
        os.close(alive)
        wait_and_leave(first)
    os.close(ours)

    build_root(plan)
    os.chdir(plan["writable"][0][0])
    os.setsid()
    drop_privileges(plan["user"])
    die_with_parent()  # again: it is cleared when credentials change
    if select.select([alive], [], [], 0)[0]:  # end of file: the parent was gone before we asked
        os._exit(1)
    os.close(alive)
    program = os.fork()
    if program:
        wait_and_leave(program)
    if plan["seccomp"]:
        filter_calls(plan["seccomp"])


def call(function, *arguments):  # type: ignore[no-untyped-def]
    if getattr(LIBC, function)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function}: {os.strerror(error)}", str(arguments[:2]))


def mount(source, target, kind, flags, options):  # type: ignore[no-untyped-def]
    text = [None if part is None else os.fsencode(part) for part in (source, target, kind, options)]
    call("mount", text[0], text[1], text[2], ctypes.c_ulong(flags), text[3])


def read_only(target, extra=0):  # type: ignore[no-untyped-def]
    attributes = (ctypes.c_uint64 * 4)(1 | 2 | extra, 0, 0, 0)  # MOUNT_ATTR_RDONLY | NOSUID
    call("syscall", 442, -100, os.fsencode(target), 0x8000, attributes, 32)  # mount_setattr, AT_RECURSIVE


def die_with_parent():  # type: ignore[no-untyped-def]
    call("prctl", 1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


def wait_and_leave(child):  # type: ignore[no-untyped-def]
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def leave_namespaces(user_namespace):  # type: ignore[no-untyped-def]
    """Into new ones of our own; in a user namespace we are nobody."""
    outside = os.geteuid(), os.getegid()
    # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWPID | NEWNET
    kinds = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
    call("unshare", kinds | (0x10000000 if user_namespace else 0))
    if user_namespace:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"65534 {outside[0]} 1"),
            ("gid_map", f"65534 {outside[1]} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def build_root(plan):  # type: ignore[no-untyped-def]
    """A root of nothing but what the plan names, read-only, instead of the machine's."""
    mount(None, "/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
    mount("root", ROOT, "tmpfs", 2 | 4, "size=1m,mode=755")  # MS_NOSUID | MS_NODEV
    os.umask(0o022)
    for link, target in plan["links"]:
        os.makedirs(os.path.dirname(ROOT + link), exist_ok=True)
        os.symlink(target, ROOT + link)
    for path in plan["binds"] + plan["devices"]:
        if os.path.isdir(path):
            os.makedirs(ROOT + path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(ROOT + path), exist_ok=True)
            os.close(os.open(ROOT + path, os.O_CREAT))
        mount(path, ROOT + path, None, 0x1000 | 0x4000, None)  # MS_BIND | MS_REC
        if path not in plan["devices"]:
            read_only(ROOT + path, 4)  # MOUNT_ATTR_NODEV
    for path, mib, inodes in plan["writable"]:
        os.makedirs(ROOT + path, exist_ok=True)
        mount("box", ROOT + path, "tmpfs", 2 | 4, f"size={mib}m,nr_inodes={inodes},mode=1777")
    os.chdir(ROOT)
    call("syscall", plan["pivot_root"], b".", b".")
    call("umount2", b".", 2)  # MNT_DETACH
    mount(None, "/", None, 0x20 | 0x1000 | 1 | 2 | 4, None)  # MS_REMOUNT | MS_BIND | MS_RDONLY | NOSUID | NODEV


def drop_privileges(user):  # type: ignore[no-untyped-def]
    """No way up, the ids of ``user`` (-1: ours), and no capability."""
    call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if user >= 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    call("capset", header, (ctypes.c_uint32 * 6)())


def filter_calls(program):  # type: ignore[no-untyped-def]
    """Installs a seccomp filter, given in hex."""
    code = ctypes.create_string_buffer(bytes.fromhex(program))

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    prepared = Filter(len(program) // 16, ctypes.addressof(code))
    call("prctl", 22, 2, ctypes.byref(prepared), 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
