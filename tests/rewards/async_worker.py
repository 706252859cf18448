"""TRL's asynchronous rollout worker without its vLLM: everything between a reward and the trainer is TRL's own code.

``Worker.start`` pickles the rewards and spawns a daemonic child; the child's event loop scores groups with TRL's
``_score_group``, which calls each reward off the main thread; exceptions come back through ``check_health``. Only the
groups are given instead of generated.
"""

import multiprocessing
import threading

from trl.experimental.async_grpo.async_rollout_worker import (
    AsyncRolloutWorker,
    RolloutGroup,
    TrainingSequence,
    _AsyncRolloutLoop,
)


class ScoreOnly(_AsyncRolloutLoop):
    """Scores what it is given, in the place of what vLLM would have generated."""

    def __init__(self, *, groups, **options):
        super().__init__(**options)
        self.groups = groups

    async def _run_loops(self, stop_event):
        for group in self.groups:
            for sample in await self._score_group(group):
                self.rollout_buffer.put(sample.metrics)
        await stop_event.wait()


class Worker(AsyncRolloutWorker):
    _loop_cls = ScoreOnly


def group(prompts, completions, columns) -> RolloutGroup:
    """A group as the worker builds it once its completions are there."""
    count = len(completions)
    sequence = TrainingSequence([1, 2], [0, 1], [0.0, -1.0], "rollout")
    return RolloutGroup(
        prompts=prompts,
        reward_kwargs=columns,
        completions=completions,
        completions_ids=[[1, 2, 3]] * count,
        completions_sequences=[[sequence]] * count,
        tool_call_counts=[0] * count,
        tool_failure_counts=[0] * count,
        model_version=0,
        group_id=0,
        env_rewards=[None] * count,
        rollout_rewards=[None] * count,
    )


def daemonic_and_off_the_main_thread(completions, **columns) -> list[float]:
    """1.0 where TRL calls rewards: in a daemonic process, in a thread that is not its main one."""
    where = multiprocessing.current_process().daemon and threading.current_thread() is not threading.main_thread()
    return [float(where)] * len(completions)


def keeper(completions, **columns) -> list[float]:
    """The process id of a process that has judged an answer for this one."""
    from trl_r1.sandbox import pool as verifier

    assert verifier.run("math_verify", [("x + 1", "1 + x")])[0].value == "equal"
    return [float(verifier._shared_pool().processes()[0])] * len(completions)


def breaks(completions, **columns) -> list[float]:
    raise KeyError("a reward with a mistake")
