"""A critic inside TRL's training loop: the advantages it trains on, what moves, what stays, what is refused."""

import math

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.critic.options import CriticOptions
from trl_r1.grpo.critic.towers import Towers, final_norm
from trl_r1.grpo.critic.values import generalized_advantages, value_of
from trl_r1.grpo.identity import differences, tiny_prompts


close = torch.testing.assert_close


class FirstAndLast:
    """1 for a completion, 0.25 of it at its first character; nothing to say about an empty one."""

    __name__ = "first_and_last"

    def __call__(self, completions, **columns):
        return [1.0 + 0.1 * len(text) if text else None for text in completions]

    def spans(self, completion):
        return [(0, 1, 0.25)]


def make(tiny, folder, rewards=None, model=None, **options):
    settings = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
        "per_device_train_batch_size": 8, "num_generations": 2, "max_completion_length": 8, "max_steps": 2,
        "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "advantage": "two_tower", "loss_type": "grpo",
        **options,
    }  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32) if model is None else model
    return R1GRPOTrainer(model, rewards or FirstAndLast(), R1GRPOConfig(**settings), train_dataset=tiny_prompts())


def rollout(trainer):
    trainer.model.train()
    torch.manual_seed(0)
    return trainer._generate_and_score_completions(
        [{"prompt": p} for p in ("two and", "seven", "4", "8 9") for _ in "ab"]
    )


