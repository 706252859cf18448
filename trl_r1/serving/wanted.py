"""Requests: the body of a request in, what is wanted out; or one sentence on what is wrong with it (`BadRequest`).

Field names and meanings are the OpenAI API's (chat completions, completions). Two are ours: ``route`` (auto, simple,
complex) and ``most_paths``. What cannot be done is refused by name, never ignored in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trl_r1.models.sampling import Prompt
from trl_r1.routing.paths import Settings
from trl_r1.routing.router import ROUTES


ROLES = ("system", "developer", "user", "assistant", "tool")
HARMLESS = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity",
            "reasoning_effort", "parallel_tool_calls", "prompt_cache_retention"}  # fmt: skip
REFUSED: dict[str, tuple[Any, ...]] = {  # values that ask for nothing; any other is refused
    "tools": (None, []), "functions": (None, []), "tool_choice": (None, "none", "auto"), "function_call": (None, "none"),
    "response_format": (None, {"type": "text"}), "logit_bias": (None, {}), "logprobs": (None, False, 0),
    "top_logprobs": (None, 0), "modalities": (None, ["text"]), "audio": (None,), "prediction": (None,),
    "best_of": (None, 1), "echo": (None, False), "suffix": (None, ""), "presence_penalty": (None, 0, 0.0),
    "frequency_penalty": (None, 0, 0.0), "web_search_options": (None,),
}  # fmt: skip
KNOWN = {"model", "messages", "prompt", "n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed",
         "stream", "stream_options", "route", "most_paths"}  # fmt: skip


class BadRequest(ValueError):
    """A request that cannot be served as it stands, in one sentence."""

    def __init__(
        self, sentence: str, param: str | None = None, code: str = "invalid_value", status: int = 400
    ) -> None:
        super().__init__(sentence)
        self.param, self.code, self.status = param, code, status


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
class Wanted:
    """A request that can be served."""

    prompt: Prompt
    chat: bool
    settings: Settings
    model: str
    n: int = 1
    route: str = "auto"
    most_paths: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    stream: bool = False
    include_usage: bool = False
    tokens_asked: bool = False  # the request itself says how long an answer may be


def read(body: bytes, chat: bool, model: str, defaults: Settings, bounds: Bounds) -> Wanted:
    """What a body asks for.

    Args:
        chat: messages are expected, not a prompt.
        model: the one served here.
        defaults: where the request says nothing.

    Raises:
        BadRequest: in one sentence, with the field it is about.
    """
    content = as_object(body)
    for name in content:
        if name in REFUSED and not any(same(content[name], nothing) for nothing in REFUSED[name]):
            raise BadRequest(f"{name} is not supported here; leave it out.", name, "unsupported_parameter")
        if name not in KNOWN | HARMLESS | set(REFUSED):
            raise BadRequest(f"There is no field {name[:80]!r} in this API.", name[:80], "unknown_parameter")
    named = content.get("model")
    if named is not None and named != model:
        raise BadRequest(
            f"There is no model {str(named)[:200]!r} here; this server has {model!r}.", "model", "model_not_found", 404
        )
    prompt = messages_of(content) if chat else prompt_of(content)
    size = len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)
    if size > bounds.most_characters:
        raise BadRequest(
            f"The prompt has {size} characters; at most {bounds.most_characters} are read.",
            "messages" if chat else "prompt", "context_length_exceeded",
        )  # fmt: skip
    longest = whole(content, "max_completion_tokens", 1, bounds.most_tokens)
    longest = whole(content, "max_tokens", 1, bounds.most_tokens) if longest is None else longest
    temperature, top_p = share(content, "temperature", 2.0), share(content, "top_p", 1.0)
    if top_p == 0.0:
        raise BadRequest("top_p=0 keeps no token; for the likeliest one take temperature 0.", "top_p")
    settings = replace(
        defaults,
        temperature=defaults.temperature if temperature is None else temperature,
        top_p=defaults.top_p if top_p is None else top_p,
        max_new_tokens=min(longest or defaults.max_new_tokens, bounds.most_tokens),
    )
    route = content.get("route", "auto")
    if route not in ROUTES:
        raise BadRequest(f"route={str(route)[:80]!r} is unknown; choose one of: {', '.join(ROUTES)}.", "route")
    options = content.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadRequest('stream_options is an object such as {"include_usage": true}.', "stream_options")
    return Wanted(
        prompt, chat, settings, model,
        n=whole(content, "n", 1, bounds.most_samples) or 1,
        route=route,
        most_paths=whole(content, "most_paths", 1, bounds.most_paths),
        stop=stops(content.get("stop")),
        seed=whole(content, "seed", -(2**63), 2**63 - 1),
        stream=flag(content, "stream"),
        include_usage=flag(options or {}, "include_usage"),
        tokens_asked=longest is not None,
    )  # fmt: skip


def as_object(body: bytes) -> dict[str, Any]:
    """Raises BadRequest: it is no JSON object in UTF-8."""

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


def same(value: Any, nothing: Any) -> bool:
    """Equal, and not merely as True equals 1."""
    return value == nothing and isinstance(value, bool) == isinstance(nothing, bool)


def messages_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation, contents as texts."""
    given = content.get("messages")
    if not isinstance(given, list) or not given:
        raise BadRequest("messages is a list of at least one message.", "messages", "missing_required_parameter")
    return [message_of(message, f"messages[{number}]") for number, message in enumerate(given)]


