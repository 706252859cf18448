"""Supervised rows without padding: the batches, loss and gradient of TRL's `SFTTrainer`, and less work for them.

Shapes  B rows of a micro-batch, padded on the right to L columns. T packed tokens, K of them predict a token that is trained
        on, E hidden size.

TRL pads the rows of a batch to the longest, and on a CPU its head projects every column, prompts and padding too. Here the
rows stand behind each other in one row (`grpo.batching`), attention keeps them apart, and the head sees the K tokens alone.
`compute_loss` stays TRL's: it is given a model that answers with log-probabilities of those tokens. Nothing is approximated;
sums are taken in another order.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask
from trl import SFTTrainer

from trl_r1.compat.host import Batch
from trl_r1.grpo.batching import (
    ATTENTION,
    PackedRows,
    packed_attention,
    packing_fault,
    packing_of,
    recorded_windows,
)
from trl_r1.grpo.dropout import without_dropout
from trl_r1.grpo.fast_trainer import COARSE, TOLERANCE, scores_labels
from trl_r1.grpo.head import CHUNK, OnePassHead, returning_hidden_states, why_not_one_pass
from trl_r1.grpo.rollout.support import computing_type


logger = logging.getLogger(__name__)

READ = {"input_ids", "labels", "attention_mask", "use_cache"}  # of a batch; anything more is TRL's to understand
LOGITS = 2**21  # at a time: 8 MiB in float32


@dataclass
class ScoredTokens:
    """What TRL's `compute_loss` reads of a forward pass. Values of K tokens, or of (1, T) with zeros where none counts."""

    log_probs: Tensor
    entropy: Tensor
    is_top1: Tensor
    label_mask: Tensor


def pack_rows(ids: Tensor, labels: Tensor, mask: Tensor) -> PackedRows | None:
    """The rows of a batch behind each other, without padding and without their last tokens, which predict nothing.

    Args:
        ids, labels, mask: (B, L); a label of -100 is not trained on, a mask is 1 for tokens.

    Returns:
        None where a mask has holes or a row does not begin at column 0.
    """
    device, columns = ids.device, torch.arange(ids.size(1), device=ids.device)
    lengths = mask.sum(dim=1)  # (B,)
    if not torch.equal(mask != 0, columns < lengths[:, None]):
        return None
    order = torch.argsort(lengths, descending=True, stable=True)
    sizes = (lengths[order] - 1).clamp(min=0)
    taken = columns[:-1] < sizes[:, None]  # (B, L - 1)
    next_labels = labels[order, 1:][taken]  # (T,)
    ends = sizes.cumsum(dim=0).tolist()
    rows = [torch.arange(end - size, end) for size, end in zip(sizes.tolist(), ends) if size]
    if not rows:
        return None
    return PackedRows(
        ids=ids[order, :-1][taken][None],
        positions=columns[:-1].expand_as(taken)[taken][None],
        labels=next_labels[None],
        packing=packing_of(rows, ends[-1], device),
        places=(next_labels != -100).nonzero().squeeze(1),
    )


@dataclass
class PackingModel:
    """Stands where TRL's `compute_loss` calls the model, and answers what it asks from packed rows.

    Args:
        model: as the trainer calls it, wrapped or not.
        bare: the same, unwrapped.
        head: None leaves the packed tokens to TRL's fused head.
        autocast: the accelerator's, for the head, which is called outside the model.
    """

    model: Any
    bare: Any
    head: OnePassHead | None
    autocast: Any

    def __call__(self, fused_lm_head: bool = False, **inputs: Any) -> Any:
        plain = not fused_lm_head or not set(inputs) <= READ or inputs.get("attention_mask") is None
        packed = None if plain else pack_rows(inputs["input_ids"], inputs["labels"], inputs["attention_mask"])
        if packed is None:
            return self.model(**inputs, **({"fused_lm_head": True} if fused_lm_head else {}))
        given = packed.inputs()
        if self.head is None:
            return self.model(**given, shift_labels=packed.labels, use_cache=False, fused_lm_head=True)
        layer = self.bare.get_output_embeddings()
        with returning_hidden_states(layer):
            hidden = self.model(**given, logits_to_keep=packed.places, use_cache=False).logits[0]  # (K, E)
        with self.autocast():
            found = self.head.judged(layer, hidden, packed.labels[0, packed.places])
        return ScoredTokens(*found, torch.ones_like(found[2]))


class FastSFTTrainer(SFTTrainer):
    """[`~trl.SFTTrainer`] with `batching` of `R1SFTConfig`; at 'trl' it is its parent."""

    _packs: bool | None = False  # None: may be tried
    _head: OnePassHead | None = None

    def __init__(self, *positional: Any, **options: Any) -> None:
        super().__init__(*positional, **options)
        if getattr(self.args, "batching", "trl") != "fast":
            return
        policy = self.accelerator.unwrap_model(self.model)
        text = policy.config.get_text_config()
        if not scores_labels() or text._attn_implementation != "sdpa" or self.aux_loss_enabled:
            logger.warning("Rows are padded as in TRL: batching 'fast' needs SDPA attention and no auxiliary loss.")
            return
        AttentionInterface.register(ATTENTION, packed_attention)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        text._attn_implementation = ATTENTION  # which is SDPA wherever no packing is handed over
        self._packs = None
        if why_not_one_pass(policy) is None:
            self._head = OnePassHead(1.0, chunk=max(CHUNK, LOGITS // text.vocab_size))

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self._packs is not False and self.accelerator.parallelism_config is None:
            packing = PackingModel(model, self.accelerator.unwrap_model(model), self._head, self.accelerator.autocast)
            if self._packs is None:
                self._packs = self._packing_agrees(packing, inputs)
            model = packing if self._packs else model
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def _packing_agrees(self, packing: PackingModel, inputs: Batch) -> bool:
        """Tries packing on the batch's first and shortest row, against TRL's padded forward pass, without dropout."""
        if not {"input_ids", "labels", "attention_mask"} <= set(inputs) or not set(inputs) <= READ:
            return False
        bare, text = packing.bare, packing.bare.config.get_text_config()
        pair = torch.stack([torch.zeros((), dtype=torch.long), inputs["attention_mask"].sum(dim=1).argmin().cpu()])
        rows = {key: inputs[key][pair.to(inputs[key].device)] for key in ("input_ids", "labels", "attention_mask")}
        windows: list[int | None] = []
        reason = None
        trial = PackingModel(bare, bare, packing.head, packing.autocast)
        with torch.no_grad(), without_dropout(bare), self.accelerator.autocast(), recorded_windows(windows):
            plain = bare(**rows, use_cache=False, fused_lm_head=True)
            try:
                packed = trial(**rows, use_cache=False, fused_lm_head=True)  # the longer row comes first in both
            except (TypeError, ValueError, RuntimeError) as error:
                reason = f"its forward pass refuses packed rows ({error})"
        if reason is None:
            moved = packed.log_probs[packed.label_mask] - plain.log_probs[plain.label_mask]
            change = moved.abs().max().item() if len(moved) else 0.0
            tolerance = TOLERANCE.get(computing_type(bare, self.accelerator), COARSE)
            reason = packing_fault(text, change, tolerance, windows)
        if reason is not None:
            logger.warning("Rows are padded as in TRL for this model: %s.", reason)
            text._attn_implementation = "sdpa"
        return reason is None
