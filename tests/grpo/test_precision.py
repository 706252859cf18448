"""`loss_precision: bfloat16`: the loss in autocast, and nothing else in it."""

import math

import pytest
import torch
from peft import LoraConfig
from small_trainer import make

from trl_r1.grpo import batching


LORA = {"peft_config": LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0, init_lora_weights=False)}
FAST = {"rollout": "fast", "batching": "fast"}


def batch():
    torch.manual_seed(0)
    ids, prompts = torch.randint(3, 90, (4, 6)), torch.randint(3, 90, (1, 5)).expand(4, 5)
    return {
        "prompt_ids": prompts, "prompt_mask": torch.ones_like(prompts), "completion_ids": ids,
        "completion_mask": torch.ones_like(ids), "advantages": torch.tensor([1.0, -1.0, 0.5, -0.5]),
        "num_items_in_batch": torch.tensor(24),
    }  # fmt: skip


def gradient(trainer):
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch()).backward()
    return torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("batching", ["fast", "trl"])
def test_the_gradient_points_where_it_did(batching, tiny, tmp_path):
    whole = gradient(make(tiny, tmp_path / "whole", batching=batching))
    halved_trainer = make(tiny, tmp_path / "halved", batching=batching, loss_precision="bfloat16")
    halved = gradient(halved_trainer)
    assert halved.dtype == torch.float32
    assert not torch.equal(halved, whole)
    assert torch.cosine_similarity(halved, whole, dim=0) > 0.999


def test_packing_stays_on(tiny, tmp_path):
    """Its check has to compute, and to judge, in the same precision."""
    trainer = make(tiny, tmp_path / "run", batching="fast", loss_precision="bfloat16")
    gradient(trainer)
    assert trainer._packs is True
    assert trainer._computing_type(trainer.model) == torch.bfloat16


def test_attention_stays_in_float32_on_a_cpu(tiny, tmp_path, monkeypatch):
    seen = []
    forward = batching.sdpa_attention_forward

    def look(module, query, *rest, **more):
        seen.append(query.dtype)
        return forward(module, query, *rest, **more)

    monkeypatch.setattr(batching, "sdpa_attention_forward", look)
    gradient(make(tiny, tmp_path / "run", batching="fast", loss_precision="bfloat16"))
    assert seen[-1] == torch.float32


def test_weights_and_optimizer_stay_in_float32(ours):
    trace = ours(**FAST, loss_precision="bfloat16", trainer_options=LORA, max_steps=2)
    assert {parameter.dtype for parameter in trace["trainer"].model.parameters()} == {torch.float32}
    states = trace["trainer"].optimizer.state.values()
    assert {value.dtype for state in states for value in state.values() if value.dim()} == {torch.float32}
    assert all(math.isfinite(value) and value > 0 for value in trace["grad_norms"])


def test_a_ratio_of_equal_policies_stays_one(ours):
    """Old log-probabilities of the first of two updates are computed in the same precision."""
    trace = ours(**FAST, loss_precision="bfloat16", num_iterations=2, epsilon=1e-9, learning_rate=0.0, max_steps=2)
    assert [line["clip_ratio/region_mean"] for line in trace["lines"]] == [0.0, 0.0]


def test_another_precision_is_named(tiny, tmp_path):
    with pytest.raises(ValueError, match="loss_precision"):
        make(tiny, tmp_path / "run", loss_precision="float8")
