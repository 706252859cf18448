import pytest

from trl_r1.grpo.schedules import ENTROPY_SCHEDULES


def at(name, step, total=100, start=0.1, end=0.0, every=10_000, decrement=0.01):
    return ENTROPY_SCHEDULES[name](step, total, start, end, every, decrement)


def test_the_staircase_of_the_second_source():
    # 0.1, minus 0.01 every 10,000 steps, floor 0
    steps = [0, 9_999, 10_000, 20_000, 99_999, 100_000, 1_000_000]
    assert [at("step", step) for step in steps] == pytest.approx([0.1, 0.1, 0.09, 0.08, 0.01, 0.0, 0.0])
    assert at("step", 90_000, end=0.05) == 0.05


def test_linear_and_cosine_meet_at_both_ends_and_in_the_middle():
    for name in ("linear", "cosine"):
        assert [at(name, step, end=0.02) for step in (0, 50, 100, 200)] == pytest.approx([0.1, 0.06, 0.02, 0.02])
    assert at("cosine", 25) == pytest.approx(0.1 * (1 + 2**-0.5) / 2)  # cos 45 degrees


def test_constant_is_trls():
    assert at("constant", 12345) == 0.1
