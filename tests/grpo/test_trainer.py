"""What R1GRPOTrainer does inside TRL's training loop: nothing by default, and exactly what was asked otherwise."""

import json
import math
import sys

import pytest
import torch
from places import ROOT
from small_trainer import make
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.advantages import dead_groups, leave_one_out, weighted_sum
from trl_r1.grpo.identity import differences, tiny_prompts


sys.path.insert(0, str(ROOT))
from benchmarks.identity import compare, configurations


ROWS = configurations()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.get("kind") != "two_processes"])
def test_default_options_train_bit_identically_to_stock(name, tmp_path):
    found = compare(name, ROWS[name], tmp_path)
    if found is None:
        pytest.skip("the installed TRL does not run this itself")
    assert found == []


@pytest.mark.slow
def test_default_options_train_bit_identically_in_two_processes(two_ranks, tmp_path):
    from trl_r1.grpo.identity import tiny_model

    tiny_model(tmp_path / "model")
    two_ranks("-m", "benchmarks.identity", "--worker", "two processes, iterations 2", "--folder", tmp_path, cwd=ROOT)
    assert json.loads((tmp_path / "two_processes.json").read_text()) == []


@pytest.mark.parametrize(
    ("name", "scale"), [("group_normalized", "group"), ("batch_normalized", "batch"), ("group_centered", "none")]
)
def test_our_advantages_that_trl_has_too_train_alike(name, scale, ours, stock):
    theirs = stock(scale_rewards=scale, num_iterations=2, reward_weights=[1.0, 0.5])
    assert differences(ours(advantage=name, num_iterations=2, reward_weights=[1.0, 0.5]), theirs) == []


def test_batch_normalised_after_normalising_each_reward_is_what_trl_does(ours, stock):
    options = {"multi_objective_aggregation": "normalize_then_sum", "reward_weights": [1.0, 2.0]}
    mine, theirs = (train(max_steps=1, **options, **own)["trainer"]._logs["advantages"] for train, own in
                    ((ours, {"advantage": "batch_normalized"}), (stock, {})))  # fmt: skip
    # the group mean of already normalised rewards is 0 up to rounding, so equal to 5 digits and not to the bit
    assert list(mine) == pytest.approx(list(theirs), abs=1e-5)
    assert max(theirs) > 0.1


def test_other_advantages_train_differently(ours, stock):
    base = stock()
    for name, options in (("leave_one_out", None), ("robust", None), ("pass_at_k", {"k": 2})):
        assert differences(ours(advantage=name, advantage_options=options), base) != [], name


# -- one batch in the hand ------------------------------------------------------------------------------------------


def only_three_words(completions, prompts=None, **columns):
    """Varies for prompts with a space in them; constant 1 for the others, whose groups are therefore dead."""
    return [(sum(c < "n" for c in text) if " " in prompt else 1.0) for text, prompt in zip(completions, prompts)]


def rollout(trainer, prompts=("two and", "seven")):
    trainer.model.train()
    rows = [{"prompt": prompt} for prompt in prompts for _ in range(4)]
    seen = {}
    rewarded = trainer._calculate_rewards

    def keep(*args, **kwargs):
        seen["scores"] = rewarded(*args, **kwargs)
        return seen["scores"]

    trainer._calculate_rewards = keep
    torch.manual_seed(0)
    batch = trainer._generate_and_score_completions(rows)
    return batch, seen["scores"]


@pytest.mark.parametrize("rollout_kind", ["trl", "fast"])
@pytest.mark.parametrize("ends", [[0, *range(60, 130)], list(range(60, 130)), 97])
def test_stated_end_tokens_end_the_mask_and_are_no_cut(ends, rollout_kind, tiny, tmp_path):
    """0 pads, so that a list with it is a pad that ends too."""
    trainer = make(tiny, tmp_path, rollout=rollout_kind, generation_kwargs={"eos_token_id": ends})
    batch, _ = rollout(trainer)
    stated = {ends} if isinstance(ends, int) else set(ends)
    cut = 0
    for ids, mask in zip(batch["completion_ids"].tolist(), batch["completion_mask"].tolist(), strict=True):
        end = next((place for place, token in enumerate(ids) if token in stated), None)
        assert mask == [int(end is None or place <= end) for place in range(len(ids))]
        cut += end is None
    assert trainer._metrics["train"]["completions/clipped_ratio"][-1] == cut / len(batch["completion_ids"])


