"""Head gates in the trainer, in recipes and where models are read: resume, reference, rollout, packing, export."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_r1 import HeadGateConfig, R1GRPOConfig
from trl_r1.grpo.identity import differences


def gates(**options):
    return {"peft_config": HeadGateConfig(task_type="CAUSAL_LM", **options)}


BESIDE = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


@pytest.mark.parametrize("options", [{}, BESIDE], ids=["alone", "beside-lora"])
def test_a_resumed_run_is_the_run_that_was_left_alone(options, ours, tmp_path):
    """With a rolling reference, renewed at steps 2 and 4, in the fast rollout and the fast batching."""
    settings = {
        "beta": 0.1, "reference_every": 2, "rollout": "fast", "batching": "fast", "max_steps": 4,
        "save_strategy": "steps", "save_steps": 3, "learning_rate": 5e-2,
    }  # fmt: skip
    whole = ours(trainer_options=gates(**options), folder="run", **settings)
    trainer = whole["trainer"]
    assert trainer._fast_rollout.last is not None
    assert trainer._packs is True
    moved = [w for name, w in whole["weights"].items() if "head_gate_" in name]
    assert len(moved) == 4
    assert all(weight.abs().max() > 1e-3 for weight in moved)
    assert any(kl > 1e-6 for kl in whole["kls"])
    checkpoint = tmp_path / "run" / "checkpoint-3"
    resumed = ours(trainer_options=gates(**options), folder="run", resume=str(checkpoint), **settings)
    assert resumed["losses"] == whole["losses"][3:]
    assert all(torch.equal(w, resumed["weights"][name]) for name, w in whole["weights"].items())
    pairs = zip(trainer._moving_reference.pairs(), resumed["trainer"]._moving_reference.pairs())
    for (name, policy, one), (_, _, other) in pairs:
        assert torch.equal(one, other), name
        assert torch.equal(one, policy), name  # step 4 renewed it

    trainer.save_model(str(tmp_path / "export"))
    assert not (tmp_path / "export" / "ref").exists()
    base = AutoModelForCausalLM.from_pretrained(trainer.model.get_base_model().config._name_or_path)
    loaded = PeftModel.from_pretrained(base, tmp_path / "export")
    ids = torch.arange(3, 12)[None]
    mine = trainer.model.eval()
    assert torch.equal(loaded(ids).logits, mine(ids).logits)


def test_fast_batching_gives_the_losses_of_trls(ours):
    plain = ours(trainer_options=gates(**BESIDE), folder="plain", beta=0.1)
    fast = ours(trainer_options=gates(**BESIDE), folder="fast", beta=0.1, batching="fast")
    assert fast["trainer"]._packs is True
    assert fast["losses"] == pytest.approx(plain["losses"], abs=1e-5)
    assert fast["grad_norms"] == pytest.approx(plain["grad_norms"], rel=1e-3)


def test_trls_trainer_takes_it_as_ours_does(ours, stock):
    assert differences(ours(trainer_options=gates(), beta=0.1), stock(trainer_options=gates(), beta=0.1)) == []


def test_qlora_with_gates_trains_and_doubles_its_adapter(ours, wide):
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    quantised = {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")}
    trace = ours(
        trainer_options={**gates(**BESIDE), **quantised}, model=wide, beta=0.1, reference_every=2, max_steps=2
    )
    pairs = list(trace["trainer"]._moving_reference.pairs())
    assert len([name for name, _, _ in pairs if "head_gate_" in name]) == 4
    assert all(policy.dtype is reference.dtype is torch.bfloat16 for _, policy, reference in pairs)
    assert all(torch.equal(policy, reference) for _, policy, reference in pairs)


# -- recipes --------------------------------------------------------------------------------------------------------


def test_recipes_choose_gates_lora_or_both():
    from trl_r1.models.options import R1ModelConfig, adapter_config

    assert adapter_config(R1ModelConfig()) is None
    plain = adapter_config(R1ModelConfig(use_peft=True, lora_r=3))
    assert type(plain) is LoraConfig
    alone = adapter_config(R1ModelConfig(head_gate=True))
    assert type(alone) is HeadGateConfig
    assert (alone.r, alone.target_modules, alone.task_type) == (0, None, "CAUSAL_LM")
    fields = {"lora_r": 3, "lora_alpha": 5, "lora_dropout": 0.25, "lora_target_modules": ["q_proj", "up_proj"]}
    both = adapter_config(R1ModelConfig(use_peft=True, head_gate=True, use_rslora=True, **fields))
    same = adapter_config(R1ModelConfig(use_peft=True, use_rslora=True, **fields))
    assert (both.r, both.lora_alpha, both.lora_dropout) == (3, 5, 0.25)
    assert {**same.to_dict(), "peft_type": "HEAD_GATE"} == both.to_dict()


def test_a_recipe_is_told_what_gates_cannot_do(tiny, tmp_path):
    from transformers import GPT2Config

    from trl_r1.models.options import R1ModelConfig, check_gates
    from trl_r1.runs.options import SFTOptions

    model = R1ModelConfig(head_gate=True)
    config = R1GRPOConfig(str(tmp_path / "run"), use_cpu=True, bf16=False, report_to="none")
    check_gates(model, tiny, SFTOptions(), config)
    with pytest.raises(ValueError, match="no whole model can be made of them. Drop merge_adapter"):
        check_gates(model, tiny, SFTOptions(merge_adapter=True), config)
    config.use_vllm = True
    with pytest.raises(ValueError, match="vLLM, which is given merged weights.*Use rollout: fast, or drop head_gate"):
        check_gates(model, tiny, config)
    check_gates(R1ModelConfig(), tiny, SFTOptions(merge_adapter=True), config)
    config.use_vllm = False
    GPT2Config().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ValueError, match="model_type 'gpt2'.: head gates were made for llama,.*Drop head_gate"):
        check_gates(model, str(tmp_path / "gpt2"), config)


@pytest.mark.slow
def test_stage_zero_trains_gates_and_others_read_or_refuse_them(tiny, tmp_path, capsys):
    from trl_r1.models.load import find_policy, load_policy
    from trl_r1.models.options import R1ModelConfig
    from trl_r1.runs.folder import find_model
    from trl_r1.stages import zero

    folder = tmp_path / "run"
    argv = [
        "--config", "mini/zero", "--model_name_or_path", tiny, "--output_dir", str(folder), "--head_gate", "true",
        "--use_peft", "true", "--lora_r", "2", "--max_steps", "2", "--num_generations", "2",
        "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1", "--max_completion_length", "8",
        "--evaluation_problems", "2", "--evaluation_samples", "1", "--probe_every", "0", "--save_strategy", "no",
        "--disable_tqdm", "true",
    ]  # fmt: skip
    zero.main(argv)
    saved = json.loads((folder / "adapter_config.json").read_text())
    assert (saved["peft_type"], saved["r"]) == ("HEAD_GATE", 2)
    policy, _ = load_policy(find_policy(str(folder)), R1ModelConfig(), use_cpu=True)
    assert type(policy.peft_config["default"]) is HeadGateConfig
    config = R1GRPOConfig(str(tmp_path / "next"), use_cpu=True, bf16=False, report_to="none")
    with pytest.raises(ValueError, match="holds head gates, which depend on the input and cannot be merged"):
        find_model(str(folder), config)


def test_a_reward_model_with_gates_is_read_unmerged(tiny, tmp_path):
    from peft import get_peft_model
    from transformers import AutoModelForSequenceClassification

    from trl_r1.models.load_classifier import _from_pretrained

    torch.manual_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=1)
    model = get_peft_model(base, HeadGateConfig(task_type="SEQ_CLS"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "head_gate_" in name:
                parameter.fill_(0.1)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
    read, _ = _from_pretrained(str(tmp_path))
    ids = torch.arange(3, 12)[None]
    assert torch.equal(read.eval()(ids).logits, model.eval()(ids).logits)


def test_agser_reads_what_the_gates_let_through(make, opened, ids):
    """The norm of every token's contribution to the last one, layer by layer, summed over the heads by hand."""
    from peft import get_peft_model

    from trl_r1.agser.recorder import Recorder

    model = opened(get_peft_model(make("llama", torch.float64), HeadGateConfig())).eval()
    bare = model.get_base_model()
    positions = torch.arange(9).expand(2, 9)
    with Recorder(model, positions, 9) as found:
        model(ids, attention_mask=torch.ones_like(ids))
    bare.set_attn_implementation("eager")
    out = model(ids, attention_mask=torch.ones_like(ids), output_attentions=True, output_hidden_states=True)
    wanted = []
    for layer, weights, hidden in zip(bare.model.layers, out.attentions, out.hidden_states):
        attention = layer.self_attn
        x = layer.input_layernorm(hidden)
        gate = 2 * torch.sigmoid(attention.o_proj.head_gate_scores["default"](x))[:, -1]  # (B, H)
        value = attention.v_proj(x).unflatten(-1, (2, 8)).repeat_interleave(2, dim=2)  # (B, S, H, D)
        each = weights[:, :, -1].transpose(1, 2)[..., None] * gate[:, None, :, None] * value
        wanted.append((each.flatten(2) @ attention.o_proj.behind_gates.weight.T).norm(dim=-1))  # (B, S)
    torch.testing.assert_close(found.norms, torch.stack(wanted), rtol=1e-6, atol=1e-6)  # norms and softmax are float32
