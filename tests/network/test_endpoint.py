"""One HTTP client: what it sends, what it tries again, and what it never does."""

import http.server
import json
import pickle
import threading
from types import SimpleNamespace

import pytest

from trl_r1.network.endpoint import LONGEST_PAUSE, Endpoint, Reply, Unavailable, UnusableKey


@pytest.fixture
def server():
    """Answers with `answers` in turn: (status, body, headers); remembers (path, body, headers) of every request."""
    state = SimpleNamespace(answers=[], requests=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append((self.path, body, dict(self.headers)))
            status, content, headers = state.answers.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            return

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{running.server_port}/v1"
    yield state
    running.shutdown()
    running.server_close()


def content(reply: Reply) -> bytes | None:
    return reply.content


def test_a_redirect_is_a_reply_and_takes_the_key_nowhere(server, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    server.answers = [(302, b"", {"Location": f"{server.url}/elsewhere"})]
    endpoint = Endpoint(server.url, "SOME_KEY")
    assert endpoint.post("where", {}, lambda reply: reply.status) == 302
    assert [path for path, _, _ in server.requests] == ["/v1/where"]
    assert server.requests[0][2]["Authorization"] == "Bearer secret"
    assert b"secret" not in pickle.dumps(endpoint)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 503])
def test_a_passing_status_is_tried_again_after_growing_pauses(server, status):
    server.answers, pauses = [(status, b"", {}), (status, b"", {}), (200, b"fine", {})], []
    endpoint = Endpoint(server.url, backoff=2.0)
    assert endpoint.post("p", {"a": "\ud800"}, content, lambda seconds: not pauses.append(seconds)) == b"fine"
    assert pauses == [2.0, 4.0]
    assert server.requests[-1][1] == {"a": "\ud800"}


@pytest.mark.parametrize(
    ("asked", "pause"), [("7", 7.0), ("0", 1.0), ("9999", LONGEST_PAUSE), ("soon", 1.0), ("²", 1.0)]
)
def test_the_server_may_ask_for_a_longer_pause_but_not_for_any(server, asked, pause):
    server.answers, pauses = [(503, b"", {"Retry-After": asked}), (200, b"", {})], []
    Endpoint(server.url).post("p", {}, content, lambda seconds: not pauses.append(seconds))
    assert pauses == [pause]


def test_attempts_are_bounded_and_the_last_reply_is_told(server):
    server.answers = [(500, b"{}", {}), (503, b'{"error": {"message": "too many of you."}}', {})]
    with pytest.raises(Unavailable, match="^status 503: too many of you$") as caught:
        Endpoint(server.url, attempts=2, backoff=0.0).post("p", {}, content)
    assert caught.value.reply.status == 503
    assert len(server.requests) == 2


def test_who_pauses_may_give_up(server):
    server.answers = [(500, b"", {})]
    with pytest.raises(Unavailable, match="status 500"):
        Endpoint(server.url).post("p", {}, content, lambda seconds: False)


@pytest.mark.parametrize(("passing", "requests"), [(True, 3), (False, 1)])
def test_what_reads_the_reply_says_whether_to_ask_again(server, passing, requests):
    def read(reply):
        raise Unavailable("no sense in it", reply, passing)

    server.answers = [(200, b"", {})] * 3
    with pytest.raises(Unavailable, match="no sense in it"):
        Endpoint(server.url, backoff=0.0).post("p", {}, read)
    assert len(server.requests) == requests


def test_a_body_above_the_bound_is_none_and_a_cut_one_is_no_reply(server):
    server.answers = [(200, b"x" * 11, {}), (200, b"x" * 10, {}), (200, b"x", {"Content-Length": "5"})]
    endpoint = Endpoint(server.url, most_bytes=10, attempts=1)
    assert endpoint.post("p", {}, content) is None
    assert endpoint.post("p", {}, content) == b"x" * 10
    with pytest.raises(Unavailable, match="broke off"):
        endpoint.post("p", {}, content)


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(server, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sec\nret")
    for endpoint in (Endpoint(server.url, "SOME_KEY"), Endpoint(server.url, authorization="sec\nret")):
        with pytest.raises(UnusableKey, match="no header can carry") as caught:
            endpoint.post("p", {}, content)
        assert "ret" not in str(caught.value)
        assert "ret" not in repr(endpoint)
    assert not server.requests


def test_a_proxy_has_no_way_to_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.answers = [(200, b"fine", {})]
    assert Endpoint(server.url, attempts=1).post("p", {}, content) == b"fine"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"url": "localhost:8000"}, "is no http address"),
        ({"url": "file:///etc/passwd"}, "is no http address"),
        ({"url": "http://me:pw@host"}, "has a password in its address"),
        ({"seconds": 0}, "seconds are positive"),
        ({"attempts": 0}, "1 or more"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(fields, why):
    with pytest.raises(ValueError, match=why):
        Endpoint(**{"url": "http://host", **fields})
