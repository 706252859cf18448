"""A recipe for two steps on this machine: its own numbers, a random model of its shape, rows made here.

What changes  the model's name and the data's; two steps; no evaluation, no probes, no checkpoints. Micro-batch, lengths,
              quantisation, optimizer and everything else stay as the recipe has them. `accumulated` micro-batches a step
              are enough for the memory of one; a recipe that is run whole keeps its own number.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

from gpu_sections.catalogue import Setting
from gpu_sections.shapes import WORDS, folder_of


STAGES = {"distill_llama": "distill", "distill_on_policy": "distill", "ppo_two_tower": "zero", "cold_start": "sft"}
MODELS = {"distill": "Qwen2.5-0.5B", "distill_on_policy": "Qwen2.5-0.5B", "distill_llama": "Llama-3.2-1B"}
POLICY = "Qwen2.5-1.5B"
TINY = {
    "max_completion_length": 24, "max_length": 96, "sft_max_length": 96, "per_device_train_batch_size": 2,
    "num_generations": 2, "gradient_accumulation_steps": 2,
}  # fmt: skip
ON_A_CPU = {
    "use_cpu": True, "bf16": False, "dtype": "float32", "optim": "adamw_torch", "dataloader_pin_memory": False,
}  # fmt: skip
ACCUMULATED = 2
OF_TUNING = "sft"  # the recipe whose keys a stage that makes its own rows first is tuned by


def recipe_settings(recipe: str, root: Path) -> dict[str, Any]:
    """What the recipe says."""
    return yaml.safe_load((root / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8"))


def prepared(recipe: str, setting: Setting, root: Path, whole: bool) -> tuple[str, Path, dict[str, Any]]:
    """(stage, file with the settings of two steps, those settings), everything they name lying on the disk.

    Args:
        whole: keep the recipe's own accumulation.
    """
    own = recipe_settings(recipe, root)
    stage = STAGES.get(recipe, recipe)
    if recipe == "cold_start":
        known = recipe_settings(OF_TUNING, root)
        own = {key: value for key, value in own.items() if key in known}
    settings = {key: value for key, value in own.items() if not key.startswith(("evaluation_", "probe_"))}
    if "probe_every" in own:
        settings["probe_every"] = 0
    settings.pop("num_train_epochs", None)
    if not whole:
        settings["gradient_accumulation_steps"] = min(ACCUMULATED, settings["gradient_accumulation_steps"])
    if setting.tiny:
        settings |= {key: min(value, settings[key]) for key, value in TINY.items() if key in settings}
    if setting.device == "cpu":
        settings |= ON_A_CPU
    model = folder_of(MODELS.get(recipe, POLICY), setting.scratch, setting.device, setting.tiny)
    settings |= {
        "model_name_or_path": model, "output_dir": str(setting.scratch / "runs" / recipe), "max_steps": 2,
        "save_strategy": "no", "logging_steps": 1, "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip
    settings |= {
        key: value for key, value in {"merge_adapter": False, "dataset_split": "train"}.items() if key in settings
    }
    settings |= data_of(recipe, setting, settings)
    path = setting.scratch / f"{recipe}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return stage, path, settings


def data_of(recipe: str, setting: Setting, settings: dict[str, Any]) -> dict[str, Any]:
    """Rows of the kind that the recipe reads, and the models it asks besides; the settings that name them."""
    if recipe == "reward_model":
        length = settings["max_length"]
        replies = [{"prompt": ask(row), "chosen": text(length, row), "rejected": text(length, row + 1),
                    "score_chosen": 8.0, "score_rejected": 4.0} for row in range(200)]  # fmt: skip
        labels = [{"question": ask(row), "completion": text(length, row), "label": row % 2} for row in range(200)]
        return {
            "helpful_dataset_name": written(setting, "pairs", replies), "helpful_split": "train",
            "safety_dataset_name": written(setting, "labels", labels), "safety_split": "train", "safety_columns": None,
            "held_out": 0.05,
        }  # fmt: skip
    problems = [{"question": ask(row), "solution": str(row)} for row in range(256)]
    if recipe == "all_scenario_rl":
        name = written(setting, "problems", problems)
        checked = {"name": name, "question_column": "question", "solution_column": "solution", "domain": "reasoning"}
        general = {"name": name, "question_column": "question", "language": "en"}
        return {
            "datasets": [
                {**checked, "language": "en", "share": 0.4},
                {**general, "domain": "writing", "share": 0.3},
                {**general, "domain": "unsafe", "share": 0.3},
            ],
            "reward_models": classifiers(setting),
            "preference_last_steps": 2,
        }
    if STAGES.get(recipe, recipe) in ("sft", "distill"):
        length = settings.get("max_length", settings.get("max_completion_length"))
        prompt = "User: {question}\nAssistant:"
        rows = [
            {**row, "prompt": prompt.format(**row), "completion": text(length // 3, number)}
            for number, row in enumerate(problems)
        ]
        teacher = folder_of(POLICY, setting.scratch, setting.device, setting.tiny)
        asked = (
            {"teacher_model": teacher if recipe == "distill_on_policy" else None}
            if "teacher_model" in settings
            else {}
        )
        return {"dataset_name": written(setting, "chains", rows), **asked}
    return {"dataset_name": written(setting, "problems", problems), "solution_column": "solution"}


def ask(number: int) -> str:
    """A question of about seventy tokens that says nothing."""
    return " ".join(random.Random(number).choices(WORDS, k=45)) + f" {number}?"


def text(tokens: int, number: int) -> str:
    """A text of about so many tokens, never more."""
    return " ".join(random.Random(number).choices(WORDS, k=max(4, int(0.75 * tokens))))


def written(setting: Setting, name: str, rows: list[dict[str, Any]]) -> str:
    """The path of a file of rows."""
    path = setting.scratch / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def classifiers(setting: Setting) -> str:
    """A folder as reward_model leaves it: two scalar heads on the policy's shape, and how they score."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    policy = folder_of(POLICY, setting.scratch, setting.device, setting.tiny)
    folder = setting.scratch / "reward_models"
    one = folder / "helpfulness"
    if not one.is_dir():
        model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1)
        model.config.pad_token_id = 0
        model.save_pretrained(one)
        AutoTokenizer.from_pretrained(policy).save_pretrained(one)
        (folder / "harmlessness").symlink_to(one)
        scale = {"after": {"helpfulness": {"center": 0.0, "spread": 1.0}}}
        (folder / "summary.json").write_text(json.dumps(scale))
    return str(folder)
