"""Kill -9, resume, and compare with the run that was left alone."""

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import fresh
import pytest
import torch
from places import SCRIPTS

from trl_r1.storage.checkpoints import newest_complete, resolve_resume, what_is_broken


SCRIPT = SCRIPTS / "killed_run.py"

# rollouts serve 8 micro-batches (4 slices, twice), an optimizer step takes 2: a generation every 4 steps
OPTIONS = {
    "beta": 0.05, "kl_target": 0.01, "reference_every": 3, "steps_per_generation": 4, "gradient_accumulation_steps": 2,
    "num_iterations": 2, "per_device_train_batch_size": 4, "max_steps": 12, "save_strategy": "steps", "save_steps": 3,
    "lr_scheduler_type": "linear", "advantage": "leave_one_out", "save_total_limit": 2,
}  # fmt: skip


def start(tiny, folder, kind="full", options=None, by_name=False, **order):
    """A run of its own; `by_name` starts Python anew, whose hashes of texts are other ones."""
    order = {
        "model": tiny,
        "output_dir": str(folder),
        "kind": kind,
        "options": {**OPTIONS, **(options or {})},
        **order,
    }
    if by_name:
        command = [sys.executable, str(SCRIPT), json.dumps(order)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)
    return fresh.start(SCRIPT, json.dumps(order))


