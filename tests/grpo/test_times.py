"""Seconds by part: nested parts add up to the whole, and the metrics say where a step's time went."""

import pytest

from trl_r1.grpo import times
from trl_r1.grpo.times import NestedClock


def test_a_part_inside_another_is_taken_off_it(monkeypatch):
    now = iter([0.0, 1.0, 4.0, 9.0, 10.0, 12.0])
    monkeypatch.setattr(times.time, "perf_counter", lambda: next(now))
    clock = NestedClock()
    with clock.part("backward"):  # 0
        with clock.part("loss"):  # 1
            assert clock.within("backward")
        with clock.part("logps"):  # 4, 9
            pass  # 10
    assert clock.drained() == {"backward": 1.0 + 5.0 + 2.0, "loss": 3.0, "logps": 1.0}
    assert clock.drained() == {}


@pytest.mark.parametrize("rollout", ["trl", "fast"])
def test_the_parts_of_a_step_are_logged_and_add_up(rollout, ours):
    trace = ours(rollout=rollout, beta=0.1, max_steps=2)
    for line in trace["lines"]:
        parts = {key: value for key, value in line.items() if key.startswith("seconds/")}
        names = ("generation", "rewards", "logps", "loss", "backward", "optimizer", "preparation")
        assert set(parts) == {f"seconds/{name}" for name in names}
        assert all(value > 0.0 for value in parts.values())
        assert sum(parts.values()) - parts["seconds/optimizer"] == pytest.approx(line["step_time"], rel=0.1, abs=0.02)


def test_an_evaluation_is_no_part_of_a_step(tiny, tmp_path):
    from small_trainer import make

    trainer = make(tiny, tmp_path / "run", per_device_eval_batch_size=4)
    trainer.evaluate(trainer.train_dataset.select(range(2)))
    assert trainer._clock.drained() == {}
