"""Attention weights and values in, norms of contributions out: the output projection, called as the module it is.

Shapes  B sequences, C content tokens, H heads, Hkv heads of keys and values, R rows, D = H * hd, d = hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


TOKENS_AT_ONCE = 1024  # content tokens projected at a time
GRAM_NUMBERS = 1 << 24  # numbers held at a time while the Gram matrices of many rows are made


def project(
    projection: nn.Module, weights: Tensor, values: Tensor, gate: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Norms of the contributions to one row, the sum of the u_j before the gate, and the sum of the contributions.

    Args:
        weights: (B, H, C) attention of the row. values: (B, Hkv, C, hd). gate: (B, D) or None.

    Returns:
        (B, C), (B, D) and (B, d), in the dtype of the weights.
    """
    batch, heads, tokens = weights.shape
    shared, wide = values.shape[1], weights.dtype
    norms, parts, size = [], torch.zeros((), dtype=wide), torch.zeros((), dtype=wide)
    bias = None
    for start in range(0, tokens, TOKENS_AT_ONCE):
        some = values[:, :, start : start + TOKENS_AT_ONCE]
        share = (
            weights[:, :, start : start + TOKENS_AT_ONCE].to(values.dtype).reshape(batch, shared, heads // shared, -1)
        )
        u = torch.einsum("bkgc,bkcx->bckgx", share, some).flatten(2)  # (B, c, D)
        parts = parts.to(u.device) + u.sum(1, dtype=wide)
        if gate is not None:
            u = u * gate[:, None].to(u.dtype)
        if bias is None:
            bias = apply(projection, torch.zeros_like(u[:1, :1]))
        c = apply(projection, u)
        if getattr(projection, "bias", None) is not None or bias.any():
            c = c - bias
        norms.append(torch.linalg.vector_norm(c, dim=-1, dtype=wide))
        size = size.to(c.device) + c.sum(1, dtype=wide)
    return torch.cat(norms, dim=1), parts, size


def gram_norms(projection: nn.Module, weights: Tensor, values: Tensor) -> Tensor:
    """(B, R, C) norms of the contributions to R rows at once.

    With ``p_h = v_h W_O,h`` of a token and ``K = p p^T`` (H, H), the norm of ``sum_h a_h p_h`` is ``sqrt(a^T K a)``: the
    d numbers of a contribution are never made for each row.

    Args:
        weights: (B, H, R, C). values: (B, Hkv, C, hd).
    """
    batch, heads, _, tokens = weights.shape
    shared, size = values.shape[1], values.shape[3]
    unit = torch.eye(heads * size, dtype=values.dtype, device=values.device)
    zero = apply(projection, torch.zeros_like(unit[:1]).unsqueeze(0))
    matrix = (apply(projection, unit.unsqueeze(0)) - zero)[0].to(weights.dtype)  # (D, d)
    matrix = matrix.view(shared, heads // shared, size, -1)
    found = []
    step = max(1, GRAM_NUMBERS // (batch * heads * matrix.shape[-1]))
    for start in range(0, tokens, step):
        some = values[:, :, start : start + step].to(weights.dtype)
        p = torch.einsum("bkcx,kgxd->bckgd", some, matrix).flatten(2, 3)  # (B, c, H, d)
        kernel = p @ p.transpose(2, 3)  # (B, c, H, H)
        share = weights[..., start : start + step].permute(0, 3, 2, 1)  # (B, c, R, H)
        found.append(((share @ kernel) * share).sum(-1).clamp(min=0.0).sqrt())  # (B, c, R)
    return torch.cat(found, dim=1).transpose(1, 2)


def apply(projection: nn.Module, rows: Tensor) -> Tensor:
    out = projection(rows)
    return out[0] if isinstance(out, tuple) else out
