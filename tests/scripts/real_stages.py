"""Every stage of smollm2/pipeline in a few steps on the real model, and what the demo leaves: `make test-real`.

    python tests/scripts/real_stages.py [FOLDER]         minutes on two cores; a folder that is kept, or a temporary one

Ends with 0 and a line that says so where the model or reasoning-gym cannot be had.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trl_r1.models.gguf import SMOLLM2, STUDENT, resolve_gguf
from trl_r1.pipeline.plan import read
from trl_r1.rewards.reasoning_gym import MISSING


TOLD = (
    "zero",
    "cold_start",
    "reasoning_rl",
    "rejection_sampling",
    "sft",
    "all_scenario_rl",
    "reward_model",
    "distill",
)


def main(folder: Path) -> None:
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "trl_r1.cli",
        "demo",
        "--model",
        "smollm2",
        "--scale",
        "tiny",
        "--output",
        str(folder),
    ]
    assert subprocess.run(command).returncode == 0, f"the demo failed; {folder / 'logs'} says why"
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary["stages"]) == {step.name for step in read("smollm2/pipeline").steps}
    assert not set(TOLD) - set(summary), summary.keys()
    for name, task in summary["zero_tasks"].items():
        assert {"before", "after", "problems", "steps", "interval"} <= set(task), name
        assert all(0 <= task[when] <= 1 for when in ("before", "after")), (name, task)
        assert task["steps"] >= 1, (name, task)
    assert len(summary["zero_tasks"]) == 3
    assert set(summary["final"]) == {"last", "addition"}
    kept = (folder / "rejection_sampling/kept.jsonl").read_text().splitlines()
    assert {json.loads(line)["domain"] for line in kept} == {"reasoning"}
    report = (folder / "report.md").read_text()
    assert all(heading in report for heading in ("## Five answers before and after", "## What it cost"))
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "starts" not in again.stdout  # finished: it only shows its result
    print(f"Every stage of the real pipeline ran, and the demo told them, in {time.monotonic() - began:.0f} seconds.")


if __name__ == "__main__":
    try:
        for name in (SMOLLM2, STUDENT):
            resolve_gguf(name)
        if importlib.util.find_spec("reasoning_gym") is None:
            raise ValueError(MISSING)
    except ValueError as error:
        print(f"Left out: {error}")
        sys.exit(0)
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch) / "run")
