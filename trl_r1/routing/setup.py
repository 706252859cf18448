"""What `trl-r1 answer` and `trl-r1 serve` share: options in, a sampler, its settings and a router out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trl_r1.grpo.copies.kinds import check_kind
from trl_r1.models.rendering import Renderer, TemplateReasoningFormat
from trl_r1.routing.cache import PathCache
from trl_r1.routing.calibrate import load
from trl_r1.routing.checkable import declares_answer
from trl_r1.routing.choice import CHOICES, Score, agser_score, reward_score
from trl_r1.routing.complexity import GUESS
from trl_r1.routing.paths import EndpointPaths, ModelPaths, Settings
from trl_r1.routing.router import Router, RoutingLimits
from trl_r1.storage.structured import read_mapping
from trl_r1.text.reasoning_format import tell


LIMITS = ("simple_below", "most_paths", "least_paths", "confident", "wave", "most_tokens", "draft_tokens", "choose",
          "sharpness", "sure")  # fmt: skip

TRIED = (  # what a copy of the model is tried on
    "What is 12 plus 30? Think, then answer.",
    "Name the capital of France and say why it is there.",
    "Write a short story about a lighthouse.",
    "def mean(values):",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options for the model, the sampling and the routing."""
    model = parser.add_argument_group("model")
    model.add_argument("--model", required=True, help="hub id, folder or mini:base; with --endpoint its name there")
    model.add_argument("--endpoint", help="OpenAI-compatible server instead, such as http://127.0.0.1:8000/v1")
    model.add_argument("--no-logprobs", action="store_true", help="the server at --endpoint gives none: do not ask")
    model.add_argument("--concurrency", type=int, default=16, help="connections to --endpoint per question (16)")
    model.add_argument("--cpu", action="store_true", help="stay on the CPU though there is a GPU")
    model.add_argument(
        "--rollout-copy",
        "--rollout_copy",
        default="none",
        help="who writes: none (the model), or a generation-only copy: merged, bfloat16, auto (docs/performance.md)",
    )
    model.add_argument("--dtype", default="auto", help="of the weights: auto, bfloat16, float32 (auto)")
    model.add_argument(
        "--template",
        help="put a question into this template (r1_zero, mini, chat, ... or a text with "
        "{question}); default: the model's chat template, r1_zero where it has none",
    )
    model.add_argument(
        "--chat-template-kwargs",
        "--chat_template_kwargs",
        metavar="JSON",
        help="for the chat template, such as '{\"enable_thinking\": false}'",
    )
    model.add_argument(
        "--system-prompt", "--system_prompt", help="put before conversations that bring no system message of their own"
    )
    drawing = parser.add_argument_group("sampling")
    drawing.add_argument("--temperature", type=float, default=0.6, help="0.6, as DeepSeek-R1 is evaluated")
    drawing.add_argument("--top-p", type=float, default=0.95, help="0.95, the same")
    drawing.add_argument("--max-new-tokens", type=int, default=2048, help="longest answer, thought included (2048)")
    drawing.add_argument("--batch-size", type=int, default=64, help="texts generated at a time in this process (64)")
    routing = parser.add_argument_group("routing")
    routing.add_argument("--router", metavar="FILE", help="thresholds and complexity that --calibrate has written")
    routing.add_argument("--simple-below", type=float, help="complexity under which one pass is enough (0.1)")
    routing.add_argument("--most-paths", type=int, help="paths of a complex question at most (16)")
    routing.add_argument("--least-paths", type=int, help="paths before its vote can end (2)")
    routing.add_argument(
        "--confident", type=float, help="end the vote when the leader is ahead with this chance (0.95)"
    )
    routing.add_argument(
        "--sharpness", type=float, help="for --choose weighted: how much a likelier path outweighs another (4)"
    )
    routing.add_argument(
        "--sure", type=float, help="the same, with a router file: end when the leader is right with this chance"
    )
    routing.add_argument("--wave", type=int, help="paths drawn at a time (2)")
    routing.add_argument("--most-tokens", type=int, help="token budget of a question; no wave begins beyond it")
    routing.add_argument(
        "--draft-tokens", type=int, help="judge complexity on a draft this long; default: the first path"
    )
    routing.add_argument("--choose", choices=list(CHOICES), help="how the path to show is chosen (vote)")
    routing.add_argument(
        "--verifier", metavar="REWARD", help="for --choose verifier: a reward that needs no gold answer"
    )
    routing.add_argument(
        "--answer-from", help="where an answer may stand, such as boxed,answer (default: everywhere a reward looks)"
    )
    routing.add_argument("--cache", type=int, default=1024, help="questions whose paths are kept for later; 0: none")


def settings_of(args: argparse.Namespace) -> Settings:
    """Raises ValueError: a number no text can be drawn with."""
    return Settings(args.temperature, args.top_p, args.max_new_tokens)


