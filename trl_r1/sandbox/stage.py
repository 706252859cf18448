"""The first code inside a sandbox: sets the last limits, drops the last privileges, then becomes the program.

Never imported: its text is handed to a fresh interpreter (``python -S -s -B -c TEXT``), which may see nothing of this
package. Arguments: descriptor of the program, descriptor to report the start on, user id to become (-1: stay),
processor seconds, address space in MiB, processes, file size in MiB, open files, extra directories for ``sys.path``.
Nothing here is a secret, so the program may inspect all of it.
"""


def stage(arguments):  # type: ignore[no-untyped-def]
    import builtins
    import os
    import resource
    import sys
    from _sitebuiltins import Quitter

    program, started, user, cpu, memory, processes, disk, files = map(int, arguments[:8])
    if user >= 0:  # from root: an id that nothing else on this machine has, so that RLIMIT_NPROC counts us alone
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    with open(program, "rb") as source:
        text = source.read()
    sys.path[:] = [path for path in sys.path if path] + arguments[8:]
    sys.argv[:] = ["program.py"]
    builtins.exit, builtins.quit = Quitter("exit", "Ctrl-D"), Quitter("quit", "Ctrl-D")  # what `site` would add
    if b"/dev/stdin" in text:  # there is no /proc to make it from; `setup` left a link to this file
        with open(".stdin", "wb") as copy, open(0, "rb", closefd=False) as stdin:
            copy.write(stdin.read())
            stdin.seek(0)
    main = type(sys)("__main__")
    main.__dict__.update(__file__="program.py", __builtins__=builtins)
    sys.modules["__main__"] = main

    def limit(which, soft, hard=None):  # type: ignore[no-untyped-def]
        allowed = resource.getrlimit(which)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard or soft, allowed)
        resource.setrlimit(which, (soft, hard or soft))

    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, cpu, cpu + 1)
    limit(resource.RLIMIT_FSIZE, disk << 20)
    limit(resource.RLIMIT_NOFILE, files)
    limit(resource.RLIMIT_NPROC, processes)
    limit(resource.RLIMIT_STACK, 64 << 20)
    limit(resource.RLIMIT_MEMLOCK, 64 << 10)
    limit(resource.RLIMIT_MSGQUEUE, 0)
    limit(resource.RLIMIT_AS, memory << 20)
    os.write(started, b"1")
    os.close(started)
    exec(compile(text, "program.py", "exec"), main.__dict__)
