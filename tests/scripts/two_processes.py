"""Not a test: what test_two_processes.py starts under torch.distributed.run, once per rank.

Any failed assertion is an exit code.
"""

import torch
from accelerate.utils import gather
from ranks import trainer_on_two_ranks

from trl_r1 import R1GRPOTrainer
from trl_r1.grpo.advantages import dead_groups, leave_one_out, weighted_sum
from trl_r1.grpo.identity import has_a_digit


def often_constant(completions, prompts=None, **columns):
    """Varies for prompts with a space; 1 for the others, whose groups are dead; None for empty completions."""
    return [
        None if not text else (float(sum(c < "n" for c in text)) if " " in prompt else 1.0)
        for text, prompt in zip(completions, prompts)
    ]


class Checked(R1GRPOTrainer):
    batches = 0

    def _calculate_rewards(self, *args, **kwargs):
        self.seen = super()._calculate_rewards(*args, **kwargs).clone()
        return self.seen.clone()

    def _kl_of_completions(self, batch):
        self.kl = super()._kl_of_completions(batch)
        return self.kl

    def _generate_and_score_completions(self, inputs):
        batch = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return batch
        Checked.batches += 1
        rewards = weighted_sum(self.seen, self.reward_weights)
        dead = dead_groups(rewards, 4)
        rewards = rewards - float(self.beta) * gather(self.kl)
        everyone = gather(batch["advantages"])  # the slices of all ranks, in rank order
        torch.testing.assert_close(everyone, leave_one_out(rewards, 4))
        kept = gather(batch["tool_mask"].amax(dim=1)).bool()
        assert torch.equal(kept, ~dead)
        tokens = gather((batch["completion_mask"] * batch["tool_mask"]).sum()).sum()
        assert batch["num_items_in_batch"] == tokens
        return batch


def main():
    trainer = trainer_on_two_ranks(
        Checked, [often_constant, has_a_digit], advantage="leave_one_out", beta=0.2, kl_target=0.01, kl_estimator="k1",
        kl_placement="reward", mask_dead_groups=True, reference_every=2, reward_weights=[1.0, 0.5],
    )  # fmt: skip
    trainer.train()
    assert Checked.batches == 2  # four steps, two iterations each; groups of 4 lie across the two ranks' 6 rows
    betas = gather(torch.tensor([float(trainer.beta)]))
    assert betas[0] == betas[1] != 0.2
    for parameter in trainer.model.parameters():
        first, second = gather(parameter.detach().flatten()[:1])
        assert first == second
    for _, policy, reference in trainer._moving_reference.pairs():
        assert torch.equal(policy, reference)  # step 4 renewed it


if __name__ == "__main__":
    main()
