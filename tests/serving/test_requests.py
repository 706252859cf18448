"""What a body asks for, and one sentence for everything that cannot be done."""

import json

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_r1.routing.paths import Settings
from trl_r1.serving.requests import BadRequest, Bounds, read


DEFAULTS, BOUNDS = Settings(0.6, 0.95, 100), Bounds(most_tokens=50, most_samples=4, most_characters=1000)


def wanted(chat=True, **fields):
    base = {"messages": [{"role": "user", "content": "hi"}]} if chat else {"prompt": "hi"}
    return read(json.dumps({**base, **fields}).encode(), chat, "m", DEFAULTS, BOUNDS)


def test_defaults_and_what_a_request_says_instead():
    plain = wanted()
    assert (plain.n, plain.route, plain.settings) == (1, "auto", Settings(0.6, 0.95, 50))
    asked = wanted(temperature=0, top_p=1, max_tokens=7, n=3, stop="x", seed=-5, stream=True, route="simple", most_paths=2,
                   stream_options={"include_usage": True}, user="me", tools=[], model="m")  # fmt: skip
    assert asked.settings == Settings(0.0, 1.0, 7, stop=("x",))
    assert (asked.n, asked.seed, asked.most_paths) == (3, -5, 2)
    assert asked.stream
    assert asked.include_usage
    assert wanted(max_completion_tokens=3, max_tokens=9).settings.max_new_tokens == 3
    assert wanted(False).prompt == "hi"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert wanted(messages=[{"role": "developer", "content": parts}]).prompt == [{"role": "system", "content": "ab"}]


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"messages": []}, "messages is a list of at least one message"),
        ({"messages": ["hi"]}, "messages[0] is an object"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role is one of"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content is text; got NoneType"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part that is no text"),
        ({"messages": [{"role": "user", "content": "x" * 1001}]}, "The prompt has 1001 characters; at most 1000"),
        ({"n": 5}, "n is a whole number from 1 to 4; got 5"),
        ({"n": True}, "n is a whole number from 1 to 4; got True"),
        ({"n": 10**400}, "n is a whole number from 1 to 4"),
        ({"max_tokens": 0}, "max_tokens is a whole number of at least 1; got 0"),
        ({"max_completion_tokens": True}, "max_completion_tokens is a whole number of at least 1; got True"),
        ({"top_k": -2}, "top_k is a whole number from -1 (all tokens)"),
        ({"chat_template_kwargs": [1]}, "chat_template_kwargs is an object such as"),
        ({"stop_in_reasoning": "yes"}, "stop_in_reasoning is true or false"),
        ({"temperature": 2.5}, "temperature is a number from 0 to 2"),
        ({"temperature": "hot"}, "temperature is a number from 0 to 2; got hot"),
        ({"top_p": 0}, "top_p=0 keeps no token"),
        ({"stop": [1]}, "stop is a text, or up to four"),
        ({"stop": ["a"] * 5}, "stop is a text, or up to four"),
        ({"stream": 1}, "stream is true or false"),
        ({"stream_options": []}, "stream_options is an object"),
        ({"route": "fast"}, "route='fast' is unknown"),
        ({"route": ["auto"]}, "is unknown; choose one of"),
        ({"tools": [{}]}, "tools is not supported by a model in this server's process"),
        ({"logprobs": True}, "logprobs is not supported by a model in this"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported by a model in this"),
        ({"tool_choice": "required"}, "tool_choice is not supported by a model in this"),
        ({"modalities": ["audio"]}, "modalities is not supported here"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "messages[0] calls a tool"),
        ({"temprature": 1}, "There is no field 'temprature'"),
        ({"model": "other"}, "There is no model 'other' here; this server has 'm'"),
        ({"seed": 1.5}, "seed is a whole number"),
    ],
)
def test_each_mistake_is_one_sentence_about_its_field(fields, refusal):
    with pytest.raises(BadRequest) as refused:
        wanted(**fields)
    assert refusal in str(refused.value)
    assert len(str(refused.value)) < 400
    assert refused.value.status == (404 if "model" in fields else 400)


def test_more_tokens_than_the_server_gives_are_capped_and_that_is_kept():
    assert (wanted(max_tokens=51).settings.max_new_tokens, wanted(max_tokens=51).capped) == (50, True)
    assert (wanted(max_tokens=50).settings.max_new_tokens, wanted(max_tokens=50).capped) == (50, False)
    assert not wanted().capped


