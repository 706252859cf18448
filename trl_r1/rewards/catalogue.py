"""Rewards by name: ours, those that other packages install, and any object that can be imported.

A package adds its rewards with an entry point in the group ``trl_r1.rewards``; that is also how ours are declared. So
that ours are found from a checkout without installed (or with outdated) metadata, ``BUILT_IN`` is the source of the
entry points in ``pyproject.toml``, and wins over metadata of the same name.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trl_r1.errors import did_you_mean
from trl_r1.storage.structured import option, read_entries
from trl_r1.text.reasoning_format import ReasoningFormat, tell
from trl_r1.text.records import Json


GROUP = "trl_r1.rewards"
BUILT_IN: dict[str, str] = {
    "accuracy": "trl_r1.rewards.accuracy:Accuracy",
    "format": "trl_r1.rewards.format:Format",
    "language_consistency": "trl_r1.rewards.language:LanguageConsistency",
    "logic": "trl_r1.rewards.logic:Logic",
    "geometry": "trl_r1.rewards.geometry:Geometry",
    "overlong": "trl_r1.rewards.shaping:Overlong",
    "cosine_length": "trl_r1.rewards.shaping:CosineLength",
    "repetition": "trl_r1.rewards.shaping:Repetition",
    "code": "trl_r1.rewards.code:Code",
    "symbolic": "trl_r1.rewards.symbolic:Symbolic",
    "semantic": "trl_r1.rewards.semantic:Semantic",
    "layered": "trl_r1.rewards.layered:Layered",
    "reasoning_gym": "trl_r1.rewards.reasoning_gym:ReasoningGym",
    "preference": "trl_r1.rewards.preference:Preference",
    "helpfulness": "trl_r1.rewards.preference:helpfulness_reward",
    "harmlessness": "trl_r1.rewards.preference:harmlessness_reward",
    "agser": "trl_r1.agser.reward:AGSERReward",
}


@dataclasses.dataclass(frozen=True)
class RewardEntry:
    """One reward of a recipe's list."""

    name: str = option(help="A name of `trl-r1 rewards list`, or a path package.module:object.", like="accuracy")
    weight: float = option(1.0, "What its score is multiplied by.", like=1.0)
    options: Json = option({}, "The reward's own.")


def read_rewards(rewards: Any) -> list[Json]:
    """The `rewards` of a recipe as mappings with `name`, `weight` and `options`, as run.json keeps them.

    Raises:
        ValueError: it is no list of rewards; see `read_entries`.
    """
    return [dataclasses.asdict(entry) for entry in read_entries("rewards", rewards, RewardEntry)]


def installed() -> dict[str, str]:
    """Name -> ``module:object`` of every reward that can be loaded by name.

    Raises:
        ValueError: two packages claim one name for different objects.
    """
    offered: dict[str, str] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.name in BUILT_IN:
            continue
        if offered.setdefault(entry.name, entry.value) != entry.value:
            raise ValueError(
                f"Two installed packages offer a reward called {entry.name!r}: {offered[entry.name]} and {entry.value}. "
                "Uninstall one, or name the object itself, as package.module:object."
            )
    return {**offered, **BUILT_IN}


def load_reward(name: str, /, **options: Any) -> Callable[..., Any]:
    """A reward function, ready for ``GRPOTrainer(reward_funcs=...)``.

    Args:
        name: a name in ``installed()``, or a path ``package.module:object`` or ``package.module.object``.
        **options: the reward's own; ``name=`` among them is the name its metric is logged under.

    Returns:
        A callable with a ``__name__``. What is found may be a class (called with the options), an object made by one
        of our dataclasses (copied with the options), or a function (its keyword arguments are its options).

    Raises:
        ValueError: unknown name, unknown or refused option.

    >>> load_reward("format", graded=True)([""])
    [0.0]
    """
    return _configure(_find(name), name, options)


def load_rewards(
    rewards: Iterable[str | Mapping[str, Any]],
) -> tuple[list[Callable[..., Any]], list[float]]:
    """The functions and weights of a recipe's list of rewards.

    Args:
        rewards: each a name, or ``{"name": ..., "weight": 1.0, "options": {...}}``.

    Returns:
        (functions, weights), in order. TRL keys its metrics by ``__name__``, so when two are called the same, the
        second becomes ``<name>_2``, and so on.

    Raises:
        ValueError: as ``load_reward``; or an entry is not of that shape.

    >>> functions, weights = load_rewards([{"name": "accuracy"}, {"name": "format", "weight": 0.1}])
    >>> [f.__name__ for f in functions], weights
    (['accuracy', 'format'], [1.0, 0.1])
    """
    if isinstance(rewards, (str, Mapping)):
        raise ValueError(f"rewards={rewards!r} must be a list such as [{{name: accuracy, weight: 1.0}}].")
    functions: list[Callable[..., Any]] = []
    weights: list[float] = []
    names: set[str] = set()
    for entry in read_entries("rewards", list(rewards), RewardEntry, least=0):
        functions.append(_distinct(load_reward(entry.name, **entry.options), names))
        weights.append(float(entry.weight))
    return functions, weights


