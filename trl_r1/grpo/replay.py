"""Verified paths: a prompt's earlier right completion takes one place in a group that is all wrong now.

Such a group carries no gradient; with one right path in it, it does. The path was sampled by an older policy, so it comes
with the log-probabilities of that day: the ratio in the loss is ``pi_now / pi_then``, and TRL's clipping bounds it like any
other. Kept per process, at most `limit` prompts, the one unused for longest leaves first; saved with every checkpoint.

Source: experience replay for GRPO as in RLEP, arXiv:2507.07451. Departure: only groups without any right completion are
refilled, with one path each.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from trl_r1.compat.host import Batch
from trl_r1.compat.sharding import is_sharded
from trl_r1.grpo.advantages import dead_groups, weighted_sum
from trl_r1.grpo.fast_trainer import loss_mask
from trl_r1.storage.files import replace_file


RIGHT = 1.0  # score of the verifying reward from which a completion counts as right


@dataclass
class VerifiedPath:
    """A completion that was verified: tokens, their log-probabilities when sampled, its scores, its text."""

    tokens: list[int]
    logps: list[float]
    scores: list[float]  # (F,)
    text: Any


class VerifiedPaths:
    """Remembers right completions and replays them.

    Args:
        trainer: an R1GRPOTrainer with rollout='fast' and old_logps='sampled'.
        limit: prompts remembered.
        reward: name of the reward function that verifies.

    Raises:
        ValueError: no reward function has that name.
        NotImplementedError: under FSDP or DeepSpeed ZeRO-3, where TRL generates and nothing has been sampled here.
    """

    def __init__(self, trainer: Any, limit: int, reward: str):
        if reward not in trainer.reward_func_names:
            raise ValueError(
                f"verified_paths_reward={reward!r} is not among the rewards ({', '.join(trainer.reward_func_names)}); name "
                "the one whose score 1 means a right answer."
            )
        if is_sharded(trainer):
            raise NotImplementedError(
                "verified_paths is not available under DeepSpeed ZeRO-3 or FSDP, where TRL generates itself and tells no "
                "probabilities. Set it to 0, or use one GPU, DDP or ZeRO-1/2."
            )
        self.trainer, self.limit = trainer, limit
        self.column = trainer.reward_func_names.index(reward)
        self.paths: OrderedDict[tuple[int, ...], VerifiedPath] = OrderedDict()

    def replay(self, batch: Batch, scores: Tensor, sampled: Tensor | None) -> Tensor:
        """Replays into `batch` (changed in place), then remembers what is right in it.

        Args:
            batch: what TRL returned, B rows of this process, without our advantages yet.
            scores: (N, F) of all processes.
            sampled: (B, C) log-probabilities of the rollout, None where TRL generated.

        Returns:
            (N, F) the scores with those of the replayed paths.
        """
        trainer = self.trainer
        rows, size = len(batch["advantages"]), trainer.num_generations
        first = trainer.accelerator.process_index * rows
        own_scores = scores[first : first + rows].clone()  # (B, F)
        replayed: list[tuple[int, VerifiedPath]] = []
        if sampled is not None:
            batch.setdefault("old_per_token_logps", sampled)  # TRL leaves them out where every ratio would be 1
            weights = trainer.reward_weights.to(scores.device)
            dead = dead_groups(weighted_sum(own_scores, weights), size)
            right = own_scores[:, self.column] >= RIGHT
            for start in range(0, rows, size):
                prompt = tuple(batch["prompt_ids"][start][batch["prompt_mask"][start] != 0].tolist())
                group = slice(start, start + size)
                places = right[group].nonzero()
                path = self.paths.get(prompt)
                if len(places):
                    self._remember(prompt, batch, own_scores, start + int(places[0]))
                elif path is not None and bool(dead[start]):
                    new = torch.tensor(path.scores, device=scores.device)
                    self.paths.move_to_end(prompt)
                    self._replace_row(batch, start + size - 1, path)
                    own_scores[start + size - 1] = new
                    replayed.append((first + start + size - 1, path))
        self._log(replayed, len(scores), rows // size)
        batch["num_items_in_batch"] = trainer.accelerator.gather(loss_mask(batch).sum()).sum()
        return trainer.accelerator.gather(own_scores)

    def _remember(self, prompt: tuple[int, ...], batch: Batch, scores: Tensor, row: int) -> None:
        length = int(batch["completion_mask"][row].sum())
        if length == 0:  # truncated and masked
            return
        tokens = batch["completion_ids"][row, :length].tolist()
        text: Any = self.trainer._reasoning.decode(tokens)
        logps = batch["old_per_token_logps"][row, :length].tolist()
        self.paths[prompt] = VerifiedPath(tokens, logps, scores[row].tolist(), text)
        self.paths.move_to_end(prompt)
        if len(self.paths) > self.limit:
            self.paths.popitem(last=False)

    @staticmethod
    def _replace_row(batch: Batch, row: int, path: VerifiedPath) -> None:
        """Row `row` becomes the path; all completions are padded where it is longer."""
        length = len(path.tokens)
        missing = length - batch["completion_ids"].size(1)
        for key, values in (
            ("completion_ids", path.tokens),
            ("completion_mask", [1] * length),
            ("old_per_token_logps", path.logps),
        ):
            old = torch.nn.functional.pad(batch[key], (0, max(0, missing)))
            old = old.clone()
            old[row] = 0
            old[row, :length] = torch.tensor(values, dtype=old.dtype, device=old.device)
            batch[key] = old

    def _log(self, replayed: list[tuple[int, VerifiedPath]], everywhere: int, groups: int) -> None:
        trainer = self.trainer
        logs, names = trainer._logs, trainer.reward_func_names
        for place, path in gather_object([(place, asdict(path)) for place, path in replayed]):
            at = place - everywhere
            if isinstance(logs["completion"][at], str):
                logs["completion"][at] = path["text"]
            else:
                logs["completion"][at] = [{"role": "assistant", "content": path["text"]}]
            for name, score in zip(names, path["scores"]):
                logs["rewards"][name][at] = score
        share = torch.tensor(len(replayed) / groups, device=trainer.accelerator.device)
        metrics = trainer._metrics["train"]
        metrics["verified_paths/replayed"].append(trainer.accelerator.gather(share).mean().item())
        metrics["verified_paths/remembered"].append(float(len(self.paths)))

    def _file(self, folder: str | os.PathLike) -> Path:
        return Path(folder) / f"verified_paths_{self.trainer.accelerator.process_index}.json"

    def save(self, folder: str | os.PathLike) -> None:
        entries = [[list(prompt), asdict(path)] for prompt, path in self.paths.items()]
        replace_file(self._file(folder), json.dumps(entries))

    def load(self, folder: str | os.PathLike) -> None:
        """Takes up what `save` left; a checkpoint without it starts with none."""
        file = self._file(folder)
        entries = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        self.paths = OrderedDict((tuple(prompt), VerifiedPath(**path)) for prompt, path in entries)
