"""The factor in the loss: TRL's modes by literals, and the expected gradient where every completion can be enumerated."""

import itertools
import math

import pytest
import torch
from small_trainer import make
from transformers import AutoModelForCausalLM, LlamaConfig
from trl import GRPOTrainer

from trl_r1.grpo.copies.connect import SAMPLED
from trl_r1.grpo.copies.copy import LightCopy
from trl_r1.grpo.copies.mismatch import MODES, MismatchWindow, importance_ratio, measures
from trl_r1.grpo.copies.sampler import CopySampler


POLICY = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -1.0, -1.0]])
SAMPLER = torch.tensor([[-2.0, -1.5, 0.0], [-1.0, -3.0, -0.5]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
RATIOS = [[math.e, math.exp(-0.5), 1.0], [1.0, math.exp(2.0), math.exp(-0.5)]]  # 1 where nothing counts
PRODUCTS = [[math.exp(0.5)], [math.exp(1.5)]]

EXPECTED = {
    ("token_truncate", None, 3.0): [[math.e, math.exp(-0.5), 1.0], [1.0, 3.0, math.exp(-0.5)]],
    ("token_truncate", 0.7, None): [[math.e, 0.7, 1.0], [1.0, math.exp(2.0), 0.7]],
    ("token_mask", None, 3.0): [[math.e, math.exp(-0.5), 1.0], [1.0, 0.0, math.exp(-0.5)]],
    ("token_mask", 0.7, 3.0): [[math.e, 0.0, 1.0], [1.0, 0.0, 0.0]],
    ("sequence_truncate", None, 3.0): [[math.exp(0.5)], [3.0]],
    ("sequence_truncate", 2.0, None): [[2.0], [math.exp(1.5)]],
    ("sequence_mask", None, 3.0): [[math.exp(0.5)], [0.0]],
    ("sequence_mask", 2.0, None): [[0.0], [math.exp(1.5)]],
    ("sequence_mask", None, None): PRODUCTS,
    ("token_mask", None, None): RATIOS,
}


@pytest.mark.parametrize("case", EXPECTED, ids=lambda case: "-".join(map(str, case)))
def test_ratios_are_bounded_as_the_mode_says(case):
    ratio, _ = importance_ratio(POLICY, SAMPLER, MASK, *case)
    torch.testing.assert_close(ratio, torch.tensor(EXPECTED[case]))
    assert case[0] in MODES


def test_what_lies_outside_the_limits_is_told():
    _, outside = importance_ratio(POLICY, SAMPLER, MASK, "token_truncate", 0.7, 3.0)
    assert outside.tolist() == [[False, True, False], [False, True, True]]


def test_a_ratio_carries_no_gradient():
    policy = POLICY.clone().requires_grad_()
    assert not importance_ratio(policy, SAMPLER, MASK, "token_mask", None, None)[0].requires_grad


def test_metrics_are_of_tokens_that_count():
    window = MismatchWindow()
    ratio, outside = importance_ratio(POLICY, SAMPLER, MASK, "sequence_truncate", None, 3.0)
    window.add((POLICY - SAMPLER).abs(), MASK, ratio, outside)
    found = measures(window.sums())
    assert found["mismatch"] == pytest.approx((1.0 + 0.5 + 0.0 + 2.0 + 0.5) / 5)
    assert 1.9 < found["mismatch_p99"] <= 2.0
    assert found["capped"] == 0.5
    weights = [math.exp(0.5), 3.0]
    assert found["effective_samples"] == pytest.approx(sum(weights) ** 2 / (2 * sum(w * w for w in weights)))


def test_nothing_seen_is_no_metric():
    window = MismatchWindow()
    window.add(POLICY, torch.zeros_like(MASK), *importance_ratio(POLICY, SAMPLER, MASK, "token_mask", None, None))
    assert measures(window.sums()) == {}


# -- the gradient, exactly --------------------------------------------------------------------------------------------

VOCABULARY, END, LONGEST, PROMPT = 4, 1, 2, [2, 3, 2]
COMPLETIONS = [(END,), *((first, second) for first in (0, 2, 3) for second in range(VOCABULARY))]
REWARDS = torch.tensor([((7 * number) % 5) / 4.0 for number in range(len(COMPLETIONS))], dtype=torch.float64)


def exact_logps(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
    """TRL's method in float64, which its fused head rounds to float32."""
    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -logits_to_keep - 1 : -1].double()
    logps = logits.log_softmax(dim=-1)
    return (
        logps.gather(2, input_ids[:, -logits_to_keep:, None]).squeeze(2),
        -(logps.exp() * logps).sum(-1).detach(),
        None,
    )


@pytest.fixture
def enumerated(tiny, tmp_path, monkeypatch):
    """A trainer with a random policy in float64, and the probability of every completion under its bfloat16 copy."""
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", exact_logps)
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LlamaConfig(**shape, num_attention_heads=2, num_key_value_heads=2, initializer_range=0.6)
        policy = AutoModelForCausalLM.from_config(config).double()

    policy.config._name_or_path = tiny  # whose tokenizer TRL loads; nothing is generated

    def trainer(**options):
        made = make(
            tiny, tmp_path / "run", model=policy, rollout="fast", rollout_copy="bfloat16", loss_type="dr_grpo",
            max_completion_length=LONGEST, per_device_train_batch_size=2, num_generations=2, beta=0.0, **options,
        )  # fmt: skip
        made.current_gradient_accumulation_steps = 1
        made.model.train()
        made._copies = CopySampler("bfloat16")
        return made

    with torch.no_grad():
        copied = LightCopy(policy, torch.bfloat16).model
        for parameter in copied.parameters():
            parameter.add_(
                0.1 * torch.sin(torch.arange(parameter.numel())).view_as(parameter)
            )  # further off than bfloat16
    return policy, copied, trainer


def batch_of(rows):
    ids = torch.tensor([[*COMPLETIONS[row], 0][:LONGEST] for row in rows])
    mask = torch.tensor([[1] * len(COMPLETIONS[row]) + [0] * (LONGEST - len(COMPLETIONS[row])) for row in rows])
    prompts = torch.tensor([PROMPT] * len(rows))
    return {
        "prompt_ids": prompts, "prompt_mask": torch.ones_like(prompts), "completion_ids": ids, "completion_mask": mask,
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip


def token_logps(model, batch):
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    return exact_logps(None, model, ids, torch.ones_like(ids), LONGEST)[0]


def gradient(policy):
    return torch.cat([parameter.grad.flatten() for parameter in policy.parameters()])


def true_gradient(policy):
    """Of minus the expected reward, over LONGEST, which is what dr_grpo divides by."""
    policy.zero_grad()
    batch = batch_of(range(len(COMPLETIONS)))
    logps = (token_logps(policy, batch) * batch["completion_mask"]).sum(dim=1)
    (-(logps.exp() * REWARDS).sum() / LONGEST).backward()
    return gradient(policy)


def expected_gradient(policy, copied, trainer, scaled=False):
    """Of the trainer's loss over all groups of two that the copy draws, each weighted by its probability.

    The loss is linear in the advantages and divides by rows x LONGEST, so the weights may stand in them.
    """
    policy.zero_grad()
    groups = list(itertools.product(range(len(COMPLETIONS)), repeat=2))
    rows = [row for group in groups for row in group]
    batch = batch_of(rows)
    with torch.no_grad():
        batch[SAMPLED] = token_logps(copied, batch)
    drawn = (batch[SAMPLED] * batch["completion_mask"]).sum(dim=1).exp().view(-1, 2)  # (groups, 2)
    assert float(drawn.prod(dim=1).sum()) == pytest.approx(1.0, abs=1e-9)
    rewards = REWARDS[rows].view(-1, 2)
    advantages = rewards - rewards.flip(1)  # leave one out
    if scaled:
        advantages = (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + 1e-4)
    batch["advantages"] = (advantages * drawn.prod(dim=1, keepdim=True) * len(groups)).flatten()
    trainer._compute_loss(trainer.model, batch).backward()
    return gradient(policy)


def mismatch(policy, copied):
    """Nats per token, over the copy's own tokens."""
    batch = batch_of(range(len(COMPLETIONS)))
    with torch.no_grad():
        ours, theirs = token_logps(policy, batch), token_logps(copied, batch)
    drawn = (theirs * batch["completion_mask"]).sum(dim=1, keepdim=True).exp() * batch["completion_mask"]
    return ((ours - theirs).abs() * drawn).sum().item() / drawn.sum().item()


def distance(found, true):
    return ((found - true).norm() / true.norm()).item()


UNCUT = {"vllm_importance_sampling_mode": "sequence_mask", "vllm_importance_sampling_clip_max": None}


def test_the_expected_gradient_is_the_exact_one_with_the_ratio_of_completions(enumerated):
    policy, copied, trainer = enumerated
    found = expected_gradient(policy, copied, trainer(**UNCUT)).clone()
    assert distance(found, true_gradient(policy)) < 1e-5


BIASED = {
    "no ratio": {"vllm_importance_sampling_correction": False},
    "ratios of tokens": {"vllm_importance_sampling_mode": "token_mask", "vllm_importance_sampling_clip_max": None},
    "a cap of 1.2": {"vllm_importance_sampling_mode": "sequence_truncate", "vllm_importance_sampling_clip_max": 1.2},
}


@pytest.mark.parametrize("name", BIASED)
def test_it_is_not_without(name, enumerated):
    policy, copied, trainer = enumerated
    found = expected_gradient(policy, copied, trainer(**BIASED[name])).clone()
    far = distance(found, true_gradient(policy))
    print(f"bias, {name}: {far:.4f} of the gradient at {mismatch(policy, copied):.3f} nats per token")
    assert far > 1e-3


def test_scaled_by_the_spread_of_a_group_the_ratio_does_not_make_up_for_all(enumerated):
    """The spread is of rewards that the copy drew, and no weight of a row changes it."""
    policy, copied, trainer = enumerated
    found = expected_gradient(policy, copied, trainer(**UNCUT), scaled=True).clone()
    own = expected_gradient(policy, policy, trainer(**UNCUT), scaled=True).clone()
    far = distance(found, own)
    print(f"bias, scaled by the standard deviation: {far:.4f} of the gradient without a copy")
    assert 1e-3 < far < 0.5


def test_the_policy_itself_needs_no_ratio(enumerated):
    policy, _, trainer = enumerated
    found = expected_gradient(policy, policy, trainer(**UNCUT)).clone()
    assert distance(found, true_gradient(policy)) < 1e-5
