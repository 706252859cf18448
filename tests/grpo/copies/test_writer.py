"""A copy that writes where nothing is trained: what it is told to be, and how far from the model it is said to be."""

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from trl_r1.grpo.copies import writer as writing
from trl_r1.grpo.copies.linear import LightLinear
from trl_r1.grpo.copies.writer import Difference, measured, writer


PROMPTS = [[3, 4, 5], [6, 7], [8]]


@pytest.fixture
def policy():
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        return get_peft_model(AutoModelForCausalLM.from_config(config).float(), adapter).eval()


def test_the_distance_is_that_of_the_two_models_and_nothing_is_left_behind(policy):
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    state = torch.get_rng_state()
    _, merged = writer(policy, "merged", PROMPTS)
    model, halved = writer(policy, "bfloat16", PROMPTS)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in policy.state_dict().items())
    assert any(isinstance(part, LightLinear) and part.dtype == torch.bfloat16 for part in model.modules())
    assert (merged.kind, halved.kind, merged.tokens) == ("merged", "bfloat16", 96)
    assert merged.mean < 1e-5 < halved.mean < halved.p99 < 1.0


def test_the_measure_is_nats_per_token(policy, monkeypatch):
    """A model that gives every token the same chance, beside one that favours a token by log 2 everywhere."""

    class Flat(nn.Module):
        def __init__(self, more):
            super().__init__()
            self.more = more
            self.device = torch.device("cpu")

        def forward(self, input_ids, **given):
            logits = torch.zeros(*input_ids.shape, 4)
            logits[..., 1] = self.more
            return type("Output", (), {"logits": logits})

    def drawn(model, prompts, options, most, end_tokens):
        chance = torch.tensor(0.25).log().item()
        return type("Rollout", (), {"completions": [[1, 2]], "logps": [[chance, chance]]})

    monkeypatch.setattr(writing, "generate", drawn)
    found = measured(Flat(torch.tensor(2.0).log()), Flat(0.0), "merged", [[3]])
    # 2/5 and 1/5 beside 1/4 each
    assert found.mean == pytest.approx((torch.tensor(1.6).log() - torch.tensor(0.8).log()).item() / 2, abs=1e-5)
    assert found.tokens == 2


def test_auto_keeps_the_model_where_no_copy_is_faster(policy, monkeypatch, tmp_path):
    monkeypatch.setattr(writing, "tokens_per_second", lambda model, prompts: 100.0)
    model, found = writer(policy, "auto", PROMPTS)
    assert model is policy
    assert found.kind == "none"
    found.save(tmp_path)
    assert Difference.load(tmp_path) == found
    rates = iter([100.0, 100.0, 101.0, 101.0, 150.0, 150.0])
    monkeypatch.setattr(writing, "tokens_per_second", lambda model, prompts: next(rates))
    assert writer(policy, "auto", PROMPTS)[1].kind == "bfloat16"


def test_what_cannot_be_copied_is_refused(policy):
    prefixed = get_peft_model(policy.unload(), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ValueError, match="Set rollout_copy: none"):
        writer(prefixed, "merged", PROMPTS)
