"""What the AGSER reward adds to a GRPO step in the mini world, with stock TRL, group size 8.

    python benchmarks/agser_reward.py           (about two minutes on one busy core; builds mini:base if it is not there)

One run, every prompt twice: in its first half the reward meets each prompt for the first time (two sub-queries are read
and answered), in its second half its cache knows them all. CPU seconds inside the reward are set against those of the rest
of the step; medians over the steps. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time


os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
PROMPTS, GROUP = 16, 8  # of a step, as in recipes/mini/zero.yaml


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12, help="of each half (default: 12)")
    chosen = parser.parse_args()
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from trl_r1.agser.reward import AGSERReward
    from trl_r1.data.columns import to_prompts
    from trl_r1.mini import load_split, resolve_model
    from trl_r1.rewards import accuracy_reward, format_reward

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    path = resolve_model("mini:base")
    rows = to_prompts(load_split("mini:train").select(range(PROMPTS * chosen.steps)), "question", "solution", "mini")
    spent, steps = [0.0], []
    reward = AGSERReward(max_new_tokens=64)

    def agser(*given, **columns):
        started = time.process_time()
        scores = reward(*given, **columns)
        spent[0] += time.process_time() - started
        return scores

    class Clock(TrainerCallback):
        def on_step_begin(self, *given, **options):
            self.started, spent[0] = time.process_time(), 0.0

        def on_step_end(self, *given, **options):
            steps.append((time.process_time() - self.started, spent[0]))

    arguments = GRPOConfig(
        tempfile.mkdtemp(), per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP, max_completion_length=64,
        num_train_epochs=2, shuffle_dataset=False, learning_rate=8e-4, use_cpu=True, bf16=False, report_to=[],
        logging_steps=1, save_strategy="no", beta=0.0, gradient_checkpointing=False, disable_tqdm=True,
        reward_weights=[1.0, 1.0, 0.1], dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), [accuracy_reward, format_reward, agser],
        args=arguments, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(path),
        callbacks=[reward.callback, Clock()],
    )  # fmt: skip
    trainer.train()
    logged = [row for row in trainer.state.log_history if "agser/r_att" in row]
    halves = {"cold": steps[1 : chosen.steps], "warm": steps[chosen.steps :]}  # the first step warms the libraries up
    found = {}
    for name, half in halves.items():
        rest = statistics.median(whole - inside for whole, inside in half)
        inside = statistics.median(inside for _, inside in half)
        found[name] = {"step_seconds": rest, "reward_seconds": inside, "added": inside / rest}
        print(
            f"{name}: {1000 * rest:.0f} ms a step without it, {1000 * inside:.1f} ms in it: {inside / rest:.1%} more"
        )
    print(f"logged: r_att {logged[-1]['agser/r_att']:.3f}, r_non {logged[-1]['agser/r_non']:.3f}")
    passed = found["cold"]["added"] <= 0.3 and len(logged) == 2 * chosen.steps
    print(json.dumps({"passed": passed, **found, "logged_steps": len(logged)}))
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
