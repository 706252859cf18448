"""The crowd of benchmarks/serve_chat.py, on the smallest model: nothing is lost and nothing is left over."""

import sys

import pytest
from places import ROOT


pytest.importorskip("uvicorn", reason="the extra serve is not installed")


@pytest.fixture
def serve_chat(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import serve_chat

    yield serve_chat
    sys.modules.pop("serve_chat")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trl_r1.mini.model import build_base
    from trl_r1.routing.paths import ModelPaths

    folder = build_base(tmp_path_factory.mktemp("mini") / "base", 0, "tiny")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    return ModelPaths(model, tokenizer, 16)


def test_64_requests_with_stops_streams_hang_ups_and_an_end_of_the_server(serve_chat, paths):
    outcomes = serve_chat.crowd(serve_chat.Server(paths, 24))
    assert outcomes["hung up"] == 16
    assert outcomes["answers"] + outcomes["errors"] == 48
    assert outcomes["answers"] >= 24  # of the 40 that were over before the end, at most 16 had hung up
    assert (outcomes["lost"], outcomes["left over"]) == (0, 0)


def test_chat_requests_take_one_pass_each(serve_chat, paths):
    server = serve_chat.Server(paths, 2)  # too short for babble to hold a whole `<answer>` by chance
    told = serve_chat.chat(server, 24)
    assert (told["requests"], told["passes"], told["most_passes"]) == (24, 1.0, 1)
    server.stop()
    server.thread.join(30)
    assert server.queue.close()


def test_every_policy_is_measured_on_the_same_paths(serve_chat, paths):
    pytest.importorskip("reasoning_gym", reason="the extra real is not installed")
    told = serve_chat.task(paths, 4)
    assert told["problems"] == 4
    assert told["vote of 16"]["tokens"] == pytest.approx(16 * told["one pass"]["tokens"])
    assert 1 <= told["routed"]["passes"] <= 16
    assert told["routed"]["tokens"] <= told["vote of 16"]["tokens"]


def test_a_missing_extra_is_one_sentence(serve_chat, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    pytest.importorskip("gguf", reason="the extra real is not installed")
    assert serve_chat.main([]) == 2
    told = capsys.readouterr().err
    assert told == "serve_chat needs reasoning_gym, which is not installed: pip install 'trl-r1[real]'.\n"
