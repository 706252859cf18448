"""Not a test: a supervised stage that test_tuning.py and test_cold_start.py start as a process of its own, and kill.

    python tests/scripts/killed_tuning.py STAGE KIND NUMBER [options of the stage]

KIND "step" kills at the start of that optimizer step, "write" kills before that write of a shard, "written" after it,
"never" does not.
"""

import importlib
import os
import signal
import sys

import torch
from transformers import TrainerCallback

from trl_r1.runs import sft as tuning
from trl_r1.storage.shards import Shards


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class KillAtStep(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            die()


def main():
    stage, kind, number, *options = sys.argv[1:]
    torch.set_num_threads(1)
    if kind == "step":
        stock = tuning.R1SFTTrainer
        tuning.R1SFTTrainer = lambda **kw: stock(**{**kw, "callbacks": [*kw["callbacks"], KillAtStep(int(number))]})
    elif kind in ("write", "written"):
        whole, count = Shards.write, [0]

        def write(self, *args):
            count[0] += 1
            if kind == "write" and count[0] == int(number):
                die()
            whole(self, *args)
            if count[0] == int(number):
                die()

        Shards.write = write
    importlib.import_module(f"trl_r1.stages.{stage}").main(options)


if __name__ == "__main__":
    main()
