"""Sandboxes on another machine, over plain HTTP: SandboxFusion and Piston.

What goes wrong between here and there - no connection, HTTP 429 or 5xx, an answer that is not theirs - is tried again
a few times and then is "infrastructure"; it never counts against the program. So is a request that the server refuses
(HTTP 4xx): the program cannot cause it.

Source: SandboxFusion, https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post and
``sandbox/server/sandbox_api.py``; Piston, ``docs/api-v2.md`` of https://github.com/engineer-man/piston.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from trl_r1.network.endpoint import Endpoint, Reply, Unavailable
from trl_r1.sandbox.protocol import DEFAULT_LIMITS, Outcome, ResourceLimits
from trl_r1.text.records import Json


TRIES = 3
PAUSE_SECONDS = 0.5  # before the second try; twice as long before the next
OVERHEAD_SECONDS = 30.0  # a request may take this much longer than the program: queue, container start
LARGEST_ANSWER = 64 << 20  # bytes


class Unusable(RuntimeError):
    """The server gave no verdict."""


@dataclass(frozen=True)
class SandboxFusion:
    """A SandboxFusion server. It takes wall time and memory as limits; the others are the server's own.

    ``language`` is the server's: "python", or for instance "cpp".
    """

    url: str
    language: str = "python"

    def describe(self) -> str:
        return f"SandboxFusion at {self.url}"

    def run(self, code: str, stdin: str = "", limits: ResourceLimits = DEFAULT_LIMITS) -> Outcome:
        """Run a program there. See ``Sandbox.run``."""
        request = {
            "code": code,
            "stdin": stdin,
            "language": self.language,
            "run_timeout": limits.wall_seconds,
            "compile_timeout": limits.wall_seconds,
            "memory_limit_MB": int(limits.memory_mib),
        }
        try:
            answer = post(self.url, "run_code", request, limits.wall_seconds)
            if answer.get("status") == "SandboxError":
                raise Unusable(f"the server reports: {str(answer.get('message'))[:300]}")
            compiled, ran = answer.get("compile_result"), answer.get("run_result")
            result = ran or compiled
            if not isinstance(result, dict) or answer.get("status") not in ("Success", "Failed"):
                raise Unusable(f"not an answer of SandboxFusion: {str(answer)[:300]}")
            if result.get("status") == "Error":
                raise Unusable(f"the server reports: {str(result.get('stderr'))[:300]}")
        except Unusable as error:
            return Outcome("infrastructure", stderr=f"{self.describe()}: {error}")
        if result.get("status") == "TimeLimitExceeded":
            status = "timeout"
        else:
            status = "ok" if ran and answer["status"] == "Success" and result.get("return_code") == 0 else "error"
        return _outcome(status, result, result.get("execution_time") or 0.0, limits)


@dataclass(frozen=True)
class Piston:
    """A Piston server (API v2). Processes, files and output are limited by the server's own configuration.

    ``version`` selects a runtime as npm does; "*" is the newest installed. ``key`` goes into the Authorization header.
    """

    url: str
    language: str = "python"
    version: str = "*"
    key: str = ""

    def describe(self) -> str:
        return f"Piston at {self.url}"

    def run(self, code: str, stdin: str = "", limits: ResourceLimits = DEFAULT_LIMITS) -> Outcome:
        """Run a program there. See ``Sandbox.run``."""
        request = {
            "language": self.language,
            "version": self.version,
            "files": [{"name": "program.py", "content": code or "\n"}],  # the server refuses an empty file
            "stdin": stdin,
            "run_timeout": int(limits.wall_seconds * 1000),
            "run_memory_limit": int(limits.memory_mib) << 20,
        }
        root = self.url.rstrip("/")
        root = root if root.endswith(("/api/v2", "/piston")) else f"{root}/api/v2"
        begun = time.monotonic()
        try:
            answer = post(root, "execute", request, limits.wall_seconds, self.key)
            result = answer.get("run")
            compiled = answer.get("compile")
            if isinstance(compiled, dict) and compiled.get("code") != 0:
                result = compiled
            if not isinstance(result, dict) or "code" not in result:
                raise Unusable(f"not an answer of Piston: {str(answer)[:300]}")
            if result.get("status") == "XX":
                raise Unusable(f"the server reports: {str(result.get('message'))[:300]}")
        except Unusable as error:
            return Outcome("infrastructure", stderr=f"{self.describe()}: {error}")
        end_status = result.get("status")  # newer servers: TO timeout, OL and EL output, RE exit code, SG signal
        seconds = float(result["wall_time"]) / 1000 if result.get("wall_time") else time.monotonic() - begun
        if result.get("code") == 0 and not result.get("signal") and not end_status:
            status = "ok"
        elif end_status == "TO" or (
            not end_status and result.get("signal") == "SIGKILL" and seconds >= limits.wall_seconds
        ):
            status = "timeout"
        elif end_status in ("OL", "EL"):
            status = "output"
        else:
            status = "error"
        return _outcome(status, result, seconds, limits)


def _outcome(status: str, result: Json, seconds: float, limits: ResourceLimits) -> Outcome:
    stdout, stderr = str(result.get("stdout") or ""), str(result.get("stderr") or "")
    if status == "ok" and max(len(stdout), len(stderr)) > limits.output_bytes:
        status = "output"
    elif status == "error" and stderr.rstrip().rpartition("\n")[2].startswith("MemoryError"):
        status = "memory"
    bytes_kept = int(limits.output_bytes)
    return Outcome(status, stdout[:bytes_kept], stderr[:bytes_kept], float(seconds))


def post(url: str, path: str, request: Json, wall_seconds: float, key: str = "") -> Json:
    """The JSON object that a server answers with.

    Raises:
        Unusable: none came, in ``TRIES`` tries, or the server refused the request.
    """
    try:
        server = Endpoint(
            url,
            authorization=key,
            seconds=wall_seconds + OVERHEAD_SECONDS,
            attempts=TRIES,
            backoff=PAUSE_SECONDS,
            most_bytes=LARGEST_ANSWER,
        )
        return server.post(path, request, read_object)
    except Unavailable as error:
        reply = error.reply
        bad = reply is not None and not reply.is_good
        raise Unusable(f"HTTP {reply.status}: {reply.message}" if reply is not None and bad else error.why) from error
    except ValueError as error:
        raise Unusable(str(error)) from error


def read_object(reply: Reply) -> Json:
    """The JSON object in a reply.

    Raises:
        Unavailable: the status is not 2xx, for good; or it holds none, which another attempt may mend.
    """
    if not reply.is_good:
        raise Unavailable(str(reply), reply, passing=False)
    try:
        answer = json.loads(reply.content or b"")
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable("the answer is no JSON object", reply)
    return answer
