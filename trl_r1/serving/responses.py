"""Responses: a result in, the bodies and server-sent events of the OpenAI protocol out; errors as its error objects."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterator
from typing import Any

from fastapi.responses import Response

from trl_r1.models.engines import EngineError
from trl_r1.routing.paths import Cancelled
from trl_r1.serving.access import error_body
from trl_r1.serving.choices import Choice
from trl_r1.serving.requests import BadRequest, GenerationRequest
from trl_r1.serving.service import GenerationResult
from trl_r1.text.records import Json


log = logging.getLogger("trl_r1.serve")
PIECE = 48  # characters of a finished text per chunk of a stream
CAPPED = "X-Max-Tokens-Capped"  # header: the request asked for more tokens than this
CLOSING = "The server is shutting down."


def headers_of(generation: GenerationRequest) -> dict[str, str]:
    """What is said of a request that was changed."""
    return {CAPPED: str(generation.settings.max_new_tokens)} if generation.capped else {}


def response_content(generation: GenerationRequest, result: GenerationResult) -> Json:
    """The body of a response that is sent at once."""
    choices: list[Json] = []
    for number, one in enumerate(result.choices):
        content = {"message": one.message()} if generation.chat else {"text": one.content}
        choices.append({"index": number, **content, "logprobs": one.logprobs, "finish_reason": one.finish_reason})
    return {**head(generation, stream=False), "choices": choices, "usage": usage(result), "trl_r1": result.record}


def head(generation: GenerationRequest, stream: bool) -> Json:
    kind = ("chat.completion.chunk" if stream else "chat.completion") if generation.chat else "text_completion"
    name = "chatcmpl" if generation.chat else "cmpl"
    return {"id": f"{name}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": generation.model}


def usage(result: GenerationResult) -> dict[str, int]:
    """Tokens; those of paths that were not shown count as completion tokens, since they were paid for."""
    both = result.prompt_tokens + result.completion_tokens
    return {"prompt_tokens": result.prompt_tokens, "completion_tokens": result.completion_tokens, "total_tokens": both}


class Frame:
    """The chunks of one stream."""

    def __init__(self, generation: GenerationRequest) -> None:
        self.generation, self.head = generation, head(generation, stream=True)

    def begin(self, number: int) -> bytes:
        """Who speaks: the first chunk of a chat's choice."""
        return self._chunk(number, {"role": "assistant", "content": ""})

    def piece(self, number: int, kind: str, text: str) -> bytes:
        """A piece of one choice's reasoning or content."""
        return self._chunk(
            number, {"reasoning_content": text, "reasoning": text} if kind == "reasoning" else {"content": text}
        )

    def whole(self, number: int, choice: Choice) -> Iterator[bytes]:
        """A finished choice, in pieces."""
        for kind, text in (("reasoning", choice.reasoning or ""), ("content", choice.content)):
            for start in range(0, len(text), PIECE):
                yield self.piece(number, kind, text[start : start + PIECE])
        if choice.tool_calls:
            calls = [{"index": place, **call} for place, call in enumerate(choice.tool_calls)]
            yield self._chunk(number, {"tool_calls": calls})
        if choice.function_call:
            yield self._chunk(number, {"function_call": choice.function_call})

    def end(self, number: int, choice: Choice, record: Json) -> bytes:
        """Why a choice ended, and the record of the routing."""
        return self._chunk(number, {}, choice.finish_reason, choice.logprobs, {"trl_r1": record})

    def _chunk(
        self, number: int, delta: Json, finish: str | None = None, logprobs: Any = None, more: Json | None = None
    ) -> bytes:
        said = {"delta": delta} if self.generation.chat else {"text": delta.get("content", "")}
        choice = {"index": number, **said, "logprobs": logprobs, "finish_reason": finish}
        asked = {"usage": None} if self.generation.include_usage else {}
        return self.event({"choices": [choice], **asked, **(more or {})})

    def usage(self, result: GenerationResult) -> bytes:
        """The last chunk, for who asked for it."""
        return self.event({"choices": [], "usage": usage(result)})

    def event(self, content: Json) -> bytes:
        text = json.dumps({**self.head, **content}, ensure_ascii=False)
        return b"data: " + text.encode("utf-8", errors="replace") + b"\n\n"

    def error(self, sentence: str, kind: str, code: str) -> bytes:
        """What went wrong after the stream had begun."""
        return b"data: " + error_body(sentence, kind, None, code) + b"\n\n"


def problem(
    status: int,
    sentence: str,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """An error response."""
    return Response(error_body(sentence, kind, param, code), status, headers, "application/json")


def failure(error: BaseException) -> Response:
    """What a failed piece of work looks like from outside; details of our own failures stay in the log."""
    if isinstance(error, BadRequest):
        return problem(error.status, str(error), param=error.param, code=error.code)
    if isinstance(error, Cancelled):
        # stock clients would ask again, meet a closed door and tell of that instead
        return problem(503, CLOSING, "server_error", code="unavailable", headers={"x-should-retry": "false"})
    if isinstance(error, EngineError):
        log.warning("%s", error)
        return problem(
            502, "The model's server gives no answer; see this server's log.", "server_error", code="bad_gateway"
        )
    log.error("a request failed", exc_info=error)
    return problem(
        500, "The request failed inside the server; its log says why.", "server_error", code="internal_error"
    )
