"""The server as the stock `openai` client sees it, and as its worst clients treat it."""

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from trl_r1.models.engines import EngineError
from trl_r1.routing.paths import Settings
from trl_r1.routing.router import RoutingLimits
from trl_r1.serving.requests import Bounds


openai = pytest.importorskip("openai", reason="the openai client is not installed")

ASK = [{"role": "user", "content": "Compute ①2 ②9 ③4."}]


def client(server, token="none", **options):
    return openai.OpenAI(base_url=server.url, api_key=token, max_retries=0, **options)


def post(server, body, path="/chat/completions", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def said(message):
    """Reasoning and content of a message, or of a delta."""
    return (getattr(message, "reasoning_content", None) or "") + (message.content or "")


def test_the_stock_client_chats_and_is_told_how(start, queue):
    server = start(queue)
    found = client(server).chat.completions.create(model="mini", messages=ASK, seed=1, extra_body={"route": "complex"})
    assert found.choices[0].finish_reason in ("stop", "length")
    answer = found.model_extra["trl_r1"]
    assert answer["route"] == "complex"
    assert found.usage.completion_tokens == answer["tokens"] > 0
    again = client(server).chat.completions.create(model="mini", messages=ASK, seed=1, extra_body={"route": "complex"})
    assert said(again.choices[0].message) == said(found.choices[0].message)
    assert [model.id for model in client(server).models.list()] == ["mini"]
    plain = client(server).completions.create(model="mini", prompt="User: Compute ①2 ②9. Assistant:", max_tokens=4)
    assert plain.choices[0].text is not None
    server.settle()


@pytest.mark.parametrize("route", ["simple", "auto"])
def test_streams_say_what_the_whole_answer_says(start, queue, route):
    server = start(queue)
    options = {"model": "mini", "messages": ASK, "seed": 4, "extra_body": {"route": route}}
    chunks = list(
        client(server).chat.completions.create(stream=True, stream_options={"include_usage": True}, **options)
    )
    text = "".join(said(chunk.choices[0].delta) for chunk in chunks if chunk.choices)
    assert text
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    if route == "auto":
        assert text == said(client(server).chat.completions.create(**options).choices[0].message)
    else:
        assert len(chunks) > 4  # piece by piece, as it is written
    server.settle()


def test_n_plain_samples_whole_and_streamed(start, queue):
    server = start(queue)
    found = client(server).chat.completions.create(model="mini", messages=ASK, n=3, seed=2)
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    texts = ["", "", ""]
    for chunk in client(server).chat.completions.create(model="mini", messages=ASK, n=3, seed=2, stream=True):
        texts[chunk.choices[0].index] += said(chunk.choices[0].delta)
    assert texts == [said(choice.message) for choice in found.choices]
    server.settle()


def test_errors_reach_the_client_as_its_own_kinds(start, queue):
    server = start(queue)
    with pytest.raises(openai.BadRequestError, match="n is a whole number from 1 to 8"):
        client(server).chat.completions.create(model="mini", messages=ASK, n=9)
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client(server).chat.completions.create(model="gpt", messages=ASK)
    with pytest.raises(openai.BadRequestError, match="this model has room for 512 altogether"):
        client(server).chat.completions.create(model="mini", messages=[{"role": "user", "content": "1 " * 3000}])
    server.settle()


def test_malformed_bodies_wrong_paths_and_huge_prompts(start, queue):
    server = start(queue, bounds=Bounds(most_bytes=10_000, most_characters=5000))
    assert post(server, b"{nonsense")[0] == 400
    assert post(server, b"x" * 20_000)[0] == 413
    assert (
        post(server, {"messages": [{"role": "user", "content": "y" * 6000}]})[1]["error"]["code"]
        == "context_length_exceeded"
    )
    assert post(server, {}, "/nowhere")[0] == 404
    assert post(server, b"{}", **{"Content-Type": "text/plain"})[0] == 415
    request = urllib.request.Request(server.url + "/chat/completions")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 405
    refused.value.close()
    # a body that does not say its length: in pieces, and too large
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
        raw.sendall(b"3000\r\n" + b"z" * 0x3000 + b"\r\n")
        assert b" 413 " in raw.recv(200)
    server.settle()


def test_a_token_is_asked_for_and_a_foreign_name_is_turned_away(start, slow):
    slow.go.set()
    server = start(slow, token="s3cret")
    body = {"messages": ASK}
    assert post(server, body)[0] == 401
    assert post(server, body, Authorization="Bearer wrong")[0] == 401
    assert post(server, body, Authorization="Bearer s3cret")[0] == 200
    with pytest.raises(openai.AuthenticationError):
        client(server, "wrong").models.list()
    open_one = start(slow)
    status, answer = post(open_one, body, Host="evil.example")
    assert (status, answer["error"]["code"]) == (400, "wrong_host")
    assert post(open_one, body, Host="localhost:1")[0] == 200


def test_64_at_once(start, queue):
    server = start(queue, settings=Settings(1.0, 1.0, 8))
    statuses, threads = [], []
    for _ in range(64):
        threads.append(threading.Thread(target=lambda: statuses.append(post(server, {"messages": ASK})[0])))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert statuses == [200] * 64
    server.settle()
    assert not [thread for thread in threading.enumerate() if thread.name == "request"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_nothing_is_left_over_of_answered_refused_and_abandoned_requests(start, queue):
    """Objects, threads and open files after 150 requests of all kinds are those after the first 50."""
    server = start(queue, settings=Settings(1.0, 1.0, 4))

    def some(rounds):
        for number in range(rounds):
            assert post(server, {"messages": ASK})[0] == 200
            assert post(server, {"messages": ASK, "n": 1000})[0] == 400
            raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            body = json.dumps({"messages": ASK, "stream": True}).encode()
            raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        b"Content-Length: %d\r\n\r\n" % len(body) + (body if number % 2 else b"{"))  # fmt: skip
            raw.recv(1) if number % 2 else None
            raw.close()
        server.settle()
        gc.collect()
        return len(gc.get_objects()), threading.active_count(), len(os.listdir("/proc/self/fd"))

    some(17)
    before, after = some(8), some(34)
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] + 2
    assert after[0] - before[0] < 500  # of several hundred thousand; a leak of one object per request alone were 100


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_work(start, slow, stream):
    server = start(slow)
    body = json.dumps({"messages": ASK, "stream": stream}).encode()
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body)  # fmt: skip
    assert slow.began.acquire(timeout=30)
    raw.close()
    assert slow.given_up.wait(30)
    server.settle()


