"""Contributions against the formula written out, on every architecture; and what must not change, does not."""

import pytest
import torch
import transformers
from real_models import real_smollm2
from tiny_models import SMALL, build

from trl_r1.agser import recorder
from trl_r1.agser.generation import Greedy
from trl_r1.agser.recorder import Recorder
from trl_r1.agser.split import locate


WIDTH, PADDED = 23, 6  # tokens of the prompts; the first row of a padded batch has so many to the left
GENERATE = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
CASES = {
    "Llama MHA, bias": ("Llama", {"num_key_value_heads": 4, "attention_bias": True}),
    "Llama GQA": ("Llama", {}),
    "Llama MQA": ("Llama", {"num_key_value_heads": 1}),
    "Qwen2": ("Qwen2", {}),
    "Qwen3": ("Qwen3", {"head_dim": 16}),
    "Mistral, window 7": ("Mistral", {"sliding_window": 7}),
    "Gemma2": ("Gemma2", {"head_dim": 8, "sliding_window": 7, "attn_logit_softcapping": 5.0}),
    "Gemma3": ("Gemma3", {"head_dim": 8, "sliding_window": 7}),
    "Phi3": ("Phi3", {}),
    "OLMo2": ("Olmo2", {}),
}


def prompts(padded=False):
    torch.manual_seed(3)
    ids = torch.randint(5, 290, (2, WIDTH))
    mask, positions = torch.ones_like(ids), torch.arange(WIDTH).repeat(2, 1)
    if padded:
        ids[0, :PADDED], mask[0, :PADDED], positions[0, :PADDED] = 0, 0, -1
    return ids, mask, positions


def recorded(model, padded=False, weights=None):
    ids, mask, positions = prompts(padded)
    with Recorder(model, positions, WIDTH, weights) as found:
        tokens = model.generate(input_ids=ids, attention_mask=mask, **GENERATE)
    return found, tokens


