"""The fast rollout against transformers' `generate`, greedily, token by token, under every attention there is.

Model      four layers of Qwen2.5-1.5B's widths, random weights with spread logits; prompts of several lengths, so padded.
Where the two part, a plain forward pass says how far apart the two tokens' logits are, in units of the logits' spread:
a tie within rounding (bfloat16: below 0.05) is none of the rollout's doing.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from gpu_sections.catalogue import Note, Setting
from gpu_sections.shapes import PAD, config_of, random_model


def attentions(setting: Setting, dtype: torch.dtype) -> list[str]:
    """The attention implementations that can run here in this type."""
    flash = setting.device == "cuda" and dtype == torch.bfloat16 and importlib.util.find_spec("flash_attn") is not None
    return ["sdpa", "eager", *(["flash_attention_2"] if flash else [])]


def measure(setting: Setting, note: Note) -> None:
    found: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        changes = {} if setting.tiny else {"num_hidden_layers": 4, "vocab_size": 8192}
        config = config_of("Qwen2.5-1.5B", setting.tiny, **changes)
        model = random_model(config, setting.device, dtype, sharp=True).eval()
        model.generation_config.eos_token_id = None
        rows, tokens = (4, 12) if setting.tiny else (16, 64)
        chosen = torch.Generator().manual_seed(2)
        prompts = [
            torch.randint(2, config.vocab_size, (3 + 7 * (row % 4),), generator=chosen).tolist() for row in range(rows)
        ]
        for attention in attentions(setting, dtype):
            model.set_attn_implementation(attention)
            name = f"{attention}, {str(dtype).removeprefix('torch.')}"
            found[name] = comparison(model, prompts, tokens, setting.device)
            note(rows=found)
    if not any("flash" in name for name in found):
        note(flash_attention="not installed, or not for this device")


def comparison(model: Any, prompts: list[list[int]], tokens: int, device: str) -> dict[str, Any]:
    """How many rows agree in all tokens, how many tokens do before rows part, and the widest gap where they part."""
    from trl_r1.grpo.rollout import SamplingOptions, generate

    ours = generate(model, prompts, SamplingOptions(greedy=True), tokens, end_tokens=[], pad_token=PAD).completions
    theirs = by_transformers(model, prompts, tokens, device)
    parted = [
        next((at for at, pair in enumerate(zip(a, b)) if pair[0] != pair[1]), None) for a, b in zip(ours, theirs)
    ]
    gaps = [
        gap(model, prompt + a[:at], a[at], b[at], device)
        for prompt, a, b, at in zip(prompts, ours, theirs, parted)
        if at is not None
    ]
    return {
        "rows": len(prompts),
        "equal_rows": sum(at is None for at in parted),
        "tokens": tokens * len(prompts),
        "tokens_before_parting": sum(tokens if at is None else at for at in parted),
        "widest_gap": float(f"{max(gaps, default=0.0):.3g}"),
    }


def by_transformers(model: Any, prompts: list[list[int]], tokens: int, device: str) -> list[list[int]]:
    """Greedy completions of left-padded prompts."""
    width = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    written = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=tokens, pad_token_id=PAD
    )
    return written[:, width:].tolist()


@torch.no_grad()
def gap(model: Any, ids: list[int], one: int, other: int, device: str) -> float:
    """Between the logits of two next tokens, in standard deviations of all logits, by a plain forward pass."""
    logits = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, -1].float()
    return ((logits[one] - logits[other]).abs() / logits.std()).item()