def test_what_only_an_engine_can_do_is_handed_to_it_and_takes_one_path():
    def passed(**fields):
        base = {"messages": [{"role": "user", "content": "hi"}], **fields}
        return read(json.dumps(base).encode(), True, "m", DEFAULTS, BOUNDS, engine=True)

    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    asked = passed(tools=tools, tool_choice="required", parallel_tool_calls=False, user="me")
    assert asked.settings.extra == {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
    assert asked.one_path
    assert passed(response_format={"type": "json_object"}).one_path
    assert passed(logprobs=True, top_logprobs=2).settings.extra == {"logprobs": True, "top_logprobs": 2}
    penalty = passed(presence_penalty=0.5, reasoning_effort="low", tool_choice="auto", tools=[], logprobs=False)
    assert (penalty.settings.extra, penalty.one_path) == ({"presence_penalty": 0.5, "reasoning_effort": "low"}, False)
    with pytest.raises(BadRequest, match="audio is not supported here"):
        passed(audio={"voice": "x"})
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    history = passed(messages=[call, {"role": "tool", "content": "4", "tool_call_id": "1"}]).prompt
    assert history == [{**call, "content": ""}, {"role": "tool", "content": "4", "tool_call_id": "1"}]


def test_a_text_has_no_template_whose_options_could_be_set():
    with pytest.raises(BadRequest, match="There is no field 'chat_template_kwargs'"):
        wanted(False, chat_template_kwargs={"enable_thinking": False})


def test_how_texts_are_drawn_as_vllm_names_it():
    asked = wanted(
        top_k=-1, chat_template_kwargs={"enable_thinking": False}, stop_in_reasoning=True, separate_reasoning=False
    )
    assert asked.settings.top_k == 0
    assert asked.settings.template_options == {"enable_thinking": False}
    assert asked.settings.stop_in_reasoning
    assert asked.separate_reasoning is False
    assert wanted(top_k=5, reasoning_effort="low", parallel_tool_calls=True).settings.top_k == 5


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{}]}]},
            "messages[1]",
            "unsupported_parameter",
        ),
        ({"messages": [{"role": "user", "content": "x" * 1001}]}, "messages", "context_length_exceeded"),
        ({"stream_options": {"include_usage": 1}}, "include_usage", "invalid_value"),
        ({"stop": ["a", ""]}, "stop", "invalid_value"),
        ({"route": None}, "route", "invalid_value"),
        ({"n": "x", "nn": 1}, "nn", "unknown_parameter"),
        ({"x\ud800": 1}, "x?", "unknown_parameter"),
        ({"tool_choice": "required"}, "tool_choice", "unsupported_parameter"),
        ({"best_of": True}, "best_of", "unsupported_parameter"),
        ({"model": 5}, "model", "model_not_found"),
        ({"temperature": True}, "temperature", "invalid_value"),
        ({"temperature": 10**400}, "temperature", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"n": 1.0}, "n", "invalid_value"),
    ],
)
def test_a_mistake_names_its_field_and_its_kind(fields, param, code):
    with pytest.raises(BadRequest) as refused:
        wanted(**fields)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_a_prompt_is_one_text():
    assert wanted(False, prompt=["hi"]).prompt == "hi"
    for prompt in ("", [], ["a", "b"], [1], None):
        with pytest.raises(BadRequest, match="prompt is one text that is not empty") as refused:
            wanted(False, prompt=prompt)
        assert (refused.value.param, refused.value.code) == ("prompt", "missing_required_parameter")


def test_what_is_read_although_it_looks_odd():
    assert wanted(stop="\ud800").settings.stop == ("\ud800",)  # never written, so it stops nothing
    assert wanted(max_completion_tokens=3, max_tokens="many").settings.max_new_tokens == 3
    assert wanted(prompt=5, user=7, stream_options={"other": 1}, n=None, stream=None).n == 1
    assert wanted(messages=[{"role": "user", "content": "x", "name": 3, "tool_calls": []}]).prompt[0]["content"] == "x"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"nul", b"\xff{}", b"[" * 100_000, b'{"n": NaN}', b'{"n": 1' + b"0" * 9999 + b"}"]
)
def test_what_is_no_json_object_is_told(body):
    with pytest.raises(BadRequest) as refused:
        read(body, True, "m", DEFAULTS, BOUNDS)
    assert refused.value.code in ("invalid_json", "missing_required_parameter", "invalid_value")


def test_half_characters_are_replaced():
    body = b'{"messages": [{"role": "user", "content": "a\\ud83d"}]}'
    assert read(body, True, "m", DEFAULTS, BOUNDS).prompt[0]["content"] == "a?"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                    max_leaves=5)  # fmt: skip
FIELDS = ["messages", "prompt", "n", "max_tokens", "temperature", "top_p", "stop", "seed", "stream", "stream_options",
          "route", "most_paths", "tools", "model", "logit_bias"]  # fmt: skip


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.booleans())
def test_any_json_is_read_or_refused_never_anything_else(content, chat):
    try:
        found = read(json.dumps(content).encode(), chat, "m", DEFAULTS, BOUNDS)
    except BadRequest as error:
        status = error.status
    else:
        status = 400
        assert 1 <= found.settings.max_new_tokens <= 50
        assert 1 <= found.n <= 4
    assert status in (400, 404)


def test_an_opening_at_the_end_can_be_continued_and_nothing_else():
    opened = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "<think>"}]
    assert wanted(messages=opened, continue_final_message=True, add_generation_prompt=False).prompt == opened
    with pytest.raises(BadRequest, match="Only an assistant's message at the end can be continued"):
        wanted(continue_final_message=True)
    with pytest.raises(BadRequest, match="continue_final_message is true or false"):
        wanted(messages=opened, continue_final_message="yes")
