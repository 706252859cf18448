"""4-bit weights on a CPU: nothing that looks at a model changes what it learns, and what cannot be learnt is refused.

No test asks anything of the processor: where bitsandbytes repacks layers (AVX512-BF16) the real kernels are met, elsewhere
the flag that forbids it is.
"""

import argparse
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from places import SCRIPTS
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Trainer
from trl import ModelConfig, get_quantization_config

from trl_r1.commands import doctor
from trl_r1.models import four_bit, load_classifier
from trl_r1.models.adapters import merged
from trl_r1.models.cpu import processor
from trl_r1.models.load import as_saved, load_policy
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


@pytest.mark.parametrize("where", ["this one", "one without AVX512-BF16"])
def test_without_the_guard_a_processor_that_repacks_is_found_out(where, monkeypatch):
    if where != "this one":  # bitsandbytes asks so when it makes a layer, and never repacks it then
        monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
        assert not four_bit.repacks()
    monkeypatch.setattr(four_bit, "keep_layout", lambda model: None)
    problem = four_bit.spoilt_gradients()
    if four_bit.repacks():
        assert problem.startswith("After one evaluation a 4-bit model learns from wrong gradients on this processor.")
    else:
        assert problem is None


def test_doctor_refuses_a_machine_where_the_guard_does_nothing(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "identity_problems", list)
    assert doctor.run(argparse.Namespace(model=None, gpu=None)) == 0
    said = capsys.readouterr().out
    assert f"CPU's features: {processor()}" in said
    assert "4-bit training on the CPU: " in said
    monkeypatch.setattr(four_bit, "keep_layout", lambda model: None)
    assert doctor.run(argparse.Namespace(model=None, gpu=None)) == int(four_bit.repacks())
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
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"trl-r1 {stage}: ")]
    assert len(warnings) == 1
    assert "load_in_4bit: the layer model.layers.0.self_attn.q_proj reads 16 values" in warnings[0]
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
            "prompt": f"Say {n}.", "chosen": f"yes, {n}", "rejected": f"nay, {n}", "label": n % 2,
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
        "zero": {**imitation, "rewards": [{"name": "trl_r1.grpo.identity:share_of_low_bytes"}], "num_generations": 4,
                 "per_device_train_batch_size": 8, "max_completion_length": 6, "drift_every": 0},
        "reward_model": {"helpful_dataset_name": str(data), "held_out": 0.3, "max_length": 64},
        "distill": {**imitation, "method": "on_policy", "teacher_model": wide, "max_completion_length": 6},
    }  # fmt: skip

    def write(stage, **changes):
        path = tmp_path / f"recipe{len(list(tmp_path.glob('recipe*')))}.yaml"
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
    looks = looks_of(stage, tmp_path)
    if stage == "zero":
        bare["beta"] = 0.0  # nobody but the monitor measures drift then
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
    same = {"atol": 1e-5, "rtol": 0}
    if stage == "reward_model":
        torch.testing.assert_close(
            scores(quantised_reward_model(wide, tmp_path / "looked" / folder)), scores(live), **same
        )
        asked, _ = load_classifier._from_pretrained(str(tmp_path / "looked" / folder))  # as a reward asks it
        whole = beside(wide, tmp_path / "looked" / folder, AutoModelForSequenceClassification, num_labels=1)
        torch.testing.assert_close(scores(asked), scores(whole.merge_and_unload()), **same)
    else:
        reloaded, _ = load_policy(
            str(tmp_path / "looked"), ModelConfig(**of_model(QLORA), dtype="float32"), use_cpu=True
        )
        torch.testing.assert_close(logps(reloaded), logps(live), **same)
        whole = AutoModelForCausalLM.from_pretrained(merged(tmp_path / "looked"), dtype=torch.float32)
        torch.testing.assert_close(logps(whole), logps(beside(wide, tmp_path / "looked")), **same)


def looks_of(stage, folder):
    """Everything that looks at a model while it is trained: evaluations, probes, drift and a checkpoint each step."""
    if stage == "reward_model":
        return {"save_steps": 1, "save_strategy": "steps"}
    looks = {**LOOKS, "evaluation_dataset_name": str(folder / "rows.jsonl")}
    if stage == "zero":
        looks |= {"probe_every": 1, "probe_problems": 2, "probe_samples": 1, "drift_every": 1, "beta": 0.0}
    return looks


