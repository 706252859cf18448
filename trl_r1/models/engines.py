"""Engines: prompts in, texts out, from a model in this process or from a server; one interface, `Engine`.

    InProcess         transformers' `generate` through `trl_r1.models.sampling`: the same seed gives the same texts
    SamplingServer    any server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, `transformers serve`, ...

A text prompt goes to ``<endpoint>/completions``, a conversation to ``<endpoint>/chat/completions``, one request per
sample (not every server takes ``n``; those that reuse prefixes pay for the prompt once all the same). What fails in
passing (no connection, 408, 409, 425, 429, 5xx, a hang-up, an answer that is no completion, too slow, too long) is tried
again a bounded number of times, waiting longer each time; then the run stops with one sentence (`EngineError`) and what
was finished before is kept. A request the server refuses for its own sake (400, 413, 422: a prompt that is too long) is
that sample's fate alone, unless all of them are refused.

Determinism    Each request carries its own seed. Servers that batch continuously do not promise equal texts for equal
               seeds, so a text is drawn once and then lives in its shard.
Privacy        The API key is read from the environment when a request is made, goes to the endpoint alone (redirects
               are not followed), and stands in no setting, message or file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from trl_r1.errors import InfrastructureError
from trl_r1.models.rendering import Renderer, TemplateReasoningFormat
from trl_r1.models.sampling import sample
from trl_r1.network.endpoint import Endpoint, Reply, Unavailable, UnusableKey
from trl_r1.storage.shards import seed_of
from trl_r1.text.completions import reply
from trl_r1.text.records import Completion, Json, Prompt


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REFUSED = (400, 413, 422)  # this request will never be answered; another one may
MOST_BYTES = 16_000_000  # of one response: 65,536 tokens of text are about 400 kB


class EngineError(InfrastructureError):
    """Sampling cannot go on, in one sentence; nothing that was finished before is lost."""


class EngineRefusal(EngineError):
    """A server refused every request for their own sake; ``why`` is what it said of one of them."""

    def __init__(self, sentence: str, why: str) -> None:
        super().__init__(sentence)
        self.why = why


class Engine(Protocol):
    """What draws texts. ``progress`` is called with the number of texts that came in, from any thread."""

    def draw(
        self, prompts: Sequence[Prompt], samples: int, seed: int, progress: Callable[[int], Any] | None = None
    ) -> list[list[Completion]]:
        """``samples`` texts for each prompt, in the order of the prompts: (P, K)."""
        ...


@dataclass
class InProcess:
    """A transformers model in this process. Options as in `trl_r1.models.sampling.sample`."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    batch_size: int = 256
    renderer: Renderer | None = None  # None: one with the tokenizer's own template and no options

    def draw(
        self, prompts: Sequence[Prompt], samples: int, seed: int, progress: Callable[[int], Any] | None = None
    ) -> list[list[Completion]]:
        """(P, K) texts; the same on every call with the same arguments on the same machine. A thought stands in
        ``<think>`` and ``</think>``, the opening one left out where the prompt has it (``opened``).

        Raises:
            ValueError: an option out of range, or a conversation for a tokenizer without a chat template.
        """
        samples_drawn = sample(
            self.model,
            self.tokenizer,
            prompts,
            samples,
            self.temperature,
            self.top_p,
            self.max_new_tokens,
            self.batch_size,
            seed,
            progress=False,
            renderer=self.renderer,
        )
        if progress is not None:
            progress(len(prompts) * samples)
        return [
            [self._portable(prompt, completion) for completion in completions]
            for prompt, completions in zip(prompts, samples_drawn.completions, strict=True)
        ]

    def __post_init__(self) -> None:
        self.renderer = self.renderer or Renderer(self.tokenizer)
        self._format = TemplateReasoningFormat(self.renderer)

    def _portable(self, prompt: Prompt, completion: Completion) -> Completion:
        text, opened = self._format.portable(completion.text, prompt)
        return replace(completion, text=text, opened=opened)


