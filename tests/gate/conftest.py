"""Small random models of every family that head gates were made for."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM


SIZES = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
KINDS = ["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3_text"]


def build(kind, dtype=torch.float32):
    """The same weights at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES)).to(dtype).eval()


def open_gates(model, seed=1):
    """Random weights in every gate of every adapter, so that gates do something."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "head_gate_scores" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return model


@pytest.fixture(scope="session")
def ids():
    """Two rows of nine tokens."""
    return torch.randint(3, 64, (2, 9), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def make():
    return build


@pytest.fixture
def opened():
    return open_gates


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param
