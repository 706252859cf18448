"""A reward in a process of its own, called as TRL calls it: it may hang, crash or print without harm to the caller.

    with IsolatedReward("my.module:reward", {}) as isolated:
        isolated.score([completion], {"prompts": [...], "solution": [...]}, seconds=10)

The process is started with ``python -m trl_r1.audit.isolated`` in the current folder, so that ``my.module`` there can
be imported. One JSON request per line on its standard input, one JSON line back; what the reward prints goes to stderr.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
import types
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


START_SECONDS = 180.0  # to import the reward's module, torch among it, on however slow a disk
MEANING = {  # what can be wrong with a call, in words
    "hang": "did not return within the time limit and was killed",
    "exception": "raised an exception",
    "died": "ended its process",
    "wrong length": "did not return one score per completion",
    "not finite": "returned a score that is no finite number",
}


class Outcome(NamedTuple):
    """``scores`` in reward points, None for "not scored"; or a ``problem`` (a key of ``MEANING``) with its ``detail``."""

    scores: list[float | None]
    problem: str = ""
    detail: str = ""
    seconds: float = 0.0


class IsolatedReward:
    """The caller's side. Not for several threads at once."""

    def __init__(self, name: str, options: Mapping[str, Any] | None = None, worker_thread: bool = False) -> None:
        """
        Args:
            name: as for ``load_reward``. options: the reward's own.
            worker_thread: call it off the main thread, as TRL's asynchronous trainer does.
        """
        self.name = name
        self.start = {"name": name, "options": dict(options or {}), "thread": worker_thread, "path": sys.path}
        self.process: subprocess.Popen[bytes] | None = None
        self.buffer = b""
        self.unpicklable = ""  # why it cannot be pickled; "" if it can

    def __enter__(self) -> IsolatedReward:
        self._start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        """
        Raises:
            ValueError: the reward cannot be found, imported or made with these options.
        """
        environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in [os.getcwd(), *sys.path] if path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trl_r1.audit.isolated"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        self.buffer = b""
        answer = self._ask(self.start, START_SECONDS)
        if answer is None or "ready" not in answer:
            why = "its process ended or took too long" if answer is None else answer["refused"]
            self.kill()
            raise ValueError(
                why if why.startswith(("No reward", "The reward")) else f"{self.name!r} cannot be loaded: {why}"
            )
        self.unpicklable = answer["ready"]
        return self.process

    def score(self, completions: Sequence[Any], columns: Mapping[str, Any], seconds: float) -> Outcome:
        """Scores of one call, or what went wrong with it; killed when it takes longer than ``seconds`` (wall time)."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        started = time.monotonic()
        answer = self._ask({"completions": list(completions), "columns": dict(columns)}, seconds)
        took = time.monotonic() - started
        if answer is None:
            hung = self.process is not None and self.process.poll() is None
            code = None if hung or self.process is None else self.process.poll()
            self.kill()
            detail = f"more than {seconds:g} s" if hung else f"exit code {code}"
            return Outcome([], "hang" if hung else "died", detail, took)
        if "problem" in answer:
            return Outcome([], answer["problem"], answer["detail"], took)
        scores = answer["scores"]
        bad = [score for score in scores if score is not None and score - score != 0.0]
        if bad:
            return Outcome([], "not finite", str(bad[0]), took)
        return Outcome(scores, seconds=took)

    def kill(self) -> None:
        """End the process and what it started in its session."""
        if self.process is None:
            return
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def _ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
        """One line there, one line back; None when the process ended or the time is up."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        data = memoryview(json.dumps(request, default=str).encode() + b"\n")
        try:
            while data:
                data = data[self.process.stdin.write(data) :]
        except BrokenPipeError:
            self.process.wait()
            return None
        while b"\n" not in self.buffer:
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0 or not select.select([self.process.stdout], [], [], seconds_left)[0]:
                return None
            block = os.read(self.process.stdout.fileno(), 1 << 20)
            if not block:
                self.process.wait()
                return None
            self.buffer += block
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def pseudo_tokens(text: str) -> list[int]:
    """Token ids that repeat when the text does: one per word, from its checksum. For rewards that look at ids."""
    return [zlib.crc32(word.encode("utf-8", "surrogatepass")) % 50000 for word in text.split()]


def as_trl_calls(completions: Sequence[Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments with which TRL's GRPOTrainer calls a reward function."""
    from trl_r1.text.completions import reply

    return {
        "prompts": [""] * len(completions),
        "completions": list(completions),
        "completion_ids": [pseudo_tokens(reply(completion)) for completion in completions],
        "trainer_state": types.SimpleNamespace(global_step=0, max_steps=1, epoch=0.0),
        "log_extra": lambda column, values: None,
        "log_metric": lambda name, value: None,
        **columns,
    }


def call(reward: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """What one call came to: ``{"scores": [...]}``, or ``{"problem": ..., "detail": ...}``."""
    completions = request["completions"]
    try:
        returned = reward(**as_trl_calls(completions, request["columns"]))
        if inspect.isawaitable(returned):
            returned = asyncio.run(_awaited(returned))
    except Exception as error:
        return {"problem": "exception", "detail": f"{type(error).__name__}: {error}"[:300]}
    try:
        scores = [None if score is None else float(score) for score in returned]
    except (TypeError, ValueError) as error:
        return {"problem": "wrong length", "detail": f"returned {type(returned).__name__}: {error}"[:300]}
    if len(scores) != len(completions):
        return {"problem": "wrong length", "detail": f"{len(scores)} scores for {len(completions)} completions"}
    return {"scores": scores}


async def _awaited(value: Any) -> Any:
    return await value


def why_unpicklable(reward: Any) -> str:
    """ "" for a reward that survives pickling, as the asynchronous trainer demands; otherwise the reason."""
    try:
        pickle.loads(pickle.dumps(reward))
    except Exception as error:  # pickling runs the object's own code, which may raise anything
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def main() -> None:
    """The process's life: load the reward, then answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def answer(message: Mapping[str, Any]) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[answers.write(data) :]

    start = json.loads(sys.stdin.buffer.readline() or "{}")
    if not start:
        return
    from trl_r1.rewards.catalogue import load_reward

    try:
        reward = load_reward(start["name"], **start["options"])
    except Exception as error:  # whatever the user's module raises while it is imported
        answer({"refused": str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"})
        return
    answer({"ready": why_unpicklable(reward)})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        results: list[dict[str, Any]] = []
        if start["thread"]:
            worker = threading.Thread(target=lambda r=request, s=results: s.append(call(reward, r)), daemon=True)  # type: ignore[misc]
            worker.start()
            worker.join()
        else:
            results.append(call(reward, request))
        answer(results[0] if results else {"problem": "exception", "detail": "its thread ended"})


if __name__ == "__main__":
    main()
