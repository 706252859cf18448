"""Rewards: completions in, one score per completion out; each works in a stock ``GRPOTrainer``.

Importing this package is cheap: a reward's module, and what it needs, loads when the reward is first asked for.

    from trl_r1.rewards import accuracy_reward, format_reward, language_consistency_reward
    GRPOTrainer(..., reward_funcs=[accuracy_reward, format_reward])

The same objects on the command line: ``trl grpo --reward_funcs trl_r1.rewards.accuracy_reward``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from trl_r1.rewards.accuracy import accuracy_reward as accuracy_reward
    from trl_r1.rewards.catalogue import load_reward as load_reward
    from trl_r1.rewards.catalogue import load_rewards as load_rewards
    from trl_r1.rewards.format import format_reward as format_reward
    from trl_r1.rewards.language import language_consistency_reward as language_consistency_reward

_HOME = {  # exported name -> module it lives in
    "accuracy_reward": "trl_r1.rewards.accuracy",
    "format_reward": "trl_r1.rewards.format",
    "language_consistency_reward": "trl_r1.rewards.language",
    "load_reward": "trl_r1.rewards.catalogue",
    "load_rewards": "trl_r1.rewards.catalogue",
}
__all__ = [
    "accuracy_reward",
    "format_reward",
    "language_consistency_reward",
    "load_reward",
    "load_rewards",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}. It offers: {', '.join(sorted(_HOME))}.")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
