"""Our options in two gloo processes: statistics are global, every rank agrees, groups may lie across ranks."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_agree_on_advantages_masks_beta_and_reference(tiny, tmp_path):
    script = Path(__file__).parent / "two_processes.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run([*command, tiny, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
