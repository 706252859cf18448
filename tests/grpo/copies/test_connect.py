"""`rollout_copy` in a trainer: what changes in the loss, what never changes in the weights, and what is refused."""

import logging
import math
import os

import pytest
import torch
from peft import LoraConfig
from small_trainer import make
from transformers import BitsAndBytesConfig
from trl import GRPOTrainer

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.copies import sampler as samplers
from trl_r1.grpo.copies.connect import PLAIN, SAMPLED, by_row
from trl_r1.grpo.identity import differences, run
from trl_r1.grpo.passes import LossPass, holding
from trl_r1.grpo.rollout import FastRollout, connect
from trl_r1.grpo.rollout.engine import Rollout
from trl_r1.models.four_bit import four_bit_layers


LORA = {"peft_config": LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.0, init_lora_weights=False)}
FAST = {"rollout": "fast", "batching": "fast"}
KINDS = {"full": {}, "lora": LORA}
STEPS = int(os.environ.get("COPY_STEPS", "6"))  # of the comparison bit for bit; 200 was run too (docs/performance.md)


class Told(FastRollout):
    """Gives back what another run's rollouts gave, in order, and leaves the random state as they did: TRL shuffles rows."""

    def __init__(self, rollouts):
        super().__init__()
        self.rollouts = list(rollouts)

    def complete(self, *arguments, **options):
        self.sampler.copy = "there is none, yet the loss is to weigh what one drew"
        self.last, state = self.rollouts.pop(0)
        torch.set_rng_state(state)
        return self.last


def recorded(monkeypatch):
    """Every rollout from here on, as it was, and the random state behind it."""
    found = []
    complete = FastRollout.complete

    def record(self, *arguments, **options):
        rollout = complete(self, *arguments, **options)
        found.append((rollout, torch.get_rng_state()))
        return rollout

    monkeypatch.setattr(FastRollout, "complete", record)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_training_weights_are_those_of_a_run_that_was_told_the_same_completions(kind, ours, monkeypatch):
    """Bit for bit, so a copy neither writes to the policy nor draws a random number."""
    rollouts = recorded(monkeypatch)
    copied = ours(**FAST, rollout_copy="bfloat16", trainer_options=KINDS[kind], max_steps=STEPS)
    told = list(rollouts)
    assert len(told) == STEPS
    monkeypatch.undo()
    monkeypatch.setattr("trl_r1.grpo.fast_trainer.FastRollout", lambda: Told(told))
    again = ours(**FAST, rollout_copy="bfloat16", trainer_options=KINDS[kind], max_steps=STEPS, folder="told")
    assert differences(copied, again) == []
    assert copied["lines"][0]["rollout_copy/mismatch"] > 1e-5


def test_merged_in_float32_trains_as_the_policy_itself_would(ours):
    itself = ours(**FAST, trainer_options=LORA)
    merged = ours(**FAST, rollout_copy="merged", trainer_options=LORA, folder="merged")
    assert differences(merged, itself, digits=4) == []
    for line in merged["lines"]:
        assert line["rollout_copy/mismatch"] < 1e-5
        assert "rollout_copy/effective_samples" not in line  # exact: nothing is weighed


def test_the_mismatch_is_logged(ours):
    trace = ours(**FAST, rollout_copy="bfloat16", vllm_importance_sampling_mode="token_truncate")
    for line in trace["lines"]:
        assert 1e-5 < line["rollout_copy/mismatch"] < line["rollout_copy/mismatch_p99"] < 1.0
        assert 0.9 < line["rollout_copy/effective_samples"] <= 1.0
        assert line["rollout_copy/capped"] == 0.0
        assert line["seconds/refresh"] > 0.0


def test_a_second_training_begins_with_what_the_first_has_learnt(tiny, tmp_path):
    """Its steps are counted from 0 again, and a fused optimizer leaves no other trace."""
    trainer = make(tiny, tmp_path / "run", **FAST, rollout_copy="merged", max_steps=1, learning_rate=1e-2)
    for _ in range(2):
        trainer.train()
        assert trainer.state.log_history[0]["rollout_copy/mismatch"] < 1e-5


