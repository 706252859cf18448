"""The service: a request in, its choices, their cost and the record of the routing out. No HTTP here.

n = 1    routed: one pass or a vote, as `trl_r1.routing.router` decides; the record is in the reply's field ``trl_r1``
n > 1    n plain samples, since whoever asks for several wants them as they fall
tools    and what else only an engine can do: one plain sample (or n), the engine's own message
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from trl_r1.models.engines import EngineRefusal
from trl_r1.models.rendering.stream import ReplyRule
from trl_r1.models.templates import with_system
from trl_r1.routing.paths import Ask, Candidate, EndpointPaths
from trl_r1.routing.router import BEST_OF, Router
from trl_r1.serving.batch_queue import BatchQueue
from trl_r1.serving.choices import Choice, Deltas, OnPart, choice_of, opened_before, with_reasoning
from trl_r1.serving.requests import BadRequest, GenerationRequest
from trl_r1.storage.shards import seed_of
from trl_r1.text.records import Json


@dataclass(frozen=True)
class GenerationResult:
    """What a request gets."""

    choices: list[Choice]
    prompt_tokens: int
    completion_tokens: int  # everything generated for it, the paths that were not shown too
    record: Json


@dataclass
class Service:
    """Answers requests, any number at a time."""

    router: Router
    sampler: BatchQueue | EndpointPaths
    template: Callable[[str], Any] | None = None  # last user message -> prompt, instead of the chat template
    separate_reasoning: bool = True  # beside the content of a chat's message, not in it between tags
    system_prompt: str | None = None  # before conversations that bring none of their own
    in_process: bool = field(init=False)  # whether texts can be told while they are written

    def __post_init__(self) -> None:
        self.in_process = isinstance(self.sampler, BatchQueue)

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
        if request.chat and not isinstance(request.prompt, str):
            request = replace(request, prompt=with_system(request.prompt, self.system_prompt))
        if not isinstance(self.sampler, BatchQueue):
            text = request.prompt if isinstance(request.prompt, str) else "".join(m["content"] for m in request.prompt)
            return request, -(-len(text) // 4)  # if the server behind does not say: four characters for one token
        field_name = "messages" if request.chat else "prompt"
        paths = self.sampler.paths
        try:
            if not isinstance(request.prompt, str):
                request = replace(request, prompt=with_reasoning(request.prompt, paths.rendering.facts))
            tokens = paths.prompt_tokens(request.prompt, request.settings.template_options)
        except Exception as error:  # a chat template may raise anything about a conversation it does not accept
            why = " ".join(str(error).split())[:200].rstrip(".")
            raise BadRequest(f"The model cannot read this conversation: {why}.", field_name) from error
        if paths.context is None:
            return request, tokens
        room, longest = paths.context - tokens, request.settings.max_new_tokens
        if room < 1:
            raise BadRequest(
                f"The prompt has {tokens} tokens; this model has room for {paths.context} altogether.",
                field_name,
                "context_length_exceeded",
            )
        settings = replace(request.settings, max_new_tokens=min(longest, room))
        capped = request.capped or (request.tokens_asked and longest > room)
        return replace(request, settings=settings, capped=capped), tokens

    def run(
        self,
        request: GenerationRequest,
        prompt_tokens: int,
        cancelled: Callable[[], bool],
        on_part: OnPart | None = None,
    ) -> GenerationResult:
        """Answers a request that ``fit`` has seen; blocks.

        Args:
            on_part: told pieces as they are written, where that is possible (`is_told_live`).

        Raises:
            Cancelled, EngineError, ValueError.
        """
        sampler: Any = self.sampler
        if request.seed is not None and isinstance(sampler, BatchQueue):
            sampler = sampler.alone
        live = on_part if on_part is not None and self.is_told_live(request) else None
        try:
            if request.n > 1 or request.one_path or live is not None:
                return self._plain(request, prompt_tokens, sampler, cancelled, live)
            return self._routed(request, prompt_tokens, sampler, cancelled)
        except EngineRefusal as error:
            raise refused(error.why) from error

    def is_told_live(self, request: GenerationRequest) -> bool:
        """Whether a text can be told while it is written: from a model in this process, where nothing is voted on."""
        if not self.in_process:
            return False
        one_pass = request.n > 1 or request.route == "simple" or request.settings.temperature == 0
        votes = self.router.is_calibrated or self.router.limits.choose in BEST_OF or self.router.asks(request.prompt)
        return one_pass or (request.route == "auto" and not votes)

    def _routed(
        self, request: GenerationRequest, prompt_tokens: int, sampler: Any, cancelled: Callable[[], bool]
    ) -> GenerationResult:
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
            raise refused(best.refused)
        choice = self._choice(request, best)
        return GenerationResult([choice], counted(routed.paths, prompt_tokens), routed.tokens, routed.to_dict())

    def _plain(
        self,
        request: GenerationRequest,
        prompt_tokens: int,
        sampler: Any,
        cancelled: Callable[[], bool],
        on_part: OnPart | None,
    ) -> GenerationResult:
        deltas = None
        if on_part and isinstance(self.sampler, BatchQueue):
            rule = self._rule(request)
            deltas = Deltas(self.sampler.paths.rendering.decode, rule, on_part, self._separates(request), request.chat)
        drawn = 1 if request.settings.temperature == 0 and not request.one_path else request.n
        ask = Ask(request.prompt, drawn, None, cancelled, deltas.add if deltas else None)
        name = ("wave", 0) if request.n == 1 else ("plain",)  # one text is the router's first path, streamed or not
        paths = sampler.draw([ask], request.settings, seed_of(request.seed or 0, *name))[0]
        why = next((path.refused for path in paths if path.refused), "")
        if why:
            raise refused(why)
        tokens = sum(path.token_count for path in paths)
        if deltas is not None:
            for number, path in enumerate(paths):
                deltas.finish(number, path.text)
        done = [self._choice(request, path) for path in paths] * (request.n // drawn)
        route = "passed on" if request.one_path else "samples" if request.n > 1 else "simple"
        record = {"route": route, "paths": len(paths), "tokens": tokens}
        return GenerationResult(done, counted(paths, prompt_tokens), tokens, record)

    def _separates(self, request: GenerationRequest) -> bool:
        stated = request.separate_reasoning
        return request.chat and (self.separate_reasoning if stated is None else stated)

    def _rule(self, request: GenerationRequest, text: str = "") -> ReplyRule:
        """What a text of this request is made of; its stop strings are cut off already, or are looked for."""
        if isinstance(self.sampler, BatchQueue):
            return self.sampler.paths.reply_rule(request.prompt, request.settings)
        rule = self.sampler.reply_rule(request.prompt, request.settings)
        return replace(rule, opened=opened_before(text, rule))  # its template is not known here

    def _choice(self, request: GenerationRequest, path: Candidate) -> Choice:
        return choice_of(
            path, self._rule(request, path.text), request.chat, self._separates(request), request.settings.extra
        )


def counted(paths: Any, prompt_tokens: int) -> int:
    """Tokens of the prompt as the server behind counts them, where it does."""
    return next((path.prompt_tokens for path in paths if path.prompt_tokens is not None), prompt_tokens)


def refused(why: str) -> BadRequest:
    return BadRequest(f"The model's server refuses this request ({why}).", code="refused_upstream")
