"""JSON over HTTP to one server, bounded in bytes, seconds and attempts. Judges, engines and sandboxes all ask through it.

    Endpoint("http://127.0.0.1:8000/v1").post("completions", body, read)

What fails in passing is tried again, waiting longer each time: no connection, a hang-up, an answer that is cut off or too
slow, the statuses `PASSING` and every status from 500, and whatever the caller's ``read`` calls passing. Everything else
is the caller's to read. Redirects are not followed (they are replies with their status), and an address on this machine
is reached without a proxy.

The API key is read from the environment when a request is made, goes to the endpoint alone, and stands in no field,
message or pickle.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Protocol, TypeVar


T = TypeVar("T")

PASSING = (408, 409, 425, 429)  # and every status from 500: worth another attempt
LONGEST_PAUSE = 60.0  # seconds between two attempts, whatever the server asks for
TOO_SLOW = "too slow"


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    content: bytes | None = b""  # None: more than the endpoint's ``most_bytes``
    retry_after: float = 0.0  # seconds that the server asks to wait

    @property
    def is_passing(self) -> bool:
        """Whether the same request may fare better later."""
        return self.status in PASSING or self.status >= 500

    @property
    def is_good(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """What an error says for itself, in one line of at most 200 characters; "" where that is nothing or a page."""
        text = (self.content or b"")[:4000].decode("utf-8", errors="replace")
        try:
            body = json.loads(text)
            body = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
            text = str(body.get("message", "") if isinstance(body, dict) else body)
        except (ValueError, RecursionError):
            pass  # no JSON: the text itself is what it says
        line = " ".join(text.split())
        return "" if line.startswith("<") else line[:200].rstrip(".")  # a proxy's page says nothing

    def __str__(self) -> str:
        return f"status {self.status}: {self.message}" if self.message else f"status {self.status}"


class Unavailable(Exception):
    """The server gave no usable answer; ``why`` in a few words.

    ``reply`` is the last answer where there was one; ``passing`` says whether another attempt may end better.
    """

    def __init__(self, why: str, reply: Reply | None = None, passing: bool = True) -> None:
        super().__init__(why)
        self.why, self.reply, self.passing = why, reply, passing


class UnusableKey(ValueError):
    """The API key has characters that no header can carry. The message does not show it."""


class Client(Protocol):
    """The options with which a judge or an engine says which server it asks, and how patient it is."""

    @property
    def endpoint(self) -> str: ...
    @property
    def key_variable(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def backoff(self) -> float: ...


def sleep(seconds: float) -> bool:
    """Waits, and says that the next attempt may be made."""
    time.sleep(seconds)
    return True


@dataclass(frozen=True)
class Endpoint:
    """One server and how patient to be with it.

    Raises:
        ValueError: ``url`` is no http address or holds a password, or a bound is out of range.
    """

    url: str  # what all paths begin with, such as http://127.0.0.1:8000/v1
    key_variable: str = ""  # environment variable with the key, sent as a bearer token; none is sent where it is unset
    authorization: str = field(default="", repr=False)  # this header instead, for servers with a scheme of their own
    seconds: float = 60.0  # of one attempt altogether, so that a server that drips cannot hold us
    attempts: int = 3
    backoff: float = 1.0  # seconds before the second attempt, doubled before each further one
    most_bytes: int = 1_000_000  # of one response

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"endpoint={self.url!r} is no http address, such as http://127.0.0.1:8000/v1.")
        if parts.username or parts.password:
            place = f"the environment variable {self.key_variable}" if self.key_variable else "the key"
            raise ValueError(
                f"The endpoint at {parts.hostname!r} has a password in its address, which would end up in reports. "
                f"Put it into {place}."
            )
        if self.seconds <= 0 or self.backoff < 0:
            raise ValueError("The endpoint's seconds are positive, its backoff is 0 or more.")
        if min(self.attempts, self.most_bytes) < 1:
            raise ValueError("The endpoint's attempts and most_bytes are 1 or more.")

    @classmethod
    def of(cls, client: Client, most_bytes: int) -> Endpoint:
        """The server of a client that has its address and bounds among its own options."""
        return cls(
            client.endpoint,
            client.key_variable,
            seconds=client.seconds,
            attempts=client.attempts,
            backoff=client.backoff,
            most_bytes=most_bytes,
        )

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        read: Callable[[Reply], T],
        pause: Callable[[float], bool] = sleep,
    ) -> T:
        """What ``read`` makes of the first answer that is not passing, in at most ``attempts`` requests.

        Args:
            path: below ``url``, without a slash at its beginning.
            body: sent as JSON in ASCII, so that half a character in a text cannot break it.
            read: the value of a reply whose status is not passing; raises `Unavailable` where it holds none.
            pause: waits so many seconds; False gives up.

        Raises:
            Unavailable: no attempt brought an answer, or ``read`` raised one that is not passing; the last one.
            UnusableKey: before anything is sent.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                reply = self.exchange(path, body)
                if not reply.is_passing:
                    return read(reply)
                failure = Unavailable(str(reply), reply)
            except Unavailable as error:
                failure = error
            if not failure.passing or attempt == self.attempts:
                break
            retry_after = failure.reply.retry_after if failure.reply is not None else 0.0
            if not pause(min(max(self.backoff * 2.0 ** (attempt - 1), retry_after), LONGEST_PAUSE)):
                break
        raise failure

    def exchange(self, path: str, body: Mapping[str, Any] | None = None, seconds: float | None = None) -> Reply:
        """One request, a GET without a body, and its answer of whatever status.

        Args:
            seconds: instead of the endpoint's.

        Raises:
            Unavailable: there is no whole answer, or not within ``seconds``.
            UnusableKey: before anything is sent.
        """
        seconds = self.seconds if seconds is None else seconds
        data = None if body is None else json.dumps(body).encode()
        url, method = f"{self.url.rstrip('/')}/{path}", "GET" if body is None else "POST"
        request = urllib.request.Request(url, data, self._headers(), method=method)
        deadline = time.monotonic() + seconds
        try:
            try:
                response = self._opener().open(request, timeout=seconds)
            except urllib.error.HTTPError as error:  # an answer like any other, with its status
                response = error
            with response:
                retry_after = response.headers.get("Retry-After") or ""
                content = _read(response, self.most_bytes, deadline)
                return Reply(response.status, content, float(retry_after) if retry_after.isdecimal() else 0.0)
        except (OSError, HTTPException, UnicodeError) as error:  # refused, reset, broken off, no such host, no HTTP
            raise Unavailable(_why(error)) from error

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        key = self.authorization or os.environ.get(self.key_variable or "-", "").strip()
        if not key:
            return headers
        if not (key.isascii() and key.isprintable()):
            place = "" if self.authorization else f" in ${self.key_variable}"
            raise UnusableKey(f"The key{place} has characters that no header can carry.")
        return {**headers, "Authorization": self.authorization or f"Bearer {key}"}

    def _opener(self) -> urllib.request.OpenerDirector:
        """Without a proxy for an address on this machine, to which no proxy has a way."""
        host = urllib.parse.urlsplit(self.url).hostname or ""
        try:
            local = ipaddress.ip_address(host).is_loopback
        except ValueError:
            local = host == "localhost"
        return urllib.request.build_opener(_NoRedirect, *([urllib.request.ProxyHandler({})] if local else []))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect becomes its status: it would take the key to another host."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


def _read(response: Any, most_bytes: int, deadline: float) -> bytes | None:
    """The body, in pieces, so that a server that drips cannot hold us; None above ``most_bytes``.

    Raises:
        TimeoutError: the deadline has passed.
        ConnectionResetError: it is shorter than announced.
    """
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > most_bytes:
            return None
        if time.monotonic() > deadline:
            raise TimeoutError
    announced = response.headers.get("Content-Length") or ""
    if announced.isdecimal() and size < int(announced):
        raise ConnectionResetError
    return b"".join(parts)


def _why(error: Exception) -> str:
    """A connection error in a few words; the libraries' own texts repeat the address and more."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return TOO_SLOW
    if isinstance(cause, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(cause, socket.gaierror | UnicodeError):
        return "no such host"
    if isinstance(cause, ssl.SSLError):
        return f"no secure connection: {cause.reason or 'handshake failed'}"
    return "the connection broke off"
