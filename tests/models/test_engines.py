"""Engines: a model in this process, a server that behaves badly in every way we know, and a real `transformers serve`."""

import http.server
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from trl_r1.models.engines import EngineError, InProcess, SamplingServer, read_completion, seed_of
from trl_r1.text.records import Completion


def completion(text="four", reason="stop", tokens=2):
    return {"choices": [{"text": text, "finish_reason": reason}], "usage": {"completion_tokens": tokens}}


class Hostile(http.server.BaseHTTPRequestHandler):
    """Does what the plan says for the n-th request, then answers properly."""

    plan: list = []
    bodies: list = []
    active = most_active = 0
    counted = False
    lock = threading.Lock()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            Hostile.bodies.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
            step = self.plan.pop(0) if self.plan else "fine"
            Hostile.active += 1
            Hostile.most_active = max(Hostile.most_active, Hostile.active)
        self.counted = True
        try:
            self.act(step, body)
        finally:
            self.leave()

    def leave(self):
        """No longer counted as active; before an answer's last bytes, after which the client may send the next."""
        with self.lock:
            Hostile.active -= self.counted
            self.counted = False

    def act(self, step, body):
        if step == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif step == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"text": "fo')
            self.close_connection = True
        elif step == "slow":
            time.sleep(1.5)
            self.close_connection = True
        elif step == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(30):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)
        elif step == "garbage":
            self.answer(200, b"<html>not found, but fine</html>")
        elif step == "no choices":
            self.answer(200, b'{"choices": []}')
        elif step == "redirect":
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:9/stolen")
            self.end_headers()
        elif isinstance(step, tuple):
            self.answer(*step)
        else:
            time.sleep(0.02)
            text = body.get("prompt") or body["messages"][-1]["content"]
            if "messages" in body:
                message = {"role": "assistant", "content": f"re: {text}", "reasoning_content": "hm"}
                answer = {"choices": [{"message": message, "finish_reason": "stop"}]}
            else:
                answer = completion(f"re: {text}")
            self.answer(200, json.dumps(answer).encode())

    def do_GET(self):
        step = self.plan.pop(0) if self.plan else (200, b"{}")
        self.answer(*step)

    def answer(self, status, content, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.leave()
        self.wfile.write(content)

    def log_message(self, *arguments):
        return


@pytest.fixture
def server():
    Hostile.plan, Hostile.bodies, Hostile.active, Hostile.most_active = [], [], 0, 0
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}/v1"
    made.shutdown()
    made.server_close()


def endpoint(address, **changes):
    return SamplingServer(
        address, "m", **{"backoff": 0.01, "attempts": 3, "concurrency": 4, "seconds": 0.6, **changes}
    )


def test_texts_come_back_in_the_order_of_the_prompts_and_each_request_has_its_seed(server):
    counted = []
    drawn = endpoint(server, extra={"top_k": -1}).draw(["a", "b", "c"], 4, seed=5, progress=counted.append)
    assert [[draw.text for draw in row] for row in drawn] == [[f"re: {p}"] * 4 for p in "abc"]
    assert drawn[0][0] == Completion("re: a", 2, False)
    assert sum(counted) == 12
    assert {body["seed"] for body in Hostile.bodies} == {seed_of(5, p, k) for p in range(3) for k in range(4)}
    assert {(body["path"], body["top_k"], body["key"]) for body in Hostile.bodies} == {("/v1/completions", -1, None)}
    assert 2 <= Hostile.most_active <= 4


def test_a_conversation_goes_to_the_chat_and_its_thought_comes_back_in_tags(server, monkeypatch):
    monkeypatch.setenv("TRL_R1_API_KEY", "secret")
    drawn = endpoint(server).draw([[{"role": "user", "content": "hi"}]], 1, seed=0)
    assert drawn == [[Completion("<think>hm</think>re: hi", None, False)]]
    assert Hostile.bodies[0]["path"] == "/v1/chat/completions"
    assert Hostile.bodies[0]["key"] == "Bearer secret"


