"""What AGSER is measured against: detectors that need no attention, at a stated number of model runs.

    log-probability, entropy    of the answer's tokens, 1 run (they fall off while it is generated)
    self-consistency            agreement of the answer with sampled ones, 1 + samples runs
    random split                AGSER with a split by chance: what the attention is worth, 3 runs

Source  log-probability and entropy: Malinin & Gales 2021, arXiv:2002.07650 (length-normalised); self-consistency:
        SelfCheckGPT, Manakul et al. 2023, arXiv:2303.08896, here with Rouge-L.
"""

from __future__ import annotations

import random
from collections.abc import MutableMapping, Sequence

import torch

from trl_r1.agser.scorer import AGSERScorer
from trl_r1.agser.split import Prompt, Query, split_by_share
from trl_r1.models.sampling import end_tokens, evaluation_mode, left_padded, padding, sample
from trl_r1.storage.shards import digest_of


DRAWN_AT_ONCE = 64  # questions whose samples are drawn, and kept, together


def likelihoods(
    scorer: AGSERScorer, queries: Sequence[Query], answers: Sequence[Sequence[int]]
) -> list[tuple[float, float]]:
    """Mean log-probability and mean entropy (both nats per token) of each answer's tokens, read again, teacher-forced.

    Args:
        answers: the ids that were generated (`AGSERScorer.replies`), the end token among them only where it was: an
            answer that was cut is not charged for an end that it never came to.

    Raises:
        ValueError: an answer without a token.
    """
    greedy, tokenizer, tails = scorer.greedy, scorer.tokenizer, [list(ids) for ids in answers]
    model = greedy.model
    if not all(tails):
        raise ValueError(f"Answer {tails.index([])} has no token, so it has no likelihood.")
    pad, device = padding(tokenizer, end_tokens(model, tokenizer)), model.get_input_embeddings().weight.device
    out: dict[int, tuple[float, float]] = {}
    with evaluation_mode(model), torch.no_grad():
        for batch in greedy._batches(range(len(queries)), lambda i: len(queries[i].ids) + len(tails[i])):
            rows = [[*queries[i].ids, *tails[i]] for i in batch]
            most = max(len(tails[i]) for i in batch)
            ids, mask = left_padded(rows, pad, device)
            places = (mask.cumsum(1) - 1).clamp(min=0)
            # an index, because a frozen head multiplies a slice row by row (models/sampling.py, contiguous_states)
            last = torch.arange(ids.size(1) - most - 1, ids.size(1) - 1, device=device)
            logits = model(
                input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=last, use_cache=False
            ).logits
            logps = logits.float().log_softmax(-1)  # (B, most, V)
            taken = logps.gather(2, ids[:, -most:, None]).squeeze(2)
            entropy = -(logps.exp() * logps).sum(2)
            for row, i in enumerate(batch):
                count = len(tails[i])
                out[i] = (taken[row, -count:].mean().item(), entropy[row, -count:].mean().item())
    return [out[i] for i in range(len(queries))]


def self_consistency(
    scorer: AGSERScorer,
    queries: Sequence[Query],
    answers: Sequence[str],
    samples: int = 5,
    seed: int = 0,
    kept: MutableMapping[str, list[list[str]]] | None = None,
) -> list[float]:
    """Mean agreement of each answer with sampled ones (temperature 1), in [0, 1].

    Args:
        kept: where draws are kept, ``DRAWN_AT_ONCE`` questions each; those that are there are not drawn again.
    """
    kept = {} if kept is None else kept
    drawn: list[list[str]] = []
    for start in range(0, len(queries), DRAWN_AT_ONCE):
        prompts = [query.prompt for query in queries[start : start + DRAWN_AT_ONCE]]
        name = digest_of(prompts, samples, seed, start)
        if name not in kept:
            kept[name] = sampled(scorer, prompts, samples, seed + start)
        drawn += kept[name]
    return [
        sum(scorer.agree(answer, scorer._cut(text)) for text in texts) / samples
        for answer, texts in zip(answers, drawn, strict=True)
    ]


def sampled(scorer: AGSERScorer, prompts: Sequence[Prompt], samples: int, seed: int) -> list[list[str]]:
    """(P, samples) texts at temperature 1, not yet cut."""
    greedy = scorer.greedy
    return sample(
        greedy.model,
        scorer.tokenizer,
        prompts,
        samples,
        1.0,
        1.0,
        greedy.max_new_tokens,
        greedy.batch_size * samples,
        seed,
        progress=False,
    ).texts


def random_splits(queries: Sequence[Query], k: float, seed: int) -> list[list[bool]]:
    """A split by chance of each query, as large as AGSER's."""
    draw = random.Random(f"random split {seed}")
    return [
        split_by_share([draw.random() for _ in query.units], k) if len(query.units) > 1 else [] for query in queries
    ]
