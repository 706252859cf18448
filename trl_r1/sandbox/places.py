"""What a program sees of this machine's files: the Python that runs it and the libraries under it, read-only."""

from __future__ import annotations

import functools
import os
import sys


BOX = "/box"  # the work directory inside; also /tmp
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")


@functools.lru_cache(maxsize=1)
def python() -> str:
    """The interpreter behind this process, without virtual environment and links.

    Raises:
        RuntimeError: this process does not know its interpreter.
    """
    if not sys.executable:
        raise RuntimeError("sys.executable is empty, so there is no Python to run programs with.")
    return os.path.realpath(sys.executable)


@functools.lru_cache(maxsize=16)
def visible_places(paths: tuple[str, ...] = ()) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """(links, binds, devices): symbolic links to make, paths to show read-only, devices to show.

    Raises:
        ValueError: one of ``paths`` is no directory, or programs started by root could not read it.
    """
    for path in paths:
        if not os.path.isabs(path) or not os.path.isdir(path):
            raise ValueError(f"paths: {path!r} is no directory. Give absolute paths of directories with packages.")
        if os.geteuid() == 0 and os.stat(path).st_mode & 0o005 != 0o005:
            raise ValueError(
                f"paths: {path!r} is closed to other users, and programs run as one. Do: chmod o+rx {path}"
            )
    base = os.path.realpath(sys.base_prefix)
    candidates = [*_LIBRARIES, python(), os.path.join(base, "lib"), os.path.join(base, "lib64"), *paths]
    links = [("/dev/stdin", f"{BOX}/.stdin")]
    if not any(path.startswith("/tmp/") for path in candidates):
        links.append(("/tmp", BOX))
    binds: list[str] = []
    for path in sorted({path for path in candidates if os.path.exists(path)}):
        if os.path.islink(path) and path.count("/") == 1:  # /lib -> usr/lib
            links.append((path, os.readlink(path)))
        elif not any(
            path == bound or path.startswith(f"{bound}/") for bound in [*binds, *(link for link, _ in links)]
        ):
            binds.append(path)
    return links, binds, [path for path in DEVICES if os.path.exists(path)]
