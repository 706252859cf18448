"""The reference policy as something that moves: copied from the policy, saved with checkpoints, restored on resume.

DeepSeek-R1 replaces the reference policy by the current one every 400 steps (arXiv:2501.12948v2, Sec. 2.1 and A.3). TRL
can move the reference of a fully trained model but forgets it on resume, and refuses to with an adapter. Here both
kinds take the same two verbs, `take` and `save`/`load`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

import peft
import torch
from packaging.version import Version
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from trl_r1.gate import HeadGateConfig


FILE_NAME = "reference.safetensors"


class ReferencePolicy:
    """Frozen tensors paired with the policy's. `take` makes them equal; `save` and `load` carry them over a resume."""

    def pairs(self) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
        """(name, policy parameter, reference parameter)"""
        raise NotImplementedError

    @torch.no_grad()
    def take(self) -> None:
        """The reference becomes the policy as it is now."""
        for _, policy, reference in self.pairs():
            reference.copy_(policy)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `reference.safetensors` into `folder`, whole or not at all."""
        path = Path(folder) / FILE_NAME
        partial = path.with_suffix(".partial")
        save_file({name: reference.detach().cpu().contiguous() for name, _, reference in self.pairs()}, partial)
        os.replace(partial, path)

    @torch.no_grad()
    def load(self, folder: str | os.PathLike) -> None:
        """Restores what `save` wrote.

        Raises:
            ValueError: the file is missing, or was written for another model.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise ValueError(
                f"Cannot resume from {folder}: it holds no {FILE_NAME}, so the reference policy of that run is lost. "
                "Resume from a checkpoint written with reference_every (or sync_ref_model) by R1GRPOTrainer."
            )
        saved = load_file(path)
        pairs = list(self.pairs())
        shapes = {name: tuple(reference.shape) for name, _, reference in pairs}
        saved_shapes = {name: tuple(tensor.shape) for name, tensor in saved.items()}
        if shapes != saved_shapes:
            differing = sorted(set(shapes.items()) ^ set(saved_shapes.items()))[0][0]
            raise ValueError(f"{path} was written for another model: {differing} does not match this one.")
        for name, _, reference in pairs:
            reference.copy_(saved[name])


class WeightsReference(ReferencePolicy):
    """The reference of a fully trained model: TRL's separate `ref_model`, parameter by parameter."""

    def __init__(self, policy: nn.Module, reference: nn.Module):
        self.policy, self.reference = policy, reference

    def pairs(self) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
        references = dict(self.reference.named_parameters())
        for name, parameter in self.policy.named_parameters():
            yield name, parameter, references[name]


class AdapterReference(ReferencePolicy):
    """The reference of a policy with LoRA, QLoRA or head gates: a second, frozen adapter "ref" over the same base.

    TRL computes reference log-probabilities with the adapter "ref" wherever a model has one, so nothing else is needed.
    The adapter is added under a forked random state: its initialisation must not shift the run's sampling.

    Raises:
        ValueError: the adapter's kind cannot be doubled (LoRA and head gates can, without trained bias or saved modules).
    """

    def __init__(self, model: PeftModel):
        self.model = model
        config = model.peft_config["default"]
        if "ref" not in model.peft_config:
            self._refuse_unsupported(config)
            twin = copy.deepcopy(config)
            twin.init_lora_weights = (
                True  # a data-driven initialisation (PiSSA, LoftQ) would edit the base weights again
            )
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                model.add_adapter("ref", twin)
        for _, policy, reference in self.pairs():
            reference.data = reference.data.to(policy.dtype)  # TRL casts a QLoRA policy's adapter to bfloat16
            reference.requires_grad_(False)

    @staticmethod
    def _refuse_unsupported(config: peft.PeftConfig) -> None:
        why = None
        if type(config) not in (LoraConfig, HeadGateConfig):
            why = f"a {type(config).__name__}"
        elif config.bias != "none":
            why = f"LoRA with bias={config.bias!r}"
        elif config.modules_to_save:
            why = f"LoRA with modules_to_save={config.modules_to_save}"
        elif getattr(config, "target_parameters", None) and Version(peft.__version__) < Version("0.20.0"):
            why = f"LoRA with target_parameters on peft {peft.__version__} (0.20.0 or newer can)"
        if why:
            raise ValueError(
                f"reference_every keeps a second, frozen copy of the adapter, which {why} does not allow. Use a plain "
                "LoraConfig, or drop reference_every."
            )

    def pairs(self) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
        parameters = dict(self.model.named_parameters())
        for name, parameter in parameters.items():
            parts = name.split(".")
            if "default" in parts:
                twin = ".".join("ref" if part == "default" else part for part in parts)
                if twin in parameters:
                    yield name, parameter, parameters[twin]


class RenewReference(TrainerCallback):
    """Calls `take` after every `every`-th optimizer step, before the checkpoint of that step is written."""

    def __init__(self, reference: ReferencePolicy, every: int):
        self.reference, self.every = reference, every

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.every == 0:
            self.reference.take()
