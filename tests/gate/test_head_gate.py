"""The gate's maths against numbers and references, and the adapter through everything peft does with one."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict

from trl_r1 import HeadGateConfig
from trl_r1.gate import HeadGatedLinear, gate_heads


SIZES = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
}  # fmt: skip
BESIDE = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


# -- the maths ------------------------------------------------------------------------------------------------------


def test_each_head_is_multiplied_with_twice_the_sigmoid_of_its_score():
    # 2 sigmoid(0) = 1; 2 sigmoid(ln 3) = 2 * 3/4 = 1.5; 2 sigmoid(-ln 3) = 0.5
    attended = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    scores = torch.tensor([[0.0, math.log(3.0), -math.log(3.0)]])
    torch.testing.assert_close(gate_heads(attended, scores), torch.tensor([[1.0, 2.0, 4.5, 6.0, 2.5, 3.0]]))


@given(
    st.lists(st.floats(allow_nan=False, width=16), min_size=6, max_size=6),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
)
def test_a_gate_without_weights_changes_no_bit(values, dtype, of_scores):
    attended = torch.tensor(values, dtype=dtype)
    gated = gate_heads(attended, torch.zeros(3, dtype=of_scores))
    assert gated.dtype is dtype
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[attended.element_size()]
    assert torch.equal(gated.view(whole), attended.view(whole))  # signs of zero too


@given(st.floats(-1e4, 1e4))
def test_a_gate_lies_between_zero_and_two(score):
    gate = gate_heads(torch.ones(2), torch.tensor([score], dtype=torch.float64))
    assert 0.0 <= gate[0] == gate[1] <= 2.0


def gated_attention(hidden, attention, cos, sin, weight, bias):
    """One Llama attention layer with gates, written out head by head. hidden (T, E), cos and sin (T, D) -> (T, E)."""
    size, length = attention.head_dim, len(hidden)
    query, key, value = (hidden @ p.weight.T for p in (attention.q_proj, attention.k_proj, attention.v_proj))

    def turned(row):  # rotary position
        half = size // 2
        return row * cos + torch.cat([-row[:, half:], row[:, :half]], dim=1) * sin

    heads, shared = weight.shape[0], key.shape[1] // size
    seen = torch.ones(length, length).tril().bool()
    outputs = []
    for head in range(heads):
        own, theirs = head * size, (head * shared // heads) * size
        scores = turned(query[:, own : own + size]) @ turned(key[:, theirs : theirs + size]).T / math.sqrt(size)
        weights = scores.masked_fill(~seen, -math.inf).softmax(dim=1)
        gate = 2 / (1 + torch.exp(-(hidden @ weight[head] + bias[head])))  # (T,)
        outputs.append(gate[:, None] * (weights @ value[:, theirs : theirs + size]))
    return torch.cat(outputs, dim=1) @ attention.o_proj.weight.T


def test_attention_and_its_gradients_are_those_of_the_formula(make, opened):
    base = make("llama", torch.float64)
    attention = copy.deepcopy(base.model.layers[0].self_attn)
    model = opened(get_peft_model(base, HeadGateConfig()))
    ours = model.base_model.model.model.layers[0].self_attn
    scores = ours.o_proj.head_gate_scores["default"]
    hidden = torch.randn(1, 7, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    cos, sin = base.model.rotary_emb(hidden, torch.arange(7)[None])
    out = ours(hidden_states=hidden, position_embeddings=(cos, sin), attention_mask=None)[0]
    wanted = gated_attention(hidden[0], attention, cos[0], sin[0], scores.weight, scores.bias)[None]
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-12)
    pull = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    inputs = (hidden, scores.weight, scores.bias)
    for found, expected in zip(torch.autograd.grad(out, inputs, pull), torch.autograd.grad(wanted, inputs, pull)):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_every_family_is_gated_by_what_its_attention_reads(kind, make, opened, ids):
    """The reference gates the output projection's input itself, and takes x from the query projection."""
    model = opened(get_peft_model(make(kind, torch.float64), HeadGateConfig()))
    plain = make(kind, torch.float64)
    gates, seen = {}, {}
    for name, module in plain.named_modules():
        if not name.endswith("self_attn"):
            continue
        scores = model.base_model.model.get_submodule(f"{name}.o_proj").head_gate_scores["default"]
        gates[name] = [scores.weight.detach().clone().requires_grad_(), scores.bias.detach().clone().requires_grad_()]

        def note(module, inputs, name=name):
            seen[name] = inputs[0]

        def gated(module, inputs, name=name):
            weight, bias = gates[name]
            each = inputs[0].split(8, dim=-1)
            gate = [2 / (1 + torch.exp(-(seen[name] @ weight[h] + bias[h])))[..., None] for h in range(4)]
            return (torch.cat([g * head for g, head in zip(gate, each)], dim=-1),)

        module.q_proj.register_forward_pre_hook(note)
        module.o_proj.register_forward_pre_hook(gated)
    ours, theirs = model(ids).logits, plain(ids).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert (ours - make(kind, torch.float64)(ids).logits).abs().max() > 1e-2
    (ours**2).mean().backward()
    (theirs**2).mean().backward()
    for name, (weight, bias) in gates.items():
        scores = model.base_model.model.get_submodule(f"{name}.o_proj").head_gate_scores["default"]
        assert weight.grad.abs().max() > 1e-6
        torch.testing.assert_close(scores.weight.grad, weight.grad, rtol=0, atol=1e-10)
        torch.testing.assert_close(scores.bias.grad, bias.grad, rtol=0, atol=1e-10)


