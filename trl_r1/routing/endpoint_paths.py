"""Paths of a server that speaks the OpenAI protocol; log-probabilities where it reports them, no entropies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from trl_r1.models.engines import SamplingServer, read_completion
from trl_r1.models.rendering.stream import ReplyRule
from trl_r1.routing.sampler import Ask, Cancelled, Candidate, Settings
from trl_r1.storage.shards import seed_of
from trl_r1.text.completions import REASONING_KEYS, THINK
from trl_r1.text.records import Completion, Json, Prompt


@dataclass(frozen=True)
class ServerCompletion(Completion):
    """A completion with what else the server said of it."""

    prompt_tokens: int | None = None
    choice: Json | None = field(default=None, repr=False)


def read_scored(content: bytes) -> Completion | None:
    """As ``read_completion``, with the mean log-probability of either kind of answer, where the server reports it.

    >>> read_scored(b'{"choices": [{"text": "4", "logprobs": {"token_logprobs": [-0.5, -1.5]}}]}').logprob
    -1.0
    """
    completion = read_completion(content)
    if completion is None:
        return None
    answer = json.loads(content)
    choice = answer["choices"][0]
    logprobs = choice.get("logprobs") or {}
    numbers = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if numbers is None and isinstance(logprobs, dict):
        numbers = [entry.get("logprob") for entry in logprobs.get("content") or [] if isinstance(entry, dict)]
    numbers = [number for number in numbers or [] if isinstance(number, int | float) and number <= 0.0]
    logprob = sum(numbers) / len(numbers) if numbers else None
    read = (answer.get("usage") or {}).get("prompt_tokens")
    counted = read if isinstance(read, int) and not isinstance(read, bool) and read >= 0 else None
    return ServerCompletion(
        completion.text,
        completion.token_count,
        completion.truncated,
        completion.refused,
        logprob,
        prompt_tokens=counted,
        choice=choice,
    )


@dataclass
class EndpointPaths:
    """A server of the OpenAI protocol. Calls may overlap; each opens up to ``endpoint.concurrency`` connections."""

    endpoint: SamplingServer
    logprobs: bool = True  # ask for them; a server that refuses such requests needs False

    @property
    def name(self) -> str:
        """The model's name at its address."""
        return f"{self.endpoint.model}@{self.endpoint.endpoint}"

    def reply_rule(self, prompt: Prompt, settings: Settings) -> ReplyRule:
        """What a reply is made of, as far as that is known without its template: ``<think>`` tags."""
        return ReplyRule((THINK,), False, "", settings.stop, settings.stop_in_reasoning)

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """As the server samples; equal seeds give equal texts where it keeps that promise.

        Raises:
            EngineError: the server cannot be reached, denies the key, or refuses every text of an ask.
            Cancelled: see Sampler. A request under way is not broken off; its text is not read.
        """
        candidates: list[list[Candidate]] = []
        for number, ask in enumerate(asks):
            if ask.cancelled():
                candidates.append([])
                continue
            own, numbered = ask.settings or settings, seed_of(seed, number)
            longest = min(ask.max_new_tokens or settings.max_new_tokens, settings.max_new_tokens)
            asking = replace(own, max_new_tokens=longest)
            draws = self.server(asking, ask.prompt).draw([ask.prompt], ask.count, numbered)[0]
            paths = [candidate(completion, bool(own.extra.get("logprobs"))) for completion in draws]
            if own.stop and not own.stop_in_reasoning:
                paths = [self._behind_reasoning(path, ask, asking, numbered, k) for k, path in enumerate(paths)]
            candidates.append(paths)
        if asks and all(ask.cancelled() for ask in asks):
            raise Cancelled("All requests were given up.")
        return candidates

    def server(self, settings: Settings, prompt: Prompt) -> SamplingServer:
        """The server with what these settings ask of it."""
        extra = dict(self.endpoint.extra)
        if self.logprobs:
            extra |= {"logprobs": 1} if isinstance(prompt, str) else {"logprobs": True}
        extra |= {"top_k": settings.top_k} if settings.top_k else {}
        extra |= {"stop": list(settings.stop)} if settings.stop else {}
        template_options = extra.get("chat_template_kwargs", {}) | settings.template_options
        extra |= {"chat_template_kwargs": template_options} if template_options else {}
        return replace(
            self.endpoint,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_new_tokens=settings.max_new_tokens,
            extra=extra | settings.extra,
            read=read_scored,
        )

    def _behind_reasoning(self, path: Candidate, ask: Ask, settings: Settings, seed: int, number: int) -> Candidate:
        """A path that its server has stopped inside of the reasoning is drawn once more without the stop strings, and
        cut here; both are paid for."""
        if not stopped_in_reasoning(path) or ask.cancelled():
            return path
        freely = replace(settings, stop=())
        again = self.server(freely, ask.prompt).draw([ask.prompt], 1, seed_of(seed, "behind reasoning", number))[0][0]
        whole = candidate(again)
        text, stopped = self.reply_rule(ask.prompt, settings).cut(whole.text)
        tokens = path.token_count + whole.token_count
        return replace(whole, text=text, token_count=tokens, truncated=whole.truncated and not stopped, choice=None)


def stopped_in_reasoning(path: Candidate) -> bool:
    """Whether a server ended a text at a stop string before its reasoning was over."""
    if path.truncated or path.refused or path.choice is None:
        return False
    message = path.choice.get("message")
    if isinstance(message, dict) and any(message.get(key) for key in REASONING_KEYS):
        return not message.get("content") and not message.get("tool_calls")
    return path.text.lstrip().startswith(THINK[0]) and THINK[1] not in path.text


def candidate(completion: Completion, with_logprobs: bool = False) -> Candidate:
    """A completion to be voted on; where a server does not count tokens, four characters are taken for one.

    Args:
        with_logprobs: keep those of every token, which a client has asked for; a path cache would be full of them.
    """
    counted, choice = completion.token_count, getattr(completion, "choice", None)
    if choice is not None and not with_logprobs:
        choice = {name: value for name, value in choice.items() if name != "logprobs"}
    return Candidate(
        completion.text,
        -(-len(completion.text) // 4) if counted is None else counted,
        completion.truncated,
        completion.refused,
        completion.logprob,
        prompt_tokens=getattr(completion, "prompt_tokens", None),
        choice=choice,
    )