def test_what_is_logged_is_what_is_trained_on(tiny, tmp_path):
    trainer = make(tiny, tmp_path, advantage="leave_one_out", reward_weights=[1.0, 3.0])
    batch, scores = rollout(trainer)
    expected = leave_one_out(weighted_sum(scores, torch.tensor([1.0, 3.0])), 4)
    torch.testing.assert_close(batch["advantages"], expected)
    assert list(trainer._logs["advantages"]) == pytest.approx(expected.tolist())
    assert len(trainer._logs["advantages"]) == len(trainer._logs["completion"]) == 8


def test_share_of_dead_groups_is_counted_per_group(tiny, tmp_path):
    trainer = make(tiny, tmp_path, rewards=[only_three_words], advantage="group_centered")
    batch, scores = rollout(trainer)
    assert dead_groups(scores[:, 0], 4).tolist() == [False] * 4 + [True] * 4
    assert trainer._metrics["train"]["frac_reward_zero_std"] == [0.5]


def test_a_dead_group_leaves_loss_kl_and_token_count(tiny, tmp_path):
    policy = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    trainer = make(tiny, tmp_path, rewards=[only_three_words], model=policy, beta=0.5, mask_dead_groups=True)
    with torch.no_grad():  # away from the reference, so that the KL of every token pulls
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch, _ = rollout(trainer)
    alive_tokens = batch["completion_mask"][:4].sum()
    assert batch["num_items_in_batch"] == alive_tokens
    assert batch["completion_mask"][4:].sum() > 0  # still there for attention

    def gradient_of(rows):
        part = {k: v[rows] if isinstance(v, torch.Tensor) and v.dim() > 0 else v for k, v in batch.items()}
        trainer.current_gradient_accumulation_steps = 1
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, part)
        loss.backward()
        return loss.item(), math.sqrt(sum(float((p.grad**2).sum()) for p in trainer.model.parameters()))

    assert gradient_of(slice(4, 8)) == (0.0, 0.0)
    alone = gradient_of(slice(0, 4))
    both = gradient_of(slice(0, 8))
    assert alone[0] != 0.0
    assert both == pytest.approx(alone, rel=1e-5)


def test_a_batch_of_dead_groups_only_moves_nothing(ours, tiny):
    def constant(completions, **columns):
        return [1.0] * len(completions)

    start = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).state_dict()
    import trl_r1.grpo.identity as identity

    before = identity.share_of_low_bytes, identity.has_a_digit
    identity.share_of_low_bytes = identity.has_a_digit = constant
    try:
        trace = ours(mask_dead_groups=True, beta=0.1, max_steps=2)
    finally:
        identity.share_of_low_bytes, identity.has_a_digit = before
    assert trace["losses"] == [0.0, 0.0]
    assert [(line["entropy"], line["kl"]) for line in trace["lines"][:2]] == [
        (None, None)
    ] * 2  # of no token, and no 0
    assert all(torch.equal(weight, start[name]) for name, weight in trace["weights"].items())


def test_a_users_advantage_that_breaks_its_contract_is_named(tiny, tmp_path):
    for name, sentence in (("halved", "must return one"), ("not_a_number", "guard its division")):
        trainer = make(tiny, tmp_path, advantage=f"{__name__}.{name}")
        with pytest.raises(ValueError, match=sentence):
            rollout(trainer)


def halved(rewards, group_size):
    return rewards[::2]


def not_a_number(rewards, group_size):
    return rewards * float("nan")


