"""Layered: several scores as one, a weighted mean; by default 0.4 symbolic + 0.3 logic + 0.3 semantic.

    score = W * sum_i w_i s_i / sum_i w_i       i over the layers that judged this completion, W the sum of all weights

so a layer that abstains (None) gives its weight to the others in proportion. Weights may move while training runs.

Source: ours. DeepSeek-R1 sums its rewards with equal weight (arXiv:2501.12948, Sec. 2.2.2) and has no such layers.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trl_r1.rewards.catalogue import load_reward, metric_name
from trl_r1.storage.structured import option
from trl_r1.text.reasoning_format import ReasoningFormat, tell
from trl_r1.text.records import Json


if TYPE_CHECKING:
    from typing_extensions import Self

DEFAULT_LAYERS: tuple[Json, ...] = (
    {"name": "trl_r1.rewards.symbolic:Symbolic", "weight": 0.4},
    {"name": "trl_r1.rewards.logic:Logic", "weight": 0.3},
    {"name": "trl_r1.rewards.semantic:Semantic", "weight": 0.3},
)


def weighted_mean(scores: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """The formula above, clipped to [0, 1]; None when no layer with a weight has judged. NaN counts as None.

    >>> weighted_mean([1.0, None, 0.0], [0.25, 0.5, 0.25])
    0.5
    """
    judged = [(w, s) for w, s in zip(weights, scores, strict=True) if s is not None and not math.isnan(s)]
    present = sum(w for w, _ in judged)
    if present <= 0:
        return None
    mean = sum(w * s for w, s in judged if w) / present
    return min(1.0, max(0.0, sum(weights) * mean))


def weights_at(progress: float, schedule: Sequence[tuple[float, Sequence[float]]]) -> list[float]:
    """The weights at a share of the training, linear between the points of the schedule and constant outside.

    >>> weights_at(0.25, [(0.0, [1.0, 0.0]), (0.5, [0.0, 1.0])])
    [0.5, 0.5]
    """
    before = schedule[0]
    for point in schedule:
        if point[0] > progress:
            if point is schedule[0]:
                break
            share = (progress - before[0]) / (point[0] - before[0])
            return [(1.0 - share) * a + share * b for a, b in zip(before[1], point[1], strict=True)]
        before = point
    return list(before[1])


@dataclass(frozen=True)
class Layered:
    """The weighted mean of its layers' scores, clipped to [0, 1]; None where every layer abstains.

    A layer is an entry as in a recipe's list of rewards, ``{"name": ..., "weight": ..., "options": {...}}``: a reward's
    name, a path ``package.module:object``, or (from Python) the reward itself. Layers are loaded at the first call. A
    ``schedule`` maps shares of the training (``global_step / max_steps``, 0 outside a trainer) to weights, one per
    layer in order or by the layer's metric name; weights are linear in between.

    Logs every layer's scores (``log_extra`` ``<name>_<layer>``) and their mean where it judged (``log_metric``
    ``<name>/<layer>``; NaN if nowhere, because every rank has to log the same names), the share it judged, and its
    weight; the layers log what they do on their own.

    Raises, on the first call: ValueError for an unknown layer or a schedule that does not fit; on any call: ValueError
    for a layer that returns an infinite score or a wrong number of them.

    Source: ours; see the module.
    """

    layers: Sequence[Any] = option(DEFAULT_LAYERS, "Entries {name, weight, options}.")
    schedule: Mapping[Any, Any] | None = option(
        None, "Share of training -> weights, such as {0.0: [1, 0, 0], 0.5: [0.4, 0.3, 0.3]}."
    )
    name: str = option("layered", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        if isinstance(self.layers, (str, Mapping)) or not self.layers:
            raise ValueError(f"layers={self.layers!r} is no list. Write: layers: [{{name: symbolic, weight: 0.4}}]")
        if self.schedule is not None and not self.schedule:
            raise ValueError("schedule is empty. Give at least one share of the training with its weights, or None.")
        object.__setattr__(self, "layers", tuple(self.layers))

    @property
    def __name__(self) -> str:
        return self.name

    def with_format(self, reasoning_format: ReasoningFormat) -> Self:
        """The same reward, whose layers know what the template does with thoughts."""
        twin = replace(self)
        object.__setattr__(twin, "_reasoning_format", reasoning_format)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    @cached_property
    def _loaded(self) -> tuple[list[Callable[..., Any]], list[tuple[float, list[float]]]]:
        """The layers' functions, and the schedule as (share, weights) in order."""
        functions, weights = [], []
        for layer in self.layers:
            row = dict(layer) if isinstance(layer, Mapping) else {"name": layer}
            named = row.get("name")
            if not (isinstance(named, str) or callable(named)) or set(row) - {"name", "weight", "options"}:
                raise ValueError(f"{layer!r} is no layer. Write: {{name: symbolic, weight: 0.4, options: {{...}}}}")
            function = load_reward(named, **(row.get("options") or {})) if isinstance(named, str) else named
            if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
                raise ValueError(f"The layer {metric_name(function)!r} is asynchronous. Give it a place of its own.")
            functions.append(tell(function, self.__dict__.get("_reasoning_format")))
            weights.append(row.get("weight", 1.0))
        names = [metric_name(function) for function in functions]
        if len(set(names)) < len(names):
            raise ValueError(f"Two layers are called the same: {', '.join(names)}. Give one options: {{name: ...}}.")
        if self.schedule is None:
            return functions, [(0.0, _checked(weights, names, "the layers"))]
        points = []
        for share, at in self.schedule.items():
            progress = float(share)
            if not 0.0 <= progress <= 1.0:
                raise ValueError(f"The schedule has weights at {share!r}. A share of the training lies in [0, 1].")
            points.append((progress, _checked(_in_order(at, names, share), names, f"the schedule at {share}")))
        return functions, sorted(points)

    def weights(self, trainer_state: Any = None) -> list[float]:
        """The layers' weights now. ``trainer_state`` has ``global_step`` and ``max_steps``."""
        most = getattr(trainer_state, "max_steps", 0) or 0
        progress = getattr(trainer_state, "global_step", 0) / most if most > 0 else 0.0
        return weights_at(min(1.0, progress), self._loaded[1])

    def __call__(
        self,
        completions: list[Any],
        trainer_state: Any = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        functions, weights = self._loaded[0], self.weights(trainer_state)
        passed = {**columns, "trainer_state": trainer_state, "log_extra": log_extra, "log_metric": log_metric}
        by_layer = []
        for function, weight in zip(functions, weights, strict=True):
            scores = _scores_of(function, completions, passed)
            by_layer.append(scores)
            label = f"{self.name}/{metric_name(function)}"
            if log_extra is not None:
                log_extra(label.replace("/", "_"), scores)
            if log_metric is not None:
                judged = [score for score in scores if score is not None]
                log_metric(label, sum(judged) / len(judged) if judged else math.nan)  # on every rank
                log_metric(f"{label}_judged", len(judged) / max(1, len(scores)))
                log_metric(f"{label}_weight", weight)
        return [weighted_mean(row, weights) for row in zip(*by_layer, strict=True)]


def _in_order(weights: Any, names: list[str], share: Any) -> list[Any]:
    if not isinstance(weights, Mapping):
        return list(weights)
    if set(weights) != set(names):
        raise ValueError(
            f"The schedule at {share} weighs {', '.join(map(str, weights))}; the layers are {', '.join(names)}."
        )
    return [weights[name] for name in names]


def _checked(weights: Sequence[Any], names: list[str], where: str) -> list[float]:
    numbers = [float(weight) for weight in weights]
    if len(numbers) != len(names):
        raise ValueError(f"{where} has {len(numbers)} weights for {len(names)} layers: {', '.join(names)}.")
    if not all(math.isfinite(number) and number >= 0 for number in numbers) or sum(numbers) <= 0:
        raise ValueError(f"The weights of {where} are {numbers}. Give numbers of 0 or more, at least one above 0.")
    return numbers


def _scores_of(function: Callable[..., Any], completions: list[Any], passed: Json) -> list[float | None]:
    column = function(completions=completions, **passed)
    scores = [None if score is None or math.isnan(score) else float(score) for score in column]
    if len(scores) != len(completions):
        raise ValueError(
            f"The layer {metric_name(function)!r} gave {len(scores)} scores for {len(completions)} replies."
        )
    if any(score is not None and math.isinf(score) for score in scores):
        raise ValueError(f"The layer {metric_name(function)!r} gave an infinite score, which would drown the others.")
    return scores


layered_reward = Layered()
