"""Which models and generation options the loop serves: None, or one sentence with the reason it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from trl_r1.grpo.rollout.engine import generate
from trl_r1.grpo.rollout.sampling import SamplingOptions


SERVED = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "do_sample")
WITHOUT_EFFECT = (  # on what is sampled, or read elsewhere
    "max_new_tokens",
    "max_length",
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
    "use_cache",
    "disable_compile",
    "transformers_version",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
    "return_dict_in_generate",
    "max_time",
    "compile_config",
    "trust_remote_code",
    "length_penalty",
    "early_stopping",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "assistant_confidence_threshold",
    "max_matching_ngram_size",
    "prefill_chunk_size",
    "is_assistant",
    "low_memory",
    "remove_invalid_values",
    "renormalize_logits",
    "num_return_sequences",
    "assistant_lookbehind",
    "target_lookbehind",
    "diversity_penalty",
    "num_beam_groups",
    "cache_config",
)
NEUTRAL = {
    "num_beams": 1,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": 0,
}
TOLERANCE = {torch.float32: 2e-3, torch.float64: 2e-3}  # of the logits' spread; other types are coarser
COARSE = 0.15


def sampling_options(config: Any, models_own: Any = None) -> SamplingOptions | str:
    """The options of a GenerationConfig, or why the loop cannot sample as it says.

    Args:
        config: what is passed to `generate`.
        models_own: the model's own generation_config, which fills what `config` leaves open, as in `generate`.
    """
    stated = {} if models_own is None else _stated(models_own)
    stated.update(_stated(config))
    for name, value in sorted(stated.items()):
        if name.startswith("_") or name in SERVED or name in WITHOUT_EFFECT:
            continue
        if value is None or value is False or value == NEUTRAL.get(name, ()):
            continue
        return f"the generation option {name}={value!r} is not among those it samples by ({', '.join(SERVED)})"
    return SamplingOptions(
        temperature=_number(stated.get("temperature"), 1.0),
        top_k=int(_number(stated.get("top_k"), 0)),
        top_p=_number(stated.get("top_p"), 1.0),
        min_p=_number(stated.get("min_p"), 0.0),
        repetition_penalty=_number(stated.get("repetition_penalty"), 1.0),
        greedy=stated.get("do_sample") is False,
    )


def _stated(config: Any) -> dict[str, Any]:
    return {name: value for name, value in config.to_diff_dict().items() if value is not None}


def _number(value: Any, otherwise: float) -> float:
    return otherwise if value is None else float(value)


def why_not_model(model: Any) -> str | None:
    """Judges by what the model says of itself; `disagreement` then tries it."""
    if getattr(model.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder model"
    for config in getattr(model, "peft_config", {}).values():
        if getattr(config, "is_prompt_learning", False):
            return f"{config.peft_type} puts tokens of its own before the prompt"
    text = model.config.get_text_config()
    layers = DynamicCache(config=text).layers
    kinds = {type(layer).__name__ for layer in layers} - {"DynamicLayer", "DynamicSlidingWindowLayer"}
    if kinds:
        return f"its cache holds more than keys and values ({', '.join(sorted(kinds))})"
    return None


def computing_type(model: Any, accelerator: Any) -> torch.dtype:
    """The type in which a trainer's model computes: its weights', or that of accelerate's mixed precision."""
    mixed = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}
    return mixed.get(accelerator.mixed_precision, model.dtype)


@torch.no_grad()
def disagreement(model: Any, prompts: Sequence[Sequence[int]], dtype: torch.dtype | None = None) -> str | None:
    """Compares three greedy steps of the loop with one plain forward pass per row; None when they agree.

    Args:
        prompts: one or two token lists the model may read; cut to their first few tokens.
        dtype: what the model computes in where that is not its weights' type, as under autocast.
    """
    rows = [list(prompt)[: 8 - 3 * index] for index, prompt in enumerate(prompts[:2])]
    seen: list[Tensor] = []  # per step (n, V)

    def keep(logits: Tensor, at: Tensor, step: int) -> Tensor:
        seen.append(logits[at.argsort()].float())
        return logits

    rollout = generate(model, rows, SamplingOptions(greedy=True), 3, end_tokens=[], change_logits=keep)
    for index, (prompt, reply) in enumerate(zip(rows, rollout.completions)):
        ids = torch.tensor([prompt + reply[:-1]], device=model.device)
        plain = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -3:].float()
        ours = torch.stack([logits[index] for logits in seen])  # (3, V)
        error = ((ours - plain).abs().max() / plain.std().clamp(min=1e-6)).item()
        if not error <= TOLERANCE.get(dtype or model.dtype, COARSE):
            return f"its logits with a shared cache differ from a plain forward pass (by {error:.2g} of their spread)"
    return None
