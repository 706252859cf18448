"""Our options in two gloo processes: statistics are global, every rank agrees, groups may lie across ranks."""

import pytest


@pytest.mark.slow
def test_two_processes_agree_on_advantages_masks_beta_and_reference(two_ranks, tiny, tmp_path):
    two_ranks("two_processes.py", tiny, tmp_path)