@pytest.mark.parametrize(
    "step",
    [
        "hang up",
        "half",
        "slow",
        "drip",
        "garbage",
        "no choices",
        (500, b"{}"),
        (503, b"busy"),
        (429, b"{}"),
        (408, b""),
    ],
)
def test_what_fails_in_passing_is_tried_again(server, step):
    Hostile.plan = [step, step]
    assert endpoint(server).draw(["a"], 1, seed=0)[0][0].text == "re: a"
    assert len(Hostile.bodies) == 3
    assert len({body["seed"] for body in Hostile.bodies}) == 1


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("hang up", "the connection broke off"),
        ("half", "the connection broke off"),
        ("drip", "too slow"),
        ("garbage", "an answer that is no completion"),
        ((500, b'{"error": {"message": "out of memory."}}'), "status 500: out of memory"),
    ],
)
def test_what_keeps_failing_is_one_sentence(server, step, said):
    Hostile.plan = [step] * 100
    with pytest.raises(EngineError) as caught:
        endpoint(server).draw(["a", "b"], 2, seed=0)
    assert str(caught.value) == (
        f"The endpoint {server} gives no text after 3 attempts ({said}). Start the server, or check the address and its "
        "log; then start this again: what is finished is kept."
    )


def test_nobody_there_is_told_before_and_during(server):
    down = endpoint("http://127.0.0.1:9/v1")
    for call in (down.check, lambda: down.draw(["a"], 1, 0)):
        with pytest.raises(EngineError, match="nobody listens there"):
            call()
    endpoint(server).check()
    Hostile.plan = [(401, b"{}")]
    with pytest.raises(EngineError, match="TRL_R1_API_KEY"):
        endpoint(server).check()


def test_a_wrong_key_or_model_is_not_tried_again_and_a_redirect_not_followed(server):
    for step, said in (((401, b"{}"), "does not accept the key"), ((404, b'{"detail": "no model m"}'), "404: no model m"),
                       ("redirect", "status 307")):  # fmt: skip
        Hostile.plan, Hostile.bodies = [step], []
        with pytest.raises(EngineError, match=said):
            endpoint(server).draw(["a"], 1, 0)
        assert len(Hostile.bodies) == 1


def test_a_prompt_the_server_refuses_is_its_own_fate_unless_all_are(server):
    too_long = (400, b'{"error": {"message": "maximum context length is 64 tokens"}}')
    Hostile.plan = [too_long]
    drawn = endpoint(server, concurrency=1).draw(["a", "b"], 1, 0)
    assert drawn[0][0] == Completion("", 0, False, "status 400: maximum context length is 64 tokens")
    assert drawn[1][0].text == "re: b"
    Hostile.plan = [too_long, too_long]
    with pytest.raises(EngineError, match="refused all 2 requests: status 400"):
        endpoint(server).draw(["a", "b"], 1, 0)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b'{"choices": [{}]}', b'{"choices": [{"text": 3}]}', b"[" * 100000, b"\xff"]
)
def test_garbage_is_no_completion(content):
    assert read_completion(content) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"endpoint": "127.0.0.1:8000"}, "is no http address"),
        ({"endpoint": "http://me:pw@host/v1"}, "has a password in its address"),
        ({"model": ""}, "No model was named"),
        ({"concurrency": 0}, "1 or more"),
        ({"extra": {"seed": 1}}, "'seed'"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        SamplingServer(**{"endpoint": "http://h/v1", "model": "m", **changes})


def test_the_model_in_this_process_gives_the_same_texts_for_the_same_seed_whatever_came_before(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    engine = InProcess(
        AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny), max_new_tokens=6
    )
    first = engine.draw(["one", "two and"], 3, seed=1)
    engine.draw(["other"], 2, seed=2)
    assert engine.draw(["one", "two and"], 3, seed=1) == first
    assert engine.draw(["one", "two and"], 3, seed=3) != first
    assert [len(row) for row in first] == [3, 3]
    assert all(draw.truncated == (draw.token_count == 6) for row in first for draw in row if draw.truncated)


OPENS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: <think>\n{% endif %}"
)


