"""Rewards: completions in, one score per completion out; each works in a stock ``GRPOTrainer``.

Importing this package is cheap: a reward's module, and what it needs, loads when the reward is first asked for.

    from trl_r1.rewards import accuracy_reward, format_reward, language_consistency_reward
    GRPOTrainer(..., reward_funcs=[accuracy_reward, format_reward])

The same objects on the command line: ``trl grpo --reward_funcs trl_r1.rewards.accuracy_reward``.

Belongs here: scores, and the table of names (``catalogue.py``). Not: finding and comparing answers (``answers``),
checking steps (``claims``), running programs (``sandbox``). A new reward is one file here and one line in
``BUILT_IN`` of ``catalogue.py``; outside this package it is an entry point of the group ``trl_r1.rewards``, or a
dotted path in a recipe. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trl_r1.compat.lazy import lazy_exports


if TYPE_CHECKING:
    from trl_r1.rewards.accuracy import accuracy_reward as accuracy_reward
    from trl_r1.rewards.catalogue import load_reward as load_reward
    from trl_r1.rewards.catalogue import load_rewards as load_rewards
    from trl_r1.rewards.code import code_reward as code_reward
    from trl_r1.rewards.format import format_reward as format_reward
    from trl_r1.rewards.geometry import geometry_reward as geometry_reward
    from trl_r1.rewards.language import language_consistency_reward as language_consistency_reward
    from trl_r1.rewards.layered import layered_reward as layered_reward
    from trl_r1.rewards.logic import logic_reward as logic_reward
    from trl_r1.rewards.preference import harmlessness_reward as harmlessness_reward
    from trl_r1.rewards.preference import helpfulness_reward as helpfulness_reward
    from trl_r1.rewards.reasoning_gym import reasoning_gym_reward as reasoning_gym_reward
    from trl_r1.rewards.semantic import semantic_reward as semantic_reward
    from trl_r1.rewards.shaping import cosine_length_reward as cosine_length_reward
    from trl_r1.rewards.shaping import overlong_reward as overlong_reward
    from trl_r1.rewards.shaping import repetition_reward as repetition_reward
    from trl_r1.rewards.symbolic import symbolic_reward as symbolic_reward

    agser_reward: Callable[..., Any]  # offered here, but at home in a room above this one (docs/decisions.md)

_HOME = {  # exported name -> module it lives in
    "accuracy_reward": "trl_r1.rewards.accuracy",
    "format_reward": "trl_r1.rewards.format",
    "language_consistency_reward": "trl_r1.rewards.language",
    "logic_reward": "trl_r1.rewards.logic",
    "geometry_reward": "trl_r1.rewards.geometry",
    "overlong_reward": "trl_r1.rewards.shaping",
    "cosine_length_reward": "trl_r1.rewards.shaping",
    "repetition_reward": "trl_r1.rewards.shaping",
    "code_reward": "trl_r1.rewards.code",
    "symbolic_reward": "trl_r1.rewards.symbolic",
    "semantic_reward": "trl_r1.rewards.semantic",
    "layered_reward": "trl_r1.rewards.layered",
    "reasoning_gym_reward": "trl_r1.rewards.reasoning_gym",
    "helpfulness_reward": "trl_r1.rewards.preference",
    "harmlessness_reward": "trl_r1.rewards.preference",
    "agser_reward": "trl_r1.agser.reward",
    "load_reward": "trl_r1.rewards.catalogue",
    "load_rewards": "trl_r1.rewards.catalogue",
}
__all__ = [
    "accuracy_reward",
    "agser_reward",
    "code_reward",
    "cosine_length_reward",
    "format_reward",
    "geometry_reward",
    "harmlessness_reward",
    "helpfulness_reward",
    "language_consistency_reward",
    "layered_reward",
    "load_reward",
    "load_rewards",
    "logic_reward",
    "overlong_reward",
    "reasoning_gym_reward",
    "repetition_reward",
    "semantic_reward",
    "symbolic_reward",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOME)