def formula(model, padded=False, row=-1, given=None):
    """(L, B, M) norms of sum_h A[h, row, j] (x_j W_V)_h W_O,h, head by head, from the weights; A by the eager model.
    ``given`` are other prompts, as `prompts` makes them."""
    inputs = []
    layers = recorder.unwrapped(model).model.layers
    hooks = [
        layer.self_attn.register_forward_pre_hook(
            lambda module, given, options: inputs.append(given[0] if given else options["hidden_states"]),
            with_kwargs=True,
        )
        for layer in layers
    ]
    ids, mask, _ = given or prompts(padded)
    with torch.no_grad():
        seen = model(input_ids=ids, attention_mask=mask, output_attentions=True)
    for hook in hooks:
        hook.remove()
    found = []
    for layer, x, attention in zip(layers, inputs, seen.attentions):
        module = layer.self_attn
        heads, size = attention.shape[1], module.head_dim
        if hasattr(module, "qkv_proj"):
            v = module.qkv_proj(x)[..., -module.num_key_value_heads * size :]
        else:
            v = module.v_proj(x)
        v = v.view(*x.shape[:2], -1, size).repeat_interleave(heads // (v.shape[-1] // size), dim=2)  # (B, M, H, hd)
        out = module.o_proj.weight  # (d, D)
        total = torch.zeros(*x.shape[:2], out.shape[0], dtype=x.dtype)
        for head in range(heads):
            part = v[:, :, head] @ out[:, head * size : (head + 1) * size].T
            total += attention[:, head, row, :, None] * part.nan_to_num()
        found.append(total.norm(dim=-1))
    return torch.stack(found)


def eager(name, options, dtype=torch.float64):
    return build(name, "eager", dtype, **options)


def difference(found, wanted):
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_contributions_equal_the_formula_and_no_token_changes(case, implementation):
    name, options = CASES[case]
    if name == "Gemma2" and implementation == "sdpa":
        pytest.skip("transformers refuses sdpa with a softcap")
    model = build(name, implementation, **options)
    ids, mask, _ = prompts()
    before = model.generate(input_ids=ids, attention_mask=mask, **GENERATE)
    found, tokens = recorded(model)
    assert torch.equal(tokens, before)
    assert difference(found.norms, formula(eager(name, options)).double()) < 1e-5
    assert found.completeness < 1e-5
    assert model.config._attn_implementation == implementation


@pytest.mark.parametrize("case", [name for name in CASES if name != "Gemma2"])
def test_left_padding_changes_nothing_of_a_row(case):
    name, options = CASES[case]
    model = build(name, **options)
    found, _ = recorded(model, padded=True)
    ids, mask, positions = prompts()
    alone = torch.cat([ids[:1, PADDED:]])
    with Recorder(model, torch.arange(WIDTH - PADDED)[None], WIDTH - PADDED) as single:
        model.generate(input_ids=alone, attention_mask=torch.ones_like(alone), **GENERATE)
    assert difference(found.norms[:, 0, PADDED:], single.norms[:, 0]) < 1e-5
    assert found.norms[:, 0, :PADDED].abs().max() == 0.0
    assert difference(found.norms[:, 1], recorded(model)[0].norms[:, 1]) < 1e-5


def test_gemma2_under_left_padding():  # eager only, and transformers' eager padding is NaN in float64
    model = eager(*CASES["Gemma2"], dtype=torch.float32)
    found, _ = recorded(model, padded=True)
    assert difference(found.norms, formula(model, padded=True)) < 1e-5


@pytest.mark.parametrize("case", ["Llama GQA", "Mistral, window 7", "Qwen3"])
def test_rows_of_the_answer_average_single_rows(case):
    name, options = CASES[case]
    found, _ = recorded(build(name, **options), weights=torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
    rows = torch.stack([formula(eager(name, options), row=row) for row in (-3, -2, -1)])  # (3, L, B, M)
    assert difference(found.norms[:, 0], rows[:, :, 0].mean(0).double()) < 1e-5
    assert difference(found.norms[:, 1], rows[1:, :, 1].mean(0).double()) < 1e-5


def test_attention_is_the_weight_summed_over_heads():
    found, _ = recorded(build("Llama"))
    ids, mask, _ = prompts()
    attentions = build("Llama", "eager")(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    wanted = torch.stack([layer[:, :, -1].sum(1) for layer in attentions])
    assert difference(found.attention, wanted) < 1e-5
    assert found.attention.sum(-1).sub(4.0).abs().max() < 1e-5  # 4 heads, each gives 1 away


def test_a_part_of_the_prompt_is_scored_as_in_the_whole():
    model = build("Llama")
    ids, mask, _ = prompts()
    positions = torch.tensor([[4, 9, 2], [1, 22, -1]])
    with Recorder(model, positions, WIDTH) as found:
        model.generate(input_ids=ids, attention_mask=mask, **GENERATE)
    whole = recorded(model)[0].norms
    torch.testing.assert_close(found.norms[:, 0], whole[:, 0, [4, 9, 2]])
    torch.testing.assert_close(found.norms[:, 1, :2], whole[:, 1, [1, 22]])


def test_adapters_count_as_merged_ones():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "o_proj"], init_lora_weights=False)
    model = get_peft_model(build("Llama"), config).eval()
    found, _ = recorded(model)
    merged = model.merge_and_unload()
    merged.set_attn_implementation("eager")
    assert difference(found.norms, formula(merged).double()) < 1e-5


def test_four_bit_weights_count_dequantized():
    bnb = pytest.importorskip("bitsandbytes")
    model = build("Llama", dtype=torch.float32)
    for layer in model.model.layers:
        old = layer.self_attn.o_proj
        new = bnb.nn.Linear4bit(32, 32, bias=False, quant_type="nf4", compute_dtype=torch.float32)
        new.weight = bnb.nn.Params4bit(old.weight.data.clone(), requires_grad=False, quant_type="nf4")
        layer.self_attn.o_proj = new.to("cpu")
    found, _ = recorded(model)
    for layer in model.model.layers:
        weight = layer.self_attn.o_proj.weight
        plain = torch.nn.Linear(32, 32, bias=False)
        plain.weight.data = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
        assert not torch.equal(
            plain.weight, build("Llama", dtype=torch.float32).model.layers[0].self_attn.o_proj.weight
        )
        layer.self_attn.o_proj = plain
    model.set_attn_implementation("eager")
    assert difference(found.norms, formula(model)) < 1e-5


def test_half_precision_ranks_tokens_as_double_does():
    model = build("Llama")
    wanted = recorded(model)[0].norms.mean(0)[0]
    found = recorded(model.to(torch.bfloat16))[0].norms.mean(0)[0]
    assert difference(found.double(), wanted) < 0.05
    assert len(set(found.topk(15).indices.tolist()) & set(wanted.topk(15).indices.tolist())) >= 13


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("GPTNeoX", {}),
        ("GptOss", {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 7}),
    ],
)
def test_other_families_add_up(name, options):
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **options})
    kind = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    torch.manual_seed(0)
    found, _ = recorded(kind(config).eval(), padded=True)
    assert 0 < found.completeness < 1e-5


