"""Adapters: what a LoRA or QLoRA stage leaves, made into a whole model that any stage can start from.

Merging adds ``B A * alpha / r`` to the weights of the base. A QLoRA adapter was trained on the base rounded to NF4 and
is merged into the base as it was before rounding: the usual road, and not exactly the model that was trained. The
difference is the rounding error of the base, which the adapter has partly learnt to make up for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from trl_r1.errors import first_line
from trl_r1.models.four_bit import make_trainable_on_cpu
from trl_r1.storage.files import replace_file


if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

CONFIG, WEIGHTS, MARK = "adapter_config.json", "adapter_model.safetensors", "merged_from.json"


class SameTypes:
    """In front of a trainer: its parameters keep their precision when a checkpoint is loaded, 4-bit ones their layout.

    TRL trains the adapters of a quantised model in bfloat16; peft raises them to float32 when it loads them, and the
    optimizer's state follows, so a resumed run would leave the trajectory of an uninterrupted one.

    Extends one method of `transformers.Trainer`: `_load_optimizer_and_scheduler`.
    """

    model: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        make_trainable_on_cpu(self.model)
        make_trainable_on_cpu(getattr(self, "teacher_model", None))
        self.remember_types()

    def remember_types(self) -> None:
        """Again after a stage has changed a parameter's precision."""
        self._types = types_of(self.model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:  # before the optimizer's state, which takes over its parameters' types
            restore_types(self.model, self._types)
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]


def types_of(model: Any) -> dict[str, torch.dtype]:
    """The precision of each parameter, by name."""
    return {name: parameter.dtype for name, parameter in model.named_parameters()}


def restore_types(model: Any, types: dict[str, torch.dtype]) -> None:
    """Gives the named parameters their precision back, in place."""
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(types.get(name, parameter.dtype))


def is_adapter(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds an adapter and no whole model."""
    folder = Path(folder).expanduser()
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def is_gated(folder: str | os.PathLike[str]) -> bool:
    """Whether an adapter's folder holds head gates (docs/gate.md)."""
    return json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8")).get("peft_type") == "HEAD_GATE"


def merged(folder: str | os.PathLike[str]) -> Path:
    """The folder `merged` inside an adapter's folder: base and adapter as one model, with the tokenizer.

    Made on first use, in the precision of the base's own files; made again when the adapter has changed since. The
    folder appears at once and complete; of two processes that ask for it one works, the other waits.

    Raises:
        ValueError: the adapter names no base, the base or the adapter cannot be loaded, or it holds head gates.
    """
    folder = Path(folder).expanduser()
    if is_gated(folder):
        raise ValueError(
            f"The adapter in {folder} holds head gates, which depend on the input and cannot be merged into its base, so no "
            "stage can start from it. Evaluate or use it as it is, or train it again without head_gate."
        )
    target = folder / "merged"
    source = fingerprint(folder)
    with FileLock(folder / ".merged.lock"):
        mark = target / MARK
        if mark.is_file() and json.loads(mark.read_text()) == source:
            return target
        building = Path(tempfile.mkdtemp(prefix=".merged-", dir=folder))
        try:
            merge(folder, source["base"], building)
            replace_file(building / MARK, json.dumps(source))
            building.chmod(0o755)  # mkdtemp's 0700 would hide it from other users
            shutil.rmtree(target, ignore_errors=True)
            os.replace(building, target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return target


def fingerprint(folder: Path) -> dict[str, str]:
    """What a merged model depends on: the base's name and the adapter's bytes."""
    base = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"{folder / CONFIG} names no base model, so the adapter cannot be used. Add its base.")
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} holds an adapter's configuration and no {WEIGHTS}; the run that wrote it was cut.")
    digest = hashlib.sha256()
    with open(folder / WEIGHTS, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"base": base, "adapter": digest.hexdigest()}


def merge(folder: Path, base: str, target: Path) -> None:
    """Loads base and adapter on the CPU, merges, and writes model and tokenizer to `target`."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logger.warning("Merging the adapter in %s into its base %s; this happens once.", folder, base)
    try:
        whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="auto"), str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"The adapter in {folder} cannot be merged into its base {base!r} ({first_line(error)})."
        ) from error
    whole.merge_and_unload().save_pretrained(target)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError):  # an adapter without its tokenizer: the base has it
        tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(target)
