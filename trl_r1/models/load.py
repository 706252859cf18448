"""Models to evaluate: a name in, a language model and its tokenizer out: whole checkpoints, LoRA adapters, quantised."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import ModelConfig, get_quantization_config

from trl_r1.errors import first_line
from trl_r1.models.four_bit import make_trainable_on_cpu
from trl_r1.models.gguf import is_gguf, resolve_gguf
from trl_r1.storage.files import looks_like_path
from trl_r1.storage.shards import digest_of
from trl_r1.text.records import Json


if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER = "adapter_config.json"
TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}  # of safetensors' files


def find_policy(name: str | None, seed: int = 0) -> str:
    """A name that ``load_policy`` takes; a miniature model is built, a GGUF file converted, if it is not in the cache yet.

    Raises:
        ValueError: no name, a folder that is not there or holds no model.
    """
    if not name:
        raise ValueError("No model was named; set model_name_or_path to a hub id, a local folder or mini:base.")
    if name.startswith("mini:"):
        from trl_r1.mini import books as miniature
        from trl_r1.mini.store import resolve_model

        return miniature.resolve(name, seed) if miniature.is_miniature(name) else str(resolve_model(name, seed))
    if is_gguf(name):
        return resolve_gguf(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file() and not (folder / ADAPTER).is_file():
            raise ValueError(
                f"model_name_or_path={name!r} is a folder without a model (neither config.json nor {ADAPTER}). Give one "
                "that save_pretrained wrote: the output_dir of a finished run, or one of its checkpoints."
            )
        return str(folder)
    if looks_like_path(name):
        raise ValueError(f"model_name_or_path={name!r}: there is no such folder. Give a hub id or an existing folder.")
    return name


def base_of(name: str) -> str | None:
    """The model an adapter folder belongs on; None for a whole model."""
    path = Path(name) / ADAPTER
    return str(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]) if path.is_file() else None


def load_policy(
    name: str, model: ModelConfig, use_cpu: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in evaluation mode, on this process's GPU unless told otherwise, and its tokenizer.

    Args:
        name: as ``find_policy`` returned it.
        model: dtype, revision, attention and quantisation are read.
        use_cpu: stay on the CPU though there is a GPU.

    Raises:
        ValueError: it cannot be loaded, or has 4-bit weights that a CPU decodes wrongly; says why in one sentence.
    """
    options: Json = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        "trust_remote_code": getattr(model, "trust_remote_code", False),
        "quantization_config": get_quantization_config(model),
    }
    device = torch.device("cpu")
    if torch.cuda.is_available() and not use_cpu:
        device = torch.device("cuda", torch.cuda.current_device())
    options["device_map"] = {"": str(device)}
    base = base_of(name)
    try:
        if base is None:
            policy = AutoModelForCausalLM.from_pretrained(name, **{k: v for k, v in options.items() if v is not None})
        else:
            from peft import PeftModel

            chosen = {k: v for k, v in options.items() if v is not None and k != "revision"}
            policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, **chosen), name)
            as_saved(policy, name)
        tokenizer = tokenizer_of(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(cannot_load(name, error)) from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"The tokenizer of {name!r} has no end-of-text token, so no reply would ever end.")
    return make_trainable_on_cpu(policy).eval(), tokenizer


def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model as ``find_policy`` returned it; an adapter without one has its base's."""
    base = base_of(name)
    return AutoTokenizer.from_pretrained(name if has_tokenizer(name) or base is None else base)


def cannot_load(name: str, error: Exception) -> str:
    """The sentence for a model that transformers cannot load."""
    return (
        f"model_name_or_path={name!r} cannot be loaded ({first_line(error)}). Give a hub id that this machine can reach, "
        "or a folder written by save_pretrained."
    )


def as_saved(policy: PeftModel, folder: str) -> None:
    """Gives the adapter the precision of its file, in which it was trained, so that it scores as it did then.

    TRL trains the adapter of a quantised model in bfloat16, and peft raises it to float32 when it loads it.
    """
    from safetensors import safe_open

    path = Path(folder) / "adapter_model.safetensors"
    if not path.is_file():
        return
    with safe_open(path, "pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
    for name, parameter in policy.named_parameters():
        kind = TYPES.get(kinds.get(name.replace(".default", ""), ""))
        if kind is not None:
            parameter.data = parameter.data.to(kind)


def has_tokenizer(name: str) -> bool:
    return (Path(name) / "tokenizer_config.json").is_file()


def parameters_of(name: str, revision: str | None = None) -> int:
    """Number of parameters of a model by name, from its configuration alone; no weight is read.

    For an adapter: of the model it belongs on, with the adapter merged in.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base_of(name) or name, revision=revision)
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(config)
    return int(shell.num_parameters())


def model_digest(name: str, revision: str | None = None) -> str:
    """16 hex digits for a model: of its configuration and weight files in a folder, of id and revision on the hub."""
    folder = Path(name)
    if not folder.is_dir():
        return digest_of(name, revision)[:16]
    digest = hashlib.sha256()
    patterns = ("config.json", "adapter_config.json", "*.safetensors", "pytorch_model*.bin", "tokenizer.json")
    for path in sorted({match for pattern in patterns for match in folder.glob(pattern)}):
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]