def test_time_limits_and_full_houses(start, slow):
    server = start(slow, seconds=0.3, at_once=1, waiting=0)
    assert post(server, {"messages": ASK})[0] == 504
    assert slow.given_up.wait(30)
    server.settle()
    status, answer = post(server, {"messages": ASK, "stream": False, "n": 2})
    assert (status, answer["error"]["code"]) == (504, "timeout")
    server.settle()
    server.serving.seconds = 60.0
    first = threading.Thread(target=post, args=(server, {"messages": ASK}))
    while slow.began.acquire(timeout=0.01):
        pass
    first.start()
    assert slow.began.acquire(timeout=30)
    status, answer = post(server, {"messages": ASK})
    assert (status, answer["error"]["code"]) == (429, "too_many_requests")
    slow.go.set()
    first.join(30)
    server.settle()


def test_failures_inside_are_told_without_their_details(start, slow):
    slow.go.set()
    server = start(slow)
    slow.error = RuntimeError("secret path")
    status, answer = post(server, {"messages": ASK})
    assert status == 500
    assert "secret" not in json.dumps(answer)
    slow.error = EngineError("nobody listens")
    assert post(server, {"messages": ASK})[0] == 502
    with pytest.raises(openai.APIError, match="gives no answer"):
        list(client(server).chat.completions.create(model="mini", messages=ASK, stream=True))
    server.settle()


def test_stop_strings_cut(start, slow):
    slow.go.set()
    found = post(start(slow), {"messages": ASK, "stop": ["{"]})[1]
    assert (found["choices"][0]["message"]["content"], found["choices"][0]["finish_reason"]) == ("\\boxed", "stop")


