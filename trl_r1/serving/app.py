"""The HTTP side of `trl-r1 serve`: FastAPI routes of the OpenAI protocol over a `Service`.

    POST /v1/chat/completions    POST /v1/completions    GET /v1/models    GET /health

Each request is worked on in a thread of its own, at most ``at_once`` of them; further ones wait, beyond ``waiting`` they
get a 429. A client that leaves, or whose time is up (504), stops its generation after the next token. Where nothing has
been said for a while, a stream carries a comment line, so that proxies keep it open and a client's leaving is noticed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from trl_r1.routing.paths import Cancelled, Settings
from trl_r1.serving.access import LOOPBACK, AccessControl
from trl_r1.serving.requests import BadRequest, Bounds, GenerationRequest, read
from trl_r1.serving.responses import CLOSING, Frame, failure, headers_of, problem, response_content
from trl_r1.serving.service import Service
from trl_r1.text.records import Json


log = logging.getLogger("trl_r1.serve")
QUIET = 5.0  # seconds without a word before a stream says that it is still there
SLOW_BODY = 30.0  # seconds a body may take to arrive
NO_RESPONSES = (
    "The responses API is not served here; call POST /v1/chat/completions (client.chat.completions.create; in the OpenAI "
    "Agents SDK: OpenAIChatCompletionsModel)."
)


@dataclass
class Serving:
    """What the routes need: the service and how much of it at a time."""

    service: Service
    model: str
    bounds: Bounds = field(default_factory=Bounds)
    defaults: Settings = field(default_factory=Settings)
    at_once: int = 64  # requests worked on at the same time
    waiting: int = 256  # requests that may wait for their turn
    seconds: float = 600.0  # a request may take, waiting included
    created: int = field(default_factory=lambda: int(time.time()))
    inside: int = 0  # requests that wait or are worked on
    running: int = 0  # threads at work
    gone: threading.Event = field(default_factory=threading.Event)  # the server shuts down
    tasks: set[Task] = field(default_factory=set)  # at work

    def __post_init__(self) -> None:
        if min(self.at_once, self.waiting + 1) < 1 or not self.seconds > 0:
            raise ValueError(
                f"at_once={self.at_once}, waiting={self.waiting}, seconds={self.seconds}: too few to serve."
            )
        self.turn = asyncio.Semaphore(self.at_once)
        self.closing = asyncio.Event()

    def close(self) -> None:
        """Ends every open request with its error, at once; their generation stops after the next token. Call it in the
        event loop."""
        self.gone.set()
        self.closing.set()
        for task in list(self.tasks):
            task.events.put_nowait(("error", Cancelled(CLOSING)))


class Task:
    """One request's work in its thread, seen from the event loop."""

    def __init__(self, serving: Serving, generation: GenerationRequest, prompt_tokens: int, stream: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.cancel = threading.Event()
        self.serving = serving
        serving.tasks.add(self)
        tell = (lambda number, kind, piece: self.put("text", (number, kind, piece))) if stream else None
        threading.Thread(
            target=self._work, args=(generation, prompt_tokens, tell), daemon=True, name="request"
        ).start()

    def _work(
        self, generation: GenerationRequest, prompt_tokens: int, tell: Callable[[int, str, str], Any] | None
    ) -> None:
        try:
            result = self.serving.service.run(generation, prompt_tokens, self._is_abandoned, tell)
        except BaseException as error:  # told to the client by the event loop
            self.put("error", error)
        else:
            self.put("done", result)

    def _is_abandoned(self) -> bool:
        return self.cancel.is_set() or self.serving.gone.is_set()

    def put(self, kind: str, value: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(self.events.put_nowait, (kind, value))
            if kind != "text":
                self.loop.call_soon_threadsafe(self._leave)
        except RuntimeError:  # the loop has ended; nobody listens any more
            log.debug("a request outlived the server")

    def _leave(self) -> None:
        self.serving.tasks.discard(self)
        self.serving.running -= 1
        self.serving.turn.release()


def build(serving: Serving, token: str | None = None, hosts: tuple[str, ...] = LOOPBACK) -> AccessControl:
    """The whole app, access control included."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        serving.close()

    app = FastAPI(title="trl-r1 serve", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.serving = serving

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        sentence = {
            404: f"There is nothing at {request.url.path[:200]}.",
            405: f"{request.method} is not for this path.",
        }
        return problem(error.status_code, sentence.get(error.status_code, str(error.detail)))

    @app.get("/health")
    async def health() -> Json:
        return {"status": "ok", "running": serving.running, "inside": serving.inside}

    def card() -> Json:
        return {"id": serving.model, "object": "model", "created": serving.created, "owned_by": "trl-r1"}

    @app.get("/v1/models")
    async def models() -> Json:
        return {"object": "list", "data": [card()]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        if name != serving.model:
            return problem(404, f"There is no model {name[:200]!r} here.", code="model_not_found")
        return Response(json.dumps(card()), media_type="application/json")

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await answer(serving, request, True)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await answer(serving, request, False)

    @app.post("/v1/responses")
    async def responses(request: Request) -> Response:
        return problem(404, NO_RESPONSES, code="unsupported_endpoint")

    return AccessControl(app, token, hosts)


async def answer(serving: Serving, request: Request, chat: bool) -> Response:
    """One request from its body to its response."""
    if serving.inside >= serving.at_once + serving.waiting:
        return problem(
            429,
            "Too many requests wait already; try again later.",
            "rate_limit_error",
            code="too_many_requests",
            headers={"Retry-After": "1"},
        )
    serving.inside += 1
    handed_over = False
    try:
        body = await asyncio.wait_for(body_of(request, serving.bounds.most_bytes), SLOW_BODY)
        engine = not serving.service.in_process
        generation = read(body, chat, serving.model, serving.defaults, serving.bounds, engine)
        generation, prompt_tokens = await asyncio.to_thread(serving.service.fit, generation)
        task = await start(serving, generation, prompt_tokens, request)
        if generation.stream:
            handed_over = True
            return Stream(serving, task, stream(serving, generation, task), headers_of(generation))
        return await whole(serving, generation, task, request)
    except (BadRequest, Cancelled) as error:
        return failure(error)
    except ClientDisconnect:
        return Response(status_code=499)  # nobody is there to read it
    except asyncio.TimeoutError:
        return problem(408, "The request did not arrive in time.", code="timeout")
    finally:
        if not handed_over:
            serving.inside -= 1


async def body_of(request: Request, most: int) -> bytes:
    """The body, unless it is too large.

    Raises:
        BadRequest, ClientDisconnect.
    """
    too_large = BadRequest(f"The body is larger than {most} bytes.", code="body_too_large", status=413)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced[:20]) > most:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)


async def start(serving: Serving, generation: GenerationRequest, prompt_tokens: int, request: Request) -> Task:
    """Waits for a turn and begins.

    Raises:
        BadRequest: the turn did not come in time. Cancelled: the server is shutting down. ClientDisconnect: the client left
            before.
    """
    turn, client_gone, closing = (
        asyncio.ensure_future(serving.turn.acquire()),
        asyncio.ensure_future(wait_until_client_leaves(request)),
        asyncio.ensure_future(serving.closing.wait()),
    )
    try:
        await asyncio.wait({turn, client_gone, closing}, timeout=serving.seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        client_gone.cancel()
        closing.cancel()
        if not turn.done():
            turn.cancel()
    if serving.closing.is_set():
        if turn.done() and not turn.cancelled():
            serving.turn.release()
        raise Cancelled(CLOSING)
    if turn.cancelled() or not turn.done():
        if client_gone.done() and not client_gone.cancelled():
            raise ClientDisconnect
        raise BadRequest("No turn came within the time limit; try again later.", code="timeout", status=503)
    serving.running += 1
    return Task(serving, generation, prompt_tokens, generation.stream)


async def wait_until_client_leaves(request: Request) -> None:
    """Returns when the client has left; the body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def whole(serving: Serving, generation: GenerationRequest, task: Task, request: Request) -> Response:
    """The response that is sent at once."""
    waiting = asyncio.ensure_future(task.events.get())
    client_gone = asyncio.ensure_future(wait_until_client_leaves(request))
    try:
        done, _ = await asyncio.wait(
            {waiting, client_gone}, timeout=serving.seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        task_done = waiting.done() and not waiting.cancelled()
        if not task_done:
            task.cancel.set()
        waiting.cancel()
        client_gone.cancel()
    if waiting not in done:
        if client_gone in done:
            raise ClientDisconnect
        return problem(504, f"The answer took more than {serving.seconds:g} seconds.", "timeout_error", code="timeout")
    kind, value = waiting.result()
    if kind == "error":
        return failure(value)
    return Response(
        json.dumps(response_content(generation, value), ensure_ascii=False).encode("utf-8", errors="replace"),
        media_type="application/json",
        headers=headers_of(generation),
    )


class Stream(StreamingResponse):
    """A streaming response that gives its work up and its place free however it ends, begun or not."""

    def __init__(self, serving: Serving, task: Task, content: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self.serving, self.task = serving, task

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.task.cancel.set()  # of no consequence where it is done
            self.serving.inside -= 1


async def stream(serving: Serving, generation: GenerationRequest, task: Task) -> AsyncIterator[bytes]:
    """Server-sent events: pieces as they are written where that is possible, else the finished text in pieces."""
    frame = Frame(generation)
    until = time.monotonic() + serving.seconds
    streamed: set[int] = set()
    if generation.chat:
        for number in range(generation.n):
            yield frame.begin(number)
    while True:
        seconds_left = until - time.monotonic()
        if seconds_left <= 0:
            yield frame.error(f"The answer took more than {serving.seconds:g} seconds.", "timeout_error", "timeout")
            break
        try:
            kind, value = await asyncio.wait_for(task.events.get(), min(QUIET, seconds_left))
        except asyncio.TimeoutError:
            yield b": still at work\n\n"
            continue
        if kind == "text":
            streamed.add(value[0])
            yield frame.piece(*value)
            continue
        if kind == "error":
            response = failure(value)
            yield b"data: " + bytes(response.body) + b"\n\n"
            break
        for number, one in enumerate(value.choices):
            if number not in streamed:
                for piece in frame.whole(number, one):
                    yield piece
            yield frame.end(number, one, value.record)
        if generation.include_usage:
            yield frame.usage(value)
        break
    yield b"data: [DONE]\n\n"