def test_kl_in_the_reward_is_subtracted_once_per_completion_and_leaves_the_loss(tiny, tmp_path):
    policy = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    steered = {"beta": 0.5, "kl_estimator": "k1", "kl_placement": "reward"}
    trainer = make(tiny, tmp_path, model=policy, advantage="leave_one_out", **steered)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch, scores = rollout(trainer)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        logits = trainer.model(input_ids=ids, attention_mask=attention).logits[:, :-1].log_softmax(-1)
    logps = logits.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)[:, -batch["completion_ids"].size(1) :]
    kl = ((logps - batch["ref_per_token_logps"]) * batch["completion_mask"]).sum(1)
    assert kl.abs().max() > 0.01
    expected = leave_one_out(weighted_sum(scores, torch.ones(2)) - 0.5 * kl, 4)
    torch.testing.assert_close(batch["advantages"], expected, atol=1e-4, rtol=1e-4)

    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model, batch)
    tokens = batch["completion_mask"].sum()
    policy_only = -(batch["advantages"].unsqueeze(1) * batch["completion_mask"]).sum() / tokens  # ratio 1, no KL term
    torch.testing.assert_close(loss, policy_only, atol=1e-6, rtol=0)


def test_our_own_k3_through_the_steered_term_equals_trls(tiny, tmp_path, ours, stock):
    class Forced(R1GRPOTrainer):
        def _set_beta(self, beta):
            self._steers_kl = True
            super()._set_beta(beta)

    from trl_r1.grpo.identity import run

    for options in (
        {"beta": 0.2, "num_iterations": 2},
        {"beta": 0.2, "num_iterations": 2, "importance_sampling_level": "sequence", "loss_type": "grpo"},
        {"beta": 0.2, "use_bias_correction_kl": False, "loss_type": "bnpo"},
    ):
        forced = run(Forced, R1GRPOConfig, tiny, tmp_path / "forced", options)
        theirs = stock(**options)
        for name, weight in theirs["weights"].items():
            torch.testing.assert_close(forced["weights"][name], weight, atol=1e-5, rtol=0)


def double_logps(self, model, input_ids, attention_mask, logits_to_keep, *args, compute_entropy=False, **kwargs):
    """TRL's method without its fused head, which computes in float32 whatever the model's type is."""
    scores = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, :-1].log_softmax(-1)
    logps = scores.gather(2, input_ids[:, 1:].unsqueeze(2)).squeeze(2)[:, -logits_to_keep:]
    entropies = -(scores.exp() * scores).sum(-1)[:, -logits_to_keep:]
    return logps, entropies if compute_entropy else None, None


def test_the_literal_objective_of_deepseek_r1_in_double_precision(tiny, tmp_path, monkeypatch):
    """Eq. 1-2: min(rho A, clip(rho) A) - beta (pi_ref/pi - log(pi_ref/pi) - 1), rho and pi of whole completions."""
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", double_logps)
    epsilon, beta = 0.2, 0.04
    policy = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.double)
    trainer = make(
        tiny, tmp_path, model=policy, beta=beta, epsilon=epsilon, loss_type="grpo", num_iterations=2,
        importance_sampling_level="sequence_product", kl_level="sequence", use_bias_correction_kl=False,
    )  # fmt: skip
    batch, _ = rollout(trainer)
    torch.manual_seed(1)
    with torch.no_grad():  # the policy has moved since it sampled: ratios on both sides of the clip range
        for parameter in trainer.model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}

    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    plain = AutoModelForCausalLM.from_config(policy.config).double()
    plain.load_state_dict(trainer.model.state_dict())
    logps, _, _ = double_logps(None, plain, ids, attention, batch["completion_ids"].size(1))
    mask = batch["completion_mask"]
    whole = (logps * mask).sum(1)  # log pi(o | q)
    ratio = (whole - (batch["old_per_token_logps"].double() * mask).sum(1)).exp()
    reference = (batch["ref_per_token_logps"].double() * mask).sum(1) - whole
    advantage = batch["advantages"].double()
    surrogate = torch.min(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage)
    objective = (surrogate - beta * (reference.exp() - reference - 1)).mean()
    assert (ratio > 1 + epsilon).any() or (ratio < 1 - epsilon).any()
    (-objective).backward()

    assert loss.dtype == torch.double
    assert loss.item() == pytest.approx(-objective.item(), abs=1e-9)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-8, rtol=1e-6)