# -- the adapter ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_starts_as_the_base_bit_for_bit(kind, dtype, make, ids):
    base = make(kind, dtype)
    before = base(ids).logits
    for options in ({}, BESIDE):
        model = get_peft_model(make(kind, dtype), HeadGateConfig(**options))
        assert torch.equal(model(ids).logits, before)
        assert sum(isinstance(layer, HeadGatedLinear) for layer in model.modules()) == 2
        gates = [p for name, p in model.named_parameters() if "head_gate_" in name]
        assert all(p.requires_grad for p in gates)
        assert sum(p.numel() for p in gates) == 2 * 4 * (16 + 1)  # layers * heads * (hidden size + bias)


def test_a_vision_language_gemma_is_gated_in_its_text_layers_alone(ids):
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
    }
    torch.manual_seed(0)
    base = Gemma3ForConditionalGeneration(Gemma3Config(text_config=SIZES, vision_config={**vision, "patch_size": 14}))
    before = base.eval()(input_ids=ids).logits
    model = get_peft_model(base, HeadGateConfig())
    assert torch.equal(model(input_ids=ids).logits, before)
    gated = [name for name, module in model.named_modules() if isinstance(module, HeadGatedLinear)]
    assert len(gated) == 2
    assert all("language_model" in name for name in gated)


def test_the_low_rank_update_is_that_of_plain_lora(make, ids):
    def lora(config):
        torch.manual_seed(2)
        model = get_peft_model(make("qwen3"), config)
        weights = get_peft_model_state_dict(model)
        return model, [
            weights[name] for name in sorted(weights, key=lambda n: n.replace(".base_layer", "")) if "lora_" in name
        ]

    (_, plain), (model, beside) = lora(LoraConfig(**BESIDE)), lora(HeadGateConfig(**BESIDE))
    assert len(plain) == len(beside) == 2 * 2 * 7  # layers * (A and B) * linear layers
    assert all(torch.equal(a, b) for a, b in zip(plain, beside))
    model(ids).logits.sum().backward()
    frozen = {name for name, p in model.named_parameters() if p.grad is None}
    assert not [name for name in frozen if "lora_" in name or "head_gate_" in name]


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_changes_no_gradient(reentrant, make, opened, ids):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(2)
        model = opened(get_peft_model(make("qwen2"), HeadGateConfig(**BESIDE))).train()
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        (model(ids).logits ** 2).mean().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert len(found[0]) == 2 * 2 + 2 * 2 * 7
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name]), name