def test_a_layer_that_does_more_than_attention_is_refused_by_name():
    model = build("Llama")
    module = model.model.layers[1].self_attn
    module.o_proj = torch.nn.Sequential(torch.nn.Tanh(), module.o_proj)
    with pytest.raises(RuntimeError, match="LlamaAttention in LlamaForCausalLM miss the layer's output"):
        recorded(model)
    assert model.config._attn_implementation == "sdpa"  # put back


def qwen3_next():
    options = {
        "num_hidden_layers": 4, "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    }  # fmt: skip
    torch.manual_seed(0)
    return transformers.Qwen3NextForCausalLM(transformers.Qwen3NextConfig(**{**SMALL, **options})).eval()


@pytest.mark.skipif(not hasattr(transformers, "Qwen3NextForCausalLM"), reason="transformers without Qwen3-Next")
def test_a_gate_behind_the_attention_is_applied_or_noticed(monkeypatch):
    found, _ = recorded(qwen3_next())
    assert found.norms.shape[0] == 1
    assert found.completeness < 1e-5
    monkeypatch.setattr(recorder, "GATED", ())
    with pytest.raises(RuntimeError, match="Qwen3NextAttention in Qwen3NextForCausalLM"):
        recorded(qwen3_next())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("BloomForCausalLM", "BloomForCausalLM does not take its attention from"),
        ("T5ForConditionalGeneration", "T5ForConditionalGeneration is an encoder-decoder"),
    ],
)
def test_unsupported_architectures_are_refused_by_name(kind, said):
    kind = getattr(transformers, kind)
    config = kind.config_class(vocab_size=300, hidden_size=32, d_ff=48, num_layers=1, n_layer=1, n_head=4, num_heads=4)
    with pytest.raises(ValueError, match=said), Recorder(kind(config), prompts()[2], WIDTH):
        pass


def test_a_prefill_in_chunks_is_noticed():
    model = build("Llama")
    ids, mask, positions = prompts()
    with pytest.raises(RuntimeError, match="ran no attention over a prompt of 23 tokens"):
        with Recorder(model, positions, WIDTH):
            model.generate(input_ids=ids, attention_mask=mask, prefill_chunk_size=8, **GENERATE)


def test_the_mask_of_the_base_is_registered_too():
    recorded(build("Llama"))
    masks = transformers.AttentionMaskInterface._global_mapping
    assert masks["agser_sdpa"] is masks["sdpa"]


def test_on_real_weights_contributions_equal_the_formula():
    folder = real_smollm2()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = [{"role": "user", "content": "Who wrote the novel Pride and Prejudice?"}]
    query = locate(tokenizer, asked)
    ids = torch.tensor([query.ids])
    reading = Greedy(model, tokenizer).read([query])[0]
    model.set_attn_implementation("eager")
    wanted = formula(model, given=(ids, torch.ones_like(ids), None))[:, 0, query.places]
    assert reading.norms.shape == (30, len(query.places))
    assert difference(reading.norms, wanted) < 1e-5
    assert reading.completeness < 1e-5
