"""Two steps of a recipe through its own stage, on random weights: memory, time, and the largest micro-batch for a card.

Peaks are torch's reserved memory: what a card must have, besides about a GiB for the context. Where a rollout is cut short
(`whole` false), the memory of the whole one is computed from the model's shape, and the same computation stands beside
zero's measured rollout.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from gpu_sections.catalogue import Note, Setting
from gpu_sections.device import GIB, Meter
from gpu_sections.inputs import prepared, recipe_settings
from gpu_sections.ladder import CARDS, RUNGS, largest_batches
from gpu_sections.watch import Watch, watching


ROOT = Path(__file__).resolve().parents[2]
GENERATED = 128  # tokens of a rollout that is cut short
PROMPT = 256  # tokens, more than the template and a question of ours have
SAMPLED = 6  # copies of (rows, vocabulary) float32 that a draw holds at once


def measure(setting: Setting, note: Note, recipe: str, whole: bool = False) -> None:
    stage, path, settings = prepared(recipe, setting, ROOT, whole)
    own = recipe_settings(recipe, ROOT)
    meter = Meter(setting.device)
    meter.release()
    note(model=settings["model_name_or_path"].rpartition("/")[2], micro_batch=settings["per_device_train_batch_size"],
         accumulated=settings["gradient_accumulation_steps"], accumulated_by_recipe=own["gradient_accumulation_steps"],
         max_steps=own.get("max_steps"))  # fmt: skip

    def at_the_end(trainer: Any, micro_batch: dict[str, Any]) -> None:
        note(**figures(watch, trainer, settings, own))
        last = watch.steps[-1]
        rollout = last.generation_peak if whole else computed_rollout(last.resident, config_of(trainer), settings, own)
        tried = {"rungs": RUNGS[:3], "cards": CARDS[:1]} if setting.tiny else {}
        rows = settings["per_device_train_batch_size"]
        note(largest_micro_batch=largest_batches(trainer, micro_batch, rows, meter, rollout, **tried))

    watch = Watch(meter, None if whole else (4 if setting.tiny else GENERATED), at_the_end)
    with watching(watch):
        import_module(f"trl_r1.stages.{stage}").main(["--config", str(path)])
    if len(watch.steps) < 2:
        raise RuntimeError(f"The stage {stage} took {len(watch.steps)} steps where two were asked for.")
    note(stage_finished=(Path(settings["output_dir"]) / "summary.json").is_file())


def figures(watch: Watch, trainer: Any, settings: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Memory and time of the last step; its seconds at the recipe's whole length and accumulation."""
    steps, step = watch.steps, watch.steps[-1]
    training = max(step.seconds - step.generation_seconds, 1e-9)
    times = own["gradient_accumulation_steps"] / settings["gradient_accumulation_steps"]
    made: dict[str, Any] = {
        "training_peak_gib": round(max(one.peak for one in steps), 2),
        "training_peak_allocated_gib": round(max(one.peak_allocated for one in steps), 2),
        "first_step_seconds": round(steps[0].seconds, 2),
        "step_seconds": round(step.seconds, 2),
        "trained_tokens_per_second": round(step.trained / training, 1),
    }
    whole_step = training * times
    if step.generation_seconds:
        longest = settings["max_completion_length"]
        generated = min(longest, watch.generated or longest)
        whole_step += step.generation_seconds * longest / generated
        made |= {
            "rollout_peak_gib": round(max(one.generation_peak for one in steps), 2),
            "rollout_peak_computed_gib": round(computed_rollout(step.resident, config_of(trainer), settings, own), 2),
            "rollout_seconds": round(step.generation_seconds, 2),
            "rollout_tokens": step.generated,
            "rollout_rows": rows_of(settings),
            "generated_tokens_per_second": round(step.generated / step.generation_seconds, 1),
            "rollout_scaled_from": None if generated == longest else generated,
        }
    return {**made, **roads(trainer), "recipe_step_seconds": round(whole_step, 2)}


def roads(trainer: Any) -> dict[str, Any]:
    """Which of our roads the trainer took, and why it did not take the other."""
    made = {}
    rollout = getattr(trainer, "_fast_rollout", None)
    if rollout is not None:
        made["rollout"] = "fast" if rollout.last is not None else f"TRL's: {rollout._refusal}"
    if getattr(trainer, "_fast_batching", False):
        made["batching"] = "packed" if trainer._packs else "trimmed"
    return made


def config_of(trainer: Any) -> Any:
    """Of the text model that generates."""
    return trainer.model.config.get_text_config()


def rows_of(settings: dict[str, Any]) -> int:
    """Completions of one generation."""
    return settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]


def computed_rollout(resident: float, config: Any, settings: dict[str, Any], own: dict[str, Any]) -> float:
    """GiB of a rollout of the recipe's rows at its whole length; 0 for a recipe without rollouts.

    Args:
        resident: GiB that are there when it begins. Added: keys and values, one layer's again while they grow, one draw.
        config: of the model that generates.
    """
    if "max_completion_length" not in settings:
        return 0.0
    rows = settings["per_device_train_batch_size"] * own["gradient_accumulation_steps"]
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    columns = settings["max_completion_length"] + PROMPT
    element = 2 if settings["dtype"] == "bfloat16" else 4
    layer = 2 * config.num_key_value_heads * size * columns * rows * element
    draw = SAMPLED * 4 * rows * config.vocab_size
    return resident + (layer * (config.num_hidden_layers + 1) + draw) / GIB
