"""Not a test: stages that test_four_bit.py starts one after the other, each in its own process, and partly kills.

    python tests/scripts/killed_stages.py '[{"stage": "zero", "arguments": [...], "kill": [1, 3]}, ...]'

`kill` is the trainer of the stage (1, 2, ...) and the optimizer step at whose start it dies, or null. The processes are
forks of this one, which has imported everything and run nothing, so that a start costs no imports. Writes what became of
each as a JSON list: its exit status, or minus the signal that ended it.
"""

import functools
import importlib
import json
import os
import signal
import sys
import warnings

import bitsandbytes  # noqa: F401  (what the stages import late is here before the first fork)
import matplotlib.figure  # noqa: F401
import peft  # noqa: F401
import torch
import transformers
from transformers import Trainer, TrainerCallback

from trl_r1.stages import distill, reward_model, sft, zero  # noqa: F401


class KillAtStep(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_in(number, step):
    """The trainer that trains as the `number`-th dies at the start of that step."""
    stock, count = Trainer.train, [0]

    @functools.wraps(stock)  # trl_r1 looks at the signature
    def train(self, *arguments, **options):
        count[0] += 1
        if count[0] == number:
            self.add_callback(KillAtStep(step))
        return stock(self, *arguments, **options)

    Trainer.train = train


def run(order):
    """In the fork."""
    if order["kill"] is not None:
        kill_in(*order["kill"])
    importlib.import_module(f"trl_r1.stages.{order['stage']}").main(order["arguments"])


def main():
    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    ends = []
    for order in json.loads(sys.argv[1]):
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)  # what a stage prints is no result
            try:
                run(order)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