@pytest.mark.parametrize("options", [{}, BESIDE])
def test_what_is_saved_is_loaded_exactly(options, make, opened, ids, tmp_path):
    torch.manual_seed(2)
    model = opened(get_peft_model(make("mistral"), HeadGateConfig(**options, init_lora_weights=False)))
    wanted = model(ids).logits
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".md") == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    loaded = PeftModel.from_pretrained(make("mistral"), tmp_path)
    assert isinstance(loaded.peft_config["default"], HeadGateConfig)
    assert loaded.peft_config["default"].r == options.get("r", 0)
    assert torch.equal(loaded(ids).logits, wanted)
    assert not any(p.requires_grad for p in loaded.parameters())
    sparing = PeftModel.from_pretrained(make("mistral"), tmp_path, low_cpu_mem_usage=True)
    assert torch.equal(sparing(ids).logits, wanted)
    again = PeftModel.from_pretrained(make("mistral"), tmp_path, is_trainable=True)
    names = {name for name, p in again.named_parameters() if p.requires_grad}
    assert names == {name for name, p in model.named_parameters() if p.requires_grad} != set()


def test_adapters_are_disabled_switched_multiplied_and_deleted(make, opened, ids):
    base = make("gemma2")(ids).logits
    model = get_peft_model(make("gemma2"), HeadGateConfig(**BESIDE))
    model.add_adapter("second", HeadGateConfig())
    assert torch.equal(model(ids).logits, base)
    opened(model, seed=4)
    layer = model.base_model.model.model.layers[1].self_attn.o_proj
    first = model(ids).logits
    with model.disable_adapter():
        assert torch.equal(model(ids).logits, base)
    assert torch.equal(model(ids).logits, first)
    model.set_adapter("second")
    second = model(ids).logits
    assert not layer.head_gate_scores["default"].weight.requires_grad
    assert layer.head_gate_scores["second"].weight.requires_grad
    both = {}
    model.base_model.set_adapter(["default", "second"])
    layer.register_forward_hook(lambda module, inputs, out: both.update(out=out))
    model(ids)
    hidden = {}
    handle = model.base_model.model.model.layers[1].self_attn.register_forward_pre_hook(
        lambda module, args, kwargs: hidden.update(x=kwargs["hidden_states"]), with_kwargs=True
    )
    given = {}
    layer.register_forward_pre_hook(lambda module, inputs: given.update(z=inputs[0]))
    model(ids)
    handle.remove()
    product = given["z"].unflatten(-1, (4, 8))
    for scores in layer.head_gate_scores.values():
        product = product * (2 * torch.sigmoid(scores(hidden["x"])))[..., None]
    torch.testing.assert_close(both["out"], layer.base_layer(product.flatten(-2)))
    model.set_adapter("default")
    model.delete_adapter("second")
    assert list(layer.head_gate_scores) == ["default"]
    assert torch.equal(model(ids).logits, first)
    assert not torch.equal(first, second)


def test_the_adapter_that_is_left_becomes_active(make, opened, ids):
    """The one that is deleted has LoRA, the one that stays has gates alone."""
    model = get_peft_model(make("llama"), HeadGateConfig(**BESIDE))
    model.add_adapter("gates", HeadGateConfig())
    opened(model)
    model.set_adapter("gates")
    wanted = model(ids).logits
    model.set_adapter("default")
    with pytest.warns(UserWarning, match="is now deleted"):
        model.delete_adapter("default")
    assert model.active_adapters == ["gates"]
    assert torch.equal(model(ids).logits, wanted)


def test_unloading_gives_the_base_back_without_hooks(make, opened, ids):
    base = make("qwen3")
    before = base(ids).logits
    model = opened(get_peft_model(base, HeadGateConfig(**BESIDE)))
    assert not torch.equal(model(ids).logits, before)
    bare = model.unload()
    assert torch.equal(bare(ids).logits, before)
    assert not any(module._forward_pre_hooks for module in bare.modules())
    assert not any(isinstance(module, HeadGatedLinear) for module in bare.modules())


