"""4-bit weights on a CPU: nothing that looks at a model changes what it learns, and what cannot be learnt is refused.

No test asks anything of the processor: where bitsandbytes repacks layers (AVX512-BF16) the real kernels are met, elsewhere
the flag that forbids it is.
"""

import argparse
import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, Trainer
from trl import ModelConfig

from trl_r1.commands import doctor
from trl_r1.grpo.identity import share_of_low_bytes
from trl_r1.models import four_bit
from trl_r1.models.adapters import merged
from trl_r1.models.cpu import processor
from trl_r1.models.load import load_policy
from trl_r1.runs import rl
from trl_r1.stages import distill, reward_model, sft, zero
from trl_r1.stages.reward_model import train as reward_training


pytest.importorskip("bitsandbytes")

IDS = torch.arange(1, 13).view(2, 6)
QLORA = {
    "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True, "use_peft": True, "lora_r": 4,
    "lora_target_modules": "all-linear", "learning_rate": 1e-2,
}  # fmt: skip
LOOKS = {
    "evaluation_split": "train", "evaluation_problems": 2, "evaluation_samples": 1, "evaluation_max_tokens": 3,
    "evaluation_question_column": "question", "evaluation_solution_column": "solution", "save_steps": 1,
    "save_strategy": "steps",
}  # fmt: skip


# -- the guard ------------------------------------------------------------------------------------------------------------


def test_a_guarded_model_learns_the_same_after_an_evaluation_and_a_checkpoint():
    model = four_bit.make_trainable_on_cpu(four_bit.tiny_four_bit())
    layers = list(four_bit.four_bit_layers(model))
    assert len(layers) == 14  # 7 in each of 2 decoder layers
    assert not any(getattr(layer, four_bit.FLAG, False) for _, layer in layers)
    first = four_bit.loss_and_gradients(model, IDS)
    assert len(first) == 1 + 28
    assert all(gradient.abs().max() > 0 for gradient in first)
    for look in (lambda: model.eval()(input_ids=IDS), model.state_dict):
        with torch.no_grad():
            look()
        assert all(map(torch.equal, first, four_bit.loss_and_gradients(model, IDS)))
    assert four_bit.spoilt_gradients() is None


def test_without_the_guard_a_processor_that_repacks_is_found_out(monkeypatch):
    monkeypatch.setattr(four_bit, "keep_layout", lambda model: None)
    problem = four_bit.spoilt_gradients()
    if four_bit.repacks():
        assert problem.startswith("After one evaluation a 4-bit model learns from wrong gradients on this processor.")
    else:
        assert problem is None


def test_doctor_refuses_a_machine_where_the_guard_does_nothing(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "identity_problems", list)
    assert doctor.run(argparse.Namespace()) == 0
    said = capsys.readouterr().out
    assert f"CPU's features: {processor()}" in said
    assert "4-bit training on the CPU: " in said
    monkeypatch.setattr(four_bit, "keep_layout", lambda model: None)
    assert doctor.run(argparse.Namespace()) == int(four_bit.repacks())
    said = capsys.readouterr().out
    assert ("learns from wrong gradients on this processor" in said) is four_bit.repacks()
    assert "pip install 'trl==" not in said  # it is not TRL's fault


def test_a_repacked_layer_is_refused_and_a_foreign_bitsandbytes_is_judged(monkeypatch):
    model = four_bit.tiny_four_bit()
    layers = [layer for _, layer in four_bit.four_bit_layers(model)]
    layers[0].weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(ValueError, match="q_proj.base_layer was used in evaluation mode before.*Load the model anew"):
        four_bit.make_trainable_on_cpu(model)
    layers[0].weight.quant_state.packing_format_for_cpu = False
    for layer in layers:
        vars(layer).pop(four_bit.FLAG, None)
    monkeypatch.setattr(four_bit, "spoilt_gradients", lambda: None)
    assert four_bit.make_trainable_on_cpu(model) is model
    monkeypatch.setattr(four_bit, "spoilt_gradients", lambda: "It spoils them.")
    with pytest.raises(RuntimeError, match="It spoils them"):
        four_bit.make_trainable_on_cpu(model)


def test_what_has_no_4_bit_layer_is_left_alone():
    for thing in (None, "a name", torch.nn.Linear(3, 5)):
        assert four_bit.make_trainable_on_cpu(thing) is thing


# -- widths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 7), (128, 33), (192, 64)])
def test_rows_of_whole_blocks_are_decoded_rightly(inputs, outputs):
    import bitsandbytes

    torch.manual_seed(0)
    plain = torch.nn.Linear(inputs, outputs, bias=False)
    layer = four_bit.quantised(plain, bitsandbytes)
    four_bit.keep_layout(layer)
    decoded = layer.eval()(torch.eye(inputs)).T
    # the widest gap between NF4's values is .304 of a block's largest weight, so rounding errs by half of that at most
    assert (decoded - plain.weight).abs().max() < 0.16 * plain.weight.abs().max()


def test_only_multiples_of_64_are_taken():
    four_bit.refuse_widths([("a", 64), ("b", 576)])
    with pytest.raises(ValueError, match="the layer b reads 96 values.*multiples of 64.*Set load_in_4bit: false"):
        four_bit.refuse_widths([("a", 64), ("b", 96), ("c", 32)])


