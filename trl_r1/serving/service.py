"""The service: a request in, its choices, their cost and the record of the routing out. No HTTP here.

n = 1    routed: one pass or a vote, as `trl_r1.routing.router` decides; the record is in the reply's field ``trl_r1``
n > 1    n plain samples, since whoever asks for several wants them as they fall
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trl_r1.routing.paths import Ask, Candidate, EndpointPaths
from trl_r1.routing.router import Router
from trl_r1.serving.batch_queue import BatchQueue
from trl_r1.serving.requests import BadRequest, GenerationRequest
from trl_r1.storage.shards import seed_of
from trl_r1.text.records import Completion, Json


OnText = Callable[[int, str], Any]
"""Called with (which choice, a piece of its text) while the text is being written."""


@dataclass(frozen=True)
class GenerationResult:
    """What a request gets."""

    completions: list[Completion]  # as they are shown: up to a stop string, and then not truncated
    prompt_tokens: int
    completion_tokens: int  # everything generated for it, the paths that were not shown too
    record: Json


@dataclass
class Service:
    """Answers requests, any number at a time."""

    router: Router
    sampler: BatchQueue | EndpointPaths
    template: Callable[[str], Any] | None = None  # last user message -> prompt, instead of the chat template
    streams: bool = field(init=False)  # whether texts can be told while they are written

    def __post_init__(self) -> None:
        self.streams = isinstance(self.sampler, BatchQueue)

    def fit(self, request: GenerationRequest) -> tuple[GenerationRequest, int]:
        """The request with its prompt as the model reads it and a length it has room for; tokens of the prompt.

        Raises:
            BadRequest: the prompt is too long, or the model cannot read conversations.
        """
        if request.chat and self.template is not None:
            questions = [message["content"] for message in request.prompt if message["role"] == "user"]  # type: ignore[union-attr, index]
            if not questions:
                raise BadRequest("There is no user message to answer.", "messages")
            request = replace(request, prompt=self.template(questions[-1]))
        if not isinstance(self.sampler, BatchQueue):
            text = request.prompt if isinstance(request.prompt, str) else "".join(m["content"] for m in request.prompt)
            return request, -(-len(text) // 4)  # the server behind knows; four characters are taken for one token
        field_name = "messages" if request.chat else "prompt"
        try:
            tokens = self.sampler.paths.prompt_tokens(request.prompt)
        except Exception as error:  # a chat template may raise anything about a conversation it does not accept
            why = " ".join(str(error).split())[:200].rstrip(".")
            raise BadRequest(f"The model cannot read this conversation: {why}.", field_name) from error
        context = self.sampler.paths.context
        if context is None:
            return request, tokens
        room, longest = context - tokens, request.settings.max_new_tokens
        if room < 1 or (request.tokens_asked and longest > room):
            asked_for = f" and asks for {longest} more" if request.tokens_asked else ""
            raise BadRequest(
                f"The prompt has {tokens} tokens{asked_for}; this model has room for {context} altogether.",
                field_name,
                "context_length_exceeded",
            )
        return replace(request, settings=replace(request.settings, max_new_tokens=min(longest, room))), tokens

    def run(
        self,
        request: GenerationRequest,
        prompt_tokens: int,
        cancelled: Callable[[], bool],
        on_text: OnText | None = None,
    ) -> GenerationResult:
        """Answers a request that ``fit`` has seen; blocks.

        Args:
            on_text: told pieces as they are written, where that is possible: plain samples (n > 1, or route "simple")
                of a model in this process, without stop strings.

        Raises:
            Cancelled, EngineError, ValueError.
        """
        sampler: Any = self.sampler
        if request.seed is not None and isinstance(sampler, BatchQueue):
            sampler = sampler.alone
        streamed = on_text is not None and self.streams and not request.stop
        if request.n > 1 or (streamed and request.route == "simple"):
            return self._plain(request, prompt_tokens, sampler, cancelled, on_text if streamed else None)
        limits = self.router.limits
        if request.most_paths is not None:
            limits = replace(
                limits, most_paths=request.most_paths, least_paths=min(limits.least_paths, request.most_paths)
            )
        router = replace(self.router, sampler=sampler)
        routed = router.answer(
            request.prompt, request.route, request.seed, limits=limits, settings=request.settings, cancelled=cancelled
        )
        best = routed.paths[routed.chosen]
        if best.refused:
            raise BadRequest(f"The model's server refuses this prompt ({best.refused}).", code="refused_upstream")
        return GenerationResult([cut(best, request.stop)], prompt_tokens, routed.tokens, routed.to_dict())

    def _plain(
        self,
        request: GenerationRequest,
        prompt_tokens: int,
        sampler: Any,
        cancelled: Callable[[], bool],
        on_text: OnText | None,
    ) -> GenerationResult:
        pieces = None
        if on_text and isinstance(self.sampler, BatchQueue):
            pieces = Pieces(self.sampler.paths.rendering.decode, on_text)
        ask = Ask(request.prompt, request.n, None, cancelled, pieces.add if pieces else None)
        paths = sampler.draw([ask], request.settings, seed_of(request.seed or 0, "plain"))[0]
        refused = next((path.refused for path in paths if path.refused), "")
        if refused:
            raise BadRequest(f"The model's server refuses this prompt ({refused}).", code="refused_upstream")
        if pieces is not None:
            for number, path in enumerate(paths):
                pieces.finish(number, path.text)
        done = [cut(path, request.stop) for path in paths]
        tokens = sum(path.token_count for path in paths)
        record = {"route": "samples" if request.n > 1 else "simple", "paths": len(paths), "tokens": tokens}
        return GenerationResult(done, prompt_tokens, tokens, record)


def cut(path: Candidate, stop: tuple[str, ...]) -> Completion:
    """A completion up to its first stop string."""
    places = [place for word in stop if (place := path.text.find(word)) >= 0]
    if places:
        return replace(path, text=path.text[: min(places)], truncated=False)
    return path


@dataclass
class Pieces:
    """Token ids one by one in, pieces of text out; never half a character."""

    decode: Callable[[Sequence[int]], str]  # as the whole text is decoded, or the two would not agree
    tell: OnText
    ids: dict[int, list[int]] = field(default_factory=dict)
    sent: dict[int, str] = field(default_factory=dict)
    marks: dict[int, tuple[int, int]] = field(default_factory=dict)  # tokens before, and told of

    def add(self, number: int, token: int) -> None:
        ids = self.ids.setdefault(number, [])
        ids.append(token)
        start, read = self.marks.get(number, (0, 0))
        before = self.decode(ids[start:read])
        now = self.decode(ids[start:])
        if len(now) > len(before) and not now.endswith("\ufffd"):
            self._tell(number, now[len(before) :])
            self.marks[number] = (read, len(ids))

    def finish(self, number: int, text: str) -> None:
        """The rest, once the whole text is known."""
        sent = self.sent.get(number, "")
        if text.startswith(sent) and len(text) > len(sent):
            self._tell(number, text[len(sent) :])

    def _tell(self, number: int, piece: str) -> None:
        self.sent[number] = self.sent.get(number, "") + piece
        self.tell(number, piece)
