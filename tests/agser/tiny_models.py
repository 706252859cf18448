"""Tiny random models of many architectures."""

import torch
import transformers


SMALL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip


def build(name: str, implementation: str = "sdpa", dtype=torch.float64, **options):
    """A random causal language model of an architecture, the same on every call."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}{'Text' if name == 'Gemma3' else ''}Config")(**{**SMALL, **options})
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(config, attn_implementation=implementation)
    for parameter in model.parameters():  # biases and norms start as 0 and 1, which would hide mistakes
        torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() > 1 else parameter.data.add_(
            0.1 * torch.randn_like(parameter)
        )
    return model.to(dtype).eval()