def test_freeing_the_copy_changes_nothing(ours):
    kept = ours(**FAST, rollout_copy="bfloat16", trainer_options=LORA)
    freed = ours(**FAST, rollout_copy="bfloat16", rollout_copy_keep=False, trainer_options=LORA, folder="freed")
    assert differences(freed, kept) == []
    lights = [module for module in freed["trainer"]._copies.copy.model.modules() if hasattr(module, "light_weights")]
    assert lights
    assert all(light.held is None for light in lights)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_goes_on_as_an_uninterrupted_one(kind, ours):
    options = {**FAST, "rollout_copy": "bfloat16", "trainer_options": KINDS[kind], "learning_rate": 1e-2}
    whole = ours(**options, max_steps=6, save_strategy="steps", save_steps=3)
    rest = ours(**options, max_steps=6, resume=whole["trainer"].args.output_dir + "/checkpoint-3", folder="rest")
    assert rest["losses"] == whole["losses"][3:]
    assert all(torch.equal(rest["weights"][name], weight) for name, weight in whole["weights"].items())


def test_auto_says_what_it_took_and_takes_it_again_after_a_resume(ours, caplog, monkeypatch):
    rates = iter([100.0, 100.0, 104.0, 104.0, 130.0, 130.0, *[9.0] * 6])
    monkeypatch.setattr(samplers, "tokens_per_second", lambda model, prompts: next(rates))
    with caplog.at_level(logging.WARNING):
        whole = ours(**FAST, rollout_copy="auto", save_strategy="steps", save_steps=2)
    assert "auto takes bfloat16 (tokens per second over 6 tokens: none 100, merged 104, bfloat16 130)" in caplog.text
    rest = ours(**FAST, rollout_copy="auto", resume=whole["trainer"].args.output_dir + "/checkpoint-2", folder="rest")
    assert rest["trainer"]._copies.kind == "bfloat16"
    assert rest["losses"] == whole["losses"][2:]


def test_auto_stays_with_the_policy_where_nothing_is_gained(ours, monkeypatch):
    monkeypatch.setattr(samplers, "tokens_per_second", lambda model, prompts: 100.0)
    itself = ours(**FAST)
    chosen = ours(**FAST, rollout_copy="auto", folder="chosen")
    assert chosen["trainer"]._copies.kind == "none"
    assert differences(chosen, itself) == []


def test_auto_measures_what_a_model_generates(mini):
    assert samplers.tokens_per_second(mini[0], [[5, 6, 7]] * 4) > 1.0


@pytest.mark.slow
def test_two_processes_train_alike(two_ranks, tiny, tmp_path):
    assert two_ranks("two_processes_copy.py", tiny, tmp_path).count("same weights") == 2


def test_a_4_bit_policy_generates_from_its_copy(wide, tmp_path):
    """Its base is unpacked for the copy, and stays packed where it is trained."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    trace = run(
        R1GRPOTrainer, R1GRPOConfig, wide, tmp_path / "run", {**FAST, "rollout_copy": "merged", "max_steps": 2},
        {**LORA, "quantization_config": config},
    )  # fmt: skip
    trainer = trace["trainer"]
    assert len(list(four_bit_layers(trainer.model))) == 14
    assert list(four_bit_layers(trainer._copies.copy.model)) == []
    assert not trainer._copies.exact  # TRL keeps the adapter of a 4-bit policy in bfloat16
    assert all(line["rollout_copy/mismatch"] < 0.05 for line in trace["lines"])


def test_a_bfloat16_copy_is_judged_by_its_own_precision(ours, monkeypatch):
    asked = []
    monkeypatch.setattr(connect, "disagreement", lambda model, prompts, dtype: asked.append(dtype))
    ours(**FAST, rollout_copy="bfloat16", max_steps=1)
    assert asked == [torch.bfloat16]


# -- the loss ---------------------------------------------------------------------------------------------------------


def weighed(tiny, tmp_path, advantages, **options):
    """The batch as TRL's loss gets it: two rows, ratios e^0.1 and e^-0.2 at each of three tokens."""
    trainer = make(tiny, tmp_path / "run", rollout="fast", rollout_copy="bfloat16", **options)
    logps = torch.tensor([[-1.0] * 3, [-2.0] * 3])
    batch = {
        "advantages": advantages,
        "completion_mask": torch.ones(2, 3, dtype=torch.long),
        SAMPLED: logps - torch.tensor([[0.1], [-0.2]]),
    }
    trainer._weigh(batch, logps)
    return batch


