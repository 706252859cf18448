"""Fuzz: every reward, on texts that no one would write.

    python benchmarks/fuzz_rewards.py --count 200000 --seed 7          the rewards without a model, a process per core
    python benchmarks/fuzz_rewards.py --count 1000 --models            those with one, a small random classifier

All scripts, random bytes, nested and broken tags, LaTeX, code, claims, lone surrogates; lengths log-uniform from 1 to
200,000 characters, one in a hundred at the top. Each reward sees all of them with its default options, and a tenth
with others; ``code``, which starts a sandbox per program, sees one batch in fifty. Every call must return one score per
completion, None or a finite number in the reward's documented range, and raise nothing; what a reward says about where
(``spans``) must lie in the reply and sum to the score. The seed is printed; a failure is printed with its text's seed,
so that it can be made again. Exit code 1 after a failure.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import multiprocessing
import os
import queue
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple


LONGEST = 200_000  # characters
BATCH = 20
VARIANTS = 10  # a reward with other options sees every tenth batch
SPANNED = 20  # the places a reward names are examined in every twentieth batch
SHOWN = 20  # failures that are printed
SANDBOXED = 50  # the reward code sees every fiftieth batch

# reward -> (lowest, highest) documented score
RANGES: dict[str, tuple[float, float]] = {
    "accuracy": (0.0, 1.0),
    "format": (0.0, 1.0),
    "language_consistency": (0.0, 1.0),
    "logic": (0.0, 1.0),
    "geometry": (0.0, 1.0),
    "symbolic": (0.0, 1.0),
    "overlong": (-1.0, 0.0),
    "cosine_length": (0.0, 1.0),
    "repetition": (-1.0, 0.0),
    "code": (0.0, 1.0),
    "reasoning_gym": (0.0, 1.0),
}
MODEL_RANGES: dict[str, tuple[float, float]] = {  # those that ask a model
    "semantic": (0.0, 1.0),
    "layered": (0.0, 1.0),
    "preference": (-math.inf, math.inf),
    "helpfulness": (-math.inf, math.inf),
    "harmlessness": (-math.inf, math.inf),
    "agser": (-1.0, 1.0),
}
OPTIONS: dict[str, list[dict[str, Any]]] = {  # further instances of a reward, by their options
    "accuracy": [{"math_verify": False}, {"sources": ("boxed",), "prefilled_think": True}],
    "format": [{"graded": True}, {"layout": "summary"}, {"layout": "cold_start", "graded": True}],
    "language_consistency": [{"language": "zh"}, {"language": "ja", "minimum_words": 10, "allowed": ("GPU",)}],
    "logic": [{"linear": True, "propositional": True, "seconds": 2.0, "minimum_claims": 2}],
    "symbolic": [{"answer_type": "decimal:2", "prefilled_think": True}],
    "overlong": [{"inner": "format", "longest": 100, "soft": 50}],
    "cosine_length": [{"inner": {"name": "format", "options": {"graded": True}}, "longest": 100}],
    "repetition": [{"inner": "format", "tokens": 3}],
    "code": [{"partial": True, "tolerance": 1e-6}],
}
MODEL_OPTIONS: dict[str, list[tuple[dict[str, Any], tuple[float, float]]]] = {
    "preference": [
        ({"normalize": "softmax", "sign": -1, "scope": "response"}, (0.0, 1.0)),
        ({"normalize": "sigmoid", "empty_score": 0.0}, (0.0, 1.0)),
        ({"normalize": "zscore", "clip": 3.0}, (-3.0, 3.0)),
    ]
}
GOLDS = ("72", "#### 1,072", r"\frac{1}{2}", "12%", "B", "yes", "(1, 2)", r"x^2 + 1", "Paris", r"(2, \infty)")
SCRIPTS = (
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF),
    (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xD800, 0xDFFF), (0x2000, 0x206F), (0x2200, 0x22FF), (0xFF00, 0xFFEF), (0x1F300, 0x1FAFF), (0x0, 0x1F),
)  # fmt: skip
PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "<think", "think>", "|special_token|", "\\boxed{", "\\boxed{5}",
    "{", "}", "\\{", "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\frac{1}{2}", "\\frac", "\\sqrt{", "```", "```python\n",
    "<!--", "-->", "\\phantom{", "{\\tiny ", "\\begin{align}", "\\end{align}", "#### ", "The answer is ", "答案是", "= ",
    "3 + 4 = 7", "1/0", "10^{10^{10}}", "2 > 3", " therefore ", "x = ", "\n\n", "http://", "www.", "_", "`", "9" * 50,
    "A(1, 2)", "the length of AB is 5", "0.1e999", "1e-400", "-", ",", ";", "(" * 30, ")" * 30, "\\", "\\left(", "^", "**",
)  # fmt: skip


def text_of(seed: int) -> str:
    """A hostile text, always the same for a seed."""
    chance = random.Random(seed)
    length = LONGEST if chance.random() < 0.01 else int(math.exp(chance.uniform(0.0, math.log(LONGEST))))
    kind = chance.random()
    if kind < 0.1:
        return chance.randbytes(length).decode("utf-8", "replace")[:length]
    if kind < 0.2:
        return chance.randbytes(length).decode("latin-1")
    if kind < 0.3:
        return (chance.choice(PIECES) * (1 + length // 3))[:length]  # one thing, over and over
    parts: list[str] = []
    size = 0
    while size < length:
        if chance.random() < 0.5:
            part = chance.choice(PIECES)
        else:
            low, high = chance.choice(SCRIPTS)
            many = chance.randint(1, 40)
            part = "".join(chr(chance.randint(low, high)) for _ in range(many))
        # long texts repeat what they have, so that making them is no slower than scoring them
        part *= 1 if length < 5000 else chance.choice((1, 1, 50))
        parts.append(part)
        size += len(part)
    text = "".join(parts)[:length]
    if chance.random() < 0.5:
        cut = chance.randint(0, len(text))
        text = f"<think>{text[:cut]}</think>{text[cut:]}"[:length]
    return text


def completion_of(seed: int) -> Any:
    """The text as TRL may hand it over: plain, a message, parts of one, messages with tool calls; rarely nothing."""
    text = text_of(seed)
    shape = seed % 5
    if seed % 97 == 0:
        return (None, [], "", [{"role": "assistant", "content": None}])[seed % 4]
    if shape == 0:
        return text
    if shape == 1:
        return [{"role": "assistant", "content": text}]
    if shape == 2:
        return [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": text[:100]},
                {"role": "assistant", "content": text}]  # fmt: skip
    if shape == 3:
        return [{"role": "assistant", "content": [{"type": "text", "text": text}, {"type": "image"}]}]
    return [{"role": "assistant", "reasoning_content": text[: len(text) // 2], "content": text[len(text) // 2 :]}]


def columns_of(seeds: list[int]) -> dict[str, Any]:
    """What the rows of a batch hold beside the completions."""
    tests = (json.dumps({"inputs": ["3 4\n"], "outputs": ["7\n"]}), "[", json.dumps([{"input": "1", "output": "1"}]))
    return {
        "solution": [GOLDS[one % len(GOLDS)] for one in seeds],
        "prompts": ["What is 3 + 4? A(0, 0), B = (3, 4)." if one % 2 else "三加四是多少？" for one in seeds],
        "completion_ids": [list(range(one % 50)) for one in seeds],
        "verification_info": [tests[one % 3] for one in seeds],
        "reward_for": [("helpfulness", "harmlessness", None)[one % 3] for one in seeds],
    }


class Subject(NamedTuple):
    """A reward under test. ``every``: it sees one batch in so many."""

    label: str
    reward: Callable[..., Any]
    bounds: tuple[float, float]
    every: int = 1


def rewards() -> Iterator[Subject]:
    """Every built-in reward that needs no model; ``code`` only where this machine has a sandbox."""
    from trl_r1.rewards.catalogue import load_reward

    for name, bounds in RANGES.items():
        every = SANDBOXED if name == "code" else 1
        if name == "code" and not has_sandbox():
            continue
        yield Subject(name, load_reward(name), bounds, every)
        for options in OPTIONS.get(name, []):
            yield Subject(f"{name} {options}", load_reward(name, **options), bounds, every * VARIANTS)


def has_sandbox() -> bool:
    """Whether programs can be isolated here."""
    from trl_r1.sandbox import NoSandbox, open_sandbox

    try:
        open_sandbox()
    except NoSandbox:
        return False
    return True


def model_rewards(model: str) -> Iterator[Subject]:
    """Every built-in reward that asks a model, with the classifier ``model`` (labels ``damaged`` and ``coherent``)."""
    from trl_r1.rewards.catalogue import load_reward

    layers = [
        {"name": "symbolic", "weight": 0.4},
        {"name": "logic", "weight": 0.3},
        {"name": "semantic", "weight": 0.3, "options": {"model": model}},
    ]
    for name, bounds in MODEL_RANGES.items():
        bound: dict[str, Any] = {"layers": layers} if name == "layered" else {"model": model, "label": "coherent"}
        if name == "agser":  # it asks a language model
            bound = {"model": "mini:base-tiny", "max_new_tokens": 8}
        yield Subject(name, load_reward(name, **bound), bounds)
        for options, narrower in MODEL_OPTIONS.get(name, []):
            yield Subject(f"{name} {options}", load_reward(name, **bound, **options), narrower, VARIANTS)


def random_classifier(folder: Path) -> str:
    """Saves a small classifier with random weights and returns its path."""
    from trl_r1.models.chain_classifier import untrained

    classifier = untrained(seed=0, hidden=16, layers=1)
    classifier.model.save_pretrained(folder)
    classifier.tokenizer.save_pretrained(folder)
    return str(folder)


def fuzz(
    count: int,
    seed: int,
    subjects: list[Subject] | None = None,
    progress: Callable[[int, list[str]], None] | None = None,
    part: tuple[int, int] = (0, 1),
) -> tuple[list[str], dict[str, float]]:
    """(failures, CPU seconds per reward) of ``count`` completions; through ``rewards()`` unless others are given.

    ``progress`` is called after every batch, with the completions done and the failures so far. ``part`` (k, n): only
    the k-th of n parts of the batches.
    """
    chosen = list(rewards()) if subjects is None else subjects
    failures: list[str] = []
    spent = {subject.label: 0.0 for subject in chosen}
    done = 0
    for start in range(0, count, BATCH):
        batch = start // BATCH
        if (batch + batch // VARIANTS) % part[1] != part[0]:  # so that each part gets its share of every tenth batch
            continue
        seeds = [seed * 1_000_003 + number for number in range(start, min(start + BATCH, count))]
        completions = [completion_of(one) for one in seeds]
        columns = columns_of(seeds)
        for subject in chosen:
            if batch % subject.every:
                continue
            started = time.process_time()
            failures += check(subject.label, subject.reward, subject.bounds, seeds, completions, columns)
            if batch % SPANNED == 0:
                failures += check_spans(subject, seeds, completions)
            spent[subject.label] += time.process_time() - started
        if progress is not None:
            progress(done := done + len(seeds), failures)
    return failures, spent


def check_spans(subject: Subject, seeds: list[int], completions: list[Any]) -> list[str]:
    """What is wrong with the places that a reward names: they lie in the reply, and sum to the score."""
    from trl_r1.text.completions import reply

    reward: Any = subject.reward
    if not hasattr(reward, "spans"):
        return []
    target = {"language": "en"} if "language" in inspect.signature(reward.spans).parameters else {}
    found = []
    for one, completion in zip(seeds, completions, strict=True):
        try:
            text, score = reply(completion), reward.score(completion, **target)
            spans = reward.spans(completion, **target)
        except Exception as error:  # any exception is the finding
            found.append(f"{subject.label}: text_of({one}): spans: {type(error).__name__}: {error}"[:500])
            continue
        total = sum(share for *_, share in spans)
        if not math.isclose(total, score or 0.0, abs_tol=1e-9):
            found.append(f"{subject.label}: text_of({one}): spans sum to {total!r}, the score is {score!r}")
        if any(not 0 <= start <= end <= len(text) for start, end, _ in spans):
            found.append(f"{subject.label}: text_of({one}): a span lies outside the reply")
    return found


def check(
    label: str, reward: Callable[..., Any], bounds: tuple[float, float], seeds: list[int], completions: list[Any],
    columns: dict[str, Any],
) -> list[str]:  # fmt: skip
    """What is wrong with the scores of one batch; an exception is traced to its completion."""
    try:
        scores = reward(completions=completions, **columns)
    except Exception as error:  # any exception is the finding
        if len(completions) == 1:
            return [f"{label}: text_of({seeds[0]}): {type(error).__name__}: {error}"[:500]]
        found = []
        for index in range(len(completions)):
            one = {key: values[index : index + 1] for key, values in columns.items()}
            found += check(label, reward, bounds, seeds[index : index + 1], completions[index : index + 1], one)
        return found or [f"{label}: a batch from text_of({seeds[0]}) raised {type(error).__name__}, its parts did not"]
    if len(scores) != len(completions):
        return [f"{label}: {len(scores)} scores for {len(completions)} completions from text_of({seeds[0]})"]
    low, high = bounds
    return [
        f"{label}: text_of({one}): {score!r} is not in [{low:g}, {high:g}]"
        for one, score in zip(seeds, scores, strict=True)
        if score is not None and not (math.isfinite(score) and low - 1e-9 <= score <= high + 1e-9)
    ]


def share(part: int, parts: int, count: int, seed: int, model: str, told: Any) -> None:
    """One process's part of the work; tells (part, completions done, new failures, CPU seconds per reward or None)."""
    known = 0

    def progress(done: int, failures: list[str]) -> None:
        nonlocal known
        told.put((part, done, failures[known:], None))
        known = len(failures)

    _, spent = fuzz(count, seed, list(model_rewards(model) if model else rewards()), progress, (part, parts))
    told.put((part, 0, [], spent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000, help="completions (default: 200,000)")
    parser.add_argument("--seed", type=int, default=None, help="a number; chosen by the clock without")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--models", action="store_true", help="the rewards with a model instead of those without")
    chosen = parser.parse_args()
    seed = time.time_ns() % 1_000_000 if chosen.seed is None else chosen.seed
    started, spent, failed = time.monotonic(), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        model = random_classifier(Path(folder)) if chosen.models else ""
        names = dict.fromkeys(subject.label.split()[0] for subject in (model_rewards(model) if model else rewards()))
        print(f"seed {seed}, {chosen.count} completions through {', '.join(names)}", flush=True)
        if not chosen.models and "code" not in names:
            print("code is left out: no sandbox works on this machine", flush=True)
        context = multiprocessing.get_context("spawn")
        told = context.Queue()
        jobs = [context.Process(target=share, args=(part, chosen.jobs, chosen.count, seed, model, told))
                for part in range(chosen.jobs)]  # fmt: skip
        for job in jobs:
            job.start()
        finished, shares = 0, [0] * len(jobs)
        while finished < len(jobs):
            try:
                part, done, failures, seconds = told.get(timeout=5.0)
            except queue.Empty:
                if any(job.exitcode not in (None, 0) for job in jobs):
                    raise SystemExit("A process of the fuzz ended by itself.") from None
                continue
            for failure in failures[: max(0, SHOWN - failed)]:
                print(f"FAILED {failure}", flush=True)
            failed += len(failures)
            if seconds is not None:
                finished += 1
                spent.update(seconds)
                continue
            before, shares[part] = sum(shares), done
            if sum(shares) // 2000 > before // 2000:
                rate = sum(shares) / (time.monotonic() - started)
                print(f"{sum(shares)} of {chosen.count}, {rate:.0f} per second", file=sys.stderr, flush=True)
    for label, seconds in spent.items():
        print(f"{seconds:9.1f} CPU s  {label}")
    print(f"{failed} failures in {chosen.count} completions, seed {seed}, {time.monotonic() - started:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
