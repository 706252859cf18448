"""Rewards during the rollout: the same scores, logs and steps as after it, and earlier."""

import time

import pytest
import torch
from small_trainer import make

from trl_r1 import R1GRPOConfig
from trl_r1.agser import AGSERReward
from trl_r1.grpo.identity import differences, share_of_low_bytes
from trl_r1.grpo.rollout.overlap import EarlyRewards


class Noted:
    """Scores, notes when it was called, and logs a column and a metric."""

    __name__ = "noted"

    def __init__(self):
        self.calls = []

    def __call__(self, completions, prompts, completion_ids, number, log_extra=None, log_metric=None, **columns):
        self.calls.append((time.perf_counter(), list(number)))
        log_extra("first", [text[:1] for text in completions])
        log_metric("length", sum(map(len, completion_ids)) / len(completions))
        return [None if text[:1] < "5" else len(set(text)) / 8 for text in completions]


def run(tiny, folder, overlap, conversational=False):
    reward = Noted()
    trainer = make(tiny, folder, [reward, share_of_low_bytes], rollout="fast", rewards_overlap=overlap)
    trainer.model.train()
    rows = [{"prompt": prompt, "number": row} for row, prompt in enumerate(["two and"] * 4 + ["seven"] * 4)]
    torch.manual_seed(0)
    trainer._fast_rollout.change_logits = short_first
    batch = trainer._generate_and_score_completions(rows)
    return trainer, reward, batch


def short_first(logits, rows, step):
    """The first group ends after two tokens, the second one runs on, slowly."""
    logits = logits.clone()
    logits[:, 1] = -torch.inf
    logits[(rows < 4) & torch.tensor(step == 1)] = torch.where(torch.arange(logits.size(1)) == 1, 0.0, -torch.inf)
    time.sleep(0.02 * (step > 1))
    return logits


def test_scores_and_logs_are_the_same_and_the_first_group_is_scored_early(tiny, tmp_path):
    late, early = (run(tiny, tmp_path / str(overlap), overlap) for overlap in (False, True))
    torch.testing.assert_close(early[2]["advantages"], late[2]["advantages"])
    for name in ("first",):
        assert list(early[0]._logs["extra"][name]) == list(late[0]._logs["extra"][name])
    assert early[0]._metrics["train"]["length"] == pytest.approx(late[0]._metrics["train"]["length"])
    assert early[0]._metrics["train"]["reward"] == late[0]._metrics["train"]["reward"]
    assert [numbers for _, numbers in late[1].calls] == [list(range(8))]
    assert [numbers for _, numbers in early[1].calls] == [list(range(4)), list(range(4, 8))]
    assert early[1].calls[1][0] - early[1].calls[0][0] > 0.05  # six slow steps lie between
    assert early[0].reward_funcs[0] is early[1]
    assert early[0]._metrics["train"]["rewards/seconds_waited"][0] >= 0.0


def test_training_is_the_same_as_with_rewards_afterwards(ours):
    late = ours(folder="late", rollout="fast", num_iterations=2)
    early = ours(folder="early", rollout="fast", num_iterations=2, rewards_overlap=True)
    assert differences(early, late) == []


def test_a_reward_that_asks_the_policy_waits_until_it_is_free(tiny, tmp_path):
    reward = AGSERReward(name="asks")
    trainer = make(tiny, tmp_path, [reward, share_of_low_bytes], rollout="fast", rewards_overlap=True)
    assert EarlyRewards(trainer).numbers == [1]


def test_an_error_in_a_reward_reaches_the_trainer(tiny, tmp_path):
    def broken(completions, **columns):
        raise RuntimeError("the verifier is gone")

    trainer = make(tiny, tmp_path, [broken], rollout="fast", rewards_overlap=True)
    with pytest.raises(RuntimeError, match="the verifier is gone"):
        trainer.train()


def test_models_and_async_rewards_are_left_to_trl(tiny, tmp_path):
    async def asked(completions, **columns):
        return [1.0] * len(completions)

    trainer = make(tiny, tmp_path, [asked, share_of_low_bytes], rollout="fast")
    assert EarlyRewards(trainer).numbers == [1]


def test_it_needs_the_fast_rollout(tmp_path):
    with pytest.raises(ValueError, match="rollout='fast'"):
        R1GRPOConfig(output_dir=str(tmp_path), rewards_overlap=True, bf16=False)