TOKENS = {"vllm_importance_sampling_mode": "token_truncate"}


def test_the_advantage_of_a_completion_becomes_one_per_token(tiny, tmp_path):
    batch = weighed(tiny, tmp_path, torch.tensor([1.0, -3.0]), **TOKENS)
    expected = torch.tensor([[math.exp(0.1)] * 3, [-3.0 * math.exp(-0.2)] * 3])
    torch.testing.assert_close(batch["advantages"], expected)


def test_a_ratio_of_completions_stays_one_per_completion(tiny, tmp_path):
    batch = weighed(tiny, tmp_path, torch.tensor([1.0, -3.0]))
    torch.testing.assert_close(batch["advantages"], torch.tensor([[math.exp(0.3)], [-3.0 * math.exp(-0.6)]]))


def test_advantages_of_tokens_are_weighed_in_their_places(tiny, tmp_path):
    advantages = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]])
    batch = weighed(tiny, tmp_path, advantages.clone(), **TOKENS)
    torch.testing.assert_close(batch["advantages"], advantages * torch.tensor([[math.exp(0.1)], [math.exp(-0.2)]]))


def test_vespo_gets_the_ratio_as_its_own(tiny, tmp_path):
    batch = weighed(tiny, tmp_path, torch.tensor([1.0, -3.0]), **TOKENS, loss_type="vespo")
    assert batch["advantages"].tolist() == [1.0, -3.0]
    torch.testing.assert_close(batch["importance_sampling_ratio"][1], torch.full((3,), math.exp(-0.2)))


def test_without_the_correction_nothing_is_weighed(tiny, tmp_path):
    batch = weighed(tiny, tmp_path, torch.tensor([1.0, -3.0]), vllm_importance_sampling_correction=False)
    assert batch["advantages"].tolist() == [1.0, -3.0]


