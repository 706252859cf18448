"""What a trainer refuses once it sees its model and its rewards: each in a sentence, before a weight is moved."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small_trainer import make
from transformers import AutoModelForCausalLM

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.checks import check_scores, check_weights
from trl_r1.grpo.identity import share_of_low_bytes, tiny_prompts


def lora(initial=True):
    return LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=initial)


def base(tiny):
    return AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)


def with_adapter(tiny, folder, initial, **options):
    """A trainer that makes the adapter itself."""
    config = R1GRPOConfig(
        str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=4,
        num_generations=4,
        **options,
    )
    return R1GRPOTrainer(
        base(tiny), [share_of_low_bytes], config, train_dataset=tiny_prompts(), peft_config=lora(initial)
    )


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_an_adapter_loaded_for_inference_is_refused(tiny, tmp_path, beta):
    get_peft_model(base(tiny), lora()).save_pretrained(tmp_path / "adapter")
    frozen = PeftModel.from_pretrained(base(tiny), str(tmp_path / "adapter"))
    with pytest.raises(ValueError, match="No weight of the model takes a gradient.*is_trainable=True"):
        make(tiny, tmp_path, model=frozen, beta=beta)


def test_an_adapter_loaded_for_training_is_welcome(tiny, tmp_path):
    get_peft_model(base(tiny), lora()).save_pretrained(tmp_path / "adapter")
    make(
        tiny,
        tmp_path,
        model=PeftModel.from_pretrained(base(tiny), str(tmp_path / "adapter"), is_trainable=True),
        beta=0.1,
    )


@pytest.mark.parametrize("initial", ["pissa", "pissa_niter_4", "olora"])
def test_a_kl_to_the_base_that_an_adapter_has_changed_is_refused(tiny, tmp_path, initial):
    with pytest.raises(
        ValueError, match=f"init_lora_weights='{initial}' changes the weights under the adapter.*beta=0.1"
    ):
        with_adapter(tiny, tmp_path, initial, beta=0.1)


def test_without_a_kl_it_is_welcome(tiny, tmp_path):
    with_adapter(tiny, tmp_path, "pissa")


def test_a_rolling_reference_of_such_an_adapter_is_the_model_that_was_given(tiny, tmp_path):
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        given = base(tiny)(ids).logits
        model = with_adapter(tiny, tmp_path, "pissa", beta=0.1, reference_every=5).model
        model.set_adapter("ref")
        torch.testing.assert_close(model(ids).logits, given, rtol=1e-4, atol=1e-4)


def test_an_adapter_that_changed_its_base_before_is_copied_by_changing_it_again(tiny, tmp_path):
    """TRL adds "ref" with the same configuration, and the base is edited a second time: so no reference_every helps."""
    with pytest.raises(ValueError, match="Merge the adapter into its base first"):
        make(tiny, tmp_path, model=get_peft_model(base(tiny), lora("olora")), beta=0.1, reference_every=5)


def test_rewards_that_all_weigh_nothing_are_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"all rewards \(share_of_low_bytes, has_a_digit\) are 0"):
        make(tiny, tmp_path, reward_weights=[0.0, 0.0])


def test_one_weight_is_enough_and_a_kl_in_the_reward_is_a_reward():
    check_weights([0.0, 0.1], ["a", "b"])
    check_weights([0.0], ["a"], beta_in_reward=True)
    with pytest.raises(ValueError, match="all rewards"):
        check_weights([0.0], ["a"])


INF = float("inf")


@pytest.mark.parametrize("score", [INF, -INF])
def test_an_infinite_score_names_reward_and_completion(score):
    scores = torch.tensor([[1.0, float("nan")], [2.0, score]])
    with pytest.raises(ValueError) as caught:
        check_scores(scores, torch.tensor([1.0, 0.0]), ["short", "ratio"], ["two", "three\nfour"], 7)
    assert str(caught.value).startswith(
        f"The reward 'ratio' gave the score {score}, after 7 steps, to the completion 'three\\nfour'."
    )


def test_a_score_that_its_weight_makes_infinite_is_named_with_the_weight():
    with pytest.raises(ValueError, match=r"gave the score .*e\+38, which its weight 1000.0 makes inf, after 0 steps"):
        check_scores(
            torch.tensor([[3e38]]), torch.tensor([1000.0]), ["big"], [[{"role": "assistant", "content": "x"}]], 0
        )


def test_scores_that_are_missing_or_finite_pass():
    check_scores(torch.tensor([[1.0], [float("nan")]]), torch.tensor([1.0]), ["short"], ["a", "b"], 0)


def infinite_once(completions, **columns):
    return [INF if place == 3 else float(place) for place in range(len(completions))]


@pytest.mark.parametrize("advantage", ["trl", "leave_one_out", "robust"])
def test_an_infinite_reward_ends_training_before_a_weight_is_moved(tiny, tmp_path, advantage):
    trainer = make(tiny, tmp_path, rewards=[infinite_once], advantage=advantage)
    with pytest.raises(ValueError, match="The reward 'infinite_once' gave the score inf, after 0 steps"):
        trainer.train()
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
