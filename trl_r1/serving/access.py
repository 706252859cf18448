"""Access control in front of the app: who may come in. Plain ASGI, so that nobody's body is read before.

Host     Without a token, only requests addressed to this machine's own names are taken: a web page that has its own
         name point here (DNS rebinding) is turned away. So is a page that posts a form: bodies are JSON, and say so.
Token    With one, every request needs ``Authorization: Bearer <token>``; compared in constant time.
Errors   Whatever is refused gets an OpenAI-style error object and a 4xx.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


App = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI: scope, receive, send

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def error_body(
    sentence: str, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> bytes:
    """An error as the OpenAI API words it."""
    content = {"error": {"message": sentence, "type": kind, "param": param, "code": code}}
    return json.dumps(content, ensure_ascii=False).encode("utf-8", errors="replace")


def host_of(header: str) -> str:
    """A Host header without its port, in lower case.

    >>> host_of("LocalHost:8000"), host_of("[::1]:8000")
    ('localhost', '::1')
    """
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


@dataclass
class AccessControl:
    """Wraps an ASGI app.

    Args:
        token: that every request has to bring; None asks for none.
        hosts: names this server goes by, where no token is asked for; empty takes all.
    """

    app: App
    token: str | None = field(default=None, repr=False)
    hosts: Iterable[str] = LOOPBACK

    async def __call__(
        self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), value)
        why = self.objection(scope, headers)
        if why is None:
            await self.app(scope, receive, send)
            return
        status, sentence, code, more = why
        body = error_body(sentence, "authentication_error" if status == 401 else "invalid_request_error", None, code)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"connection", b"close"),
                    *more,
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def objection(
        self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]
    ) -> tuple[int, str, str, list[tuple[bytes, bytes]]] | None:
        """Why a request is turned away: status, sentence, code and further headers; None lets it in."""
        if self.token is None:
            host = host_of(headers.get(b"host", b"").decode("latin-1"))
            if self.hosts and host not in self.hosts:
                return (
                    400,
                    f"This server does not go by the name {host[:100]!r}; without a token it answers only to its "
                    "own names.",
                    "wrong_host",
                    [],
                )
        else:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            right = hmac.compare_digest(token.strip(), self.token.encode())
            if scheme.lower() != b"bearer" or not right:
                sentence = "This server needs its token: send the header Authorization: Bearer <token>."
                return 401, sentence, "invalid_api_key", [(b"www-authenticate", b"Bearer")]
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != b"application/json":
                return 415, "Send JSON, with the header Content-Type: application/json.", "wrong_content_type", []
        return None
