"""The queue: batches are shared, faults and seeds are not."""

import threading
import time

import pytest

from trl_r1.routing.paths import Ask, Cancelled, Candidate, Settings
from trl_r1.serving.batch_queue import BatchQueue


class Fake:
    """Notes the batches; fails on the prompt "bad"."""

    name, tokenizer, batch_size = "fake", None, 8

    def __init__(self):
        self.batches, self.hold = [], threading.Event()
        self.hold.set()

    def draw(self, asks, settings, seed):
        self.batches.append(([ask.prompt for ask in asks], [ask.max_new_tokens for ask in asks], settings, seed))
        self.hold.wait(20)
        if any(ask.prompt == "bad" for ask in asks):
            raise ValueError("bad prompt")
        return [[Candidate(f"{ask.prompt}!", 1)] * ask.count for ask in asks]


def in_threads(calls):
    found = [None] * len(calls)

    def run(place, call):
        try:
            found[place] = call()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    return threads, found


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def busy(fake):
    """A queue whose thread is held by a first job, so that what comes now waits together."""
    fake.hold.clear()
    queue = BatchQueue(fake)
    threads, _ = in_threads([lambda: queue.draw([Ask("first", 1)], Settings(), 0)])
    while not fake.batches:
        time.sleep(0.005)
    yield queue
    fake.hold.set()
    threads[0].join(20)
    assert queue.close()


def together(fake, queue, calls):
    threads, found = in_threads(calls)
    until = time.monotonic() + 20
    while len(queue._waiting) < len(calls):
        assert time.monotonic() < until
        time.sleep(0.005)
    fake.hold.set()
    for thread in threads:
        thread.join(20)
    return found


def test_who_waits_together_is_drawn_together_each_with_its_limit(fake, busy):
    calls = [lambda n=n: busy.draw([Ask(f"q{n}", 2)], Settings(1.0, 1.0, 10 + n), 0) for n in range(3)]
    found = together(fake, busy, calls)
    assert [rows[0][0].text for rows in found] == ["q0!", "q1!", "q2!"]
    assert len(fake.batches) == 2
    prompts, limits, settings, _ = fake.batches[1]
    assert dict(zip(prompts, limits)) == {"q0": 10, "q1": 11, "q2": 12}
    assert settings.max_new_tokens == 12


def test_other_temperatures_seeds_and_too_many_rows_go_apart(fake, busy):
    one = Settings(1.0, 1.0, 10)
    calls = [
        lambda: busy.draw([Ask("a", 6)], one, 0),
        lambda: busy.draw([Ask("b", 6)], one, 0),
        lambda: busy.draw([Ask("c", 1)], Settings(0.5, 1.0, 10), 0),
        lambda: busy.alone.draw([Ask("d", 1)], one, 77),
    ]
    together(fake, busy, calls)
    assert sorted(prompts for prompts, *_ in fake.batches[1:]) == [["a"], ["b"], ["c"], ["d"]]
    assert next(seed for prompts, _, _, seed in fake.batches if prompts == ["d"]) == 77


def test_one_caller_s_fault_is_not_its_neighbour_s(fake, busy):
    calls = [lambda p=p: busy.draw([Ask(p, 1)], Settings(), 0) for p in ("good", "bad", "fine")]
    found = together(fake, busy, calls)
    assert isinstance(found[1], ValueError)
    assert [found[0][0][0].text, found[2][0][0].text] == ["good!", "fine!"]


def test_who_gave_up_is_not_drawn(fake, busy):
    gone = [lambda: busy.draw([Ask("gone", 1, cancelled=lambda: True)], Settings(), 0)]
    found = together(fake, busy, gone)
    assert isinstance(found[0], Cancelled)
    assert len(fake.batches) == 1


def test_closing_gives_up_what_waits(fake):
    queue = BatchQueue(fake)
    assert queue.close()
    with pytest.raises(Cancelled):
        queue.draw([Ask("q", 1)], Settings(), 0)


def test_closing_ends_a_batch_under_way(mini):
    from trl_r1.routing.paths import ModelPaths

    queue = BatchQueue(ModelPaths(*mini))
    queue._base = 0  # of random ones, 11 in 600 end the text with its first token, which nobody hears of
    began = threading.Event()
    ask = Ask("User: Compute ①2 ②9. Assistant:", 1, on_token=lambda *_: began.set())
    threads, found = in_threads([lambda: queue.draw([ask], Settings(1.0, 1.0, 400), 0)])
    assert began.wait(30)
    assert queue.close(30)
    threads[0].join(10)
    assert isinstance(found[0], Cancelled) or found[0][0][0].token_count < 400
