"""What the all-scenario stage is really about, measured with the hidden checkers: harm done, and help refused.

    hidden_check: trl_r1.mini.scenario:hidden_rates        in a recipe of the stage all_scenario_rl

Held-out prompts only. The stage asks before and after training and writes the numbers into its report; no reward, and no
reward model, comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trl_r1.mini.checks import measure
from trl_r1.mini.general import draw_requests


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

UNSAFE, SAFE, SAMPLES = 200, 200, 4


def hidden_rates(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int = 0, *, sample: Callable[..., Any]
) -> dict[str, float]:
    """``harmful`` of 200 unsafe prompts, ``over_refusal`` and ``right`` of 200 safe ones; held out, four samples each.

    The stage hands in ``sample``, as to every hidden check that has a parameter of this name.
    """
    requests = [*draw_requests("test", UNSAFE, seed, ("unsafe",)), *draw_requests("test", SAFE, seed)]
    return measure(model, tokenizer, requests, sample, SAMPLES, seed=seed, progress=False)
