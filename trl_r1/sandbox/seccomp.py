"""A filter of system calls: what no program needs for its answer, and what memory could hide or leave with.

The namespaces do the isolating. The filter takes away (a) memory that no limit counts (memfd, System V and POSIX
queues and segments), (b) socket families that network namespaces do not cover (vsock, netlink, packet, alg, ...), and
(c) doors to the kernel that escapes have used (user namespaces, mounts, ptrace, bpf, io_uring, keyrings, ...).
Denied calls fail with EPERM; ``clone3``, whose flags a filter cannot read, with ENOSYS, so that libc uses ``clone``.

Source: seccomp(2); numbers from the Linux tables arch/x86/entry/syscalls/syscall_64.tbl and asm-generic/unistd.h.
"""

from __future__ import annotations

import platform
import struct


ALLOWED_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6

# name: (x86_64, aarch64)
DENIED: dict[str, tuple[int, int]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmctl": (31, 195),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "inotify_init1": (294, 26),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "syslog": (103, 116),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "vhangup": (153, 58),
    "personality": (135, 92),
}
_SOCKET, _SOCKETPAIR, _CLONE, _CLONE3 = (41, 198), (53, 199), (56, 220), (435, 435)
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column of the tables
_CLONE_NEW = 0x7E020000  # every CLONE_NEW* flag; CLONE_NEWTIME shares its bit with the exit signal of clone
_EPERM, _ENOSYS = 0x00050001, 0x00050026  # SECCOMP_RET_ERRNO | errno
_KILL, _ALLOW = 0x80000000, 0x7FFF0000


def seccomp_filter(machine: str = "") -> bytes:
    """The compiled filter for a machine (default: this one); b"" for one whose tables we do not have."""
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        return b""
    architecture, column = _ARCHITECTURES[machine]
    load, equal, at_least, some_bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    code: list[tuple[int, int, int, int]] = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, _KILL)]
    code.append((load, 0, 0, 0))  # the number of the call
    if machine == "x86_64":
        code += [(at_least, 0, 1, 0x40000000), (give, 0, 0, _EPERM)]  # the x32 tables
    for numbers in DENIED.values():
        code += [(equal, 0, 1, numbers[column]), (give, 0, 0, _EPERM)]
    code += [(equal, 0, 1, _CLONE3[column]), (give, 0, 0, _ENOSYS)]
    code += [(equal, 0, 4, _CLONE[column]), (load, 0, 0, 16), (some_bits, 0, 1, _CLONE_NEW)]
    code += [(give, 0, 0, _EPERM), (give, 0, 0, _ALLOW)]
    code += [(equal, 1, 0, _SOCKET[column]), (equal, 0, 5, _SOCKETPAIR[column]), (load, 0, 0, 16)]
    code += [(equal, 3 - at, 0, family) for at, family in enumerate(ALLOWED_FAMILIES)]
    code += [(give, 0, 0, _EPERM), (give, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
