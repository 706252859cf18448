"""Kill -9 a pipeline at random moments, resume it, and compare what it keeps with an uninterrupted run.

    python benchmarks/kill_pipeline.py [--pipeline mini/pipeline] [--scale tiny] [--kills 20] [--seed 0] [--folder DIR]

One run is left alone. Then the same pipeline is started in another folder and killed after a random time, again and
again; each time one of three is killed: the pipeline's own process, the process that watches its stages, or all of its
processes at once. A run that got through is compared with the uninterrupted one, and the next begins in a new folder,
until there were as many kills as asked for. Compared are: ids of the kept samples (missing, additional, twice), the
SHA-256 of every data file, and the SHA-256 of every model's weights.

The last line is JSON; exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from trl_r1.pipeline.supervisor import marked


KINDS = ("pipeline", "supervisor", "all")


def begin(order: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The pipeline as a user starts it, its output in a file beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = open(folder / "said.txt", "ab")
    return subprocess.Popen([sys.executable, "-m", "trl_r1.cli", "run", *order, "--output_dir", "run"], cwd=folder,
                            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)  # fmt: skip


def kill(process: subprocess.Popen[bytes], folder: Path, kind: str) -> None:
    """SIGKILL to the chosen process or processes."""
    members = marked(str((folder / "run").resolve()))
    watching = [pid for pid in members if parent(pid) == process.pid]
    victims = {"pipeline": [process.pid], "supervisor": watching or [process.pid], "all": [process.pid, *members]}[
        kind
    ]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it had just ended


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def left(folder: Path) -> dict[str, Any]:
    """What a finished run has kept: data file -> ids and hash, weights -> hash."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "run").glob("*/*")):
        if path.suffix not in (".jsonl", ".safetensors") or path.name.startswith(("metrics", "completions")):
            continue
        name = f"{path.parent.name}/{path.name}"
        found[name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            found[name]["ids"] = Counter(row.get("id") for row in rows)
            found[name]["rows"] = len(rows)
    return found


def compare(whole: dict[str, Any], resumed: dict[str, Any]) -> list[str]:
    """What differs, in words."""
    said = []
    for name in sorted({*whole, *resumed}):
        first, second = whole.get(name), resumed.get(name)
        if first is None or second is None:
            said.append(f"{name} is only in the {'uninterrupted' if second is None else 'resumed'} run")
            continue
        if "ids" in first:
            missing, more = first["ids"] - second["ids"], second["ids"] - first["ids"]
            twice = [key for key, count in second["ids"].items() if key is not None and count > first["ids"][key]]
            if missing or more or twice:
                said.append(f"{name}: {len(missing)} missing, {len(more)} additional, {len(twice)} more often")
        if first["sha256"] != second["sha256"]:
            said.append(f"{name}: the bytes differ")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="mini/pipeline")
    parser.add_argument("--scale", default="tiny")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments, not of the pipeline")
    parser.add_argument("--folder", type=Path, help="keep everything there instead of a temporary folder")
    parser.add_argument(
        "--longest", type=float, help="seconds to the latest kill; default: an uninterrupted run's time"
    )
    chosen = parser.parse_args()
    root = chosen.folder or Path(tempfile.mkdtemp(prefix="kill_pipeline-"))
    chance = random.Random(chosen.seed)
    file = str(Path(chosen.pipeline).resolve()) if Path(chosen.pipeline).is_file() else chosen.pipeline
    order = [file, *(["--scale", chosen.scale] if chosen.scale else [])]

    started = time.time()
    code = begin(order, root / "whole").wait()
    alone = time.time() - started
    if code:
        print(f"The uninterrupted run failed; see {root / 'whole/said.txt'}.", file=sys.stderr)
        return 1
    whole = left(root / "whole")
    rows = sum(entry.get("rows", 0) for entry in whole.values())
    print(f"uninterrupted: {alone:.0f} s, {len(whole)} products, {rows} rows", flush=True)

    kills, runs, problems, orphans = 0, 0, [], 0
    kinds: Counter[str] = Counter()
    while kills < chosen.kills or runs == 0:
        folder = root / f"killed-{runs}"
        while True:
            process = begin(order, folder)
            wait = chance.uniform(0.0, chosen.longest or alone) if kills < chosen.kills else None
            try:
                code = process.wait(timeout=wait)
                if code == 0:
                    break
                problems.append(f"killed-{runs} ended with {code}; see {folder / 'said.txt'}")
                break
            except subprocess.TimeoutExpired:
                kind = chance.choice(KINDS)
                kill(process, folder, kind)
                process.wait()
                kills += 1
                kinds[kind] += 1
                deadline = time.time() + 5.0
                while marked(str((folder / "run").resolve())) and time.time() < deadline:
                    time.sleep(0.05)
                alive = len(marked(str((folder / "run").resolve())))
                orphans += alive
                print(f"kill {kills:>2} after {wait:5.1f} s ({kind}); {alive} processes left", flush=True)
        different = compare(whole, left(folder))
        problems += [f"killed-{runs}: {text}" for text in different]
        print(
            f"killed-{runs}: {'equal to the uninterrupted run' if not different else '; '.join(different)}", flush=True
        )
        runs += 1
    result = {
        "kills": kills, "of": dict(kinds), "runs": runs, "orphans": orphans, "uninterrupted_seconds": round(alone, 1),
        "products": len(whole), "rows": rows, "problems": problems,
    }  # fmt: skip
    print(json.dumps(result))
    return 1 if problems or orphans else 0


if __name__ == "__main__":
    sys.exit(main())
