"""A Python process of its own for a program that a test starts, without ten seconds of imports each time.

One server per pytest process imports torch, transformers and TRL once and then forks: what runs in the fork has imported
modules and nothing else, no trainer, no seed, no thread. What a test needs to prove about the imports themselves, or about
`python -m ...`, it starts with subprocess.
"""

import atexit
import contextlib
import gc
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


IMPORTED = ["torch", "transformers", "datasets", "peft", "trl.trainer.grpo_trainer", "trl_r1.grpo.trainer"]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(IMPORTED)


def start(*arguments, env=None, cwd=None, timeout=300) -> subprocess.CompletedProcess:
    """Runs `script.py argument ...` or `-m module argument ...`; what subprocess.run(..., text=True) would return."""
    (done,) = _together([list(map(str, arguments))], [os.environ if env is None else env], cwd, timeout)
    return done


def on_two_ranks(*arguments, env=None, cwd=None, timeout=300) -> list[subprocess.CompletedProcess]:
    """The same on the two ranks of a process group, as `torchrun --nproc_per_node 2` would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    environments = [
        {**(os.environ if env is None else env), **group, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        for rank in (0, 1)
    ]
    return _together([list(map(str, arguments))] * 2, environments, cwd, timeout)


def _together(commands, environments, cwd, timeout) -> list[subprocess.CompletedProcess]:
    """Several processes at a time; when one fails, the others, which may wait for it, are ended."""
    with tempfile.TemporaryDirectory() as folder:
        processes, logs = [], []
        for number, (command, environment) in enumerate(zip(commands, environments, strict=True)):
            logs.append([Path(folder, f"{number}.{stream}") for stream in ("out", "err")])
            directory = str(cwd) if cwd is not None else os.getcwd()
            process = _context.Process(target=_run, args=(command, dict(environment), directory, *map(str, logs[-1])))
            process.start()
            processes.append(process)
        end = time.monotonic() + timeout
        while any(process.is_alive() for process in processes) and time.monotonic() < end:
            if any(process.exitcode for process in processes):
                break
            time.sleep(0.02)
        alive = [process for process in processes if process.is_alive()]
        late = time.monotonic() >= end
        for process in alive:
            process.join(0 if late else 5)
            process.kill()
        for process in processes:
            process.join()
        texts = [[log.read_text(errors="replace") if log.exists() else "" for log in pair] for pair in logs]
        if alive and late:
            raise subprocess.TimeoutExpired(commands[0], timeout, *texts[0])
        return [
            subprocess.CompletedProcess(command, process.exitcode, *pair)
            for command, process, pair in zip(commands, processes, texts, strict=True)
        ]


def _run(command, environment, directory, out, err):
    """In the fork: the surroundings of a program, then the program."""
    gc.freeze()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    try:
        if command[0] == "-m":
            sys.argv = command[1:]
            sys.path.insert(0, directory)
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            sys.path.insert(0, str(Path(command[0]).parent))
            runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves by os._exit
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
