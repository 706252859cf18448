"""Verified paths: replayed with the ratio they deserve, bounded, saved, refused where the ratio would be wrong."""

import pytest
import torch
from small_trainer import make

from trl_r1 import R1GRPOConfig


class Verdict:
    """Right for the rows it is told to find right."""

    __name__ = "accuracy"

    def __init__(self):
        self.right = set()

    def __call__(self, completions, **columns):
        return [float(row in self.right) for row in range(len(completions))]


OPTIONS = {"rollout": "fast", "old_logps": "sampled", "verified_paths": 2, "temperature": 0.9}


def scored(trainer, *prompts):
    trainer.model.train()
    return trainer._generate_and_score_completions([{"prompt": prompt} for prompt in prompts for _ in range(4)])


def test_a_wrong_group_gets_the_right_path_with_the_ratio_to_the_policy_of_that_day(tiny, tmp_path):
    verdict = Verdict()
    trainer = make(tiny, tmp_path, [verdict], gradient_checkpointing=False, **OPTIONS)
    trainer.current_gradient_accumulation_steps = 1
    verdict.right = {1}
    first = scored(trainer, "two and", "seven")
    path, then = first["completion_ids"][1], first["old_per_token_logps"][1]
    assert first["advantages"][4:].abs().sum() == 0
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.mul_(1.01)
    verdict.right = set()
    batch = scored(trainer, "seven", "two and")
    assert batch["advantages"][:4].abs().sum() == 0  # nothing right is known of this prompt
    assert batch["completion_ids"][7].tolist() == path.tolist()
    torch.testing.assert_close(batch["old_per_token_logps"][7], then, rtol=0, atol=0)
    assert batch["advantages"][7] > 0 > batch["advantages"][4]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    now = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, batch["completion_ids"].size(1))[0]
    ratio = ((now - batch["old_per_token_logps"]) * batch["completion_mask"]).exp()
    torch.testing.assert_close(ratio[:7], torch.ones_like(ratio[:7]), rtol=0, atol=1e-4)
    assert (ratio[7] - 1).abs().max() > 1e-3
    loss = trainer._compute_loss(trainer.model, batch)
    a = batch["advantages"][:, None]
    clipped = torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a)
    torch.testing.assert_close(loss, -(clipped * batch["completion_mask"]).sum() / batch["completion_mask"].sum())
    assert trainer._logs["completion"][7] == trainer.processing_class.decode(path, skip_special_tokens=True)
    assert list(trainer._logs["rewards"]["accuracy"]) == [0.0] * 7 + [1.0]
    assert list(trainer._logs["advantages"]) == pytest.approx(batch["advantages"].tolist())
    assert trainer._metrics["train"]["verified_paths/replayed"] == [0.0, 0.5]


def test_the_memory_is_bounded_and_survives_a_checkpoint(tiny, tmp_path):
    verdict = Verdict()
    verdict.right = {0, 4}
    trainer = make(tiny, tmp_path / "a", [verdict], **OPTIONS)
    scored(trainer, "two and", "seven")
    scored(trainer, "8 9", "seven")
    kept = trainer._paths.paths
    names = [trainer.processing_class.decode(prompt) for prompt in kept]
    assert names == ["8 9", "seven"]  # the one unused for longest left
    trainer._paths.save(tmp_path / "checkpoint")
    other = make(tiny, tmp_path / "b", [verdict], **OPTIONS)
    other._paths.load(tmp_path / "checkpoint")
    assert other._paths.paths == kept
    other._paths.load(tmp_path / "nothing")
    assert not other._paths.paths


def test_training_goes_through_and_resumes(tiny, tmp_path):
    verdict = Verdict()
    verdict.right = {2}
    trainer = make(
        tiny, tmp_path, [verdict], batching="fast", **{**OPTIONS, "save_strategy": "steps", "save_steps": 1}
    )
    trainer.train()
    assert (tmp_path / "checkpoint-1" / "verified_paths_0.json").is_file()
    resumed = make(tiny, tmp_path, [verdict], batching="fast", **OPTIONS)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    for a, b in zip(trainer.model.parameters(), resumed.model.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert list(resumed._paths.paths) == list(trainer._paths.paths)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"old_logps": "policy"}, "old_logps"),
        ({"beta": 0.1}, "beta"),
        ({"top_p": 0.9}, "top_p"),
        ({"mask_truncated_completions": True}, "mask_truncated"),
    ],
)
def test_where_the_ratio_would_be_wrong_it_is_refused(options, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        R1GRPOConfig(output_dir=str(tmp_path), bf16=False, **{**OPTIONS, **options})


def test_a_reward_that_is_not_there_is_named(tiny, tmp_path):
    with pytest.raises(ValueError, match="correctness"):
        make(tiny, tmp_path, [Verdict()], verified_paths_reward="correctness", **OPTIONS)
