"""AGSER's contributions under every attention there is, against eager attention in float32.

Model      four layers of Qwen2.5-1.5B's widths with equal weights in every arm; four padded prompts. Every layer's
           contributions must add up to what the layer put out (`completeness`), or the Recorder refuses; the contributions
           are compared by |a - b| / |b|.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpu_sections.catalogue import Note, Setting
from gpu_sections.rollout import attentions
from gpu_sections.shapes import PAD, config_of, random_model


def measure(setting: Setting, note: Note) -> None:
    changes = {} if setting.tiny else {"num_hidden_layers": 4, "vocab_size": 8192}
    config = config_of("Qwen2.5-1.5B", setting.tiny, **changes)
    half = random_model(config, setting.device, torch.bfloat16, sharp=True).eval()
    exact = random_model(config, setting.device, torch.float32, sharp=True).eval()
    exact.load_state_dict({name: value.float() for name, value in half.state_dict().items()})
    reference = contributions(exact, "eager", setting)[0]
    found: dict[str, Any] = {}
    for model in (exact, half):
        for attention in attentions(setting, model.dtype):
            norms, completeness = contributions(model, attention, setting)
            found[f"{attention}, {str(model.dtype).removeprefix('torch.')}"] = {
                "relative_error": float(f"{((norms - reference).norm() / reference.norm()).item():.3g}"),
                "completeness": float(f"{completeness:.3g}"),
            }
            note(rows=found)


@torch.no_grad()
def contributions(model: Any, attention: str, setting: Setting) -> tuple[Tensor, float]:
    """(L, B, C) norms of the contributions of all prompt tokens, and the largest error of a layer's sum."""
    from trl_r1.agser.recorder import Recorder

    model.set_attn_implementation(attention)
    width = 12 if setting.tiny else 96
    lengths = [width, width - 3, width // 2, 5]
    chosen = torch.Generator().manual_seed(4)
    ids = torch.randint(2, model.config.vocab_size, (len(lengths), width), generator=chosen)
    mask = torch.tensor([[0] * (width - length) + [1] * length for length in lengths])
    ids[mask == 0] = PAD
    places = torch.where(mask.bool(), torch.arange(width), -1)
    with Recorder(model, places, width) as recorder:
        model(input_ids=ids.to(setting.device), attention_mask=mask.to(setting.device), use_cache=False)
    return recorder.norms.double(), recorder.completeness