def metric_name(reward: Callable[..., Any]) -> str:
    """The name TRL logs a reward under: ``rewards/<metric_name>/mean``."""
    while isinstance(reward, functools.partial):
        reward = reward.func
    return getattr(reward, "__name__", type(reward).__name__)


def _find(name: str) -> Any:
    offered = installed()
    if name in offered:
        return _import(offered[name])
    if ":" in name or "." in name:
        return _import(name)
    raise ValueError(
        f"No reward is called {name!r}.{did_you_mean(name, offered)} "
        f"Installed: {', '.join(sorted(offered)) or 'none'}. Adding one: docs/rewards.md."
    )


def _import(path: str) -> Any:
    module_name, _, attribute = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_name or not attribute:
        raise ValueError(f"{path!r} is no path to a reward. Write package.module:object.")
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ValueError(f"There is no module {missing!r}, so no reward at {path!r}. Is it installed?") from error
        raise  # the module is there; something it needs is not
    for step in attribute.split("."):
        if not hasattr(target, step):
            raise ValueError(
                f"{getattr(target, '__name__', module_name)} has no {step!r}, so no reward at {path!r}."
                + did_you_mean(step, dir(target))
            )
        target = getattr(target, step)
    return target


def _configure(factory: Any, name: str, options: Json) -> Callable[..., Any]:
    if inspect.isclass(factory):
        _check(options, _options_of(factory), name)
        instance: Any = factory(**options)
        return instance
    if not callable(factory):
        raise ValueError(f"{name!r} is {factory!r}, which cannot be called. A reward is a function, class or object.")
    if not options:
        return factory
    if dataclasses.is_dataclass(factory) and not inspect.isclass(factory):
        _check(options, _options_of(type(factory)), name)
        changed: Any = dataclasses.replace(factory, **options)  # type: ignore[type-var]
        return changed
    if inspect.isfunction(factory):
        label = options.pop("name", None)
        parameters = inspect.signature(factory).parameters.values()
        _check(options, [p.name for p in parameters if p.kind == p.KEYWORD_ONLY or p.default is not p.empty], name)
        reward: Callable[..., Any] = functools.partial(factory, **options) if options else factory
        return reward if label is None else _renamed(reward, label)
    raise ValueError(
        f"The reward {name!r} is an object that is already made; it takes no options ({', '.join(options)})."
    )


def _options_of(cls: type) -> list[str] | None:
    """The names a class accepts; None if it accepts any."""
    parameters = inspect.signature(cls).parameters.values()
    if any(p.kind == p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _check(options: Mapping[str, Any], accepted: list[str] | None, name: str) -> None:
    if accepted is None:
        return
    for word in options:
        if word not in accepted:
            raise ValueError(
                f"The reward {name!r} has no option {word!r}.{did_you_mean(word, accepted)} "
                f"Its options: {', '.join(accepted) or 'none'}."
            )


def _distinct(reward: Callable[..., Any], names: set[str]) -> Callable[..., Any]:
    name = metric_name(reward)
    unique, number = name, 1
    while unique in names:
        number += 1
        unique = f"{name}_{number}"
    names.add(unique)
    return reward if unique == name else _renamed(reward, unique)


def _renamed(reward: Callable[..., Any], name: str) -> Callable[..., Any]:
    if dataclasses.is_dataclass(reward) and any(f.name == "name" for f in dataclasses.fields(reward)):
        renamed: Any = dataclasses.replace(reward, name=name)  # type: ignore[type-var]
        return renamed
    if not inspect.isroutine(reward) and not isinstance(reward, functools.partial):
        twin = copy.copy(reward)
        try:
            twin.__name__ = name  # type: ignore[attr-defined]
        except AttributeError:  # frozen or slotted: stand in front of it instead
            pass
        else:
            return twin
    inner = reward.func if isinstance(reward, functools.partial) else reward
    awaited = inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)
    return AwaitedAs(reward, name) if awaited else CalledAs(reward, name)


class CalledAs:
    """A reward under another metric name; picklable when the reward is."""

    def __init__(self, reward: Callable[..., Any], name: str) -> None:
        self.reward = reward
        self.__name__ = name

    def with_format(self, reasoning_format: ReasoningFormat) -> CalledAs:
        """The same, around a reward that knows what the template does with thoughts."""
        return type(self)(tell(self.reward, reasoning_format), self.__name__)

    def __call__(self, *args: Any, **columns: Any) -> Any:
        return self.reward(*args, **columns)


class AwaitedAs(CalledAs):
    """The same for an asynchronous reward, which TRL recognises by its ``async __call__``."""

    async def __call__(self, *args: Any, **columns: Any) -> Any:
        return await self.reward(*args, **columns)
