"""The queue: many callers, one model in this process. Requests that wait at the same time share one batch.

A batch runs to its end before the next one begins (a server such as vLLM lets rows come and go; put one behind
`trl-r1 serve --endpoint` where that matters). Requests whose temperature, top-p and top-k are equal are drawn together,
each with its own limit, stop strings and template options, up to the model's batch size. A caller that names a seed draws
alone (`BatchQueue.alone`), since its texts would otherwise depend on its neighbours.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from trl_r1.routing.paths import Ask, Cancelled, Candidate, ModelPaths, Settings
from trl_r1.storage.shards import seed_of


GATHER = 0.003  # seconds that a batch waits for company


@dataclass
class Job:
    """What one caller waits for."""

    asks: list[Ask]
    settings: Settings
    seed: int | None  # of a job that wants to be alone
    done: threading.Event = field(default_factory=threading.Event)
    candidates: list[list[Candidate]] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def rows(self) -> int:
        return sum(ask.count for ask in self.asks)

    def is_abandoned(self) -> bool:
        return all(ask.cancelled() for ask in self.asks)


class BatchQueue:
    """A `Sampler` for any number of threads over a `ModelPaths`. ``close`` it."""

    def __init__(self, paths: ModelPaths) -> None:
        self.paths, self.name = paths, paths.name
        self.tokenizer = paths.tokenizer
        self.alone = Alone(self)
        self._waiting: deque[Job] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._number, self._base = 0, secrets.randbits(31)
        self._thread = threading.Thread(target=self._work, name="queue", daemon=True)
        self._thread.start()

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """As `ModelPaths.draw`, together with whoever waits too; the seed is not kept.

        Raises:
            Cancelled: the caller gave up, or the queue was closed. What `ModelPaths.draw` raises.
        """
        return self._wait(Job(list(asks), settings, None))

    def _wait(self, job: Job) -> list[list[Candidate]]:
        with self._ready:
            if self._closed:
                raise Cancelled("The server is shutting down.")
            self._waiting.append(job)
            self._ready.notify()
        job.done.wait()
        if job.error is not None:
            raise job.error
        return job.candidates

    def close(self, seconds: float = 10.0) -> bool:
        """Gives up what waits, ends the batch under way after its next token; whether the thread ended in time."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while jobs := self._next():
            try:
                self._run(jobs)
            finally:
                for job in jobs:
                    job.done.set()

    def _next(self) -> list[Job]:
        """The jobs of the next batch; [] when the queue is closed."""
        with self._ready:
            while not self._waiting and not self._closed:
                self._ready.wait()
            until = time.monotonic() + GATHER
            while (
                not self._closed and self._waiting[0].seed is None and (seconds_left := until - time.monotonic()) > 0
            ):
                self._ready.wait(seconds_left)
            if self._closed:
                for job in self._waiting:
                    job.error = Cancelled("The server is shutting down.")
                    job.done.set()
                self._waiting.clear()
                return []
            jobs, others = [self._waiting.popleft()], deque[Job]()
            rows = jobs[0].rows
            while self._waiting:
                job = self._waiting.popleft()
                if together(jobs[0], job) and rows + job.rows <= self.paths.batch_size:
                    jobs.append(job)
                    rows += job.rows
                else:
                    others.append(job)
            self._waiting = others
            return jobs

    def _run(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.is_abandoned():
                job.error = Cancelled("The caller gave up.")
        jobs = [job for job in jobs if job.error is None]
        if not jobs:
            return
        try:
            self._draw(jobs)
        except Exception as error:  # one caller's fault is not its neighbours': each of them alone
            if len(jobs) == 1:
                jobs[0].error = error
                return
            for job in jobs:
                try:
                    self._draw([job])
                except Exception as own:
                    job.error = own

    def _cancelled(self, ask: Ask) -> Callable[[], bool]:
        """Whether an ask was given up, or everything was."""
        return lambda: self._closed or ask.cancelled()

    def _draw(self, jobs: list[Job]) -> None:
        self._number += 1
        longest = max(job.settings.max_new_tokens for job in jobs)
        asks = [
            replace(
                ask,
                max_new_tokens=min(ask.max_new_tokens or longest, job.settings.max_new_tokens),
                cancelled=self._cancelled(ask),
                settings=ask.settings or job.settings,
            )
            for job in jobs
            for ask in job.asks
        ]
        seed = jobs[0].seed if jobs[0].seed is not None else seed_of(self._base, self._number)
        candidates = self.paths.draw(asks, replace(jobs[0].settings, max_new_tokens=longest), seed)
        for job in jobs:
            job.candidates, candidates = candidates[: len(job.asks)], candidates[len(job.asks) :]
            if self._closed or job.is_abandoned():
                job.error = Cancelled("The caller gave up.")


@dataclass
class Alone:
    """The same queue for callers with a seed: equal seeds give equal texts."""

    queue: BatchQueue

    @property
    def name(self) -> str:
        return self.queue.name

    def draw(self, asks: Sequence[Ask], settings: Settings, seed: int) -> list[list[Candidate]]:
        """As `ModelPaths.draw`, in a batch of its own."""
        return self.queue._wait(Job(list(asks), settings, seed))


def together(first: Job, second: Job) -> bool:
    """Whether two jobs can share a batch."""
    one, other = first.settings, second.settings
    return (
        first.seed is None
        and second.seed is None
        and (one.temperature, one.top_p, one.top_k) == (other.temperature, other.top_p, other.top_k)
    )