def read_by_hand(trainer, batch):
    """(B, T, K) of the towers, from the model's own hidden states."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        states = trainer.model(input_ids=ids, attention_mask=attention, output_hidden_states=True).hidden_states[-1]
    return trainer._critic.towers(states[:, -batch["completion_ids"].size(1) - 1 : -1])


def shake(trainer):
    """Towers that say something, and moments that stretch it."""
    with torch.no_grad():
        for parameter in trainer._critic.parameters:
            parameter.add_(0.3 * torch.randn_like(parameter))
    trainer._critic.moments.update(torch.tensor(4.0), torch.tensor([2.0, 6.0]), torch.tensor([3.0, 11.0]))


@pytest.mark.parametrize(
    "options", [{}, {"rollout": "fast", "batching": "fast"}, {"num_iterations": 2}, {"gradient_checkpointing": True}]
)
def test_advantages_come_from_the_towers_at_the_final_norm(options, tiny, tmp_path):
    chosen = {"gamma": 0.9, "lam": 0.8, "whiten": False}
    trainer = make(tiny, tmp_path, advantage_options=chosen, **options)
    shake(trainer)
    before = trainer._critic.moments.mean, trainer._critic.moments.deviation
    batch = rollout(trainer)
    mask, text = batch["completion_mask"], trainer._logs["completion"]
    outputs = read_by_hand(trainer, batch)
    close(batch["critic_outputs"] * mask.unsqueeze(2), outputs.detach() * mask.unsqueeze(2), atol=1e-5, rtol=1e-4)
    rewards = torch.zeros(mask.shape)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        if text[row]:
            rewards[row, length - 1] += 0.75 + 0.1 * len(text[row])
            place = 0
            ids = batch["completion_ids"][row].tolist()
            while not trainer.processing_class.decode(ids[: place + 1], skip_special_tokens=True).rstrip("\ufffd"):
                place += 1
            rewards[row, place] += 0.25
    judged = mask * torch.tensor([[bool(t)] for t in text])
    values = value_of(outputs * before[1].float() + before[0].float(), 0.9) * judged
    expected = generalized_advantages(rewards, values, judged, 0.9, 0.8)
    close(batch["advantages"], expected.detach(), atol=1e-4, rtol=1e-4)
    logged = (expected.sum(1) / judged.sum(1).clamp(min=1)).tolist()
    assert list(trainer._logs["advantages"]) == pytest.approx(logged, abs=1e-4)
    assert not torch.equal(trainer._critic.moments.mean, before[0])  # took this batch in


def test_the_loss_is_ppos_plus_the_value_loss_and_their_gradients_do_not_mix(tiny, tmp_path):
    trainer = make(tiny, tmp_path, advantage_options={"width": 8, "whiten": False})
    shake(trainer)
    batch = rollout(trainer)
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    mask, advantages = batch["completion_mask"], batch["advantages"]
    policy = -((advantages * mask).sum(1) / mask.sum(1)).mean()  # ratio 1
    outputs = read_by_hand(trainer, batch)
    moments = trainer._critic.moments
    wanted = (batch["critic_targets"] - moments.mean.float()) / moments.deviation.float()
    value = (0.5 * (outputs - wanted) ** 2 * batch["critic_mask"].unsqueeze(2)).sum() / batch["critic_mask"].sum()
    close(loss, policy + value, atol=1e-5, rtol=1e-5)  # the outputs have not moved yet, so nothing is clipped
    for parameter, gradient in zip(trainer._critic.parameters, torch.autograd.grad(value, trainer._critic.parameters)):
        close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)
    mine = {name: parameter.grad.clone() for name, parameter in trainer.model.named_parameters()}
    trainer.model.zero_grad()
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], mask], 1)
    logits = trainer.model(input_ids=ids, attention_mask=attention).logits[:, :-1].log_softmax(-1)
    logps = logits.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)[:, -mask.size(1) :]
    (-((advantages * logps * mask).sum(1) / mask.sum(1)).mean()).backward()  # the policy gradient, no tower in it
    for name, parameter in trainer.model.named_parameters():
        close(mine[name], parameter.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_fast_batching_trains_towers_and_policy_as_trls_does(beta, ours):
    chosen = {"advantage": "two_tower", "rollout": "fast", "num_iterations": 2, "beta": beta, "learning_rate": 1e-3}
    traces = [ours(batching=batching, folder=batching, **chosen) for batching in ("trl", "fast")]
    assert differences(traces[1], traces[0], digits=3) == []
    assert traces[0]["losses"][0] != traces[0]["losses"][-1]
    for one, other in zip(*(trace["trainer"]._critic.parameters for trace in traces)):
        close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["lora", "nf4"])
def test_adapters_and_a_quantised_trunk(kind, ours, wide, tmp_path):
    extra = {"peft_config": LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)}
    if kind == "nf4":
        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        )
    chosen = {"beta": 0.05, "num_iterations": 2, "gradient_checkpointing": True, "rollout": "fast", "batching": "fast"}
    trace = ours(trainer_options=extra, model=wide, advantage="two_tower", **chosen)
    trainer = trace["trainer"]
    assert all(math.isfinite(line["critic/value_loss"]) for line in trace["lines"])
    assert any(parameter.abs().max() > 0 for parameter in trainer._critic.towers.towers["long_term"][-1].parameters())
    trainer.save_model(str(tmp_path / "export"))
    assert not [path.name for path in (tmp_path / "export").iterdir() if "critic" in path.name]


def test_warm_up_moves_the_towers_alone_and_weight_decay_waits_too(tiny, ours):
    start = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).state_dict()
    trace = ours(advantage="two_tower", advantage_options={"warmup": 4}, weight_decay=0.5)
    assert all(torch.equal(weight, start[name]) for name, weight in trace["weights"].items())
    assert trace["trainer"]._critic.towers.towers["long_term"][-1].bias.abs().item() > 0
    after = ours(advantage="two_tower", advantage_options={"warmup": 3}, weight_decay=0.5, folder="after")
    assert not all(torch.equal(weight, start[name]) for name, weight in after["weights"].items())


def test_towers_have_their_own_learning_rate_and_leave_the_model_alone(ours, tmp_path):
    chosen = {"advantage": "one_tower", "advantage_options": {"learning_rate": 0.02}, "lr_scheduler_type": "linear"}
    trace = ours(save_strategy="steps", save_steps=4, **chosen)
    groups = trace["trainer"].optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == [5e-3, 5e-3, 0.02]
    assert (tmp_path / "ours" / "checkpoint-4" / "critic.safetensors").is_file()
    trace["trainer"].save_model(str(tmp_path / "export"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "export").num_parameters() == sum(
        weight.numel() for weight in trace["weights"].values()
    )
    assert not [path.name for path in (tmp_path / "export").iterdir() if "critic" in path.name]
    wanted = {"value_loss", "clip_share", "explained_variance", "value_mean", "return_mean", "return_std", "grad_norm"}
    assert wanted <= {key.removeprefix("critic/") for key in trace["lines"][-1]}


def test_kl_in_the_reward_is_paid_token_by_token(tiny, tmp_path):
    chosen = {"gamma": 1.0, "lam": 1.0, "whiten": False}
    trainer = make(
        tiny, tmp_path, advantage_options=chosen, beta=0.5, kl_estimator="k1", kl_placement="reward", num_iterations=2
    )
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch = rollout(trainer)
    mask = batch["critic_mask"]
    kl = (batch["old_per_token_logps"] - batch["ref_per_token_logps"]) * mask
    assert kl.abs().max() > 0.01
    lengths = batch["completion_mask"].sum(1).tolist()
    last = torch.tensor([batch["advantages"][row, length - 1] for row, length in enumerate(lengths)])
    texts = trainer._logs["completion"]
    earned = torch.tensor(
        [(0.75 if lengths[i] > 1 else 1.0) + 0.1 * len(t) if t else 0.0 for i, t in enumerate(texts)]
    )
    close(last, earned - 0.5 * torch.stack([kl[row, length - 1] for row, length in enumerate(lengths)]))
    to_go = (batch["critic_targets"][..., 0] * mask).flip(1).cumsum(1).flip(1) * mask  # the towers say 0
    close(batch["advantages"], to_go, atol=1e-5, rtol=1e-4)


def test_a_completion_that_no_reward_judged_is_left_out(tiny, tmp_path):
    def silent(completions, **columns):
        return [None if i < 2 else float(i) for i in range(len(completions))]

    trainer = make(tiny, tmp_path, rewards=[silent])
    batch = rollout(trainer)
    assert batch["advantages"][:2].abs().max() == 0.0
    assert batch["critic_mask"][:2].sum() == 0
    assert batch["critic_tokens"] == batch["completion_mask"][2:].sum()


def test_evaluation_asks_the_critic_and_teaches_it_nothing(tiny, tmp_path):
    trainer = make(tiny, tmp_path, per_device_eval_batch_size=4, eval_strategy="no")
    shake(trainer)
    before = trainer._critic.moments.sums.clone()
    trainer.evaluate(eval_dataset=tiny_prompts(4))
    assert torch.equal(trainer._critic.moments.sums, before)


def test_the_first_weights_follow_the_seed_and_leave_the_random_numbers_alone(tiny):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = (Towers(("immediate", "long_term"), 6, 4, seed=2) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))
    states = torch.randn(2, 3, 6, dtype=torch.bfloat16, requires_grad=True)
    outputs = one(states)
    assert outputs.shape == (2, 3, 2)
    assert outputs.dtype == torch.float32
    assert outputs.abs().max() == 0.0
    assert next(one.parameters()).abs().max() > 0.0  # the hidden layer is drawn
    outputs.sum().backward()
    assert states.grad is None  # the trunk is the policy's


@pytest.mark.parametrize(
    "family", ["Llama", "Qwen2", "Qwen3", "Mistral", "Gemma2", "Gemma3", "GPT2", "GPTNeoX", "Phi3"]
)
def test_the_final_norm_is_found(family):
    import transformers

    name = f"{family}TextConfig" if family == "Gemma3" else f"{family}Config"
    config = getattr(transformers, name)(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, vocab_size=32, n_embd=16, n_layer=1, n_head=2, pad_token_id=0,
    )  # fmt: skip
    ending = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    model = getattr(transformers, family + ending)(config)
    norm, size = final_norm(model)
    heard = []
    norm.register_forward_hook(lambda module, inputs, output: heard.append(output))
    out = model(torch.tensor([[1, 2, 3]]), output_hidden_states=True)
    assert torch.equal(heard[0], out.hidden_states[-1])
    assert size == 16 == heard[0].size(-1)


def test_a_model_without_a_norm_is_refused():
    class Bare(torch.nn.Module):
        pass

    with pytest.raises(ValueError, match="Bare has none of the names norm"):
        final_norm(Bare())


# -- what is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_generations": 1}, "takes none smaller than 2, and num_generations=1"),
        ({"loss_type": "vespo"}, "loss_type='vespo' weighs whole completions"),
        (
            {"importance_sampling_level": "sequence"},
            "importance_sampling_level='sequence' has one ratio per completion",
        ),
        ({"importance_sampling_level": "sequence_product", "loss_type": "grpo"}, "'sequence_product' has one ratio"),
        ({"off_policy_mask_threshold": 0.5}, "off_policy_mask_threshold=0.5 masks whole completions"),
        (
            {"multi_objective_aggregation": "normalize_then_sum"},
            "'normalize_then_sum' normalises rewards inside groups",
        ),
        ({"scale_rewards": "batch"}, "scale_rewards='batch' scales by groups"),
        ({"dynamic_sampling_rounds": 1}, "dynamic_sampling_rounds=1 replaces groups"),
        ({"mask_dead_groups": True}, "mask_dead_groups=True drops groups"),
        ({"beta": 0.1, "kl_placement": "reward", "kl_level": "sequence"}, "kl_level='sequence' gives one KL"),
        ({"advantage_options": {"lamb": 1.0}}, "lamb is unknown to advantage='two_tower'. Choose among: gamma, lam"),
        ({"advantage_options": {"gamma": 1.5}}, r"gamma=1.5 must lie in \[0, 1\]"),
        ({"advantage_options": {"warmup": 2.5}}, "warmup=2.5 must be a whole number"),
        ({"advantage_options": {"learning_rate": "fast"}}, "learning_rate='fast' must be a number"),
        ({"advantage_options": {"clip": 0.0}}, "clip=0.0 must be positive"),
        ({"advantage_options": {"whiten": 1}}, "whiten=1 must be true or false"),
        ({"advantage_options": {"width": -1}}, "width=-1 must be 0 or more"),
        ({"advantage_options": {"decay": 1.0}}, r"decay=1.0 must lie in \[0, 1\)"),
        ({"advantage": "two_towers"}, "Did you mean 'two_tower'"),
    ],
)
def test_what_a_critic_cannot_do_is_said_in_one_sentence(options, sentence, tmp_path):
    settings = {
        "output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "per_device_train_batch_size": 8,
        "num_generations": 4, "advantage": "two_tower", **options,
    }  # fmt: skip
    with pytest.raises(ValueError, match=sentence):
        R1GRPOConfig(**settings)


def test_options_come_as_a_recipe_writes_them():
    options = CriticOptions.of("two_tower", {"learning_rate": "3e-3", "warmup": 5.0, "clip": None})
    assert options == CriticOptions(learning_rate=0.003, warmup=5, clip=None)


def test_a_trl_without_advantages_per_token_is_told():
    from trl_r1.compat import trl as compat

    class Other:
        def _compute_loss(self, model, inputs):
            return inputs["advantages"].unsqueeze(1)

    assert "no longer asks" in compat.broken_token_seam(Other)[0]
    assert compat.broken_token_seam() == []


# -- over a resume --------------------------------------------------------------------------------------------------------


def test_a_resumed_run_takes_the_same_steps(ours, tmp_path):
    chosen = {
        "advantage": "two_tower",
        "max_steps": 6,
        "advantage_options": {"warmup": 1},
        "lr_scheduler_type": "linear",
    }
    whole = ours(save_strategy="steps", save_steps=3, folder="whole", **chosen)
    again = ours(resume=str(tmp_path / "whole" / "checkpoint-3"), folder="again", **chosen)
    assert again["losses"] == whole["losses"][3:]
    assert all(torch.equal(again["weights"][name], weight) for name, weight in whole["weights"].items())
    ends = [trace["trainer"]._critic for trace in (whole, again)]
    assert all(torch.equal(a, b) for a, b in zip(ends[0].parameters, ends[1].parameters))
    assert torch.equal(ends[0].moments.sums, ends[1].moments.sums)


def test_checkpoints_without_towers_with_others_or_cut_off_are_refused(ours, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
    ours(folder="plain", **saving)
    with pytest.raises(
        ValueError, match="holds no critic.safetensors, so the towers of advantage='two_tower' are lost"
    ):
        ours(resume=str(tmp_path / "plain" / "checkpoint-2"), max_steps=3, advantage="two_tower")
    ours(folder="towers", advantage="two_tower", **saving)
    checkpoint = tmp_path / "towers" / "checkpoint-2"
    with pytest.raises(ValueError, match="with advantage='trl': it was written with a critic"):
        ours(resume=str(checkpoint), max_steps=3)
    for other in ({"advantage": "one_tower"}, {"advantage": "two_tower", "advantage_options": {"width": 8}}):
        with pytest.raises(ValueError, match="holds other towers than advantage_options ask for"):
            ours(resume=str(checkpoint), max_steps=3, **other)
    path = checkpoint / "critic.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="critic.safetensors is (cut off|damaged)"):
        ours(resume=str(checkpoint), max_steps=3, advantage="two_tower")


def test_default_options_build_no_critic(ours):
    trainer = ours(max_steps=1)["trainer"]
    assert trainer._critic is None
    assert not any(type(callback).__name__ == "TrainTowers" for callback in trainer.callback_handler.callbacks)
