"""Dynamic sampling: dead groups are replaced, the table shows what is trained on, and it ends."""

import pytest
import torch
from small_trainer import make

from trl_r1 import R1GRPOConfig
from trl_r1.grpo.dynamic_sampling import merge


def mixed(completions, prompts, **columns):
    """Varies for prompts with a space in them; the groups of the others are dead."""
    return [len(set(text)) / 8 if " " in prompt else 1.0 for text, prompt in zip(completions, prompts)]


def constant(completions, **columns):
    return [1.0] * len(completions)


def scored(trainer, *prompts):
    trainer.model.train()
    rows = [{"prompt": prompt} for prompt in prompts for _ in range(4)]
    return trainer._generate_and_score_completions(rows)


@pytest.mark.parametrize("rollout", ["trl", "fast"])
def test_dead_groups_are_replaced_and_logged_as_trained(rollout, tiny, tmp_path):
    options = {"advantage": "group_normalized", "dynamic_sampling_rounds": 8, "rollout": rollout, "beta": 0.1}
    trainer = make(tiny, tmp_path, [mixed], **options)
    batch = scored(trainer, "seven", "two and a longer prompt than the others in the set")
    kept = trainer.processing_class.batch_decode(batch["prompt_ids"], skip_special_tokens=True)
    assert kept[4:] == ["two and a longer prompt than the others in the set"] * 4
    assert len(set(kept[:4])) == 1
    assert " " in kept[0]
    assert batch["advantages"].abs().view(2, 4).sum(dim=1).gt(0).all()
    assert list(trainer._logs["prompt"]) == kept
    texts = trainer.processing_class.batch_decode(batch["completion_ids"], skip_special_tokens=True)
    assert list(trainer._logs["completion"]) == texts
    assert list(trainer._logs["rewards"]["mixed"]) == pytest.approx(mixed(texts, kept))
    assert list(trainer._logs["advantages"]) == pytest.approx(batch["advantages"].tolist())
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum()
    metrics = trainer._metrics["train"]
    assert metrics["dynamic/dead_before"] == [0.5]
    assert metrics["dynamic/dead_after"] == [0.0]
    assert metrics["dynamic/extra_completions"][0] in [0.5 * number for number in range(1, 9)]
    assert metrics["frac_reward_zero_std"] == [0.5]  # of the prompts as they came
    assert len(metrics["rewards/mixed/mean"]) == 1
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(trainer.model, batch)
    assert loss.isfinite()


def test_a_batch_without_dead_groups_costs_nothing(tiny, tmp_path):
    trainer = make(tiny, tmp_path, [mixed], dynamic_sampling_rounds=3)
    scored(trainer, "two and", "five or six")
    assert trainer._metrics["train"]["dynamic/extra_completions"] == [0.0]


def test_it_ends_when_every_prompt_is_dead(tiny, tmp_path):
    trainer = make(tiny, tmp_path, [constant], dynamic_sampling_rounds=3)
    batch = scored(trainer, "two and", "seven")
    assert batch["advantages"].abs().sum() == 0
    assert trainer._metrics["train"]["dynamic/dead_after"] == [1.0]
    assert trainer._metrics["train"]["dynamic/extra_completions"] == [3.0]


def test_training_twice_draws_the_same(ours):
    traces = [ours(folder=str(number), dynamic_sampling_rounds=2)["losses"] for number in range(2)]
    assert traces[0] == traces[1]


def test_merging_pads_prompts_left_and_completions_right():
    def rows(number, prompt, completion):
        return {
            "prompt_ids": torch.full((2, prompt), number), "completion_ids": torch.full((2, completion), number),
            "completion_mask": torch.ones(2, completion), "advantages": torch.full((2,), float(number)),
            "num_items_in_batch": torch.tensor(9),
        }  # fmt: skip

    more = rows(7, 3, 1) | {"tool_mask": torch.zeros(2, 1)}
    merged = merge(rows(5, 2, 4), more, torch.tensor([1]), torch.tensor([0]))
    assert merged["prompt_ids"].tolist() == [[0, 5, 5], [7, 7, 7]]
    assert merged["completion_ids"].tolist() == [[5, 5, 5, 5], [7, 0, 0, 0]]
    assert merged["completion_mask"].tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert merged["tool_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert merged["advantages"].tolist() == [5.0, 7.0]
    with pytest.raises(ValueError, match="pixel_values"):
        merge(rows(5, 2, 4) | {"pixel_values": torch.ones(3, 2, 2)}, more, torch.tensor([1]), torch.tensor([0]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scale_rewards": "batch"}, "scale_rewards"),
        ({"advantage": "batch_normalized"}, "batch_normalized"),
        ({"per_device_train_batch_size": 2, "num_generations": 4, "gradient_accumulation_steps": 1}, "whole groups"),
        ({"dynamic_sampling_rounds": -1}, "0 or more"),
    ],
)
def test_combinations_that_cannot_work_are_refused(options, named, tmp_path, monkeypatch):
    if named == "whole groups":  # one group over two processes
        monkeypatch.setattr(R1GRPOConfig, "world_size", 2)
    with pytest.raises(ValueError, match=named):
        R1GRPOConfig(output_dir=str(tmp_path), bf16=False, **{"dynamic_sampling_rounds": 1, **options})
