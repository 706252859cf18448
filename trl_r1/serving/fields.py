"""Fields: what each field of a body may ask for, and what a client is told where it cannot be had."""

from __future__ import annotations

from typing import Any

from trl_r1.routing.router import ROUTES
from trl_r1.text.records import Json


ROLES = ("system", "developer", "user", "assistant", "tool")
NO_EFFECT = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity",
             "prompt_cache_retention"}  # fmt: skip
UNSUPPORTED: dict[str, tuple[Any, ...]] = {  # values that ask for nothing; any other is refused
    "modalities": (None, ["text"]), "audio": (None,), "prediction": (None,), "best_of": (None, 1), "echo": (None, False),
    "suffix": (None, ""), "web_search_options": (None,),
}  # fmt: skip
PASSED_ON: dict[
    str, tuple[Any, ...]
] = {  # the same, for a model in this process; an engine behind us is handed others
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none"),
    "response_format": (None, {"type": "text"}),
    "logprobs": (None, False, 0),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0, 0.0),
    "frequency_penalty": (None, 0, 0.0),
}
HINTS = {"reasoning_effort", "parallel_tool_calls"}  # of no effect in this process; an engine behind us is handed them
ONE_PATH = {"tools", "functions", "response_format", "logprobs"}  # what they ask for cannot be voted on
KNOWN = frozenset({*NO_EFFECT, *UNSUPPORTED, *PASSED_ON, *HINTS})  # fields that no body of ours has
SENTENCES = {  # field -> what is said where its value does not fit; {field}, {value}, and the names of `Bounds`
    "messages": "messages is a list of at least one message.",
    "messages[]": "{field} is an object with role and content.",
    "messages[].role": f"{{field}} is one of: {', '.join(ROLES)}; got {{value!r}}.",
    "messages[].content": "{field} is text; got {type}.",
    "prompt": "prompt is one text that is not empty; lists of texts or tokens are not read.",
    "max_completion_tokens": "max_completion_tokens is a whole number of at least 1; got {value}.",
    "max_tokens": "max_tokens is a whole number of at least 1; got {value}.",
    "top_k": "top_k is a whole number from -1 (all tokens) to 1000000; got {value}.",
    "chat_template_kwargs": 'chat_template_kwargs is an object such as {{"enable_thinking": false}}.',
    "stop_in_reasoning": "stop_in_reasoning is true or false; got {value}.",
    "separate_reasoning": "separate_reasoning is true or false; got {value}.",
    "temperature": "temperature is a number from 0 to 2; got {value}.",
    "top_p": "top_p is a number from 0 to 1; got {value}.",
    "route": f"route={{value!r}} is unknown; choose one of: {', '.join(ROUTES)}.",
    "stream_options": 'stream_options is an object such as {{"include_usage": true}}.',
    "include_usage": "include_usage is true or false; got {value}.",
    "n": "n is a whole number from 1 to {most_samples}; got {value}.",
    "most_paths": "most_paths is a whole number from 1 to {most_paths}; got {value}.",
    "stop": "stop is a text, or up to four of them, none of them empty.",
    "seed": f"seed is a whole number from {-(2**63)} to {2**63 - 1}; got {{value}}.",
    "stream": "stream is true or false; got {value}.",
    "add_generation_prompt": "add_generation_prompt is true or false; got {value}.",
    "continue_final_message": "continue_final_message is true or false; got {value}.",
}
NEEDED = ("messages", "prompt")  # a body without its one is refused as incomplete


class BadRequest(ValueError):
    """A request that cannot be served as it stands, in one sentence."""

    def __init__(
        self, sentence: str, param: str | None = None, code: str = "invalid_value", status: int = 400
    ) -> None:
        super().__init__(sentence)
        self.param, self.code, self.status = param, code, status


def wishes(content: Json, engine: bool) -> Json:
    """The fields that an engine is handed as they are.

    Raises:
        BadRequest: one asks for what nobody here can do.
    """
    passed: Json = {}
    for name, value in content.items():
        nothing = UNSUPPORTED.get(name, PASSED_ON.get(name, (None,) if name in HINTS else None))
        if nothing is None or any(same(value, one) for one in nothing):
            continue
        if name in UNSUPPORTED:
            raise BadRequest(f"{name} is not supported here; leave it out.", name, "unsupported_parameter")
        if not engine and name in PASSED_ON:
            raise BadRequest(
                f"{name} is not supported by a model in this server's process; leave it out, or serve the model with an "
                "engine that has it and put this server in front (trl-r1 serve --endpoint).",
                name,
                "unsupported_parameter",
            )
        if engine:
            passed[name] = value
    if "tools" not in passed and "functions" not in passed:  # a choice among none
        passed = {name: value for name, value in passed.items() if name not in ("tool_choice", "parallel_tool_calls")}
    return passed


def same(value: Any, nothing: Any) -> bool:
    """Equal, and not merely as True equals 1."""
    return value == nothing and isinstance(value, bool) == isinstance(nothing, bool)
