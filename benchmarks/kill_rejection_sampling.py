"""Kill -9 rejection sampling at random moments, resume, and compare with an uninterrupted run.

    python benchmarks/kill_rejection_sampling.py --kills 20

Every start is a process of its own (forked after the imports, so that a start takes a second instead of ten), killed with
SIGKILL after a random time. A run is resumed until it is finished; its kept.jsonl must then be, byte for byte, that of the
uninterrupted run, and so must the rows of every shard. Runs follow each other until the wanted number of kills is reached.
Exit code 0: all equal. The model is mini:base-tiny with random-looking answers, so `right` is left out of the filters.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path


os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

from trl_r1.mini.store import resolve_model
from trl_r1.stages import rejection_sampling


OPTIONS = {
    "dataset_name": "mini:train-tiny", "template": "mini", "language_column": "language", "samples_per_prompt": "4",
    "max_new_tokens": "24", "sampling_batch_size": "64", "unit_prompts": "4", "filters": '["answered", "repetition"]',
    "near_duplicate_similarity": "0.7", "per_prompt": "2", "decontaminate": '[{"dataset_name": "mini:test-tiny"}]',
    "general": '[{"name": "more", "domain": "writing", "dataset_name": "mini:dev-tiny", "samples": 2}]',
    "mix": '{"reasoning": 0.75, "more": 0.25}', "use_cpu": "true", "dtype": "float32", "disable_tqdm": "true",
}  # fmt: skip


def start(model: str, folder: Path, log: Path) -> int:
    """A child process that runs the stage; its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open(log, "a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            torch.set_num_threads(1)
            options = {**OPTIONS, "model_name_or_path": model, "output_dir": str(folder)}
            rejection_sampling.main([part for key, value in options.items() for part in (f"--{key}", value)])
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            os._exit(code)  # a forked child must not run its parent's exit handlers
    return pid


def wait(pid: int, seconds: float) -> int | None:
    """The exit code, or None when the process is still alive after so many seconds."""
    ends = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= ends:
            return None
        time.sleep(0.005)


def phase(folder: Path) -> str:
    """How far a run has come, for the table of where the kills fell."""
    for name, word in (("summary.json", "finished"), ("report.md", "summary"), ("kept.jsonl", "report"),
                       ("judged/00000.jsonl", "judging or selecting"), ("samples/00000.jsonl", "sampling"),
                       ("run.json", "first unit")):  # fmt: skip
        if (folder / name).exists():
            return word
    return "checks"


def result(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run left: kept.jsonl, and the rows of each shard (not its first line, which holds seconds)."""
    found = {"kept.jsonl": hashlib.sha256((folder / "kept.jsonl").read_bytes()).hexdigest()}
    for path in sorted(folder.glob("*/*.jsonl")):
        rows = path.read_bytes().partition(b"\n")[2]
        found[str(path.relative_to(folder))] = hashlib.sha256(rows).hexdigest()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, root = random.Random(options.seed), Path(tempfile.mkdtemp(prefix="kill-"))
    model, log = resolve_model("mini:base-tiny"), root / "log.txt"
    try:
        began = time.monotonic()
        if wait(start(model, root / "whole", log), 600) != 0:
            print(log.read_text(), file=sys.stderr)
            return 2
        length = time.monotonic() - began
        wanted, rows = result(root / "whole"), (root / "whole" / "kept.jsonl").read_text().splitlines()
        kills, runs, equal, where = 0, 0, True, collections.Counter()
        while kills < options.kills:
            folder, runs, code = root / f"run{runs}", runs + 1, None
            while code is None:
                limit = rng.uniform(0, length * rng.choice((0.3, 0.6, 1.0))) if kills < options.kills else 600
                pid = start(model, folder, log)
                code = wait(pid, limit)
                if code is None:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    kills += 1
                    where[phase(folder)] += 1
                elif code != 0:
                    print(log.read_text(), file=sys.stderr)
                    return 2
            ids = [json.loads(line)["id"] for line in (folder / "kept.jsonl").read_text().splitlines()]
            equal = equal and result(folder) == wanted and len(ids) == len(set(ids))
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
        print(json.dumps({
            "kills": kills, "runs": runs, "equal": equal, "kept": len(rows), "seconds_uninterrupted": round(length, 1),
            "kills_while": dict(where),
        }))  # fmt: skip
        return 0 if equal and rows else 1
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