def test_a_trl_that_no_longer_asks_for_the_kl_term_is_noticed(tiny, tmp_path):
    trainer = make(tiny, tmp_path, beta=0.1, kl_estimator="k2")
    batch, _ = rollout(trainer)
    trainer.beta = 0.1  # as if TRL had copied beta into its own variable
    trainer.current_gradient_accumulation_steps = 1
    with pytest.raises(RuntimeError, match="0 times in one loss instead of once"):
        trainer._compute_loss(trainer.model, batch)


def test_beta_follows_the_measured_kl(ours):
    rising = ours(beta=0.01, kl_target=1e-4, max_steps=4)
    betas = [line["beta"] for line in rising["lines"]]
    # step 1: KL 0, error -0.2, 2 % down; afterwards far above the target, 2 % up each
    assert betas == pytest.approx([0.01, 0.0098, 0.0098 * 1.02, 0.0098 * 1.02**2])


def test_the_entropy_coefficient_is_a_function_of_the_step(ours):
    trace = ours(entropy_schedule="linear", entropy_coef=0.1, max_steps=4)
    assert [line["entropy_coef"] for line in trace["lines"]] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_evaluation_with_one_generation_leaves_controllers_alone(tiny, tmp_path):
    trainer = make(
        tiny, tmp_path, advantage="leave_one_out", beta=0.1, kl_target=0.01, kl_estimator="k2", mask_dead_groups=True,
        num_generations_eval=1, per_device_eval_batch_size=4, max_steps=1,
    )  # fmt: skip
    trainer.train()
    beta = float(trainer.beta)
    metrics = trainer.evaluate(eval_dataset=tiny_prompts(4))
    assert float(trainer.beta) == beta
    assert math.isfinite(metrics["eval_loss"])
    assert metrics["eval_frac_reward_zero_std"] == 1.0


def test_length_distribution_is_logged(ours):
    line = ours(max_steps=1)["lines"][0]
    assert line["completions/length_p10"] <= line["completions/length_p50"] <= line["completions/length_p90"] <= 8


def test_lengths_are_counted_of_completions_that_are_masked_for_being_cut(tiny, tmp_path):
    """A random model hardly ever ends within eight tokens: all are cut, masked, and eight tokens long."""
    trainer = make(tiny, tmp_path, mask_truncated_completions=True)
    batch, _ = rollout(trainer)
    metrics = trainer._metrics["train"]
    assert metrics["completions/clipped_ratio"] == [1.0]
    assert batch["completion_mask"].sum() == 0
    assert [metrics[f"completions/length_p{percent}"] for percent in (10, 50, 90)] == [[8.0]] * 3
    assert metrics["completions/mean_length"] == [8.0]


def test_lengths_leave_out_what_a_tool_wrote(tiny, tmp_path):
    trainer = make(tiny, tmp_path)
    ones = torch.ones(2, 6, dtype=torch.long)
    trainer._lengths = torch.tensor([6, 6])
    trainer._log_lengths({"completion_mask": ones, "tool_mask": torch.tensor([[1] * 6, [1, 1, 0, 0, 0, 1]])}, "train")
    found = [trainer._metrics["train"][f"completions/length_p{percent}"][0] for percent in (10, 50, 90)]
    assert found == pytest.approx([3.3, 4.5, 5.7])  # of 3 and 6


def ungraded_without_a_space(completions, prompts=None, **columns):
    """None for prompts of one word, whose groups nobody grades."""
    return [float(place % 3) if " " in prompt else None for place, prompt in enumerate(prompts)]


@pytest.mark.parametrize("options", [{}, {"advantage": "group_centered"}, {"mask_dead_groups": True}])
def test_groups_that_nobody_graded_are_counted_apart_from_those_that_are_equal(tiny, tmp_path, options):
    trainer = make(tiny, tmp_path, rewards=[ungraded_without_a_space], **options)
    rollout(trainer)
    assert trainer._metrics["train"]["frac_reward_ungraded"] == [0.5]
    assert trainer._metrics["train"]["frac_reward_zero_std"] == [0.0]


def test_a_plain_grpo_config_is_welcome(tiny, tmp_path, stock):
    from trl import GRPOConfig

    from trl_r1.grpo.identity import run

    assert differences(run(R1GRPOTrainer, GRPOConfig, tiny, tmp_path / "plain", {"beta": 0.1}), stock(beta=0.1)) == []
