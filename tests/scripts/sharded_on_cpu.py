"""`sharded_on_cpu.py MODULE [arguments]` runs a module as a command; FSDP that its environment asks for comes on CPUs too.

accelerate shards on accelerators alone and takes CPU processes for DDP, whatever its file says; torch itself shards with
gloo as well. So the processes pass for GPUs until accelerate has decided.
"""

import runpy
import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType


def shard_on_cpu() -> None:
    start = PartialState.__init__

    def started(self, *args, **kwargs):
        start(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = started


if __name__ == "__main__":
    shard_on_cpu()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