def test_a_copy_of_the_model_gates_itself(make, opened, ids):
    model = opened(get_peft_model(make("qwen3"), HeadGateConfig()))
    wanted = model(ids).logits
    twin = copy.deepcopy(model)
    opened(model, seed=9)
    assert torch.equal(twin(ids).logits, wanted)
    assert not torch.equal(model(ids).logits, wanted)
    assert all(layer._hidden is None for layer in twin.modules() if isinstance(layer, HeadGatedLinear))


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
def test_generation_with_a_cache_sees_the_same_gates(kind, make, opened, ids):
    model = opened(get_peft_model(make(kind), HeadGateConfig(task_type="CAUSAL_LM")))
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(ids)
    with_cache = model.generate(input_ids=ids, attention_mask=mask, use_cache=True, **options)
    assert torch.equal(with_cache, model.generate(input_ids=ids, attention_mask=mask, use_cache=False, **options))


@pytest.mark.parametrize("options", [{}, BESIDE])
def test_it_works_on_nf4(options, wide, opened, ids):
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from trl_r1.models.four_bit import make_trainable_on_cpu

    def quantised():
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
        loaded = AutoModelForCausalLM.from_pretrained(wide, quantization_config=config, dtype=torch.bfloat16)
        return make_trainable_on_cpu(loaded)

    before = quantised()(ids).logits
    model = get_peft_model(quantised(), HeadGateConfig(**options))
    assert type(model.base_model.model.model.layers[0].self_attn.o_proj.get_base_layer()).__name__ == "Linear4bit"
    assert torch.equal(model(ids).logits, before)
    opened(model)
    loss = (model(ids).logits.float() ** 2).mean()
    loss.backward()
    gates = {name: p for name, p in model.named_parameters() if "head_gate_" in name}
    assert len(gates) == 4
    assert all(p.grad.abs().max() > 0 for p in gates.values())
    assert not torch.equal(model(ids).logits, before)


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda m: m.merge_and_unload(), "cannot be merged into weights"),
        (lambda m: m.merge_adapter(), "cannot be merged into weights"),
        (lambda m: m.base_model.model.model.layers[0].self_attn.o_proj.merge(), "cannot be merged into weights"),
        (lambda m: m.add_weighted_adapter(["default"], [0.5], "half"), "cannot be combined by weights"),
        (lambda m: m(torch.tensor([[5]]), adapter_names=["default"]), "one batch per adapter"),
    ],
)
def test_what_gates_cannot_do_is_refused(act, sentence, make, opened, ids):
    model = opened(get_peft_model(make("llama"), HeadGateConfig(**BESIDE))).eval()
    before = model(ids).logits
    with pytest.raises(ValueError, match=sentence):
        act(model)
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize(("kind", "name"), [("gpt2", "GPT2LMHeadModel"), ("opt", "OPTForCausalLM")])
def test_an_unknown_architecture_is_named_and_left_as_it_is(kind, name):
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2}, "opt": {"hidden_size": 16, "num_hidden_layers": 1}}[
        kind
    ]
    if kind == "opt":
        sizes |= {"ffn_dim": 16, "num_attention_heads": 2, "word_embed_proj_dim": 16}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=8, **sizes))
    for options in ({}, BESIDE):
        with pytest.raises(
            ValueError, match=f"do not fit the attention of {name} .model_type '{kind}'.*Use a LoraConfig"
        ):
            get_peft_model(model, HeadGateConfig(**options))
    assert all(p.requires_grad for p in model.parameters())


def test_transformers_own_loading_is_refused_because_it_would_load_half(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny)
    get_peft_model(base, HeadGateConfig(**BESIDE)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"then call PeftModel.from_pretrained\(base, folder\)"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_contradictory_ranks_are_refused():
    with pytest.raises(ValueError, match="r=0 asks for none. Set r to a rank, or drop target_modules"):
        HeadGateConfig(target_modules=["q_proj"])
    with pytest.raises(ValueError, match="r=-1 is not a rank"):
        HeadGateConfig(r=-1)


def test_a_projection_called_without_its_attention_says_so(make):
    model = get_peft_model(make("llama"), HeadGateConfig())
    with pytest.raises(RuntimeError, match="called outside its attention module"):
        model.base_model.model.model.layers[0].self_attn.o_proj(torch.zeros(1, 2, 32))
