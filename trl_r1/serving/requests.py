"""Requests: the body of a request in, a `GenerationRequest` out; or one sentence on what is wrong with it (`BadRequest`).

Field names and meanings are the OpenAI API's (chat completions, completions), some vLLM's (``top_k``,
``chat_template_kwargs``). Ours are ``route`` (auto, simple, complex), ``most_paths``, ``stop_in_reasoning`` and
``separate_reasoning``. What cannot be done is refused by name, never ignored in silence.

`ChatBody` and `CompletionBody` say what fields there are and what they may hold; true is not 1, and "1" neither.
The tables of fields.py say what a client is told about a field that does not fit, what only an engine behind us can do,
and what the API has and we have not. docs/serving.md says the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError

from trl_r1.routing.paths import Settings
from trl_r1.serving.fields import KNOWN, NEEDED, ONE_PATH, SENTENCES, BadRequest, wishes
from trl_r1.text.completions import REASONING_KEYS
from trl_r1.text.records import Json, Messages, Prompt


@dataclass(frozen=True)
class Bounds:
    """What one request may ask for."""

    most_bytes: int = 4_000_000  # of the body
    most_characters: int = 400_000  # of the prompt
    most_tokens: int = 2048  # of an answer
    most_samples: int = 16  # n
    most_paths: int = 16  # of a routed answer

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name}={value} lets nothing through; give 1 or more.")


@dataclass(frozen=True)
class GenerationRequest:
    """A request that can be served."""

    prompt: Prompt
    chat: bool
    settings: Settings
    model: str
    n: int = 1
    route: str = "auto"
    most_paths: int | None = None
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False
    tokens_asked: bool = False  # the request itself says how long an answer may be
    capped: bool = False  # and longer than it may be here
    one_path: bool = False  # what an engine is asked for cannot be voted on
    separate_reasoning: bool | None = None  # beside the content, not in it between tags; None: as the server does


def read(
    body: bytes, chat: bool, model: str, defaults: Settings, bounds: Bounds, engine: bool = False
) -> GenerationRequest:
    """What a body asks for.

    Args:
        chat: messages are expected, not a prompt.
        model: the one served here.
        defaults: where the request says nothing.
        engine: a server behind us does the work, and can do more than a model in this process.

    Raises:
        BadRequest: in one sentence, with the field it is about.
    """
    content = as_object(body)
    passed = wishes(content, engine)
    ignored = {*KNOWN, "prompt" if chat else "messages"}
    if content.get("max_completion_tokens") is not None:
        ignored.add("max_tokens")  # the older name of the same
    fields = {clean(name): value for name, value in content.items() if name not in ignored}
    try:
        kind: type[ChatBody] | type[CompletionBody] = ChatBody if chat else CompletionBody
        parsed = kind.model_validate(fields, context=ServerInfo(model, bounds, engine))
    except ValidationError as error:
        raise refusal(error, bounds) from None
    template_options = parsed.chat_template_kwargs if isinstance(parsed, ChatBody) else None
    longest = parsed.max_completion_tokens if parsed.max_completion_tokens is not None else parsed.max_tokens
    settings = replace(
        defaults,
        temperature=defaults.temperature if parsed.temperature is None else parsed.temperature,
        top_p=defaults.top_p if parsed.top_p is None else parsed.top_p,
        max_new_tokens=min(longest or defaults.max_new_tokens, bounds.most_tokens),
        top_k=defaults.top_k if parsed.top_k is None else max(0, parsed.top_k),
        stop=parsed.stop,
        stop_in_reasoning=bool(parsed.stop_in_reasoning),
        template_options=defaults.template_options | (template_options or {}),
        extra=defaults.extra | passed,
    )
    return GenerationRequest(
        parsed.conversation() if isinstance(parsed, ChatBody) else parsed.prompt,
        chat,
        settings,
        model,
        n=parsed.n or 1,
        route=parsed.route,
        most_paths=parsed.most_paths,
        seed=parsed.seed,
        stream=bool(parsed.stream),
        include_usage=bool(parsed.stream_options and parsed.stream_options.include_usage),
        tokens_asked=longest is not None,
        capped=longest is not None and longest > bounds.most_tokens,
        one_path=bool(ONE_PATH & passed.keys()),
        separate_reasoning=parsed.separate_reasoning,
    )


def as_object(body: bytes) -> Json:
    """The JSON object of a body.

    Raises:
        BadRequest: it is none in UTF-8, or holds NaN or an infinity by name.
    """

    def no_number(word: str) -> Any:
        raise ValueError(f"{word} is no JSON number")

    try:
        content = json.loads(body.decode("utf-8"), parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise BadRequest(f"The body is not valid JSON in UTF-8: {why}.", code="invalid_json") from None
    if not isinstance(content, dict):
        raise BadRequest(f"The body is a JSON {type(content).__name__}; an object is expected.", code="invalid_json")
    return content


def clean(text: str) -> str:
    """Half characters (lone surrogates), which no tokenizer takes, as the replacement character."""
    return (
        text.encode("utf-8", errors="replace").decode("utf-8")
        if any("\ud800" <= c <= "\udfff" for c in text)
        else text
    )


# --- what the fields may hold


@dataclass(frozen=True)
class ServerInfo:
    """What the checks of a body need to know of the server: the ``context`` of each of them."""

    model: str
    bounds: Bounds
    engine: bool = False


def this_model(name: Any, info: Any) -> Any:
    served = info.context.model
    if name is not None and name != served:
        raise BadRequest(
            f"There is no model {str(name)[:200]!r} here; this server has {served!r}.", "model", "model_not_found", 404
        )
    return name


def at_most(bound: str) -> AfterValidator:
    """A whole number up to the server's bound of that name."""

    def check(value: int | None, info: Any) -> int | None:
        if value is not None and value > getattr(info.context.bounds, bound):
            raise ValueError(bound)
        return value

    return AfterValidator(check)


