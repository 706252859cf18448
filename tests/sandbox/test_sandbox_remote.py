"""Sandboxes on a server: what is sent, what an answer means, and that trouble on the way is nobody's fault."""

import http.server
import json
import socket
import threading

import pytest

from trl_r1.sandbox import Piston, ResourceLimits, SandboxFusion
from trl_r1.sandbox import remote as remote_module


class Server(http.server.ThreadingHTTPServer):
    """Answers what it is told to, in turn, and remembers what it was asked."""

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, request))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        code, body = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(remote_module, "PAUSE_SECONDS", 0.01)
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fusion(status="Success", run_status="Finished", code=0, stdout="4\n", stderr="", message=""):
    """As https://bytedance.github.io/SandboxFusion/docs/api/run-code-run-code-post describes it."""
    run = {"status": run_status, "execution_time": 0.02, "return_code": code, "stdout": stdout, "stderr": stderr}
    return {"status": status, "message": message, "compile_result": None, "run_result": run, "files": {}}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (fusion(), "ok"),
        (fusion("Failed", code=1, stderr="Traceback\nValueError: x"), "error"),
        (fusion("Failed", code=1, stderr="Traceback\nMemoryError"), "memory"),
        (fusion("Failed", "TimeLimitExceeded", None), "timeout"),
        (fusion(stdout="x" * 2000), "output"),
        (fusion("SandboxError", "Error", None, message="no space left"), "infrastructure"),
        ({"detail": "what?"}, "infrastructure"),
        ((422, "{}"), "infrastructure"),
        ((200, "<html>"), "infrastructure"),
    ],
)
def test_sandbox_fusion(serve, answer, status):
    server = serve(answer)
    outcome = SandboxFusion(server.url).run("print(4)", "in", ResourceLimits(3.0, memory_mib=64, output_bytes=1000))
    assert outcome.status == status
    path, asked = server.asked[0]
    assert path == "/run_code"
    assert asked == {
        "code": "print(4)",
        "stdin": "in",
        "language": "python",
        "run_timeout": 3.0,
        "compile_timeout": 3.0,
        "memory_limit_MB": 64,
    }


def piston(code=0, killed_by=None, status=None, stdout="4\n", stderr="", **more):
    """As docs/api-v2.md of Piston describes it; ``status`` is newer than the document."""
    run = {"stdout": stdout, "stderr": stderr, "output": stdout + stderr, "code": code, "signal": killed_by}
    return {"language": "python", "version": "3.12.0", "run": {**run, "status": status, **more}}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (piston(), "ok"),
        (piston(1, None, "RE", stderr="NameError"), "error"),
        (piston(1, stderr="Traceback\nMemoryError\n"), "memory"),
        (piston(None, "SIGKILL", "TO", wall_time=3000), "timeout"),
        (piston(None, "SIGKILL", wall_time=3100), "timeout"),
        (piston(None, "SIGKILL", "SG"), "error"),
        (piston(None, "SIGKILL", "OL"), "output"),
        (piston(None, None, "XX", message="isolate failed"), "infrastructure"),
        ((400, '{"message": "python-* runtime is unknown"}'), "infrastructure"),
    ],
)
def test_piston(serve, answer, status):
    server = serve(answer)
    assert Piston(server.url).run("print(4)", "in", ResourceLimits(3.0, memory_mib=64)).status == status
    path, asked = server.asked[0]
    assert path == "/api/v2/execute"
    assert asked == {
        "language": "python",
        "version": "*",
        "files": [{"name": "program.py", "content": "print(4)"}],
        "stdin": "in",
        "run_timeout": 3000,
        "run_memory_limit": 64 << 20,
    }


def test_a_busy_server_is_asked_again_and_a_silent_one_given_up(serve):
    server = serve((503, "busy"), (429, "slow down"), fusion())
    assert SandboxFusion(server.url).run("print(4)").status == "ok"
    assert len(server.asked) == 3
    server = serve((503, "busy"))
    outcome = SandboxFusion(server.url).run("print(4)")
    assert (outcome.status, len(server.asked)) == ("infrastructure", remote_module.TRIES)
    assert "HTTP 503: busy" in outcome.stderr
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    assert Piston(f"http://127.0.0.1:{port}").run("print(4)").status == "infrastructure"
