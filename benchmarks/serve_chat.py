"""What serving costs on a real model: ordinary chat, problems with an answer, and a crowd that misbehaves.

    python benchmarks/serve_chat.py        (one core; SmolLM2-135M in bfloat16; `--requests 20 --problems 20` to try it)

Needs the extras `real` and `serve`. Three parts, over HTTP but for the second:

Chat      200 chat requests of our own (chat_requests.py), answers of at most 24 tokens, temperature 0.6. Passes of a request
          are the paths that were drawn for it. Tokens per token of the answer: everything generated, over the tokens of
          the texts that were sent.
Problems  100 of reasoning-gym's `chain_sum`, two terms of one digit, one example in the prompt. 16 paths of each are drawn
          once, and every policy is replayed over them: one pass (the mean over all paths), the router with its defaults,
          a vote of 16.
Crowd     64 requests at once: whole, streamed, with stop strings, two that hang up in four; the server is told to end while
          the last of them are under way. None is lost: each has an answer, an error object or an error event. Nothing
          is left: no thread, no open request.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any


os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

TASK = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
SYSTEM = "Answer with a number."
MODEL = "smollm2:135m-instruct"


def load(name: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trl_r1.models.gguf import resolve_gguf
    from trl_r1.routing.paths import ModelPaths

    torch.set_num_threads(1)
    folder = resolve_gguf(name) if name == MODEL else name
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    return ModelPaths(model, AutoTokenizer.from_pretrained(folder), 48, name="smollm2")


class Server:
    """A server in a thread, over the model in this process."""

    def __init__(self, paths: Any, most_tokens: int) -> None:
        import uvicorn

        from trl_r1.routing.cache import PathCache
        from trl_r1.routing.paths import Settings
        from trl_r1.routing.router import Router
        from trl_r1.serving.app import Serving, build
        from trl_r1.serving.batch_queue import BatchQueue
        from trl_r1.serving.requests import Bounds
        from trl_r1.serving.server import GracefulServer
        from trl_r1.serving.service import Service

        self.queue = BatchQueue(paths)
        settings = Settings(0.6, 0.95, most_tokens)
        service = Service(Router(self.queue, settings, cache=PathCache()), self.queue)
        self.serving = Serving(service, "smollm2", Bounds(most_tokens=most_tokens), settings)
        config = uvicorn.Config(build(self.serving), port=0, log_level="error", timeout_graceful_shutdown=5)
        self.server = GracefulServer(config, self.serving)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"

    def post(self, **body: Any) -> dict[str, Any]:
        """A whole answer, or the error object."""
        try:
            with self.open(body) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read())

    def open(self, body: dict[str, Any]) -> Any:
        """A response to read from."""
        data = json.dumps({"model": "smollm2", **body}).encode()
        request = urllib.request.Request(self.url, data, {"Content-Type": "application/json"})
        return urllib.request.urlopen(request, timeout=3000)

    def stop(self) -> None:
        """As SIGTERM does."""
        self.server.should_exit = True


def together(work: Any, items: list[Any]) -> list[Any]:
    """``work`` of every item, each in a thread of its own."""
    found: list[Any] = [None] * len(items)

    def one(number: int) -> None:
        found[number] = work(items[number])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def chat(server: Server, count: int) -> dict[str, float]:
    """Passes and tokens of chat requests, 40 at a time."""
    from chat_requests import chat_requests

    requests = chat_requests(count)
    replies = []
    for start in range(0, len(requests), 40):
        replies += together(lambda messages: server.post(messages=messages), requests[start : start + 40])
    paths = [reply["trl_r1"]["paths"] for reply in replies]
    encode = server.queue.tokenizer.encode
    sent = sum(len(encode(reply["choices"][0]["message"]["content"])) + 1 for reply in replies)  # and the end token
    generated = sum(reply["usage"]["completion_tokens"] for reply in replies)
    return {
        "requests": len(replies),
        "passes": sum(paths) / len(paths),
        "most_passes": max(paths),
        "tokens_per_answer_token": generated / sent,
    }


def problems_of(count: int, seed: int) -> list[Any]:
    """Problems of the task with an example in their prompt, none twice."""
    import reasoning_gym

    from trl_r1.text.records import Problem

    data = reasoning_gym.create_dataset("chain_sum", size=4 * count + 1, seed=seed, **TASK)
    rows = [data[number] for number in range(len(data))]
    shown = [
        turn
        for row in rows[:1]
        for turn in (
            {"role": "user", "content": row["question"]},
            {"role": "assistant", "content": f"The answer is {row['answer']}."},
        )
    ]
    others = {row["question"]: row for row in rows[1:]}
    return [
        Problem(
            [{"role": "system", "content": SYSTEM}, *shown, {"role": "user", "content": question}],
            question,
            row["answer"],
        )
        for question, row in list(others.items())[:count]
    ]


def draw_sets(paths: Any, problems: list[Any], router: Any, seed: int) -> list[Any]:
    """16 paths of every problem; the first alone is scored, since it is the draft that the router looks at."""
    from trl_r1.rewards import accuracy
    from trl_r1.routing.calibrate import draw_candidate_sets

    first = draw_candidate_sets(paths, problems, router, accuracy.verify, 1, seed)
    quick = replace(paths, scored=False)
    rest = draw_candidate_sets(quick, problems, router, accuracy.verify, 15, seed + 100)
    return [
        replace(one, paths=[*one.paths, *more.paths], right=[*one.right, *more.right])
        for one, more in zip(first, rest, strict=True)
    ]


def task(paths: Any, count: int) -> dict[str, Any]:
    """Accuracy and tokens of one pass, of the router and of a vote of 16 on the same paths."""
    import numpy as np

    from trl_r1.routing.calibrate import correctness_and_tokens, fixed_policy, replay
    from trl_r1.routing.paths import Settings
    from trl_r1.routing.router import Router

    router = Router(paths, Settings(0.6, 0.95, 12))
    sets = draw_sets(paths, problems_of(count, 7), router, seed=1)
    every, every_tokens = fixed_policy(sets, 16, router.same)
    single = np.array([np.mean(one.right) for one in sets])
    single_tokens = np.array([np.mean([path.token_count for path in one.paths]) for one in sets])
    policies = {"one pass": (single, single_tokens), "vote of 16": (every, every_tokens)}
    passes = {"one pass": 1.0, "vote of 16": 16.0}
    answers = replay(sets, router)
    policies["routed"] = correctness_and_tokens(sets, answers)
    passes["routed"] = float(np.mean([len(answer.paths) for answer in answers]))
    drafts = [
        [path.entropy, -path.logprob, float(right)]
        for one in sets
        for path, right in zip(one.paths, one.right, strict=True)
        if path.entropy is not None and path.logprob is not None
    ]
    quartiles = np.percentile(np.array(drafts)[:, :2], [25, 50, 75], axis=0).round(3).tolist() if drafts else []
    return {
        "problems": len(sets),
        **{
            name: {"accuracy": float(right.mean()), "tokens": float(tokens.mean()), "passes": passes[name]}
            for name, (right, tokens) in policies.items()
        },
        "entropy and surprise of a path, quartiles": quartiles,
    }


def crowd(server: Server) -> dict[str, int]:
    """64 requests of four kinds at once, and the end of the server while they are answered."""
    from chat_requests import chat_requests

    outcomes: dict[str, int] = {"answers": 0, "errors": 0, "hung up": 0, "lost": 0}
    lock, under_way = threading.Lock(), threading.Semaphore(0)

    def note(kind: str) -> None:
        with lock:
            outcomes[kind] += 1
        under_way.release()

    def one(entry: tuple[int, Any]) -> None:
        number, messages = entry
        body = {"messages": messages, "stream": number % 2 == 1, **({"stop": [".", "\n"]} if number % 4 < 2 else {})}
        try:
            if number % 4 == 3:  # hangs up after the first piece
                with server.open(body) as response:
                    response.readline()
                note("hung up")
            elif body["stream"]:
                with server.open(body) as response:
                    text = response.read().decode()
                ended = text.rstrip().endswith("data: [DONE]")
                note("lost" if not ended else "errors" if '"error"' in text else "answers")
            else:
                note("answers" if "choices" in server.post(**body) else "errors")
        except urllib.error.HTTPError as error:  # an error object, where nothing was streamed yet
            error.close()
            note("errors")
        except (OSError, ValueError):
            note("lost")

    def end() -> None:
        for _ in range(40):
            under_way.acquire()
        server.stop()

    ending = threading.Thread(target=end)
    ending.start()
    together(one, list(enumerate(chat_requests(64))))
    ending.join()
    server.thread.join(60)
    server.queue.close()
    until = time.monotonic() + 30
    while time.monotonic() < until and (server.serving.running or workers()):
        time.sleep(0.05)
    left = server.serving.inside + server.serving.running + workers()
    return {**outcomes, "left over": left}


def workers() -> int:
    """Threads of requests that are still there."""
    return sum(thread.name == "request" for thread in threading.enumerate())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL, help=f"a folder, or {MODEL} (the default)")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=24)
    args = parser.parse_args(argv)
    for module, extra in (("gguf", "real"), ("reasoning_gym", "real"), ("fastapi", "serve"), ("uvicorn", "serve")):
        try:
            __import__(module)
        except ImportError:
            print(
                f"serve_chat needs {module}, which is not installed: pip install 'trl-r1[{extra}]'.", file=sys.stderr
            )
            return 2
    started, seconds = time.process_time(), {}
    paths = load(args.model)
    parts: dict[str, Any] = {}
    server = Server(paths, args.max_tokens)
    parts["chat"] = chat(server, args.requests)
    seconds["chat"] = time.process_time() - started
    print("chat:", json.dumps(parts["chat"]), flush=True)
    parts["crowd"] = crowd(server)
    seconds["crowd"] = time.process_time() - started - sum(seconds.values())
    print("crowd:", json.dumps(parts["crowd"]), flush=True)
    parts["task"] = task(paths, args.problems)
    seconds["task"] = time.process_time() - started - sum(seconds.values())
    print("task:", json.dumps(parts["task"]), flush=True)
    print("CPU seconds:", json.dumps({name: round(value) for name, value in seconds.items()}), flush=True)
    routed = parts["task"]["routed"]
    print(
        json.dumps(
            {
                "passes_per_chat_request": round(parts["chat"]["passes"], 3),
                "tokens_per_answer_token": round(parts["chat"]["tokens_per_answer_token"], 3),
                "accuracy_task": round(routed["accuracy"], 3),
                "one_pass_task": round(parts["task"]["one pass"]["accuracy"], 3),
                "tokens_share_of_vote": round(routed["tokens"] / parts["task"]["vote of 16"]["tokens"], 3),
                "lost": parts["crowd"]["lost"],
                "left_over": parts["crowd"]["left over"],
            }
        )
    )
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
