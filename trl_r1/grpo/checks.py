"""Checks: what a trainer refuses once it sees its model, its weights of rewards and their scores.

What the options alone say is refused in config.py and conflicts.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from torch import Tensor


# of LoRA: the base loses what the adapter starts with (LoftQ: is rounded), so without the adapter it is another model
MOVES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
SHOWN = 80  # characters of a completion in a sentence


def check_policy(model: torch.nn.Module, beta: float, reference_every: int | None) -> None:
    """Refuses a policy that cannot be trained, and an adapter without which its base is not the model it began as.

    Args:
        model: as TRL prepared it.
        beta: above 0, where a KL to a reference is measured.
        reference_every: None, or a rolling reference, which copies an adapter that TRL has not copied itself.

    Raises:
        ValueError: no weight of it takes a gradient; the KL would be to a model that nobody had.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "No weight of the model takes a gradient, so nothing would be trained. "
            + (
                "Load its adapter with PeftModel.from_pretrained(..., is_trainable=True), or merge it and give peft_config."
                if isinstance(model, PeftModel)
                else "Set requires_grad on what is to be trained, or give peft_config."
            )
        )
    if not isinstance(model, PeftModel) or beta == 0.0:
        return
    copied = "ref" in model.peft_config  # TRL's copy of an adapter that the model already had: made by the same edit
    if reference_every is not None and not copied:
        return
    initial = str(getattr(model.peft_config["default"], "init_lora_weights", ""))
    if initial.split("_niter_")[0] in MOVES_THE_BASE:
        raise ValueError(
            f"init_lora_weights={initial!r} changes the weights under the adapter, and with beta={float(beta)} the "
            f"reference would be that changed base and not the model that was given. {COPIED if copied else SWITCHED_OFF}"
        )


COPIED = "Merge the adapter into its base first and give the merged model with peft_config, or set beta to 0."
SWITCHED_OFF = (
    "Drop init_lora_weights, set reference_every (whose reference is a copy of the adapter over the same base), or set "
    "beta to 0."
)


def check_weights(weights: Sequence[float], names: Sequence[str], beta_in_reward: bool = False) -> None:
    """Refuses rewards that all weigh nothing.

    Args:
        weights, names: of the reward functions.
        beta_in_reward: the KL is part of the reward (kl_placement='reward' with a beta above 0), which then remains.

    Raises:
        ValueError: every weight is 0, so every advantage is.
    """
    if not beta_in_reward and len(weights) and not any(weights):
        raise ValueError(
            f"The weights of all rewards ({', '.join(names)}) are 0, so every advantage is 0 and nothing would be trained. "
            "Give at least one of them a weight other than 0."
        )


def check_scores(
    scores: Tensor, weights: Tensor, names: Sequence[str], completions: Sequence[Any], steps: int
) -> None:
    """Refuses a score that is infinite, or becomes so with its weight. Called by all processes.

    Args:
        scores: (N, F) of all processes, NaN where a function could not judge.
        weights: (F,).
        names: (F,) of the functions.
        completions: (N / processes,) of this process.
        steps: optimizer steps made so far.

    Raises:
        ValueError: names the reward, the completion and the score.
    """
    infinite = scores.isinf() | (scores * weights.to(scores.device)).isinf()
    if not infinite.any():
        return
    row, column = infinite.nonzero()[0].tolist()
    text = gather_object(list(completions))[row]
    if isinstance(text, list):  # messages
        text = "".join(str(message.get("content")) for message in text)
    score = scores[row, column].item()
    given = f"the score {score}"
    if abs(score) != torch.inf:
        given += f", which its weight {weights[column].item()} makes inf"
    raise ValueError(
        f"The reward {names[column]!r} gave {given}, after {steps} steps, to the completion "
        f"{text if len(text) <= SHOWN else text[:SHOWN] + '...'!r}. A score is a finite number, or None where a completion "
        "cannot be judged: mend the reward."
    )