def limits_of(args: argparse.Namespace, base: RoutingLimits) -> RoutingLimits:
    """The router file's limits, or the defaults, with what the command line says instead."""
    options = {name: getattr(args, name) for name in LIMITS if getattr(args, name, None) is not None}
    if "most_paths" in options and "least_paths" not in options:
        options["least_paths"] = min(base.least_paths, options["most_paths"])
    return replace(base, **options)


def sampler_of(args: argparse.Namespace) -> ModelPaths | EndpointPaths:
    """Loads the model, or asks the server whether it is there.

    Raises:
        ValueError, EngineError: in one sentence.
    """
    template_options = read_mapping("--chat-template-kwargs", args.chat_template_kwargs or "{}")
    copy = getattr(args, "rollout_copy", "none")
    check_kind(copy)
    if args.endpoint and copy != "none":
        raise ValueError("--rollout-copy is a copy of a model in this process; drop it, or --endpoint.")
    if args.endpoint:
        from trl_r1.models.engines import SamplingServer

        extra = {"chat_template_kwargs": template_options} if template_options else {}
        endpoint = SamplingServer(args.endpoint, args.model, concurrency=args.concurrency, extra=extra)
        endpoint.check()
        return EndpointPaths(endpoint, not args.no_logprobs)
    from trl import ModelConfig

    from trl_r1.models.load import find_policy, load_policy

    name = find_policy(args.model)
    config = ModelConfig(dtype=None if args.dtype == "auto" else args.dtype)
    model, tokenizer = load_policy(name, config, args.cpu)
    stops = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    options = {"chat_template_kwargs": template_options, "system_prompt": args.system_prompt, "stop_token_ids": stops}
    renderer = Renderer(tokenizer, **options)
    paths = ModelPaths(model, tokenizer, args.batch_size, name=args.model, renderer=renderer)
    if copy != "none":
        from trl_r1.grpo.copies.writer import writer

        paths.writer, paths.difference = writer(model, copy, [renderer.prompt_ids(one) for one in TRIED])
        print(paths.difference, file=sys.stderr)
    return paths


def router_of(args: argparse.Namespace, sampler: Any, model: ModelPaths | None = None) -> Router:
    """The router over a sampler.

    Args:
        model: the sampler's model, where it is in this process: its template says where a reply's thought is, and AGSER
            reads its attention.

    Raises:
        ValueError, ImportError: in one sentence.
    """
    from trl_r1.rewards import accuracy

    limits, complexity, settled = RoutingLimits(), GUESS, None
    if args.router:
        calibrated = load(args.router)
        limits, complexity, settled = calibrated.limits, calibrated.complexity, calibrated.settled
    limits = limits_of(args, limits)
    named = args.answer_from if args.answer_from is not None else ",".join(accuracy.SOURCES)
    sources = tuple(part.strip() for part in named.split(",") if part.strip())
    unknown = [part for part in sources if part not in accuracy.SOURCES]
    if unknown or not sources:
        raise ValueError(f"--answer-from names {unknown or 'nothing'}; choose from {', '.join(accuracy.SOURCES)}.")
    reading = accuracy.Accuracy(sources=sources)
    if model is not None:
        reading = reading.with_format(TemplateReasoningFormat(model.rendering))
    return Router(
        sampler,
        settings_of(args),
        limits,
        complexity,
        reading.answer_of,
        accuracy.same_answer,
        score=score_of(args, limits, model),
        settled=settled,
        cache=PathCache(args.cache) if args.cache else None,
        declares=declares_answer,
    )


def score_of(args: argparse.Namespace, limits: RoutingLimits, model: ModelPaths | None) -> Score | None:
    """The scoring function that ``choose`` needs, if it needs one."""
    if limits.choose == "verifier":
        if not args.verifier:
            raise ValueError("--choose verifier needs --verifier REWARD; `trl-r1 rewards list` names rewards.")
        from trl_r1.rewards.catalogue import load_reward

        reasoning_format = None if model is None else TemplateReasoningFormat(model.rendering)
        return reward_score(tell(load_reward(args.verifier), reasoning_format))
    if limits.choose == "agser":
        if model is None:
            raise ValueError("--choose agser reads the model's attention, so it needs a model in this process.")
        return agser_score(model.model, model.tokenizer)
    return None


def asker(args: argparse.Namespace, sampler: Any) -> Callable[[str], Any]:
    """How a question becomes a prompt: by ``--template``, else as everywhere (`trl_r1.models.templates.template_for`).

    Raises:
        ValueError: an unknown template, or a system prompt for a text.
    """
    from trl_r1.models.templates import render, template_for, with_system

    template = template_for(args.template, getattr(sampler, "tokenizer", None))
    with_system(template, args.system_prompt)  # or one sentence that says why not
    return lambda question: with_system(render(template, question), args.system_prompt)


def reads_conversations(args: argparse.Namespace, sampler: Any) -> bool:
    """Whether whole conversations can be put to the model: no template was asked for, and it has a chat template."""
    tokenizer = getattr(sampler, "tokenizer", None)
    return not args.template and (tokenizer is None or bool(getattr(tokenizer, "chat_template", None)))
