"""Fuzz: every reward that needs no model, on texts that no one would write.

    python benchmarks/fuzz_rewards.py --count 200000 --seed 7

All scripts, random bytes, nested and broken tags, LaTeX, code, claims, lone surrogates; lengths log-uniform from 1 to
200,000 characters, one in a hundred at the top. Each reward sees all of them with its default options, and a quarter
with others. Every call must return one score per completion, None or a finite number in the reward's documented range,
and raise nothing. The seed is printed; a failure is printed with its text's seed, so that it can be made again. Exit
code 1 after a failure.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


LONGEST = 200_000  # characters
BATCH = 20
VARIANTS = 4  # a reward with other options sees every fourth batch

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
}
LEFT_OUT = frozenset("semantic layered preference helpfulness harmlessness code".split())  # a model, or a sandbox
OPTIONS: dict[str, list[dict[str, Any]]] = {  # further instances of a reward, by their options
    "accuracy": [{"math_verify": False}],
    "format": [{"graded": True}, {"layout": "summary"}, {"layout": "cold_start", "graded": True}],
    "language_consistency": [{"language": "zh"}, {"language": "ja", "minimum_words": 10, "allowed": ("GPU",)}],
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
    """The text as TRL may hand it over: plain, a message, messages with tool calls."""
    text = text_of(seed)
    shape = seed % 4
    if shape == 0:
        return text
    if shape == 1:
        return [{"role": "assistant", "content": text}]
    if shape == 2:
        return [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": text[:100]},
                {"role": "assistant", "content": text}]  # fmt: skip
    return [{"role": "assistant", "reasoning_content": text[: len(text) // 2], "content": text[len(text) // 2 :]}]


def rewards() -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """(name, label, reward) of every built-in reward that needs no model."""
    from trl_r1.rewards.catalogue import BUILT_IN, load_reward

    for name in BUILT_IN:
        if name in RANGES:
            yield name, name, load_reward(name)
            for options in OPTIONS.get(name, []):
                yield name, f"{name} {options}", load_reward(name, **options)


def fuzz(count: int, seed: int, progress: Callable[[int], None] | None = None) -> tuple[list[str], dict[str, float]]:
    """(failures, CPU seconds per reward) of ``count`` completions through every reward."""
    chosen = list(rewards())
    failures: list[str] = []
    spent = dict.fromkeys((label for _, label, _ in chosen), 0.0)
    for start in range(0, count, BATCH):
        seeds = [seed * 1_000_003 + number for number in range(start, min(start + BATCH, count))]
        completions = [completion_of(one) for one in seeds]
        columns = {
            "solution": [GOLDS[one % len(GOLDS)] for one in seeds],
            "prompts": ["What is 3 + 4?" if one % 2 else "三加四是多少？" for one in seeds],
            "completion_ids": [list(range(one % 50)) for one in seeds],
        }
        for name, label, reward in chosen:
            if label != name and start // BATCH % VARIANTS:
                continue
            started = time.process_time()
            failures += check(label, reward, RANGES[name], seeds, completions, columns)
            spent[label] += time.process_time() - started
        if progress is not None:
            progress(start + len(seeds))
    return failures, spent


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000, help="completions (default: 200,000)")
    parser.add_argument("--seed", type=int, default=None, help="a number; chosen by the clock without")
    chosen = parser.parse_args()
    seed = time.time_ns() % 1_000_000 if chosen.seed is None else chosen.seed
    from trl_r1.rewards.catalogue import BUILT_IN

    print(f"seed {seed}, {chosen.count} completions; left out: "
          f"{', '.join(name for name in BUILT_IN if name not in RANGES) or 'none'}", flush=True)  # fmt: skip
    started = time.monotonic()

    def progress(done: int) -> None:
        if done % 2000 == 0:
            rate = done / (time.monotonic() - started)
            print(f"{done} of {chosen.count}, {rate:.0f} per second", file=sys.stderr, flush=True)

    failures, spent = fuzz(chosen.count, seed, progress)
    for label, seconds in spent.items():
        print(f"{seconds:9.1f} CPU s  {label}")
    for failure in failures[:20]:
        print(f"FAILED {failure}")
    print(f"{len(failures)} failures in {chosen.count} completions, seed {seed}, {time.monotonic() - started:.0f} s")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
