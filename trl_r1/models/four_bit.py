"""4-bit weights (bitsandbytes) on a CPU: kept in the one layout that has a backward, and refused where they decode wrongly.

bitsandbytes repacks a 4-bit layer in place at its first forward in evaluation mode, on processors with AVX512-BF16. A
repacked layer has no backward, saves wrong weights (`state_dict`) and is merged wrongly, and no error says so. Whatever
is trained, saved or merged therefore passes through `make_trainable_on_cpu` before its first forward; GPUs are not
concerned. Nor does `load_policy` repack: an evaluation sees the weights that training saw, on every processor.

Second, the CPU decodes a 4-bit row from its start, whatever block it began in: rows whose length is no multiple of the
block (64) can come out wrong, in silence. Such models are refused.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn


if TYPE_CHECKING:
    from trl import ModelConfig


BLOCK = 64  # input values that share one scale; transformers offers no other
FLAG = "support_avx512bf16_for_cpu"  # of a Linear4bit: may repack itself


def four_bit_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """(name, layer) of every 4-bit layer; nothing is imported for a model that has none."""
    bitsandbytes = sys.modules.get("bitsandbytes")
    if bitsandbytes is None or not isinstance(model, nn.Module):
        return
    for name, module in model.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            yield name, module


def make_trainable_on_cpu(model: Any) -> Any:
    """The same model, whose 4-bit layers no evaluation, checkpoint or merge can spoil any more.

    Args:
        model: any object; one without 4-bit layers is left alone.

    Raises:
        ValueError: a layer was repacked already, or has a width that NF4 cannot take on a CPU.
        RuntimeError: this bitsandbytes cannot be told to keep its layout, and spoils gradients here.
    """
    layers = list(four_bit_layers(model))
    here = [(name, layer) for name, layer in layers if layer.weight.device.type == "cpu"]
    for name, layer in here:
        if getattr(getattr(layer.weight, "quant_state", None), "packing_format_for_cpu", False):
            raise ValueError(
                f"The 4-bit layer {name} was used in evaluation mode before, and bitsandbytes repacked it into a form that "
                "cannot be trained or saved. Load the model anew and give it to the trainer first, or call "
                "trl_r1.models.four_bit.make_trainable_on_cpu(model) right after loading."
            )
    refuse_widths((name, layer.in_features) for name, layer in here)
    keep_layout(model)
    if any(not hasattr(layer, FLAG) for _, layer in here):
        problem = spoilt_gradients()
        if problem is not None:
            raise RuntimeError(problem)
    return model


def keep_layout(model: Any) -> None:
    """Tells every 4-bit layer never to repack itself."""
    for _, layer in four_bit_layers(model):
        if hasattr(layer, FLAG):
            setattr(layer, FLAG, False)


# -- widths ---------------------------------------------------------------------------------------------------------------


def refuse_widths(layers: Iterable[tuple[str, int]]) -> None:
    """One sentence for the first layer that a CPU would decode wrongly.

    Args:
        layers: (name, number of input values).

    Raises:
        ValueError: there is one.
    """
    for name, width in layers:
        if width % BLOCK:
            raise ValueError(
                f"load_in_4bit: the layer {name} reads {width} values, and on a CPU NF4 is right only for multiples of "
                f"{BLOCK}, its block. Set load_in_4bit: false, take a model with such widths, or use a GPU."
            )


def check_four_bit(model: ModelConfig, path: str, config: Any) -> None:
    """The same before anything is loaded, from the model's configuration alone.

    Args:
        path: of the model that will be loaded, as `find_model` returned it.
        config: the trainer's, for its device.

    Raises:
        ValueError: in one sentence.
    """
    if not model.load_in_4bit or config.device.type != "cpu":
        return
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    trusted = bool(getattr(config, "trust_remote_code", False))
    shape = AutoConfig.from_pretrained(path, revision=model.model_revision, trust_remote_code=trusted)
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(shape, trust_remote_code=trusted)
    head = shell.get_output_embeddings()  # stays as it is
    refuse_widths(
        (name, module.in_features if isinstance(module, nn.Linear) else module.weight.shape[0])
        for name, module in shell.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    )


# -- the real check -------------------------------------------------------------------------------------------------------


def repacks() -> bool:
    """Whether bitsandbytes would repack 4-bit layers on this machine, were it let."""
    import bitsandbytes

    return bool(getattr(bitsandbytes.nn.Linear4bit(BLOCK, BLOCK, bias=False), FLAG, False))


def tiny_four_bit(seed: int = 0) -> Any:
    """A random two-layer Llama, NF4 with double quantisation, under LoRA that has learnt something; float32, on the CPU."""
    import bitsandbytes
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=64,
            hidden_size=BLOCK,
            intermediate_size=2 * BLOCK,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.1,
        )
        model = LlamaForCausalLM(config).float()
        for decoder in model.model.layers:
            for part in (decoder.self_attn, decoder.mlp):
                for name, old in list(part.named_children()):
                    if isinstance(old, nn.Linear):
                        setattr(part, name, quantised(old, bitsandbytes))
        lora = LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0, init_lora_weights=False)
        return get_peft_model(model, lora)


def quantised(old: nn.Linear, bitsandbytes: Any) -> nn.Module:
    """A linear layer without bias as NF4 with double quantisation."""
    new = bitsandbytes.nn.Linear4bit(
        old.in_features, old.out_features, bias=False, compute_dtype=torch.float32, quant_type="nf4"
    )
    new.weight = bitsandbytes.nn.Params4bit(
        old.weight.data.clone(), requires_grad=False, quant_type="nf4", compress_statistics=True
    )
    return new.to("cpu")


def spoilt_gradients() -> str | None:
    """Whether an evaluation or a `state_dict` changes what a 4-bit model learns here: None, or one sentence.

    A tiny NF4 model with LoRA says its loss and gradients in training mode, then again after one forward in evaluation
    mode, then again after `state_dict()`; all must be equal bit for bit, and finite.
    """
    model = tiny_four_bit()
    keep_layout(model)
    ids = torch.arange(1, 13).view(2, 6)
    first = loss_and_gradients(model, ids)
    if not all(bool(torch.isfinite(part).all()) for part in first):
        return f"A tiny NF4 model with LoRA has no finite gradients on this processor. {WHAT_TO_DO}"
    try:
        with torch.no_grad():
            model.eval()(input_ids=ids)
        after = loss_and_gradients(model, ids)
        if not all(map(torch.equal, first, after)):
            return f"After one evaluation a 4-bit model learns from wrong gradients on this processor. {WHAT_TO_DO}"
        state = copy.deepcopy({name: value for name, value in model.state_dict().items() if torch.is_tensor(value)})
        after = loss_and_gradients(model, ids)
        same = all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    except (RuntimeError, AssertionError, AttributeError, TypeError) as error:
        return f"A 4-bit model cannot be evaluated and trained on this processor ({error}). {WHAT_TO_DO}"
    if not same or not all(map(torch.equal, first, after)):
        return f"Saving a checkpoint changes the weights of a 4-bit model on this processor. {WHAT_TO_DO}"
    return None


WHAT_TO_DO = "Set load_in_4bit: false, use a GPU, or install the tested bitsandbytes (0.50.2)."


def loss_and_gradients(model: Any, ids: Tensor) -> list[Tensor]:
    """The loss in training mode, and the gradient of every trained weight."""
    model.train()
    loss = model(input_ids=ids, labels=ids).loss
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, weights)]
