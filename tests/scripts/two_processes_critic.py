"""Not a test: what test_critic_killed.py starts under torch.distributed.run, once per rank.

Any failed assertion is an exit code.
"""

import torch
from accelerate.utils import gather, gather_object
from ranks import trainer_on_two_ranks

from trl_r1 import R1GRPOTrainer
from trl_r1.grpo.critic.values import Moments
from trl_r1.grpo.identity import has_a_digit, share_of_low_bytes


class Checked(R1GRPOTrainer):
    def _generate_and_score_completions(self, inputs):
        before = self._critic.moments.sums.clone()
        batch = super()._generate_and_score_completions(inputs)
        rows = gather_object([(batch["critic_targets"], batch["critic_mask"], batch["advantages"])])
        kept = torch.cat([targets[mask != 0] for targets, mask, _ in rows])  # (tokens of both ranks, 2)
        expected = Moments(2)
        expected.sums = before
        expected.update(torch.tensor(float(len(kept))), kept.double().sum(0), (kept.double() ** 2).sum(0))
        torch.testing.assert_close(self._critic.moments.sums, expected.sums)
        credits = torch.cat([advantages[mask != 0] for _, mask, advantages in rows])
        assert abs(credits.mean()) < 1e-4  # whitened over both
        assert abs(credits.std(unbiased=False) - 1.0) < 1e-3
        assert batch["critic_tokens"] == len(kept)
        return batch


def main():
    trainer = trainer_on_two_ranks(
        Checked, [share_of_low_bytes, has_a_digit], advantage="two_tower", advantage_options={"warmup": 1},
        rollout="fast", batching="fast",
    )  # fmt: skip
    own = trainer.training_step
    averaged = []

    def step(*args, **kwargs):
        backward, seen = trainer.accelerator.backward, []

        def noted(loss, **options):
            backward(loss, **options)
            seen.extend(parameter.grad.clone() for parameter in trainer._critic.parameters)

        trainer.accelerator.backward = noted
        loss = own(*args, **kwargs)
        trainer.accelerator.backward = backward
        for parameter, mine in zip(trainer._critic.parameters, seen):
            torch.testing.assert_close(parameter.grad, gather(mine[None]).mean(dim=0))
        averaged.append(any(not torch.equal(*gather(mine[None])) for mine in seen))
        return loss

    trainer.training_step = step
    trainer.train()
    assert len(averaged) == 4
    assert all(averaged)  # the ranks did differ before
    for parameter in [*trainer._critic.parameters, *trainer.model.parameters()]:
        first, second = gather(parameter.detach().flatten()[None])
        assert torch.equal(first, second)
    assert trainer._critic.towers.towers["long_term"][-1].weight.abs().max() > 0.0


if __name__ == "__main__":
    main()
