"""A run that was killed between its last training step and its end takes no step more when it goes on."""

import hashlib
import json

import pytest
import yaml

from trl_r1.stages import sft, zero


ROWS = [
    {"question": f"Compute {i} + 1.", "solution": str(i + 1), "completion": f"<answer>{i + 1}</answer>"}
    for i in range(12)
]


@pytest.mark.parametrize(("stage", "more"), [
    (zero, {"rewards": [{"name": "format"}], "num_generations": 4, "max_completion_length": 6, "beta": 0.01}),
    (sft, {"max_length": 64, "packing": False, "prompt_column": None}),
])  # fmt: skip
@pytest.mark.slow
def test_the_last_checkpoint_is_not_trained_further(stage, more, tiny, tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    folder = tmp_path / "out"
    recipe = {
        "model_name_or_path": tiny, "dtype": "float32", "dataset_name": str(tmp_path / "rows.jsonl"), "template": "mini",
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "max_steps": 3,
        "per_device_train_batch_size": 4, "learning_rate": 1.0e-2, "logging_steps": 1, "save_strategy": "steps",
        "save_steps": 1, "report_to": "none", "disable_tqdm": True, **more,
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    stage.main(["--config", str(path)])
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    logged = (folder / "metrics.jsonl").read_text()
    (folder / "summary.json").unlink()  # killed in the evaluation
    (folder / "model.safetensors").unlink()
    stage.main(["--config", str(path)])
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == weights
    assert (folder / "metrics.jsonl").read_text() == logged
    assert json.loads((folder / "summary.json").read_text())["steps"] == 3
    assert not (folder / "checkpoint-4").exists()
