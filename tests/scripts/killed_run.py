"""Not a test: one training run that test_resume.py starts as a process of its own, and kills.

    python tests/scripts/killed_run.py ORDER

ORDER is JSON: {"model": ..., "output_dir": ..., "kill_at": 7 or null, "resume": true, "kind": "full", ...}

Writes the logged lines to <output_dir>.jsonl and the final weights and reference to <output_dir>.weights.
"""

import json
import os
import signal
import sys
import warnings

import torch
import transformers
from peft import LoraConfig
from transformers import TrainerCallback

from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.grpo.identity import run


class Kill(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class Write(TrainerCallback):
    def __init__(self, path):
        self.path = path

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            with open(self.path, "a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def main():
    order = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    extra = {"callbacks": [Write(order["output_dir"] + ".jsonl")]}
    if order.get("kill_at") is not None:
        extra["callbacks"].append(Kill(order["kill_at"]))
    if order["kind"] != "full":
        extra["peft_config"] = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", lora_dropout=0.0)
    trace = run(
        R1GRPOTrainer, R1GRPOConfig, order["model"], order["output_dir"], order["options"], extra,
        resume_from_checkpoint=order.get("resume") or None,
    )  # fmt: skip
    reference = {}
    if trace["trainer"]._moving_reference is not None:
        reference = {
            name: tensor.detach().float().clone() for name, _, tensor in trace["trainer"]._moving_reference.pairs()
        }
    critic = {}
    if trace["trainer"]._critic is not None:
        critic = {**trace["trainer"]._critic.towers.state_dict(), "moments": trace["trainer"]._critic.moments.sums}
    torch.save(
        {"weights": trace["weights"], "reference": reference, "critic": critic}, order["output_dir"] + ".weights"
    )


if __name__ == "__main__":
    main()
