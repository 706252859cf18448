"""A stock `trl grpo` command line with our rewards: no line of ours but their names."""

import importlib.util
import json
import subprocess
import sys

import pytest

from trl_r1.rewards.reasoning_gym_entry import Entry, to_text
from trl_r1.sandbox import NoSandbox, open_sandbox


@pytest.mark.slow
def test_trl_grpo_takes_our_rewards_by_dotted_path(tiny, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    tests = json.dumps({"inputs": ["1"], "outputs": ["2"]})
    entry = to_text(Entry("chain_sum", {}, {"question": "1 + 1 =", "answer": "2", "metadata": {}}))
    row = {"language": "en", "verification_info": tests, "reasoning_gym": entry}
    rows = [{"prompt": f"Compute {i} + 1.", "solution": str(i + 1), **row} for i in range(8)]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = "accuracy format language_consistency logic geometry symbolic overlong cosine_length repetition".split()
    if importlib.util.find_spec("reasoning_gym") is not None:
        names.append("reasoning_gym")
    try:
        open_sandbox()
        names.append("code")
    except NoSandbox:
        pass  # the other rewards need none
    command = [
        sys.executable, "-m", "trl.cli.main", "grpo", "--model_name_or_path", tiny, "--dataset_name", str(data),
        "--reward_funcs", *[f"trl_r1.rewards.{name}_reward" for name in names], "--output_dir", str(tmp_path / "out"),
        "--use_cpu", "true", "--bf16", "false", "--max_steps", "2", "--num_generations", "4", "--logging_steps", "1",
        "--per_device_train_batch_size", "8", "--max_completion_length", "8", "--report_to", "none",
        "--gradient_checkpointing", "false",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    history = json.loads((tmp_path / "out" / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
    for name in names:
        assert f"rewards/{name}/mean" in history[0], name
