"""One batch of a recipe that samples: memory at its whole length, tokens a second.

The batch is generated for two short lengths; memory grows by equal amounts with equal lengths, so the whole length follows
from their difference (marked so). The teacher of the cold start is made on the device layer by layer in NF4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_sections.catalogue import Note, Setting
from gpu_sections.device import GIB, Meter
from gpu_sections.inputs import POLICY, ask, recipe_settings
from gpu_sections.shapes import PAD, config_of, folder_of, random_model, tokenizer_of


ROOT = Path(__file__).resolve().parents[2]
TEACHER = "Qwen2.5-7B"
SHORT = 64  # tokens; and twice as many


def measure(setting: Setting, note: Note, recipe: str) -> None:
    """A recipe's own model, loaded as its stage loads it."""
    from trl import ModelConfig

    from trl_r1.models.load import load_policy

    settings = recipe_settings(recipe, ROOT)
    name = folder_of(POLICY, setting.scratch, setting.device, setting.tiny)
    kept = ("dtype", "load_in_4bit", "bnb_4bit_quant_type", "use_bnb_nested_quant")
    options = {key: settings[key] for key in kept if key in settings}
    if setting.device == "cpu":
        options["dtype"] = "float32"
    model, tokenizer = load_policy(name, ModelConfig(model_name_or_path=name, **options), setting.device == "cpu")
    rows = settings.get("sampling_batch_size") or settings["batch_size"]
    longest = settings.get("max_new_tokens") or settings["max_tokens"]
    note(model=POLICY, **one_batch(model, tokenizer, rows, longest, setting))


def measure_teacher(setting: Setting, note: Note) -> None:
    """The 7B model that writes the cold start's chains."""
    settings = recipe_settings("cold_start", ROOT)
    meter = Meter(setting.device)
    meter.release()
    meter.forget_peak()
    model = four_bit_model(setting)
    note(model=TEACHER, making_peak_gib=round(meter.peak(), 2), weights_gib=round(weights_of(model) / GIB, 2))
    meter.release()
    tokenizer = tokenizer_of(model.config.vocab_size)
    note(**one_batch(model, tokenizer, settings["source_batch_size"], settings["source_max_new_tokens"], setting))


def one_batch(model: Any, tokenizer: Any, rows: int, longest: int, setting: Setting) -> dict[str, Any]:
    """Memory and speed of one batch by the stages' own sampler."""
    from trl_r1.models.sampling import sample
    from trl_r1.models.templates import R1_ZERO

    short = 6 if setting.tiny else SHORT
    rows = min(rows, 4) if setting.tiny else rows
    meter, peaks, seconds = Meter(setting.device), [], []
    prompts = [R1_ZERO.format(question=ask(row)) for row in range(rows)]
    for length in (short, 2 * short):
        meter.release()
        meter.forget_peak()
        took = meter.seconds(
            lambda length=length: sample(
                model, tokenizer, prompts, samples=1, temperature=1.0, top_p=0.95, max_new_tokens=length,
                batch_size=rows, progress=False, first_pass=None,
            )
        )  # fmt: skip
        peaks.append(meter.peak_allocated())
        seconds.append(took)
    per_token = max(0.0, peaks[1] - peaks[0]) / short
    return {
        "rows": rows,
        "longest": longest,
        "peak_gib_short": round(peaks[1], 2),
        "peak_gib_computed": round(peaks[1] + per_token * (longest - 2 * short), 2),
        "scaled_from": 2 * short,
        "generated_tokens_per_second": round(rows * short / max(seconds[1] - seconds[0], 1e-9), 1),
        "batch_seconds_scaled": round(seconds[1] + (seconds[1] - seconds[0]) / short * (longest - 2 * short), 1),
    }


def four_bit_model(setting: Setting) -> Any:
    """The teacher's shape with random NF4 weights, layer after layer, so that never two whole models are there."""
    import bitsandbytes

    config = config_of(TEACHER, setting.tiny)
    dtype = torch.float32 if setting.device == "cpu" else torch.bfloat16
    model = random_model(config, setting.device, dtype)
    for decoder in model.model.layers:
        for part in (decoder.self_attn, decoder.mlp):
            for name, old in list(part.named_children()):
                if isinstance(old, nn.Linear):
                    setattr(part, name, as_four_bit(old, dtype, setting.device, bitsandbytes))
    model.generation_config.pad_token_id = PAD
    return model.eval()


def as_four_bit(old: nn.Linear, dtype: torch.dtype, device: str, bitsandbytes: Any) -> nn.Module:
    """A linear layer as NF4 with double quantisation."""
    new = bitsandbytes.nn.Linear4bit(
        old.in_features,
        old.out_features,
        bias=old.bias is not None,
        compute_dtype=dtype,
        quant_type="nf4",
        device="meta",
    )
    new.weight = bitsandbytes.nn.Params4bit(
        old.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True
    )
    new.bias = old.bias
    return new.to(device)


def weights_of(model: Any) -> int:
    """Bytes."""
    return sum(value.numel() * value.element_size() for value in [*model.parameters(), *model.buffers()])