@dataclass(frozen=True)
class SamplingServer:
    """A server that speaks the OpenAI protocol, and how patient to be with it."""

    endpoint: str  # up to and without /completions, such as http://127.0.0.1:8000/v1
    model: str  # as the server names it
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    concurrency: int = 16  # requests at a time
    attempts: int = 5
    backoff: float = 1.0  # seconds before the second attempt, doubled before each further one
    seconds: float = 600.0  # of one attempt altogether, so that a server that drips cannot hold us
    key_variable: str = "TRL_R1_API_KEY"  # environment variable with the key; none is sent where it is unset
    extra: Json = field(default_factory=dict)  # further fields of the request: {"top_k": -1} for vLLM
    read: Callable[[bytes], Completion | None] | None = None  # takes a completion apart; None: read_completion

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("No model was named for the endpoint; give the name the server knows it by.")
        if min(self.concurrency, self.attempts, self.max_new_tokens) < 1:
            raise ValueError("The endpoint's concurrency and attempts and max_new_tokens are 1 or more.")
        if not self.temperature >= 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature={self.temperature} is negative or top_p={self.top_p} is not in (0, 1].")
        reserved = sorted(set(self.extra) & {"model", "prompt", "messages", "stream", "seed", "n"})
        if reserved:
            raise ValueError(
                f"The endpoint's extra fields may not hold {reserved[0]!r}, which each request sets itself."
            )
        self._server()  # refuses an address that is none, and bounds out of range

    def check(self, seconds: float = 10.0) -> None:
        """Whether somebody is there, before a run begins.

        Raises:
            EngineError: nobody answers, or the key is not accepted.
        """
        try:
            answer = self._server().exchange("models", seconds=seconds)
        except UnusableKey as error:
            raise EngineError(str(error)) from error
        except Unavailable as error:
            raise EngineError(self._down(error.why, 1)) from error
        if answer.status in (401, 403):
            raise EngineError(self._denied(answer.status))

    def draw(
        self, prompts: Sequence[Prompt], samples: int, seed: int, progress: Callable[[int], Any] | None = None
    ) -> list[list[Completion]]:
        """(P, K) texts, ``concurrency`` requests at a time.

        Raises:
            EngineError: a request failed for good; the requests that had not begun are not made.
        """
        stop = Event()
        with ThreadPoolExecutor(max_workers=self.concurrency, thread_name_prefix="endpoint") as pool:
            waiting = [
                pool.submit(self._draw, prompt, seed_of(seed, p, k), stop, progress)
                for p, prompt in enumerate(prompts)
                for k in range(samples)
            ]
            try:
                done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()  # raises what went wrong
            finally:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
        draws = [future.result() for future in waiting]
        if draws and all(draw.refused for draw in draws):
            why = draws[0].refused
            raise EngineRefusal(f"The endpoint {self.endpoint} refused all {len(draws)} requests: {why}.", why)
        return [draws[p * samples : (p + 1) * samples] for p in range(len(prompts))]

    def _draw(self, prompt: Prompt, seed: int, stop: Event, progress: Callable[[int], Any] | None) -> Completion:
        """One text.

        Raises:
            EngineError: no attempt brought one, or another request set ``stop``.
        """
        if stop.is_set():
            raise EngineError("Another request failed for good.")  # nobody sees this one
        path = "completions" if isinstance(prompt, str) else "chat/completions"
        try:
            completion = self._server().post(
                path, self._request(prompt, seed), lambda answer: self._read(path, answer), lambda s: not stop.wait(s)
            )
        except UnusableKey as error:
            raise EngineError(str(error)) from error
        except Unavailable as error:
            raise EngineError(self._down(error.why, self.attempts)) from error
        if progress is not None:
            progress(1)
        return completion

    def _server(self) -> Endpoint:
        return Endpoint.of(self, MOST_BYTES)

    def _request(self, prompt: Prompt, seed: int) -> Json:
        return {
            "model": self.model,
            ("prompt" if isinstance(prompt, str) else "messages"): prompt,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_new_tokens,
            "seed": seed,
            **self.extra,
            **of_the_prompt(prompt, self.extra),
        }

    def _read(self, path: str, answer: Reply) -> Completion:
        """The text of an answer whose status is not passing.

        Raises:
            EngineError: no further attempt would end better.
            Unavailable: it holds no text; the next one may.
        """
        if answer.status in (401, 403):
            raise EngineError(self._denied(answer.status))
        if answer.status in REFUSED:
            return Completion("", 0, refused=str(answer))
        if answer.status != 200:
            raise EngineError(f"The endpoint {self.endpoint} answers {path} with {answer}.")
        if answer.content is None:
            raise Unavailable("an endless answer", answer)
        completion = (self.read or read_completion)(answer.content)
        if completion is None:
            raise Unavailable("an answer that is no completion", answer)
        return completion

    def _down(self, why: str, attempts: int) -> str:
        times = f" after {attempts} attempts" if attempts > 1 else ""
        return (
            f"The endpoint {self.endpoint} gives no text{times} ({why}). Start the server, or check the address and "
            "its log; then start this again: what is finished is kept."
        )

    def _denied(self, status: int) -> str:
        return (
            f"The endpoint {self.endpoint} answers with status {status}: it does not accept the key. Put the key into "
            f"the environment variable {self.key_variable}."
        )


def for_server(template_options: Json) -> Json:
    """The field of a request that hands options to the server's chat template, as vLLM and others take it."""
    return {"chat_template_kwargs": dict(template_options)} if template_options else {}


def of_the_prompt(prompt: Prompt, extra: Json) -> Json:
    """The fields that a prompt asks for: its row's own options, and to go on with an assistant's opening at its end (as
    vLLM takes it).

    >>> of_the_prompt([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "<think>"}], {})
    {'add_generation_prompt': False, 'continue_final_message': True}
    """
    if isinstance(prompt, str) or not prompt:
        return {}
    own: Json = dict(getattr(prompt, "own", {}))
    if own.get("chat_template_kwargs"):
        own["chat_template_kwargs"] = {**extra.get("chat_template_kwargs", {}), **own["chat_template_kwargs"]}
    if prompt[-1].get("role") == "assistant":
        own |= {"add_generation_prompt": False, "continue_final_message": True}
    return own


def read_completion(content: bytes) -> Completion | None:
    """The text in a server's answer, of either kind; None where it is none.

    A thought that the server's parser cut out of a message (``reasoning_content``) is put back between its tags.

    >>> read_completion(b'{"choices": [{"text": "4", "finish_reason": "length"}], "usage": {"completion_tokens": 1}}')
    Completion(text='4', token_count=1, truncated=True, refused='', logprob=None, entropy=None, opened=None)
    """
    try:
        answer = json.loads(content)
        choice = answer["choices"][0]
        text = reply(choice["message"]) if "message" in choice else choice["text"]
        usage = answer.get("usage") or {}
        tokens, reason = usage.get("completion_tokens"), choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(text, str):
        return None
    counted = tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None
    return Completion(text, counted, reason == "length")
