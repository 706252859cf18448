"""A light copy computes what the policy computes, follows it, and never writes to it."""

import copy
import os
import random

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig
from trl.trainer.utils import add_fused_lm_head

from trl_r1.gate import HeadGateConfig
from trl_r1.grpo.copies.copy import LightCopy, copied_bytes, skeleton
from trl_r1.grpo.copies.linear import LightLinear, can_pack
from trl_r1.grpo.copies.memory import refuse_too_large
from trl_r1.grpo.rollout import SamplingOptions, generate
from trl_r1.grpo.rollout.threads import weights_of
from trl_r1.models.cpu import computes_bfloat16
from trl_r1.models.four_bit import make_trainable_on_cpu, tiny_four_bit


def llama(**options):
    base = {
        "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "tie_word_embeddings": True,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(LlamaConfig(**{**base, **options})).float().eval()


def gpt2():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3)
        return AutoModelForCausalLM.from_config(config).float().eval()


def adapted(base, config):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = get_peft_model(base, config)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.endswith("magnitude_vector.default.weight"):
                nn.init.normal_(parameter, std=0.2)
    return model.eval()


def lora(**options):
    return LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **options)


POLICIES = {
    "full weights": llama,
    "lora": lambda: adapted(llama(), lora()),
    "lora with rank-stabilised scale": lambda: adapted(llama(), lora(use_rslora=True, lora_alpha=16)),
    "lora with bias": lambda: adapted(llama(attention_bias=True, mlp_bias=True), lora(lora_bias=True)),
    "dora": lambda: adapted(llama(), lora(use_dora=True)),
    "head gates": lambda: adapted(llama(), HeadGateConfig(r=0)),
    "head gates and lora": lambda: adapted(llama(), HeadGateConfig(r=4, target_modules="all-linear")),
    "transposed layers": lambda: adapted(gpt2(), LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True)),
    "nf4 with lora": lambda: make_trainable_on_cpu(tiny_four_bit()),
}
IDS = torch.arange(1, 25).view(2, 12)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS), use_cache=False).logits


def error(policy, copied):
    theirs = logits(policy)
    return ((logits(copied) - theirs).abs().max() / theirs.std()).item()


@pytest.mark.parametrize("name", POLICIES)
def test_merged_in_float32_is_the_policy(name):
    policy = POLICIES[name]().eval()
    assert error(policy, LightCopy(policy).model) < 2e-5


@pytest.mark.parametrize("name", POLICIES)
def test_bfloat16_is_near_it_and_is_not_the_policy_itself(name):
    """A twin that kept a forward of the original's would be at a distance of exactly 0."""
    policy = POLICIES[name]().eval()
    add_fused_lm_head(policy.get_base_model() if hasattr(policy, "get_base_model") else policy)
    copied = LightCopy(policy, torch.bfloat16).model
    assert 1e-4 < error(policy, copied) < 0.15
    assert logits(copied).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["full weights", "lora", "dora", "head gates and lora", "nf4 with lora"])
def test_it_follows_an_optimizer_step(name):
    policy = POLICIES[name]().eval()
    copied = LightCopy(policy)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    before = logits(policy)
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(trained))))
    assert (
        error(policy, copied.model) > 1e-2
        or name == "full weights"
        and not can_pack(torch.float32, torch.device("cpu"))
    )
    copied.refresh(moved=False)
    assert error(policy, copied.model) < 2e-5
    assert (logits(policy) - before).abs().max() > 1e-2


def test_a_step_that_torch_does_not_count_is_followed_too():
    policy = POLICIES["lora"]()
    copied = LightCopy(policy, torch.bfloat16)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data.mul_(0.0)  # past the version counters, as fused optimizers do
    assert copied.refresh(moved=False) == 0
    assert copied.refresh(moved=True) > 0
    assert error(policy, copied.model) < 0.1