def message_of(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadRequest(f"{where} is an object with role and content.", where)
    role = message.get("role")
    if role not in ROLES:
        raise BadRequest(f"{where}.role is one of: {', '.join(ROLES)}; got {str(role)[:80]!r}.", f"{where}.role")
    if message.get("tool_calls"):
        raise BadRequest(f"{where} calls a tool, and tools are not supported here.", where, "unsupported_parameter")
    text = message.get("content")
    if isinstance(text, list):
        parts = []
        for part in text:
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise BadRequest(
                    f"{where}.content has a part that is no text; only texts are read.", f"{where}.content"
                )
            parts.append(part["text"])
        text = "".join(parts)
    if not isinstance(text, str):
        raise BadRequest(f"{where}.content is text; got {type(text).__name__}.", f"{where}.content")
    return {"role": "system" if role == "developer" else role, "content": clean(text)}


def prompt_of(content: Mapping[str, Any]) -> str:
    given = content.get("prompt")
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, str) or not given:
        raise BadRequest("prompt is one text that is not empty; lists of texts or tokens are not read.", "prompt",
                         "missing_required_parameter")  # fmt: skip
    return clean(given)


def clean(text: str) -> str:
    """Half characters (lone surrogates), which no tokenizer takes, as the replacement character."""
    return (
        text.encode("utf-8", errors="replace").decode("utf-8")
        if any("\ud800" <= c <= "\udfff" for c in text)
        else text
    )


def whole(content: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """A whole number within bounds, or None where there is none."""
    value = content.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"{name} is a whole number from {least} to {most}; got {str(value)[:80]}.", name)
    return value


def share(content: Mapping[str, Any], name: str, most: float) -> float | None:
    """A number from 0 to ``most``, or None where there is none."""
    value = content.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= most:
        raise BadRequest(f"{name} is a number from 0 to {most:g}; got {str(value)[:80]}.", name)
    return float(value)


def flag(content: Mapping[str, Any], name: str) -> bool:
    value = content.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} is true or false; got {str(value)[:80]}.", name)
    return bool(value)


def stops(given: Any) -> tuple[str, ...]:
    """The stop strings, at most four."""
    texts = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or len(texts) > 4 or not all(isinstance(text, str) and text for text in texts):
        raise BadRequest("stop is a text, or up to four of them, none of them empty.", "stop")
    return tuple(texts)
