"""Every dataset of reasoning-gym, through our rows and our reward. Prints a table, or with --markdown the one of the docs.

    python benchmarks/gym_table.py                       (all; about ten minutes on one core)
    python benchmarks/gym_table.py chain_sum sudoku      (these)

draw      seconds for the rows: 8 train, 4 test, 2 few_shot, drawn twice, in a process of its own
same      the same rows come again from the same seed
apart     no question of train is in test or few_shot
gold      the least that the gold answer earns through our reward in our layout, <think>..</think> <answer>..</answer>
garbage   the most that no answer and "I do not know zz" earn
other     the most that the gold answer of another question earns, where it is another (some tasks have many right answers)

A dataset is as it should be when it draws in --seconds, is the same, apart, gold 1, and garbage below 1. Exit code 1 when
others fail than --expect names.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import sys
import time
from typing import Any

from datasets import Dataset

from trl_r1.data.columns import load_rows
from trl_r1.data.gym import names
from trl_r1.rewards.reasoning_gym import reasoning_gym_reward


SIZES = {"train": 8, "test": 4, "few_shot": 2}


def draw(dataset: str, results: Any) -> None:
    """Puts seconds and the rows of every split, drawn twice, into the queue; or why there are none."""
    started = time.monotonic()
    try:
        twice = [
            {split: load_rows(f"reasoning_gym:{dataset}", split, {"size": size})[:] for split, size in SIZES.items()}
            for _ in range(2)
        ]
    except ValueError as error:
        results.put((0.0, str(error)[:160]))
    else:
        results.put((round(time.monotonic() - started, 1), twice))


def drawn(dataset: str, seconds: float) -> tuple[float, Any]:
    """What ``draw`` gives, under a limit of time."""
    forked = multiprocessing.get_context("fork")
    results = forked.Queue()
    process = forked.Process(target=draw, args=(dataset, results))
    process.start()
    try:
        return results.get(timeout=seconds)
    except queue.Empty:
        return seconds, f"not drawn in {seconds:.0f} s"
    finally:
        process.kill()
        process.join()


def earned(answers: list[str], entries: list[str]) -> list[float]:
    """Scores in our layout; -1 where an answer was not judged."""
    replies = [f"<think>Let me see.</think> <answer>{answer}</answer>" for answer in answers]
    return [-1.0 if score is None else score for score in reasoning_gym_reward(replies, reasoning_gym=entries)]


def examine(dataset: str, seconds: float) -> dict[str, Any]:
    """The numbers of one dataset, as in the module's text."""
    took, twice = drawn(dataset, seconds)
    if isinstance(twice, str):
        return {"why": twice}
    rows = twice[0]
    train, test, shots = (set(rows[split]["question"]) for split in SIZES)
    golds = [gold for part in rows.values() for gold in part["solution"]]
    entries = [entry for part in rows.values() for entry in part["reasoning_gym"]]
    shifted = [*golds[1:], golds[0]]
    others = [score for score, a, b in zip(earned(shifted, entries), golds, shifted, strict=True) if a != b]
    garbage = [*earned(["I do not know zz"] * len(golds), entries), *earned([""] * len(golds), entries)]
    return {
        "rows": len(golds),
        "draw": took,
        "same": twice[0] == twice[1],
        "apart": not (train & test or train & shots or test & shots),
        "gold": round(min(earned(golds, entries)), 3),
        "garbage": round(max(garbage), 3),
        "other": round(max(others, default=0.0), 3),
    }


def good(found: dict[str, Any]) -> bool:
    """Whether a dataset is as it should be."""
    return "why" not in found and found["same"] and found["apart"] and found["gold"] == 1.0 and found["garbage"] < 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*")
    parser.add_argument("--seconds", type=float, default=60.0, help="for the rows of a dataset (60)")
    parser.add_argument("--expect", default="", help="those known to fail, with commas between them")
    args = parser.parse_args()
    failed = []
    known = names()  # which also loads the library, once for all the processes that draw
    Dataset.from_list([{"loaded": True}])
    for dataset in args.datasets or known:
        found = examine(dataset, args.seconds)
        if not good(found):
            failed.append(dataset)
        print(f"{'' if good(found) else 'FAILS '}{dataset}: {json.dumps(found)}", flush=True)
    print(f"{len(failed)} fail: {', '.join(failed) or 'none'}")
    return int(set(failed) != {name for name in args.expect.split(",") if name})


if __name__ == "__main__":
    sys.exit(main())