OTHERS = {
    "several iterations": {"num_iterations": 2},
    "ratios of completions": {"importance_sampling_level": "sequence"},
    "the product ratio": {"importance_sampling_level": "sequence_product", "loss_type": "grpo"},
    "off-policy mask": {"off_policy_mask_threshold": 0.5},
    "a KL, dead groups masked": {"beta": 0.1, "mask_dead_groups": True},
    "vespo": {"loss_type": "vespo", **TOKENS},
    "filters": {"top_p": 0.9, "temperature": 0.8, **TOKENS},
    "cispo, padded": {"loss_type": "cispo", "batching": "trl"},
    "dynamic sampling": {"dynamic_sampling_rounds": 1},
    "a critic": {"advantage": "one_tower"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_it_goes_with(name, ours):
    trace = ours(**{**FAST, "rollout_copy": "bfloat16", "max_steps": 2, **OTHERS[name]})
    assert len(trace["losses"]) == 2
    assert all(math.isfinite(value) for value in (*trace["losses"], *trace["grad_norms"]))
    assert trace["lines"][-1]["rollout_copy/mismatch"] > 0.0


def test_the_off_policy_mask_looks_at_what_tokens_were_drawn_with(ours, monkeypatch):
    seen = []
    mask = GRPOTrainer.get_off_policy_mask

    def look(**given):
        seen.append(given["sampling_per_token_logps"])
        return mask(**given)

    monkeypatch.setattr(GRPOTrainer, "get_off_policy_mask", staticmethod(look))
    rollouts = recorded(monkeypatch)
    ours(**FAST, rollout_copy="bfloat16", off_policy_mask_threshold=0.5, max_steps=1)
    told = {round(value, 4) for row in rollouts[0][0].drawn for value in row}
    assert {round(value, 4) for value in seen[0].flatten().tolist()} - {0.0} <= told


def test_with_filters_the_probabilities_are_those_drawn_with(tiny, tmp_path, monkeypatch):
    batches = []
    trainer = make(
        tiny, tmp_path / "run", rollout="fast", rollout_copy="bfloat16", top_k=5, **TOKENS, max_steps=1,
        vllm_importance_sampling_clip_max=None, vllm_importance_sampling_clip_min=1e-9,
    )  # fmt: skip
    inner = trainer._generate_and_score_completions
    monkeypatch.setattr(
        trainer, "_generate_and_score_completions", lambda inputs: batches.append(inner(inputs)) or batches[-1]
    )
    trainer.train()
    drawn, plain, mask = batches[0][SAMPLED], batches[0][PLAIN], batches[0]["completion_mask"] != 0
    assert (drawn[mask] > plain[mask]).all()  # five tokens share what all had
    assert trainer.state.log_history[0]["rollout_copy/mismatch"] < 0.05  # and the copy is not blamed for that


def test_a_row_that_the_loss_skips_weighs_nothing(tiny, tmp_path):
    """Nothing was computed there, so what stands in for its log-probabilities would give any ratio."""
    trainer = make(tiny, tmp_path / "run", rollout="fast", batching="fast", rollout_copy="bfloat16")
    batch = {
        "advantages": torch.tensor([1.0, 0.0]),
        "completion_mask": torch.ones(2, 2, dtype=torch.long),
        SAMPLED: torch.tensor([[-1.0, -1.0], [-90.0, -90.0]]),
    }
    with holding(trainer, "_loss_pass", LossPass(torch.tensor([False, True]), None)):
        trainer._weigh(batch, torch.tensor([[-1.0, -1.0], [0.0, 0.0]]))
    assert batch["advantages"].tolist() == [[1.0], [0.0]]


def test_an_evaluation_is_of_the_policy_itself(tiny, tmp_path, monkeypatch):
    asked = []
    trainer = make(tiny, tmp_path / "run", rollout="fast", rollout_copy="bfloat16", per_device_eval_batch_size=4)
    monkeypatch.setattr(
        samplers.CopySampler, "model", lambda self, trainer, policy, prompts: asked.append(1) or policy
    )
    trainer.evaluate(trainer.train_dataset.select(range(2)))
    assert asked == []


# -- what is refused --------------------------------------------------------------------------------------------------


def test_images_are_refused_in_a_sentence(tiny, tmp_path, monkeypatch):
    trainer = make(tiny, tmp_path / "run", rollout="fast")
    trainer.options.rollout_copy = "merged"
    trainer.train_dataset = trainer.train_dataset.add_column("image", [None] * len(trainer.train_dataset))
    with pytest.raises(ValueError, match=r"the dataset has images\. Set rollout_copy: none"):
        trainer._start_copy()


def test_tools_are_refused_in_a_sentence(tiny, tmp_path):
    trainer = make(tiny, tmp_path / "run", rollout="fast")
    trainer.options.rollout_copy = "merged"
    trainer.tools = [print]
    with pytest.raises(ValueError, match=r"tool calls do not pass through\. Set rollout_copy: none"):
        trainer._start_copy()


def test_a_split_model_is_refused_in_a_sentence(tiny, tmp_path, monkeypatch):
    trainer = make(tiny, tmp_path / "run", rollout="fast")
    trainer.options.rollout_copy = "merged"
    monkeypatch.setattr("trl_r1.grpo.copies.connect.is_sharded", lambda trainer: True)
    with pytest.raises(NotImplementedError, match="ZeRO-3 or FSDP"):
        trainer._start_copy()


def test_int8_is_refused_with_its_mismatch(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"\.2 to \.5 nats .* Set it to bfloat16"):
        make(tiny, tmp_path / "run", rollout="fast", rollout_copy="int8")


def test_a_copy_that_computes_something_else_is_not_used(tiny, tmp_path, monkeypatch):
    trainer = make(tiny, tmp_path / "run", rollout="fast", rollout_copy="merged")
    monkeypatch.setattr(samplers, "difference", lambda *arguments: "the copy's logits differ")
    with pytest.raises(RuntimeError, match="the copy's logits differ.* Set rollout_copy: none"):
        trainer.train()


def test_a_batch_of_other_rows_than_the_rollout_is_told():
    with pytest.raises(RuntimeError, match="has 1 rows and TRL's batch 2"):
        by_row(Rollout([[1]], [[-0.5]]).logps, torch.zeros(2, 3))
