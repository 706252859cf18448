"""Not a test: what test_critic_killed.py starts under torch.distributed.run, once per rank.

Any failed assertion is an exit code.
"""

import sys
import warnings

import torch
import transformers
from accelerate.utils import gather, gather_object

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.critic.values import Moments
from trl_r1.identity import has_a_digit, share_of_low_bytes, tiny_prompts


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
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    model, folder = sys.argv[1:]
    config = R1GRPOConfig(
        folder, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", disable_tqdm=True, seed=3,
        per_device_train_batch_size=6, num_generations=4, max_completion_length=6, max_steps=4, logging_steps=1,
        save_strategy="no", learning_rate=5e-3, ddp_backend="gloo", advantage="two_tower", num_iterations=2,
        advantage_options={"warmup": 1}, rollout="fast", batching="fast",
    )  # fmt: skip
    trainer = Checked(model, [share_of_low_bytes, has_a_digit], config, train_dataset=tiny_prompts())
    assert trainer.accelerator.num_processes == 2
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