def test_a_stop_string_ends_what_is_streamed_and_is_paid_as_far_as_it_was_generated(start, queue):
    server = start(queue, settings=Settings(1.0, 1.0, 40))
    options = {
        "model": "mini",
        "prompt": "User: Compute \u24602 \u24619. Assistant:",
        "seed": 3,
        "extra_body": {"route": "simple"},
    }
    whole = client(server).completions.create(**options)
    text = whole.choices[0].text
    stop = text.split()[1] + " " + text.split()[2][:1]  # over two tokens
    assert stop in text
    sent = client(server).completions.create(stop=stop, **options)
    assert (sent.choices[0].text, sent.choices[0].finish_reason) == (text.partition(stop)[0], "stop")
    assert sent.usage.completion_tokens < whole.usage.completion_tokens
    chunks = list(
        client(server).completions.create(stop=[stop], stream=True, stream_options={"include_usage": True}, **options)
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == sent.choices[0].text
    assert chunks[-1].usage.completion_tokens == sent.usage.completion_tokens
    server.settle()


def test_open_ended_chat_is_one_pass_and_streams_token_by_token(start, queue):
    server = start(queue)
    poem = [{"role": "user", "content": "Write a poem about the sea."}]
    found = client(server).chat.completions.create(model="mini", messages=poem, seed=1)
    assert (found.model_extra["trl_r1"]["paths"], found.model_extra["trl_r1"]["why"]) == (
        1,
        "no final answer to vote on",
    )
    chunks = list(client(server).chat.completions.create(model="mini", messages=poem, seed=1, stream=True))
    assert len(chunks) > 4
    assert "".join(said(chunk.choices[0].delta) for chunk in chunks) == said(found.choices[0].message)
    cold = client(server).chat.completions.create(model="mini", messages=ASK, temperature=0, n=2)
    assert cold.model_extra["trl_r1"]["paths"] == 1
    assert said(cold.choices[0].message) == said(cold.choices[1].message)
    server.settle()


def test_reasoning_comes_beside_the_content_whole_and_streamed(start, upstream):
    thought = {"message": {"content": "Four.", "reasoning": "hm"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 5}
    sampler, seen = upstream(
        thought, thought, {"message": {"content": "<think>hm</think>Four."}}, thought, usage=usage
    )
    server = start(sampler, limits=RoutingLimits(simple_below=1.0))
    hello = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hi.", "reasoning_content": "a guest"},
    ]
    hello += hello[:1]
    asked = {"model": "mini", "messages": hello}
    found = client(server).chat.completions.create(**asked)
    assert (found.choices[0].message.content, found.choices[0].message.reasoning_content) == ("Four.", "hm")
    assert found.choices[0].message.reasoning == "hm"
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (11, 5)  # as the engine counts
    assert seen[0]["messages"] == hello  # the earlier reasoning too
    told = [chunk.choices[0].delta for chunk in client(server).chat.completions.create(stream=True, **asked)]
    assert [(d.content, getattr(d, "reasoning_content", None)) for d in told] == [
        ("", None),
        (None, "hm"),
        ("Four.", None),
        (None, None),
    ]
    assert client(server).chat.completions.create(**asked).choices[0].message.reasoning_content == "hm"
    tags = client(server).chat.completions.create(**asked, extra_body={"separate_reasoning": False})
    assert tags.choices[0].message.content == "<think>hm</think>Four."
    server.settle()


CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
CALLS = {"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def test_tools_and_formats_go_to_the_engine_in_one_path(start, upstream):
    sampler, seen = upstream(CALLS, CALLS, {"message": {"content": "{}"}, "logprobs": {"content": []}})
    server = start(sampler)
    asked = {"model": "mini", "messages": ASK, "tools": TOOLS, "tool_choice": "required"}
    found = client(server).chat.completions.create(**asked)
    assert found.choices[0].finish_reason == "tool_calls"
    assert found.choices[0].message.tool_calls[0].function.name == "weather"
    assert found.model_extra["trl_r1"]["route"] == "passed on"
    assert (seen[0]["tools"], seen[0]["tool_choice"], seen[0]["model"]) == (TOOLS, "required", "theirs")
    deltas = [chunk.choices[0] for chunk in client(server).chat.completions.create(stream=True, **asked)]
    assert deltas[1].delta.tool_calls[0].function.arguments == '{"city": "Bonn"}'
    assert deltas[-1].finish_reason == "tool_calls"
    shape = {"type": "json_object"}
    scored = client(server).chat.completions.create(model="mini", messages=ASK, response_format=shape, logprobs=True)
    assert (scored.choices[0].message.content, scored.choices[0].logprobs.content) == ("{}", [])
    assert len(seen) == 3  # one path each
    server.settle()


def test_what_the_engine_refuses_is_told_in_its_words(start, upstream):
    sampler, _ = upstream("this model has no tools", status=400)
    with pytest.raises(openai.BadRequestError, match="refuses this request .status 400: this model has no tools"):
        client(start(sampler)).chat.completions.create(model="mini", messages=ASK, tools=TOOLS)


def test_more_tokens_than_there_are_are_capped_and_told_in_a_header(start, queue):
    server = start(queue)
    raw = client(server).chat.completions.with_raw_response
    asked = raw.create(model="mini", messages=ASK, max_tokens=5000, extra_body={"route": "simple"})
    assert asked.headers["X-Max-Tokens-Capped"] == "64"
    assert asked.parse().usage.completion_tokens <= 64
    assert "X-Max-Tokens-Capped" not in raw.create(model="mini", messages=ASK, max_tokens=5).headers
    server.settle()


def test_the_responses_api_is_refused_with_what_to_call(start, slow):
    with pytest.raises(openai.NotFoundError, match="call POST /v1/chat/completions"):
        client(start(slow)).responses.create(model="mini", input="hello")


@pytest.mark.parametrize("stream", [False, True])
def test_a_shutdown_is_told_to_open_requests_within_the_grace_time(start, slow, stream, caplog):
    server = start(slow, grace=1)
    found = []

    def ask():
        try:
            stock = client(server).with_options(max_retries=2)  # its default: it may not ask a closed door
            asked = stock.chat.completions.create(model="mini", messages=ASK, stream=stream)
            found.append(list(asked))
        except openai.APIError as error:
            found.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert slow.began.acquire(timeout=30)
    started = time.monotonic()
    server.stop()
    asking.join(10)
    assert time.monotonic() - started < 5
    assert "The server is shutting down" in str(found[0])
    assert slow.given_up.wait(10)
    assert not [record for record in caplog.records if record.exc_info or "Cancel" in record.getMessage()]


# --- the command


def run_serve(*options, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "trl_r1.cli", "serve", *options],
        stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_serves_on_loopback_and_ends_cleanly(mini, tmp_path):
    for part in mini:
        part.save_pretrained(tmp_path)
    process = run_serve(
        "--model", str(tmp_path), "--cpu", "--port", "0", "--served-name", "mini", "--max-new-tokens", "400"
    )
    try:
        line = ""
        while " at http://" not in line:
            line = process.stderr.readline()
            assert line, "the server ended"
        assert "http://127.0.0.1:" in line
        url = line.split(" at ")[1].split(";")[0]
        stream = openai.OpenAI(base_url=url, api_key="none").chat.completions.create(
            model="mini", messages=ASK, stream=True, extra_body={"route": "simple"}
        )
        assert next(iter(stream))
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(openai.APIError):  # its error event, where the text is not over in time
            assert list(stream)[-1].choices[0].finish_reason  # never cut off
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.stderr.close()


def test_mistakes_of_the_command(capsys, tmp_path, monkeypatch):
    from trl_r1.commands import call

    monkeypatch.delenv("TRL_R1_SERVE_TOKEN", raising=False)
    (tmp_path / "empty").write_text("")
    for options, answer in (
        (["--host", "0.0.0.0"], "lets other machines in, which needs a token"),
        (["--token-file", str(tmp_path / "empty")], "is empty"),
        (["--token-file", str(tmp_path / "none")], "cannot be read"),
        (["--port", "99999"], "--port 99999 is none"),
    ):
        assert call("serve", ["--model", "mini:base-tiny", *options]) == 2
        assert answer in capsys.readouterr().err


def test_a_taken_port_is_told():
    from trl_r1.commands.serve import listen

    door = listen("127.0.0.1", 0)
    with pytest.raises(ValueError, match="Nothing can listen at 127.0.0.1 port"):
        listen("127.0.0.1", door.getsockname()[1])
    door.close()