def test_a_killed_4_bit_run_with_all_these_looks_resumes_onto_the_same_trajectory(recipe, tmp_path):
    """Kill -9 at the start of the fourth step, where the second has left the last checkpoint; a reward model twice, in
    either of its trainers. The second run of `zero` has a critic, a moving reference and dropout."""
    critic = {"advantage": "two_tower", "beta": 0.05, "reference_every": 3, "kl_target": 0.01, "lora_dropout": 0.1,
              "num_iterations": 2}  # fmt: skip
    safety = {"safety_dataset_name": str(tmp_path / "rows.jsonl"), "learning_rate": 1e-3}
    runs = {"sft": ("sft", {"packing": True}), "distill": ("distill", {}), "zero": ("zero", {}), "critic": ("zero", critic),
            "reward_model": ("reward_model", safety)}  # fmt: skip
    orders, expected = [], []
    for name, (stage, more) in runs.items():
        steps = {**QLORA, **looks_of(stage, tmp_path), **more, "max_steps": 4, "save_steps": 2, "save_total_limit": 1}
        kills = [[1, 3], [2, 3], None] if stage == "reward_model" else [[1, 3], None]
        for number, kill in enumerate([None, *kills]):
            out = str(tmp_path / name / ("killed" if number else "whole"))
            arguments = ["--config", recipe(stage, **{**steps, "output_dir": out})]
            orders.append({"stage": stage, "arguments": arguments, "kill": kill})
            expected.append(0 if kill is None else -signal.SIGKILL)
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "killed_stages.py"), json.dumps(orders)],
        capture_output=True,
        text=True,
        timeout=900,  # 16 runs, under a minute where nobody else computes
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == expected, done.stderr[-2000:]
    for name in runs:
        for part in ("helpfulness", "harmlessness") if name == "reward_model" else (".",):
            whole, again = tmp_path / name / "whole" / part, tmp_path / name / "killed" / part
            assert numbers(again / "metrics.jsonl") == numbers(whole / "metrics.jsonl"), name
            assert [step for step, _, _ in numbers(whole / "metrics.jsonl")] == [1, 2, 3, 4]
            left = tensors_of(whole / "checkpoint-4")
            assert {name.split(".")[0] for name, _ in left} >= {"adapter_model", "optimizer"}
            for key, tensor in tensors_of(again / "checkpoint-4").items():
                assert torch.equal(tensor, left.pop(key)), (name, key)
            assert not left
    assert (tmp_path / "critic" / "whole" / "checkpoint-4" / "critic.safetensors").is_file()
    assert (tmp_path / "critic" / "whole" / "checkpoint-4" / "reference.safetensors").is_file()


def tensors_of(checkpoint: Path) -> dict[tuple[str, str], torch.Tensor]:
    """Every tensor of its weights, critic, reference and optimizer, by file and name."""
    found = {
        (path.name, name): tensor
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    for number, state in torch.load(checkpoint / "optimizer.pt")["state"].items():
        found.update({("optimizer.pt", f"{number} {name}"): torch.as_tensor(value) for name, value in state.items()})
    return found


def numbers(path: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines if "grad_norm" in line]


def of_model(options):
    return {key: value for key, value in options.items() if "4bit" in key or "bnb" in key}


def beside(base, adapter, kind=AutoModelForCausalLM, **options):
    """The base before rounding, with the adapter."""
    return PeftModel.from_pretrained(kind.from_pretrained(base, dtype=torch.float32, **options), str(adapter))


def quantised_reward_model(base, adapter):
    """A scalar head and an adapter on the NF4 base, in the precision they were trained in."""
    quantization = get_quantization_config(ModelConfig(**of_model(QLORA), dtype="float32"))
    model = beside(base, adapter, AutoModelForSequenceClassification, num_labels=1, quantization_config=quantization)
    as_saved(model, adapter)
    return four_bit.make_trainable_on_cpu(model)


@torch.no_grad()
def scores(model):
    """(2, 1) of two texts of one length, one at a time."""
    return torch.cat([model.eval()(input_ids=row[None]).logits.float() for row in IDS])


@torch.no_grad()
def logps(model):
    """(2, 6, V) log-probabilities."""
    return model.eval()(input_ids=IDS).logits.float().log_softmax(dim=-1)
