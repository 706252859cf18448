"""What each prompt token contributes to a row of attention, noted while `generate()` runs its own prefill.

    with Recorder(model, positions, width) as recorder:
        model.generate(...)                 # tokens and logits are those of the model without it
    recorder.norms                          # (L, B, C)

The contribution of token j to row i of a layer is the vector ``c_j = sum_h A[h, i, j] (x_j W_V)_h W_O,h``; its norm is
kept. As the output projection is linear, ``c_j`` is that projection of ``u_j = concat_h A[h, i, j] v[h, j]`` without its
bias: one attention row per head and one more call of the layer's own projection. No L x H x M x M, no M x M x d.

How     The model runs under an attention implementation ``agser_<its own>``, registered in transformers' attention and
        mask interfaces: it calls its own first, then reads q, k and v as they were handed over (rotated, normed, split,
        shared, cached). A hook on the output projection sees the true row and finishes. Calling the projection, not
        reading its weight, is what makes 4-bit, LoRA and Conv1D work.
Proof   In every layer the contributions must sum to what the layer put out; otherwise a RuntimeError names the class.
Source  AGSER, arXiv:2501.09997, Sec. 3; the norm of the contribution is our reading (the paper's text gives weights).
Shapes  B sequences, L layers with attention, S = width of the prefill, C content tokens, H heads, R rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from trl_r1.agser.projection import apply, gram_norms, project


PREFIX = "agser_"
PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj", "wo", "proj")  # what the output projection is called
GATED = ("Qwen3NextAttention", "Qwen3_5Attention", "Qwen3_5MoeAttention")  # they multiply the output by a sigmoid
TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}

_current: ContextVar[Recorder | None] = ContextVar("agser_recorder", default=None)


class Recorder:
    """Notes contributions in the first forward pass of ``width`` tokens that runs inside the ``with`` block.

    Args:
        model: a causal language model, a PeftModel as well.
        positions: (B, C) places of the content tokens in the padded prompt, -1 where a sequence has fewer.
        width: S, tokens of the (left-padded) prefill.
        row_weights: (B, R) for contributions to the last R rows, averaged with these weights (0 leaves a row out);
            None is the last row alone, as in the paper.

    Leaves ``norms`` and ``attention``, both (L, B, C) in float32 (float64 for such a model), 0 where positions are -1.
    ``attention`` is the weight summed over the heads. ``completeness`` is the largest error of the layers' sums,
    relative to the sum of the contributions' norms.

    Raises:
        ValueError: the class of the model is not supported (on entering).
        RuntimeError: the contributions do not add up, or there was no such prefill (on leaving).
    """

    def __init__(self, model: Any, positions: Tensor, width: int, row_weights: Tensor | None = None) -> None:
        self.model = unwrapped(model)
        self.positions, self.width, self.row_weights = positions, width, row_weights
        self.rows = 1 if row_weights is None else row_weights.shape[1]
        self.modules = set(self.model.modules())
        self.completeness = 0.0
        self._norms: list[Tensor] = []
        self._attention: list[Tensor] = []
        self._seen: set[nn.Module] = set()
        self._pending: tuple[nn.Module, Tensor, Tensor] | None = None  # attention module, A (B, H, R, S), v
        self._hooks: dict[nn.Module, Any] = {}
        self._busy = False
        self._before: str | dict[str, str] = ""
        self._token: Token[Recorder | None] | None = None

    @property
    def norms(self) -> Tensor:
        return torch.stack([layer.cpu() for layer in self._norms])

    @property
    def attention(self) -> Tensor:
        return torch.stack([layer.cpu() for layer in self._attention])

    def __enter__(self) -> Recorder:
        refuse(self.model)
        self._before = implementation(self.model)
        self.model.set_attn_implementation(switched(self._before))
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        assert self._token is not None
        _current.reset(self._token)
        for hook in self._hooks.values():
            hook.remove()
        self.model.set_attn_implementation(self._before)
        self._pending = None
        if kind is None and not self._norms:
            raise RuntimeError(
                f"{type(self.model).__name__} ran no attention over a prompt of {self.width} tokens at once, so AGSER "
                "has no contributions. Models without attention, and prefills in chunks, are not supported."
            )

    # -- called by the attention function and by the output projection's hook

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        base: str,
        options: Any,
    ) -> None:
        """Computes the wanted rows of A, and waits for the output projection."""
        if query.shape[2] != self.width or module in self._seen or self._busy or module not in self.modules:
            return
        if options.get("dropout"):
            raise RuntimeError("AGSER needs a model without dropout; call model.eval() first.")
        self._seen.add(module)
        projection = output_projection(module)
        if projection not in self._hooks:
            self._hooks[projection] = projection.register_forward_hook(self._finish)
        with torch.no_grad():
            rows = attention_rows(module, query, key, mask, self.rows, base, options)
            value = value[:, :, : self.width].detach()
            if mask is not None:  # v of a padding place may be NaN (eager in float64), and 0 * NaN is NaN
                unseen = (rows == 0).flatten(1, 2).all(1)  # (B, S)
                value = value.masked_fill(unseen[:, None, :, None], 0.0)
            self._pending = (module, rows, value)

    def _finish(self, projection: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if self._busy or self._pending is None:
            return
        module, rows, value = self._pending
        self._pending, self._busy = None, True
        try:
            with torch.no_grad():
                put_out = output[0] if isinstance(output, tuple) else output
                self._add_layer(module, projection, rows, value, inputs[0].detach(), put_out.detach())
        finally:
            self._busy = False

    def _add_layer(
        self, module: nn.Module, projection: nn.Module, rows: Tensor, value: Tensor, true: Tensor, put_out: Tensor
    ) -> None:
        batch, heads, shared = rows.shape[0], rows.shape[1], value.shape[1]
        positions = self.positions.to(rows.device)
        there = positions >= 0  # (B, C)
        index = positions.clamp(min=0)
        true = true.reshape(batch, self.width, -1)[:, -1]  # (B, D) what the projection was given for the last row
        put_out = put_out.reshape(batch, self.width, -1)[:, -1].to(rows.dtype)  # (B, d)
        width = value.shape[3]
        # (B, Hkv, C, hd) values and (B, H, R, C) weights of the content
        values = value.gather(2, index[:, None, :, None].expand(-1, shared, -1, width))
        weights = rows.gather(3, index[:, None, None].expand(-1, heads, self.rows, -1)) * there[:, None, None]
        last = rows[:, :, -1].reshape(batch, shared, heads // shared, -1)  # (B, Hkv, G, S)
        total = (last.to(value.dtype) @ value).reshape(batch, -1).to(rows.dtype)  # (B, D) sum of all u_j
        gate = self._gate(module, total, true.to(rows.dtype))

        self._attention.append(self._average(weights.sum(1)))
        if self.rows == 1:
            norms, parts, size = project(projection, weights[:, :, 0], values, gate)
            rest = total - parts if gate is None else (total - parts) * gate
            pair = torch.stack([rest, torch.zeros_like(rest)], dim=1).to(value.dtype)
            rest_out, bias = apply(projection, pair).to(rows.dtype).unbind(1)  # (B, d) each
            rest_out = rest_out - bias
            self._check(module, size + rest_out, put_out - bias, norms.sum(1) + rest_out.norm(dim=1))
        elif gate is not None:
            raise ValueError(
                f"{type(self.model).__name__} gates its attention, which AGSER reads for the last row only; "
                'use rows="last".'
            )
        else:
            norms = self._average(gram_norms(projection, weights, values))
            self._check(module, total, true.to(rows.dtype), total.norm(dim=1))
        self._norms.append(norms * there)

    def _average(self, of_rows: Tensor) -> Tensor:
        """(B, R, C) -> (B, C), by the weights of the rows."""
        if self.row_weights is None:
            return of_rows[:, -1]
        shares = self.row_weights.to(of_rows)
        return torch.einsum("brc,br->bc", of_rows, shares / shares.sum(1, keepdim=True))

    def _gate(self, module: nn.Module, total: Tensor, true: Tensor) -> Tensor | None:
        """(B, D) what a gated class, or a head gate of ours, multiplied the attention output by; None for all others."""
        if type(module).__name__ not in GATED and not hasattr(getattr(module, "o_proj", None), "behind_gates"):
            return None
        return torch.where(total.abs() > 1e-12, true / total, 1.0)

    def _check(self, module: nn.Module, found: Tensor, wanted: Tensor, scale: Tensor) -> None:
        if not wanted.isfinite().all():
            raise RuntimeError(
                f"The attention output of {type(self.model).__name__} itself is not finite, so AGSER has nothing to read. "
                "(transformers' eager attention does this to padded rows in float64; use sdpa or float32 there.)"
            )
        error = ((found - wanted).norm(dim=1) / scale.clamp(min=1e-30)).max().item()
        self.completeness = max(self.completeness, error)
        dtypes = [parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()]
        allowed = max((TOLERANCE.get(dtype, 8e-2) for dtype in dtypes), default=8e-2)
        if not error <= allowed:
            raise RuntimeError(
                f"The contributions of {type(module).__name__} in {type(self.model).__name__} miss the layer's output by "
                f"{error:.2g} (allowed {allowed:g}), so this architecture does something to its attention that AGSER does "
                "not know; it is not supported."
            )


# -- the attention function


def register(base: str) -> str:
    """Registers ``agser_<base>`` in transformers' attention and mask interfaces; returns the name.

    The mask function is the base's own. With the attention function alone transformers would hand over no mask at all,
    and padding and windows would be lost.
    """
    name = PREFIX + base
    if name not in AttentionInterface._global_mapping:
        masks = AttentionMaskInterface._global_mapping
        if base in masks:
            AttentionMaskInterface.register(name, masks[base])

        def recorded(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, *given: Any, **options: Any
        ):
            recorder = _current.get()
            if recorder is not None:
                recorder.attend(module, query, key, value, mask, base, options)
            return base_function(base, module)(module, query, key, value, mask, *given, **options)

        AttentionInterface.register(name, recorded)
    return name


def base_function(base: str, module: nn.Module) -> Callable[..., Any]:
    """The attention function that the model runs without us; eager attention belongs to each modeling file."""
    if base in AttentionInterface._global_mapping:
        return AttentionInterface._global_mapping[base]
    for parent in type(module).__mro__:
        found = getattr(sys.modules.get(parent.__module__), "eager_attention_forward", None)
        if found is not None:
            return found
    raise RuntimeError(f"{type(module).__name__} brings no attention function for {base!r}.")


def attention_rows(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, rows: int, base: str, options: dict[str, Any]
) -> Tensor:
    """(B, H, R, S) attention of the last R positions, in float32 or more, from q (B, H, S, hd) and k (B, Hkv, >=S, hd)."""
    batch, heads, width, size = query.shape
    shared = key.shape[1]
    key = key[:, :, :width]  # a static cache is longer
    wide = torch.promote_types(query.dtype, torch.float32)
    scaling = options.get("scaling")
    grouped = query[:, :, -rows:].reshape(batch, shared, heads // shared * rows, size)
    scores = (grouped @ key.transpose(2, 3)).reshape(batch, heads, rows, width).to(wide)
    scores = scores * (size**-0.5 if scaling is None else scaling)
    if softcap := options.get("softcap"):
        scores = torch.tanh(scores / softcap) * softcap
    places = torch.arange(width, device=query.device)
    if isinstance(mask, Tensor) and mask.dim() == 4:
        chosen = mask[:, :, -rows:, :width]
        scores = scores.masked_fill(~chosen, -torch.inf) if chosen.dtype == torch.bool else scores + chosen.to(wide)
    elif mask is None or "flash" in base:  # causal by itself; flash gets padding as (B, S) and the window as an option
        ahead = places[None, :] - places[width - rows :, None]  # (R, S)
        allowed = ahead <= 0
        if "flash" in base and options.get("sliding_window"):
            allowed &= ahead > -options["sliding_window"]
        if mask is not None:
            allowed = allowed[None, None] & mask[:, None, None, :width].bool()
        scores = scores.masked_fill(~allowed, -torch.inf)
    else:
        raise ValueError(f"AGSER cannot read the mask of attention implementation {base!r}; use sdpa or eager.")
    sinks = options.get("s_aux")
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(wide).view(1, -1, 1, 1).expand(batch, -1, rows, 1)], dim=-1)
    shares = torch.softmax(scores, dim=-1)[..., :width]
    return torch.nan_to_num(shares) if rows > 1 else shares  # padding among the rows sees nothing at all


# -- models


def unwrapped(model: Any) -> Any:
    """The transformers model itself: without PEFT's, accelerate's or torch.compile's wrapping."""
    model = getattr(model, "module", model) if not hasattr(model, "config") else model
    model = getattr(model, "_orig_mod", model)
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    return model


