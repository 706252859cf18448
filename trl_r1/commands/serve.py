"""`trl-r1 serve`: a model behind the OpenAI protocol, with more thought where a question needs it.

    trl-r1 serve --model runs/mini-sft --template mini                     a model in this process
    trl-r1 serve --model Qwen/Qwen3-0.6B --endpoint http://127.0.0.1:8001/v1    in front of vLLM, transformers serve, ...

It listens on this machine alone (127.0.0.1:8000) unless --host says otherwise, which needs a token: put one into the
environment variable TRL_R1_SERVE_TOKEN or into the file named by --token-file. See docs/serving.md.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from trl_r1.routing.setup import add_options, asker, reads_conversations, router_of, sampler_of, settings_of


TOKEN = "TRL_R1_SERVE_TOKEN"  # environment variable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one and says which (8000)")
    parser.add_argument("--token-file", metavar="FILE", help=f"file with the token; default: ${TOKEN}, if set")
    parser.add_argument("--served-name", help="what clients call the model (default: --model)")
    parser.add_argument("--most-characters", type=int, default=400_000, help="of a prompt (400000)")
    parser.add_argument("--most-samples", type=int, default=16, help="largest n (16)")
    parser.add_argument("--at-once", type=int, default=64, help="requests worked on at the same time (64)")
    parser.add_argument("--waiting", type=int, default=256, help="requests that may wait; more get a 429 (256)")
    parser.add_argument("--seconds", type=float, default=600.0, help="a request may take (600)")
    parser.add_argument(
        "--reasoning-in-content",
        action="store_true",
        help="leave the reasoning in the content, between its tags (default: beside it, as reasoning_content)",
    )
    parser.add_argument("--grace", type=float, default=10.0, help="seconds for open requests at shutdown (10)")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    return prepare(args)()


def token_of(args: argparse.Namespace) -> str | None:
    """The token, from its file or the environment.

    Raises:
        ValueError: the file is missing or empty, the token has characters no header can carry, or the server would be
            open to other machines without one.
    """
    if args.token_file:
        try:
            token = Path(args.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--token-file {args.token_file} cannot be read ({error}).") from None
        if not token:
            raise ValueError(f"--token-file {args.token_file} is empty; write the token into it.")
    else:
        token = os.environ.get(TOKEN, "").strip()
    if token and not (token.isascii() and token.isprintable()):
        raise ValueError("The token has characters that no header can carry; take letters, digits and signs.")
    if not token and not is_loopback(args.host):
        raise ValueError(
            f"--host {args.host} lets other machines in, which needs a token: set {TOKEN} or give --token-file."
        )
    return token or None


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def prepare(args: argparse.Namespace):
    """Everything up to listening; returns what serves until it is told to stop.

    Raises:
        ValueError, ImportError, EngineError: in one sentence.
    """
    try:
        import uvicorn

        from trl_r1.serving.app import Serving, build
        from trl_r1.serving.server import GracefulServer
    except ImportError as error:
        raise ImportError(
            f"`trl-r1 serve` needs FastAPI and uvicorn ({error}): pip install 'trl-r1[serve]'."
        ) from error
    from trl_r1.routing.paths import ModelPaths
    from trl_r1.runs.processor import tell_before_answering
    from trl_r1.serving.access import LOOPBACK
    from trl_r1.serving.batch_queue import BatchQueue
    from trl_r1.serving.requests import Bounds
    from trl_r1.serving.service import Service

    token = token_of(args)
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port {args.port} is none; ports go from 0 to 65535.")
    settings = settings_of(args)
    if not args.endpoint:
        tell_before_answering("serve", args.model, args.dtype, args.cpu)
    sampler = sampler_of(args)
    name = args.served_name or args.model
    queue = BatchQueue(sampler) if isinstance(sampler, ModelPaths) else sampler
    router = router_of(args, queue, sampler if isinstance(sampler, ModelPaths) else None)
    if router.limits.choose == "agser":
        raise ValueError("--choose agser asks the model outside the server's queue; it is for `trl-r1 answer`.")
    template = None if reads_conversations(args, sampler) else asker(args, sampler)
    service = Service(router, queue, template, not args.reasoning_in_content, args.system_prompt)
    bounds = Bounds(
        most_characters=args.most_characters,
        most_bytes=max(100_000, 8 * args.most_characters),
        most_tokens=args.max_new_tokens,
        most_samples=args.most_samples,
        most_paths=max(16, router.limits.most_paths),
    )
    serving = Serving(service, name, bounds, settings, args.at_once, args.waiting, args.seconds)
    app = build(serving, token, tuple({*LOOPBACK, args.host.lower()}))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(args.grace)),
    )
    door = listen(args.host, args.port)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.WARNING)

    def run() -> int:
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn sets its own, and raises them again when it has ended
            signal.signal(number, lambda *_: None)
        host, port = door.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        with_token = ", with a token" if token else ""
        print(f"{name} at http://{address}:{port}/v1{with_token}; Ctrl-C ends it.", file=sys.stderr, flush=True)
        GracefulServer(config, serving).run(sockets=[door])
        serving.gone.set()
        ended = queue.close(args.grace) if isinstance(queue, BatchQueue) else True
        until = time.monotonic() + args.grace
        while workers() and time.monotonic() < until:
            time.sleep(0.05)
        if workers() or not ended:
            warning = "trl-r1 serve: a request to the model is still under way; leaving without it."
            print(warning, file=sys.stderr, flush=True)
            os._exit(0)  # its thread cannot be ended from outside, and would hold the process
        return 0

    return run


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections there.

    Raises:
        ValueError: the address is taken, or not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, kind, protocol)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(2048)
    except OSError as error:
        raise ValueError(
            f"Nothing can listen at {host} port {port} ({error.strerror or error}); choose another --port or --host."
        ) from None
    return door


def workers() -> list[threading.Thread]:
    """Threads that still work on a request, or on a request's request to the server behind."""
    return [
        thread for thread in threading.enumerate() if thread.name == "request" or thread.name.startswith("endpoint")
    ]