STAGES = {"sft": sft, "zero": zero, "reward_model": reward_model, "distill": distill}


@pytest.mark.parametrize("stage", STAGES)
def test_a_model_of_other_widths_is_told_before_it_is_loaded(stage, recipe, tiny, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        STAGES[stage].main(["--config", recipe(stage, model_name_or_path=tiny, **QLORA)])
    assert caught.value.code == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"trl-r1 {stage}: ")]
    assert len(told) == 1
    assert "load_in_4bit: the layer model.layers.0.self_attn.q_proj reads 16 values" in told[0]
    assert not (tmp_path / "out").exists()


def test_an_evaluated_model_of_other_widths_is_told_too(tiny):
    with pytest.raises(ValueError, match="q_proj reads 16 values"):
        load_policy(tiny, ModelConfig(load_in_4bit=True, dtype="float32"), use_cpu=True)


# -- the stages -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(wide, tmp_path):
    """`recipe(stage, **changes)` writes a YAML of two quick steps and returns its path."""
    rows = [
        {
            "question": f"What is {n} + {n + 2}?", "solution": str(2 * n + 2), "language": "en",
            "completion": f"<think>{n} and {n + 2}</think><answer>{2 * n + 2}</answer>",
            "prompt": f"Say {n}.", "chosen": f"yes, {n}", "rejected": f"nay, {n}",
        }
        for n in range(12)
    ]  # fmt: skip
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = {
        "model_name_or_path": wide, "dtype": "float32", "template": "mini", "output_dir": str(tmp_path / "out"),
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "per_device_train_batch_size": 4, "max_steps": 2,
        "logging_steps": 1, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
    }  # fmt: skip
    imitation = {"dataset_name": str(data), "language_column": "language"}
    own = {
        "sft": {**imitation, "max_length": 128},
        "zero": {**imitation, "rewards": [{"name": "accuracy"}], "num_generations": 4,
                 "per_device_train_batch_size": 8, "max_completion_length": 6, "drift_every": 0},
        "reward_model": {"helpful_dataset_name": str(data), "held_out": 0.3, "max_length": 64},
        "distill": {**imitation, "method": "on_policy", "teacher_model": wide, "max_completion_length": 6},
    }  # fmt: skip

    def write(stage, **changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**base, **own[stage], **changes}))
        return str(path)

    return write


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_looking_at_a_4_bit_model_changes_nothing_it_learns(stage, recipe, wide, tmp_path, monkeypatch):
    """Two steps with a held-out evaluation, probes, drift and a checkpoint each step against two steps without any."""
    trained, stock = [], Trainer.train

    def train(self, *arguments, **options):
        trained.append(self)
        return stock(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "train", train)
    bare = {**QLORA, "output_dir": str(tmp_path / "bare")}
    looks = {"save_steps": 1, "save_strategy": "steps"}
    if stage != "reward_model":
        looks = {**LOOKS, "evaluation_dataset_name": str(tmp_path / "rows.jsonl")}
    if stage == "zero":
        looks |= {"probe_every": 1, "probe_problems": 2, "probe_samples": 1, "drift_every": 1, "beta": 0.0}
        bare["beta"] = 0.0
        monkeypatch.setattr(
            rl, "load_rewards", lambda given: ([share_of_low_bytes], [1.0])
        )  # a random model varies in it
    STAGES[stage].main(["--config", recipe(stage, **{**bare, **looks, "output_dir": str(tmp_path / "looked")})])
    live = trained[-1].model
    if stage == "reward_model":  # its held-out pairs are scored in any case
        monkeypatch.setattr(reward_training, "score", lambda trainer, reader, texts: [0.0] * len(texts))
    STAGES[stage].main(["--config", recipe(stage, **bare)])
    folder = "helpfulness" if stage == "reward_model" else "."
    lines = [numbers(tmp_path / run / folder / "metrics.jsonl") for run in ("bare", "looked")]
    assert lines[0] == lines[1]
    assert [step for step, _, _ in lines[0]] == [1, 2]
    assert all(norm > 0 for _, _, norm in lines[0])
    assert (tmp_path / "looked" / folder / "checkpoint-1").is_dir()
    assert sum(weight.abs().sum() for name, weight in live.named_parameters() if "lora_B" in name) > 0
    if stage != "reward_model":
        reloaded, _ = load_policy(
            str(tmp_path / "looked"), ModelConfig(**of_model(QLORA), dtype="float32"), use_cpu=True
        )
        torch.testing.assert_close(logps(reloaded), logps(live), atol=1e-5, rtol=0)
        whole = AutoModelForCausalLM.from_pretrained(merged(tmp_path / "looked"), dtype=torch.float32)
        torch.testing.assert_close(logps(whole), logps(beside(wide, tmp_path / "looked")), atol=1e-5, rtol=0)


def numbers(path: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines if "grad_norm" in line]


def of_model(options):
    return {key: value for key, value in options.items() if "4bit" in key or "bnb" in key}


def beside(base, adapter):
    """The base before rounding, with the adapter."""
    from peft import PeftModel

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))


@torch.no_grad()
def logps(model):
    """(2, 6, V) log-probabilities."""
    return model.eval()(input_ids=IDS).logits.float().log_softmax(dim=-1)