def test_a_draw_says_whether_its_prompt_opened_the_thought(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = OPENS
    engine = InProcess(AutoModelForCausalLM.from_pretrained(tiny), tokenizer, max_new_tokens=2)
    assert engine.draw([[{"role": "user", "content": "hi"}]], 1, seed=1)[0][0].opened is True
    assert [row[0].opened for row in engine.draw(["one", "one <think>"], 1, seed=1)] == [False, True]


def test_a_server_is_told_of_a_row_s_options_and_of_an_opening_to_go_on_from():
    from trl_r1.models.rendering.prompts import RowPrompt

    server = SamplingServer("http://h/v1", "m", extra={"chat_template_kwargs": {"a": 1, "b": 1}, "top_k": -1})
    asked = RowPrompt(
        [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "<think>"}],
        {"chat_template_kwargs": {"b": 2}},
    )
    request = server._request(asked, 0)
    assert request["chat_template_kwargs"] == {"a": 1, "b": 2}
    assert (request["add_generation_prompt"], request["continue_final_message"]) == (False, True)
    assert "continue_final_message" not in server._request([{"role": "user", "content": "hi"}], 0)
    assert "continue_final_message" not in server._request("hi", 0)


missing = [name for name in ("fastapi", "uvicorn", "openai", "pydantic") if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A real `transformers serve` of the mini model on a free port."""
    import transformers

    from trl_r1.mini.store import resolve_model

    folder = tmp_path_factory.mktemp("served")
    model = transformers.AutoModelForCausalLM.from_pretrained(resolve_model("mini:base-tiny"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(resolve_model("mini:base-tiny"))
    tokenizer.chat_template = "{% for m in messages %}User: {{ m['content'] }} {% endfor %}Assistant:"
    model.generation_config.do_sample = True  # else `transformers serve` decodes greedily at any temperature
    model.save_pretrained(folder / "mini")
    tokenizer.save_pretrained(folder / "mini")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder / "mini"), "--host",
               "127.0.0.1", "--port", str(port), "--device", "cpu"]  # fmt: skip
    log = open(folder / "log.txt", "wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(folder / "mini")
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


@pytest.mark.slow
@pytest.mark.skipif(
    bool(missing), reason=f"transformers serve needs {', '.join(missing)}: pip install 'trl-r1[serve]'"
)
def test_a_real_transformers_serve_answers_texts_and_conversations(served):
    address, model = served
    engine = SamplingServer(address, model, max_new_tokens=8, concurrency=3, attempts=2, seconds=60.0)
    engine.check()
    text = "User: Compute ①2 ②9 ③4. Assistant:"
    drawn = engine.draw([text, text.replace("9", "5")], 4, seed=0)
    assert [len(row) for row in drawn] == [4, 4]
    assert all(0 < draw.token_count <= 8 and not draw.refused for row in drawn for draw in row)
    assert any(draw.truncated for row in drawn for draw in row)
    assert len({draw.text for row in drawn for draw in row}) > 2  # it samples
    chat = engine.draw([[{"role": "user", "content": "Compute ①2 ②9 ③4."}]], 2, seed=0)
    assert all(isinstance(draw.text, str) and draw.token_count for draw in chat[0])
    with pytest.raises(EngineError, match="status"):
        SamplingServer(address, "no/such-model", attempts=1, seconds=60.0).draw([text], 1, 0)


@pytest.mark.slow
@pytest.mark.skipif(
    bool(missing), reason=f"trl-r1 serve and transformers serve need {', '.join(missing)}: pip install 'trl-r1[serve]'"
)
def test_trl_r1_serve_stands_in_front_of_a_real_transformers_serve(served):
    import openai

    address, model = served
    order = ["serve", "--model", model, "--endpoint", address, "--no-logprobs", "--port", "0", "--served-name", "mini",
             "--max-new-tokens", "8", "--most-paths", "3", "--confident", "1"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "trl_r1.cli", *order], stderr=subprocess.PIPE, text=True)
    try:
        line = ""
        while " at http://" not in line:
            line = process.stderr.readline()
            assert line, "the server ended"
        client = openai.OpenAI(base_url=line.split(" at ")[1].split(";")[0], api_key="none", max_retries=0)
        asked = [{"role": "user", "content": "Compute ①2 ②9 ③4."}]
        found = client.chat.completions.create(model="mini", messages=asked, extra_body={"route": "complex"})
        details = found.model_extra["trl_r1"]
        assert (details["route"], details["paths"] in (2, 3)) == ("complex", True)  # two that agree decide among three
        assert 0 < found.usage.completion_tokens == details["tokens"] <= 24
        pieces = client.chat.completions.create(model="mini", messages=asked, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces if chunk.choices)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stderr.close()
