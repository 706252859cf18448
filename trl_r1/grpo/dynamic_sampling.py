"""Dynamic sampling: groups without variance are replaced by groups of other prompts, a bounded number of times.

A group whose rewards are all equal compares nothing: it costs a rollout and moves no weight. DAPO keeps drawing prompts
until the batch is full of groups that differ; here at most `dynamic_sampling_rounds` times, and what is still equal then
stays as it is. The cost is logged.

Source: DAPO, arXiv:2503.14476, Sec. 3.2. Departures: bounded rounds; the next prompts come from an order of their own
(drawn from seed, step and process, so that a resumed run draws the same), not from the epoch's order, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from trl_r1.compat.host import Batch
from trl_r1.grpo.fast_trainer import loss_mask


LEFT = ("prompt_ids", "prompt_mask")  # padded on the left; everything else on the right
SUMS = ("num_tokens",)  # metrics that count the extra rollouts in


class DynamicSampling:
    """Refills the dead groups of a scored batch.

    Args:
        trainer: an R1GRPOTrainer.
        rounds: how often groups may be drawn again for one batch.

    Raises:
        ValueError: a training set without a length, or a batch with images.
    """

    def __init__(self, trainer: Any, rounds: int):
        if not hasattr(trainer.train_dataset, "__len__"):
            raise ValueError(
                "dynamic_sampling_rounds draws prompts by number and the training set is a stream; load it as a whole, or "
                "set dynamic_sampling_rounds to 0."
            )
        self.trainer, self.rounds = trainer, rounds

    def refill(self, batch: Batch, dead: Tensor, score: Callable[[list[Any]], tuple[Batch, Tensor]]) -> Batch:
        """The batch with its dead groups replaced where live ones were found.

        Args:
            batch: what `_generate_and_score_completions` returned, B rows of this process.
            dead: (B,) bool, equal within a group.
            score: generates and scores rows of the training set: (another batch, its dead rows).
        """
        trainer = self.trainer
        size, before, rows, extra = trainer.num_generations, dead, len(dead), 0
        for number in range(self.rounds):
            dead_groups = int(dead.view(-1, size)[:, 0].sum())
            most = int(trainer.accelerator.gather(torch.tensor([dead_groups], device=dead.device)).max())
            if most == 0:
                break
            inputs = [dict(trainer.train_dataset[index]) for index in self._draw(most, number) for _ in range(size)]
            logged, metrics = self._notes()
            more, more_dead = score(inputs)
            extra += most * size
            live = (~more_dead).nonzero().squeeze(1)[: dead_groups * size]  # (K,) rows to take; groups stay together
            places = dead.nonzero().squeeze(1)[: len(live)]  # (K,) rows they replace
            self._restore(logged, metrics, places.tolist(), live.tolist(), rows, most * size)
            batch = merge(batch, more, places, live)
            dead = dead.clone()
            dead[places] = False
        if extra:
            batch["num_items_in_batch"] = trainer.accelerator.gather(loss_mask(batch).sum()).sum()
        for name, value in (
            ("dead_before", before.float().mean()),
            ("dead_after", dead.float().mean()),
            ("extra_completions", torch.tensor(extra / rows, device=dead.device)),
        ):
            trainer._metrics["train"][f"dynamic/{name}"].append(trainer.accelerator.gather(value).mean().item())
        return batch

    def _draw(self, count: int, number: int) -> list[int]:
        """Numbers of `count` rows of the training set, other ones in every process; with a curriculum, of the levels that
        the batch has."""
        trainer = self.trainer
        curriculum = trainer._curriculum
        rows = range(len(trainer.train_dataset)) if curriculum is None else curriculum.alike()
        state = trainer.accelerator
        seed = hash((trainer.args.seed, trainer.state.global_step, trainer._step, number)) % 2**63
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        places = torch.arange(count) * state.num_processes + state.process_index
        return [rows[place] for place in order[places % len(order)].tolist()]

    def _notes(self) -> tuple[dict[str, list[Any]], dict[str, int]]:
        """The logged columns and the number of entries of every metric, before a refill adds its own."""
        columns = {name: list(deque) for name, deque in self._columns().items()}
        return columns, {name: len(values) for name, values in self.trainer._metrics["train"].items()}

    def _columns(self) -> dict[str, Any]:
        logs = self.trainer._logs
        columns = {name: logs[name] for name in ("prompt", "completion", "advantages")}
        columns |= {f"reward {name}": deque for name, deque in logs["rewards"].items()}
        return columns | {f"extra {name}": deque for name, deque in logs["extra"].items()}

    def _restore(
        self,
        logged: dict[str, list[Any]],
        metrics: dict[str, int],
        places: list[int],
        live: list[int],
        rows: int,
        more: int,
    ) -> None:
        """Metrics stay those of the first draw, which tell how the policy does on the prompts as they come; the table of
        completions shows what is trained on."""
        current = self.trainer._metrics["train"]
        for name in list(current):
            if name in SUMS:
                continue
            del current[name][metrics.get(name, 0) :]
            if not current[name]:
                del current[name]
        rank = self.trainer.accelerator.process_index
        swaps = gather_object([(rank * rows + place, rank * more + source) for place, source in zip(places, live)])
        everywhere = rows * self.trainer.accelerator.num_processes
        for name, deque in self._columns().items():
            before, added = logged.get(name, []), list(deque)[-more * self.trainer.accelerator.num_processes :]
            if len(before) >= everywhere and len(added) == more * self.trainer.accelerator.num_processes:
                first = len(before) - everywhere
                for place, source in swaps:
                    before[first + place] = added[source]
            deque.clear()
            deque.extend(before)


def merge(batch: Batch, more: Batch, places: Tensor, live: Tensor) -> Batch:
    """The rows `live` of `more` in the places `places` of `batch`, padded to the wider of the two.

    Raises:
        ValueError: a tensor that is in one of them only, or whose rows have more than one dimension (images).
    """
    merged: Batch = {}
    rows = len(batch["advantages"])
    for key in sorted(batch.keys() | more.keys()):
        old, new = batch.get(key), more.get(key)
        if key == "tool_mask" and (old is None or new is None):  # only one of them left tokens out of the loss
            old = torch.ones_like(batch["completion_mask"]) if old is None else old
            new = torch.ones_like(more["completion_mask"]) if new is None else new
        if key == "num_items_in_batch":
            merged[key] = old
            continue
        if not isinstance(old, Tensor) or not isinstance(new, Tensor) or old.dim() not in (1, 2) or len(old) != rows:
            raise ValueError(f"Dynamic sampling cannot replace rows of {key!r}; set dynamic_sampling_rounds to 0.")
        if old.dim() == 2:
            width = max(old.size(1), new.size(1))
            old, new = _padded(old, width, key), _padded(new, width, key)
        merged[key] = old.index_copy(0, places, new[live].to(old.dtype))
    return merged


def _padded(values: Tensor, width: int, key: str) -> Tensor:
    """Filled up with 0 (masked, whatever token that is); the tool mask with 1, as TRL does."""
    missing = width - values.size(1)
    sides = (missing, 0) if key in LEFT else (0, missing)
    return torch.nn.functional.pad(values, sides, value=int(key == "tool_mask"))
