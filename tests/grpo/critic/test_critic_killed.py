"""A critic over a kill -9 and in two processes, each a run of its own."""

import json
import signal
from pathlib import Path

import fresh
import pytest
import torch
from places import SCRIPTS


OPTIONS = {
    "advantage": "two_tower", "advantage_options": {"warmup": 2, "lam": 0.9}, "beta": 0.05, "steps_per_generation": 2,
    "gradient_accumulation_steps": 2, "num_iterations": 2, "per_device_train_batch_size": 4, "max_steps": 8,
    "save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "linear", "save_total_limit": 2,
    "rollout": "fast", "batching": "fast",
}  # fmt: skip


def start(tiny, folder, **order):
    order = {"model": tiny, "output_dir": str(folder), "kind": "full", "options": OPTIONS, **order}
    return fresh.start(SCRIPTS / "killed_run.py", json.dumps(order))


@pytest.mark.slow
def test_a_killed_run_with_a_critic_resumes_onto_the_same_trajectory(tiny, tmp_path):
    """QLoRA: tests/models/test_four_bit.py."""
    whole = start(tiny, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr[-2000:]
    killed = start(tiny, tmp_path / "killed", kill_at=5)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    resumed = start(tiny, tmp_path / "killed", resume=True)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    lines = []
    for name in ("whole", "killed"):
        rows = [json.loads(line) for line in Path(f"{tmp_path / name}.jsonl").read_text().splitlines()]
        rows = {
            row["step"]: {k: row.get(k) for k in ("loss", "grad_norm", "reward", "critic/value_loss")} for row in rows
        }
        lines.append(rows)
    assert sorted(lines[0]) == list(range(1, 9))
    assert lines[0] == lines[1]
    ends = [torch.load(f"{tmp_path / name}.weights") for name in ("whole", "killed")]
    for part in ("weights", "critic"):
        assert ends[0][part].keys() == ends[1][part].keys() != set()
        for name, tensor in ends[0][part].items():
            assert torch.equal(tensor, ends[1][part][name]), (part, name)


@pytest.mark.slow
def test_two_processes_agree_on_towers_moments_and_policy(two_ranks, tiny, tmp_path):
    two_ranks("two_processes_critic.py", tiny, tmp_path)
