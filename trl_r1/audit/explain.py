"""Explain: one completion scored by one reward, with all that led to the score.

What the reward logs (``log_extra``: extracted answer, gold as parsed, verdict), where the score comes from (``spans``),
and what each option did: the score under the other value of it.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from trl_r1.text.completions import reasoning_bounds, reply
from trl_r1.text.reasoning_format import ReadsReasoning
from trl_r1.text.records import Row


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a reward: its value, and the score it would give with ``other`` (None: not tried)."""

    name: str
    value: Any
    about: str
    other: Any = None
    other_score: float | None = None
    tried: bool = False


@dataclasses.dataclass(frozen=True)
class Explanation:
    """``score`` in reward points (None: not judged), and what led to it."""

    score: float | None
    reply: str
    reasoning: tuple[int, int, int]  # characters of the reply: the thought's start and end, and where the rest starts
    logged: Row  # column -> value, as the reward logs it
    metrics: dict[str, float]
    spans: list[tuple[int, int, float]] | None  # None: this reward does not say where
    options: list[Option]

    def lines(self) -> list[str]:
        """The explanation as text."""
        start, end, after = self.reasoning
        lines = [
            f"score     {'None (not judged)' if self.score is None else f'{self.score:g}'}",
            f"reply     {len(self.reply)} characters, thought {start}-{end}, after it {_short(self.reply[after:])}",
        ]
        width = max([8, *map(len, self.logged), *map(len, self.metrics)])
        lines += [f"{name:<{width}}  {_short(value)}" for name, value in self.logged.items()]
        lines += [f"{name:<{width}}  {value:g}" for name, value in self.metrics.items()]
        if self.spans is not None:
            lines.append(f"spans     {len(self.spans)}, which sum to {sum(points for _, _, points in self.spans):g}")
            for start, end, points in self.spans[:20]:
                lines.append(f"  {start:>6}-{end:<6} {points:>8.4f}  {_short(self.reply[start:end])}")
        if self.options:
            lines.append("options")
        for option in self.options:
            lines.append(f"  {option.name}={option.value!r}  {option.about}".rstrip())
            if option.tried:
                same = option.other_score == self.score
                effect = "the same" if same else "None" if option.other_score is None else f"{option.other_score:g}"
                lines.append(f"      with {option.other!r} the score is {effect}")
        return lines


def explain(
    reward: Any,
    completion: Any,
    prompt: Any = "",
    gold: Any = None,
    columns: Mapping[str, Any] | None = None,
) -> Explanation:
    """Score one completion and keep what led to the score.

    Args:
        reward: as ``load_reward`` gives it; not an asynchronous one.
        gold: the gold answer; goes to the column the reward reads (its ``solution_column``) and to ``solution``.
        columns: further columns of the row.

    Raises:
        ValueError: the reward does not give one score for one completion.
    """
    if inspect.iscoroutinefunction(reward) or inspect.iscoroutinefunction(type(reward).__call__):
        raise ValueError("An asynchronous reward cannot be tried here; await it with one completion instead.")
    row = dict(columns or {})
    if gold is not None:
        row.setdefault("solution", gold)
        row.setdefault(getattr(reward, "solution_column", "solution"), gold)
    logged: Row = {}
    metrics: dict[str, float] = {}
    score = _score(reward, completion, prompt, row, logged, metrics)
    text = reply(completion)
    spans = None
    if callable(getattr(reward, "spans", None)):
        # what the call finds in the row (a target language, the prompt's points) has to be named to spans
        target = logged.get(f"{getattr(reward, '__name__', '')}_target")
        takes = inspect.signature(reward.spans).parameters
        named = {name: value for name, value in (("language", target), ("prompt", prompt)) if name in takes}
        spans = [] if "language" in takes and target is None else reward.spans(completion, **named)
    reading = reward.reading(completion, prompt) if isinstance(reward, ReadsReasoning) else ()
    bounds = reasoning_bounds(text, *reading)
    options = _options(reward, lambda other: _score(other, completion, prompt, row, {}, {}))
    return Explanation(score, text, bounds, logged, metrics, spans, options)


def _score(
    reward: Callable[..., Any],
    completion: Any,
    prompt: Any,
    row: Mapping[str, Any],
    logged: Row,
    metrics: dict[str, float],
) -> float | None:
    from trl_r1.audit.isolated import as_trl_calls

    columns = {name: [value] for name, value in row.items()}
    call = as_trl_calls([completion], {**columns, "prompts": [prompt]})
    call["log_extra"] = lambda column, values: logged.__setitem__(column, values[0] if len(values) else None)
    call["log_metric"] = metrics.__setitem__
    scores = reward(**call)
    try:
        (score,) = scores
    except (TypeError, ValueError):
        raise ValueError(
            f"The reward returned {scores!r} for one completion; it should be a list of one score."
        ) from None
    return None if score is None else float(score)


def _options(reward: Any, score: Callable[[Any], float | None]) -> list[Option]:
    """Every option of a dataclass reward; a switch is tried the other way, a changed value with its default."""
    if not dataclasses.is_dataclass(reward) or isinstance(reward, type):
        return []
    effects = []
    for field in dataclasses.fields(reward):
        if field.name == "name" or not field.init:
            continue
        value, about = getattr(reward, field.name), str(field.metadata.get("help", ""))
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if isinstance(value, bool):
            other: Any = not value
        elif default is not dataclasses.MISSING and default != value:
            other = default
        else:
            effects.append(Option(field.name, value, about))
            continue
        try:
            changed = dataclasses.replace(reward, **{field.name: other})
            effects.append(Option(field.name, value, about, other, score(changed), tried=True))
        except ValueError:  # options exclude each other, or the row lacks what this value asks for
            effects.append(Option(field.name, value, about))
    return effects


def _short(value: Any, most: int = 100) -> str:
    text_shown = repr(value)
    return text_shown if len(text_shown) <= most else f"{text_shown[: most - 3]}..."