def lines(folder):
    rows = [json.loads(line) for line in Path(f"{folder}.jsonl").read_text().splitlines()]
    return {row["step"]: {key: row.get(key) for key in ("loss", "grad_norm", "kl", "beta", "reward")} for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_killed_run_resumes_onto_the_same_trajectory(kind, tiny, tmp_path):
    """QLoRA: tests/models/test_four_bit.py."""
    whole = start(tiny, tmp_path / "whole", kind)
    assert whole.returncode == 0, whole.stderr[-2000:]

    killed = start(tiny, tmp_path / "killed", kind, kill_at=10)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    # save_steps=3 asks for 3, 6 and 9; a generation ends at 4 and 8
    assert newest_complete(tmp_path / "killed").endswith("checkpoint-8")
    assert sorted(path.name for path in (tmp_path / "killed").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
    assert "moved to step 4" in killed.stderr

    resumed = start(tiny, tmp_path / "killed", kind, resume=True, by_name=kind == "full")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    expected, got = lines(tmp_path / "whole"), lines(tmp_path / "killed")
    assert sorted(got) == sorted(expected) == list(range(1, 13))
    for step in range(9, 13):
        assert got[step] == expected[step], step
    assert len({row["beta"] for row in expected.values()}) > 5  # the controller did move
    assert any(row["kl"] > 1e-4 for row in expected.values())

    ends = [torch.load(f"{tmp_path / name}.weights") for name in ("whole", "killed")]
    for part in ("weights", "reference"):
        assert ends[0][part].keys() == ends[1][part].keys() != set()
        for name, tensor in ends[0][part].items():
            assert torch.equal(tensor, ends[1][part][name]), (part, name)


@pytest.mark.slow
def test_trls_own_synced_reference_survives_a_resume_too(tiny, tmp_path):
    options = {
        "kl_target": None, "reference_every": None, "sync_ref_model": True, "ref_model_sync_steps": 3,
        "ref_model_mixup_alpha": 0.6,
    }  # fmt: skip
    assert start(tiny, tmp_path / "whole", options=options).returncode == 0
    assert start(tiny, tmp_path / "killed", options=options, kill_at=10).returncode == -signal.SIGKILL
    assert start(tiny, tmp_path / "killed", options=options, resume=True).returncode == 0
    expected, got = lines(tmp_path / "whole"), lines(tmp_path / "killed")
    assert [got[step] for step in range(9, 13)] == [expected[step] for step in range(9, 13)]


@pytest.mark.slow
def test_a_killed_run_with_rollouts_from_a_copy_resumes_onto_the_same_trajectory(tiny, tmp_path):
    options = {
        "rollout": "fast", "batching": "fast", "rollout_copy": "bfloat16", "kl_target": None, "reference_every": None,
        "learning_rate": 1e-2, "max_steps": 8,
    }  # fmt: skip
    assert start(tiny, tmp_path / "whole", "lora", options).returncode == 0
    assert start(tiny, tmp_path / "killed", "lora", options, kill_at=6).returncode == -signal.SIGKILL
    resumed = start(tiny, tmp_path / "killed", "lora", options, resume=True)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    expected, got = lines(tmp_path / "whole"), lines(tmp_path / "killed")
    assert [got[step] for step in range(5, 9)] == [expected[step] for step in range(5, 9)]
    ends = [torch.load(f"{tmp_path / name}.weights")["weights"] for name in ("whole", "killed")]
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_prompts_after_a_resume_come_in_the_order_of_their_epoch(ours, tmp_path, monkeypatch):
    """8 prompts, 2 per step: an epoch is 4 steps. The fifth step must start the second epoch's order."""
    seen = []

    def note(completions, prompts=None, **columns):
        seen.append(prompts[::4])
        return [1.0] * len(prompts)

    monkeypatch.setattr("trl_r1.grpo.identity.share_of_low_bytes", note)
    ours(max_steps=8, save_strategy="steps", save_steps=6, folder="whole")
    whole, seen[:] = list(seen), []
    assert sorted(sum(whole[:4], [])) == sorted(sum(whole[4:], []))
    assert whole[:4] != whole[4:]
    ours(max_steps=8, resume=str(tmp_path / "whole" / "checkpoint-6"), folder="again")
    assert seen == whole[6:]


def test_a_lora_run_renews_its_reference_and_exports_without_it(ours, tmp_path):
    from peft import LoraConfig

    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
    trace = ours(trainer_options={"peft_config": config}, beta=0.1, reference_every=2, max_steps=4)
    assert trace["kls"][0] == 0.0
    assert trace["kls"][1] > 0.0
    assert trace["kls"][2] == 0.0  # renewed after step 2
    assert trace["kls"][3] > 0.0
    trainer = trace["trainer"]
    assert trainer.model.active_adapter == "default"
    trainer.save_model(str(tmp_path / "export"))
    assert (tmp_path / "export" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "export" / "ref").exists()


def test_before_its_first_renewal_a_lora_reference_is_the_base_model(ours, stock):
    from peft import LoraConfig

    from trl_r1.grpo.identity import differences

    def adapter():
        return {"peft_config": LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)}

    rolling = ours(trainer_options=adapter(), beta=0.1, reference_every=100)
    rolling["weights"] = {name: w for name, w in rolling["weights"].items() if ".ref." not in name}
    assert differences(rolling, stock(trainer_options=adapter(), beta=0.1)) == []


def test_full_weights_renewed_every_two_steps_equal_trls_own_sync(ours, stock):
    from trl_r1.grpo.identity import differences

    theirs = stock(beta=0.1, sync_ref_model=True, ref_model_sync_steps=2, ref_model_mixup_alpha=1.0, max_steps=6)
    assert differences(ours(beta=0.1, reference_every=2, max_steps=6), theirs) == []


def test_the_reference_starts_as_the_model_it_was_given(tiny, tmp_path):
    """TRL rebuilds it from the hub id, so a model changed in memory would start away from its reference."""
    from transformers import AutoModelForCausalLM

    from trl_r1 import R1GRPOConfig, R1GRPOTrainer
    from trl_r1.grpo.identity import share_of_low_bytes, tiny_prompts

    policy = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        policy.model.norm.weight.mul_(1.5)
    config = R1GRPOConfig(
        str(tmp_path), use_cpu=True, bf16=False, per_device_train_batch_size=8, num_generations=4, beta=0.1,
        reference_every=5, report_to="none",
    )  # fmt: skip
    trainer = R1GRPOTrainer(policy, share_of_low_bytes, config, train_dataset=tiny_prompts())
    assert torch.equal(trainer.ref_model.model.norm.weight, policy.model.norm.weight)


def test_adapters_that_cannot_be_doubled_are_refused(ours):
    from peft import LoraConfig

    config = LoraConfig(r=4, target_modules="all-linear", bias="lora_only")
    with pytest.raises(ValueError, match="LoRA with bias='lora_only' does not allow"):
        ours(trainer_options={"peft_config": config}, beta=0.1, reference_every=2)


# -- broken checkpoints ---------------------------------------------------------------------------------------------


@pytest.fixture
def saved(ours, tmp_path):
    ours(max_steps=4, save_strategy="steps", save_steps=2, beta=0.1, reference_every=2, kl_target=0.1)
    return tmp_path / "ours"


def test_a_complete_checkpoint_is_found(saved):
    assert what_is_broken(saved / "checkpoint-4") is None
    assert newest_complete(saved) == str(saved / "checkpoint-4")
    assert resolve_resume(True, saved) == str(saved / "checkpoint-4")
    assert resolve_resume(None, saved) is None


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", "reference.safetensors"])
def test_a_file_cut_short_breaks_it_and_the_one_before_is_taken(saved, name, caplog):
    path = saved / "checkpoint-4" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        assert newest_complete(saved) == str(saved / "checkpoint-2")
    assert "checkpoint-4" in caplog.text
    with pytest.raises(ValueError, match=f"{name} is cut off.*newest complete checkpoint beside it is .*checkpoint-2"):
        resolve_resume(str(saved / "checkpoint-4"), saved)


def test_a_kill_in_mid_write_leaves_something_that_is_not_taken(saved):
    (saved / "checkpoint-4" / "trainer_state.json").unlink()
    assert newest_complete(saved) == str(saved / "checkpoint-2")
    with pytest.raises(ValueError, match="trainer_state.json is missing"):
        resolve_resume(str(saved / "checkpoint-4"), saved)


def test_nothing_to_resume_from_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no complete checkpoint"):
        resolve_resume(True, tmp_path)
    with pytest.raises(ValueError, match="it does not exist"):
        resolve_resume(str(tmp_path / "checkpoint-9"), tmp_path)


def test_a_checkpoint_without_our_state_cannot_carry_beta_or_reference(saved, ours):
    (saved / "checkpoint-4" / "reference.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no reference.safetensors"):
        ours(resume=str(saved / "checkpoint-4"), max_steps=6, beta=0.1, reference_every=2)
    (saved / "checkpoint-4" / "trl_r1_state.json").unlink()
    with pytest.raises(ValueError, match="holds no trl_r1_state.json"):
        ours(resume=str(saved / "checkpoint-4"), max_steps=6, beta=0.1, kl_target=0.1)


def test_resuming_between_two_generations_is_said(ours, tmp_path, caplog):
    options = {"steps_per_generation": 4, "per_device_train_batch_size": 4, "save_strategy": "steps"}
    ours(max_steps=6, save_steps=100, **options)  # the last step is saved where it is
    assert (tmp_path / "ours" / "checkpoint-6").is_dir()
    with caplog.at_level(logging.WARNING):
        ours(resume=str(tmp_path / "ours" / "checkpoint-6"), max_steps=8, **options)
    assert "lies between two generations" in caplog.text