def some_share(value: float | None) -> float | None:
    if value == 0.0:
        raise BadRequest("top_p=0 keeps no token; for the likeliest one take temperature 0.", "top_p")
    return value


def as_texts(value: Any) -> tuple[str, ...]:
    """The stop strings, at most four."""
    texts = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or len(texts) > 4 or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("stop")
    return tuple(texts)


def may_be_empty(message: Any, info: Any) -> Any:
    """An assistant's message that only calls tools, or only thinks, as one with an empty content."""
    if not isinstance(message, dict):
        return message
    if message.get("tool_calls") and not info.context.engine:
        raise BadRequest(
            "{field} calls a tool, and tools are not supported by a model in this server's process.",
            code="unsupported_parameter",
        )
    says_else = message.get("tool_calls") or any(message.get(key) for key in REASONING_KEYS)
    return {**message, "content": ""} if message.get("content") is None and says_else else message


def join_parts(content: Any) -> Any:
    """The texts of a message's parts as one."""
    if isinstance(content, str):
        return clean(content)
    if not isinstance(content, list):
        return content
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise BadRequest("{field} has a part that is no text; only texts are read.")
    return clean("".join(part["text"] for part in content))


def the_only_one(prompt: Any) -> Any:
    """A list of one text as that text."""
    prompt = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
    return clean(prompt) if isinstance(prompt, str) else prompt


def short_enough(size: Callable[[Any], int]) -> AfterValidator:
    """A prompt of at most ``most_characters`` by ``size``."""

    def check(prompt: Any, info: Any) -> Any:
        most = info.context.bounds.most_characters
        if size(prompt) > most:
            raise BadRequest(
                f"The prompt has {size(prompt)} characters; at most {most} are read.", code="context_length_exceeded"
            )
        return prompt

    return AfterValidator(check)


class Message(BaseModel):
    """One message of a conversation. Of further fields a model in this process reads those of the reasoning."""

    model_config = ConfigDict(strict=True, extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool"] = Field(None, validate_default=True)  # type: ignore[assignment]
    content: Annotated[str, BeforeValidator(join_parts)] = Field(None, validate_default=True)  # type: ignore[assignment]


class StreamOptions(BaseModel):
    """``stream_options``; further ones change nothing here."""

    model_config = ConfigDict(strict=True)
    include_usage: bool | None = None


class Body(BaseModel):
    """The fields of both kinds of request."""

    model_config = ConfigDict(strict=True, extra="forbid")
    model: Annotated[Any, AfterValidator(this_model)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1), AfterValidator(some_share)] = None
    top_k: Annotated[int | None, Field(ge=-1, le=1_000_000)] = None
    stop_in_reasoning: bool | None = None
    separate_reasoning: bool | None = None
    route: Literal["auto", "simple", "complex"] = "auto"
    stream_options: StreamOptions | None = None
    n: Annotated[int | None, Field(ge=1), at_most("most_samples")] = None
    most_paths: Annotated[int | None, Field(ge=1), at_most("most_paths")] = None
    stop: Annotated[tuple[str, ...], PlainValidator(as_texts)] = ()
    seed: Annotated[int | None, Field(ge=-(2**63), le=2**63 - 1)] = None
    stream: bool | None = None


class ChatBody(Body):
    """The body of a chat completion."""

    chat_template_kwargs: Json | None = None
    messages: Annotated[
        list[Annotated[Message, BeforeValidator(may_be_empty)]],
        Field(min_length=1),
        short_enough(lambda messages: sum(len(message.content) for message in messages)),
    ]

    add_generation_prompt: bool | None = None  # vLLM's, as the next: an opening of the reply is seen without them
    continue_final_message: bool | None = None

    def conversation(self) -> Messages:
        """As the model reads it: a developer's words are the system's, and an assistant's message at the end is the
        opening of the reply, which it goes on from.

        Raises:
            BadRequest: it is to go on from a message that is not the assistant's.
        """
        if self.continue_final_message and self.messages[-1].role != "assistant":
            raise BadRequest("Only an assistant's message at the end can be continued.", "continue_final_message")
        return [
            {
                **(message.model_extra or {}),
                "role": "system" if message.role == "developer" else message.role,
                "content": message.content,
            }
            for message in self.messages
        ]


class CompletionBody(Body):
    """The body of a completion."""

    prompt: Annotated[str, BeforeValidator(the_only_one), Field(min_length=1), short_enough(len)]


def refusal(error: ValidationError, bounds: Bounds) -> BadRequest:
    """The first mistake of a body, in the words of `SENTENCES`; a field that does not exist comes before all others."""
    mistakes = error.errors(include_url=False)
    first = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
    place = first["loc"]
    if first["type"] == "extra_forbidden":
        name = str(place[-1])[:80]
        return BadRequest(f"There is no field {name!r} in this API.", name, "unknown_parameter")
    field = dotted_place(place) if place[0] == "messages" else str(place[-1])
    kind = re.sub(r"\d+", "", field)
    own = first.get("ctx", {}).get("error")
    if isinstance(own, BadRequest):
        return BadRequest(str(own).replace("{field}", field), own.param or field, own.code, own.status)
    value = first["input"]
    sentence = SENTENCES[kind].format(field=field, value=str(value)[:80], type=type(value).__name__, **vars(bounds))
    return BadRequest(sentence, field, "missing_required_parameter" if kind in NEEDED else "invalid_value")


def dotted_place(place: tuple[Any, ...]) -> str:
    """A place in a body as text.

    >>> dotted_place(("messages", 0, "role"))
    'messages[0].role'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