def test_only_what_changed_is_touched():
    policy = adapted(llama(), LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    copied = LightCopy(policy, torch.bfloat16)
    assert len(copied.parts) > 15
    assert copied.refresh(moved=False) == 0
    assert copied.refresh(moved=True) == 2  # the q_proj of two layers


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_building_and_refreshing_leave_the_policy_as_it_was(dtype):
    policy = POLICIES["head gates and lora"]().train()
    add_fused_lm_head(policy.get_base_model())
    state = copy.deepcopy(policy.state_dict())
    requires = [parameter.requires_grad for parameter in policy.parameters()]
    random_state = torch.get_rng_state()
    copied = LightCopy(policy, dtype)
    copied.refresh(moved=True)
    copied.free()
    assert all(torch.equal(value, policy.state_dict()[name]) for name, value in state.items())
    assert [parameter.requires_grad for parameter in policy.parameters()] == requires
    assert policy.training
    assert torch.equal(torch.get_rng_state(), random_state)


def test_rotary_frequencies_keep_their_precision():
    policy = llama()
    copied = LightCopy(policy, torch.bfloat16).model
    assert copied.model.rotary_emb.inv_freq.dtype == torch.float32
    assert copied.model.rotary_emb.inv_freq is policy.model.rotary_emb.inv_freq


def test_what_was_hung_on_the_policy_stays_there():
    policy, heard = llama(), []

    class Ear:
        def hear(self, *arguments):
            heard.append(arguments)

    policy.model.norm.register_forward_hook(Ear().hear)
    twin = skeleton(policy)
    logits(twin)
    assert heard == []
    logits(policy)
    assert len(heard) == 1


def test_a_skeleton_has_no_tensors_of_its_own():
    policy = POLICIES["nf4 with lora"]()
    own = {id(tensor) for tensor in (*policy.parameters(), *policy.buffers())}
    twin = skeleton(policy.get_base_model())
    assert {id(tensor) for tensor in (*twin.parameters(), *twin.buffers())} <= own
    assert twin.config is policy.get_base_model().config


def test_memory_is_told_from_shapes():
    policy = POLICIES["lora"]()
    copied = LightCopy(policy, torch.bfloat16)
    lights = [module for module in copied.model.modules() if isinstance(module, LightLinear)]
    own = sum(light.light_weights * 2 for light in lights)
    shared = {id(parameter) for parameter in policy.parameters()}
    own += sum(p.numel() * 2 for p in copied.model.parameters() if id(p) not in shared)
    assert copied_bytes(policy, torch.bfloat16, True) == own
    copied.free()
    assert sum(p.numel() for p in copied.model.parameters() if id(p) not in shared) == 0
    assert all(light.held is None for light in lights)
    copied.refresh(moved=False)
    assert error(policy, copied.model) < 0.15


def test_what_does_not_fit_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"rollout_copy needs 1024\.0 GiB on cpu .*Set rollout_copy: none") as caught:
        refuse_too_large(2**40, torch.device("cpu"))
    assert "\n" not in str(caught.value)


def test_the_thread_rule_counts_packed_weights():
    policy = llama(tie_word_embeddings=False)
    assert weights_of(LightCopy(policy, torch.bfloat16).model) == weights_of(policy)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (lambda: LoraConfig(r=2, target_modules=["embed_tokens"]), "an adapter on Embedding"),
        (
            lambda: __import__("peft").IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
            "of the kind Linear",
        ),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_named(config, said):
    policy = get_peft_model(llama(), config())
    with pytest.raises(ValueError, match=said):
        LightCopy(policy)


def test_another_adapter_needs_another_copy():
    policy = POLICIES["lora"]()
    copied = LightCopy(policy)
    assert copied.follows(policy)
    with policy.disable_adapter():
        assert not copied.follows(policy)
        assert error(policy, LightCopy(policy).model) < 2e-5


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other processors may pack nothing")
def test_weights_are_packed_on_this_processor():
    assert can_pack(torch.float32, torch.device("cpu"))
    assert can_pack(torch.bfloat16, torch.device("cpu")) or not computes_bfloat16()


def test_without_the_private_operators_it_computes_the_same(monkeypatch):
    policy = POLICIES["lora"]()
    packed = logits(LightCopy(policy).model)
    monkeypatch.setattr("trl_r1.grpo.copies.linear.ROWS", "not a number")
    can_pack.cache_clear()
    try:
        copied = LightCopy(policy)
        assert not any(module.pack for module in copied.model.modules() if isinstance(module, LightLinear))
        torch.testing.assert_close(logits(copied.model), packed, atol=1e-4, rtol=1e-4)
    finally:
        can_pack.cache_clear()


def test_the_rollout_draws_from_it():
    policy = POLICIES["lora"]()
    chosen = random.Random(0)
    rows = [[chosen.randrange(10, 97) for _ in range(length)] for length in (3, 3, 7, 7)]
    options = SamplingOptions(greedy=True)
    ours = generate(LightCopy(policy).model, rows, options, 12, [1])
    assert ours.completions == generate(policy, rows, options, 12, [1]).completions
