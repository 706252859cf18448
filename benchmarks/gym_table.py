"""Every dataset of reasoning-gym, through our rows and our reward. Prints a table, or with --markdown the one of the docs.

    python benchmarks/gym_table.py                       (all; about ten minutes on one core)
    python benchmarks/gym_table.py chain_sum sudoku      (these)

draw      seconds for the rows: 8 train, 4 test, 2 few_shot
same      the same rows come again from the same seed
apart     no question of train is in test or few_shot
gold      the least that the gold answer earns through our reward in our layout, <think>..</think> <answer>..</answer>
other     the most that these earn: no answer, "I do not know zz", the gold answer of another question (where it differs)

A dataset is as it should be when it draws, is the same, apart, gold 1, and other below 1 (a puzzle may accept another's
answer by chance: see the note). Each gets --seconds, in a process of its own. Exit code 1 when one is not as the table in
docs/reasoning_gym.md says it is (with --expect, a comma-separated list of those known to fail).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time


SIZES = {"train": 8, "test": 4, "few_shot": 2}


def examine(dataset: str) -> dict[str, object]:
    """The numbers of one dataset, as in the module's text."""
    from trl_r1.data.columns import load_rows
    from trl_r1.rewards.reasoning_gym import reasoning_gym_reward

    def draw() -> dict[str, dict[str, list[str]]]:
        return {
            split: load_rows(f"reasoning_gym:{dataset}", split, {"size": size})[:] for split, size in SIZES.items()
        }

    started = time.monotonic()
    rows = draw()
    seconds = time.monotonic() - started
    same = draw() == rows
    questions = {split: set(part["question"]) for split, part in rows.items()}
    apart = (
        not questions["train"] & (questions["test"] | questions["few_shot"])
        and not questions["test"] & questions["few_shot"]
    )
    golds = [gold for part in rows.values() for gold in part["solution"]]
    entries = [entry for part in rows.values() for entry in part["reasoning_gym"]]

    def earned(answers: list[str]) -> list[float]:
        replies = [f"<think>Let me see.</think> <answer>{answer}</answer>" for answer in answers]
        return [-1.0 if score is None else score for score in reasoning_gym_reward(replies, reasoning_gym=entries)]

    shifted = [*golds[1:], golds[0]]
    others = [score for score, a, b in zip(earned(shifted), golds, shifted, strict=True) if a != b]
    garbage = max(*earned(["I do not know zz"] * len(golds)), *earned([""] * len(golds)))
    return {
        "rows": len(golds),
        "draw": round(seconds, 1),
        "same": same,
        "apart": apart,
        "gold": round(min(earned(golds)), 3),
        "garbage": round(garbage, 3),
        "other": round(max(others, default=0.0), 3),
    }


def in_a_process(dataset: str, seconds: float) -> dict[str, object]:
    """``examine`` under a limit of time."""
    command = [sys.executable, __file__, "--one", dataset]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"why": f"not drawn in {seconds:.0f} s"}
    if done.returncode:
        return {"why": (done.stderr.strip().splitlines() or ["died"])[-1][:160]}
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help="per dataset (60)")
    parser.add_argument("--expect", default="", help="known to fail, with commas between them")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(examine(args.one)))
        return 0
    from trl_r1.data.gym import names

    failed = []
    for dataset in args.datasets or names():
        found = in_a_process(dataset, args.seconds)
        good = (
            "why" not in found and found["same"] and found["apart"] and found["gold"] == 1.0 and found["garbage"] < 1.0
        )  # type: ignore[operator]
        if not good:
            failed.append(dataset)
        print(f"{'' if good else 'FAILS '}{dataset}: {json.dumps(found)}", flush=True)
    print(f"{len(failed)} fail: {', '.join(failed) or 'none'}")
    return int(set(failed) != {name for name in args.expect.split(",") if name})


if __name__ == "__main__":
    sys.exit(main())
