"""FSDP2 on two CPU processes: the shipped config trains, saves the whole model and resumes; `batching: fast` stays exact."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from places import SCRIPTS
from safetensors.torch import load_file

from trl_r1 import recipes


ROWS = [{"question": f"Compute {i} + 1.", "solution": str(i + 1)} for i in range(12)]


@pytest.mark.slow
def test_the_gradient_of_sharded_models_is_that_of_padded_batches(two_ranks, tiny, tmp_path):
    given = yaml.safe_load(recipes.find("accelerate/fsdp2").read_text())["fsdp_config"]
    fsdp = {key.upper(): str(value).lower() for key, value in given.items()}
    fsdp |= {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}
    printed = two_ranks(
        "two_processes_sharded.py", tiny, tmp_path, env={**os.environ, **fsdp, "ACCELERATE_USE_FSDP": "true"}
    )
    assert printed.count("sharded\n") == 2


def launch(kind: str, *arguments: object) -> subprocess.CompletedProcess:
    """Runs a script and its arguments by accelerate with the shipped config of that kind, or skips without DeepSpeed."""
    if kind == "zero3":
        pytest.importorskip("deepspeed", reason="ZeRO-3 needs deepspeed, which no extra of ours installs")
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", recipes.find(f"accelerate/{kind}"),
        "--main_process_port", "0", *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "DS_ACCELERATOR": "cpu"}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500, env=environment)


@pytest.mark.slow
def test_zero3_trains_as_stock_trl_and_as_padded_batches(tiny, tmp_path):
    done = launch("zero3", "--mixed_precision", "no", SCRIPTS / "two_processes_zero3.py", tiny, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("sharded\n") == 2


@pytest.mark.slow
@pytest.mark.skipif("TRL_R1_SHARDED" not in os.environ, reason="a minute each; set TRL_R1_SHARDED=1")
@pytest.mark.parametrize(("kind", "weights"), [("fsdp2", "pytorch_model_fsdp.bin"), ("zero3", "model.safetensors")])
def test_the_shipped_config_trains_saves_the_whole_model_and_resumes(kind, weights, tiny, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    settings = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": str(tmp_path / "rows.jsonl"), "template": "mini",
        "rewards": [{"name": "trl_r1.grpo.identity.share_of_low_bytes"}], "output_dir": str(out), "use_cpu": True,
        "bf16": True, "gradient_checkpointing": True, "per_device_train_batch_size": 4, "num_generations": 4,
        "max_completion_length": 6, "max_steps": 4, "learning_rate": 1e-3, "beta": 0.1, "batching": "fast",
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 2, "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(settings))
    stage = SCRIPTS / "sharded_on_cpu.py", "trl_r1.stages.zero", "--config", recipe
    done = launch(kind, *stage)
    assert done.returncode == 0, done.stderr[-4000:]
    first = load_file(out / "model.safetensors")
    before = load_file(Path(tiny) / "model.safetensors")
    assert all(tensor.shape == before[name].shape for name, tensor in first.items())
    assert set(before) - set(first) <= {"lm_head.weight"}  # tied
    assert any(
        not torch.equal(tensor.float(), before[name].to(tensor.dtype).float()) for name, tensor in first.items()
    )
    cut = out / "checkpoint-4" / weights  # a copy that was interrupted
    cut.write_bytes(cut.read_bytes()[:1000])
    written = (out / "checkpoint-2" / "trainer_state.json").stat().st_mtime_ns
    for path in (out / "model.safetensors", out / "summary.json"):
        path.unlink()
    done = launch(kind, *stage)
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"{weights} is cut off" in done.stderr
    again = load_file(out / "model.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert (out / "checkpoint-2" / "trainer_state.json").stat().st_mtime_ns == written  # not from the beginning
