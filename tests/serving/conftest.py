"""A server in a thread, over the smallest mini model or over a sampler that does what a test says."""

import json
import threading
import time

import pytest


pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

import uvicorn

from trl_r1.routing.paths import EndpointPaths, ModelPaths, Settings
from trl_r1.routing.router import Router, RoutingLimits
from trl_r1.serving.app import Serving, build
from trl_r1.serving.batch_queue import BatchQueue
from trl_r1.serving.requests import Bounds
from trl_r1.serving.server import GracefulServer
from trl_r1.serving.service import Service


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trl_r1.mini.model import build_base

    folder = build_base(tmp_path_factory.mktemp("mini") / "base", 0, "tiny")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


class Running:
    def __init__(self, serving, token=None, grace=2):
        config = uvicorn.Config(build(serving, token), port=0, log_level="error", timeout_graceful_shutdown=grace)
        self.serving, self.server = serving, GracefulServer(config, serving)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 60
        while not self.server.started:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def stop(self):
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()

    def settle(self, seconds=30):
        """Until nothing is under way any more."""
        until = time.monotonic() + seconds
        while self.serving.inside or self.serving.running:
            assert time.monotonic() < until, (self.serving.inside, self.serving.running)
            time.sleep(0.02)


@pytest.fixture(scope="session")
def queue(mini):
    made = BatchQueue(ModelPaths(*mini, batch_size=64, name="mini"))
    yield made
    assert made.close()


@pytest.fixture
def start(request):
    """``start(sampler, token=None, **of Serving)`` -> a running server."""
    running = []

    def begin(sampler, token=None, settings=None, bounds=None, limits=None, template=None, grace=2, **options):
        settings = settings or Settings(1.0, 1.0, 16)
        limits = limits or RoutingLimits(simple_below=0.0, most_paths=4, wave=4)
        service = Service(Router(sampler, settings, limits), sampler, template)
        bounds = bounds or Bounds(most_tokens=64, most_samples=8)
        made = Running(Serving(service, "mini", bounds, settings, **options), token, grace)
        running.append(made)
        return made

    yield begin
    for made in running:
        made.stop()


@pytest.fixture
def upstream(monkeypatch):
    """``upstream(choices, usage)`` -> a sampler in front of an engine that answers with these choices, and its bodies."""
    from trl_r1.models.engines import SamplingServer
    from trl_r1.network.endpoint import Endpoint, Reply

    def begin(*choices, usage=None, status=200):
        seen, left = [], list(choices)

        def answer(self, path, body):
            seen.append(body)
            content = (
                {"choices": [left.pop(0)], "usage": usage} if status == 200 else {"error": {"message": choices[0]}}
            )
            return Reply(status, json.dumps(content).encode())

        monkeypatch.setattr(Endpoint, "exchange", answer)
        return EndpointPaths(SamplingServer("http://127.0.0.1:9/v1", "theirs")), seen

    return begin


@pytest.fixture
def slow():
    """A sampler behind no model: waits until it is told to go on or given up, then says four."""
    from trl_r1.routing.paths import Cancelled, Candidate

    class Slow(EndpointPaths):
        def __init__(self):
            self.go, self.given_up, self.began = threading.Event(), threading.Event(), threading.Semaphore(0)
            self.error = None

        name = "slow"

        def draw(self, asks, settings, seed):
            self.began.release()
            while not self.go.wait(0.01):
                if all(ask.cancelled() for ask in asks):
                    self.given_up.set()
                    raise Cancelled("gone")
            if self.error is not None:
                raise self.error
            return [[Candidate("\\boxed{4}", 3)] * ask.count for ask in asks]

    made = Slow()
    yield made
    made.go.set()