def refuse(model: Any) -> None:
    """ValueError for a class whose attention does not go through transformers' interface."""
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(f"{name} is an encoder-decoder; AGSER reads decoder-only language models.")
    able = getattr(model, "_can_set_attn_implementation", None)
    if able is not None and not able():
        raise ValueError(
            f"{name} does not take its attention from transformers' AttentionInterface, so AGSER cannot read it. Use an "
            "architecture that does, such as Llama, Qwen, Mistral, Gemma, Phi or OLMo."
        )


def output_projection(module: nn.Module) -> nn.Module:
    for name in PROJECTIONS:
        found = getattr(module, name, None)
        if isinstance(found, nn.Module):
            return getattr(found, "behind_gates", found)  # what gates of ours let through is what is projected
    raise ValueError(
        f"{type(module).__name__} has no output projection that AGSER knows ({', '.join(PROJECTIONS)}); this "
        "architecture is not supported."
    )


def implementation(model: Any) -> str | dict[str, str]:
    """The attention implementation of a model; of a composite one, by sub-config."""
    top = model.config._attn_implementation or "eager"
    parts = {
        name: getattr(part, "_attn_implementation", None) or top
        for name in getattr(model.config, "sub_configs", {})
        if (part := getattr(model.config, name, None)) is not None
    }
    return {"": top, **parts} if parts else top


def switched(before: str | dict[str, str]) -> str | dict[str, str]:
    if isinstance(before, dict):
        return {name: register(base) for name, base in before.items()}
    return register(before)
