"""Each alarm sounds on the failure it is named after, and on nothing that a healthy run does."""

import math

import pytest

from trl_r1.monitor.alarms import ALARMS, AlarmThresholds, look
from trl_r1.monitor.signals import History


def lines(count=30, **metrics):
    """Log lines; each metric a function of t in [0, 1], or a constant."""
    rows = []
    for step in range(1, count + 1):
        t = (step - 1) / (count - 1)
        rows.append({"step": step, "loss": 0.0, **{k: v(t) if callable(v) else v for k, v in metrics.items()}})
    return rows


def metrics(**changes):
    """A run that stands still, with changes."""
    names = {
        "accuracy": "rewards/accuracy/mean", "format": "rewards/format/mean", "length": "completions/mean_length",
        "clipped": "completions/clipped_ratio", "dead": "frac_reward_zero_std", "held_out": "heldout/pass@1",
        "language": "monitor/language", "drift": "monitor/drift",
    }  # fmt: skip
    still = {
        "reward": 0.3,
        "entropy": 0.7,
        "length": 20.0,
        "clipped": 0.0,
        "dead": 0.1,
        "accuracy": 0.1,
        "format": 0.2,
    }
    return {names.get(key, key): value for key, value in {**still, **changes}.items()}


def names(rows, **limits):
    return {found.name for found in look(History.of(rows), AlarmThresholds(**limits))}


def test_a_run_that_stands_still_raises_nothing_but_that_it_converged():
    assert names(lines(30, **metrics())) == set()
    assert names(lines(100, **metrics())) == {"converged"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rollout_copy/mismatch": 0.3}, "its tokens are 0.30 nats from the policy's."),
        ({"rollout_copy/effective_samples": 0.2}, "20% of the samples are effective."),
        ({"rollout_copy/capped": 0.4}, "40% of the ratios are outside the limits."),
        ({"rollout_copy/mismatch": 0.03, "rollout_copy/effective_samples": 0.9, "rollout_copy/capped": 0.01}, None),
    ],
)
def test_a_copy_that_drifts_away_is_told(changes, said):
    found = [
        one for one in look(History.of(lines(10, **metrics(**changes))), AlarmThresholds()) if one.name == "copy_drift"
    ]
    assert [one.seen.endswith(said) for one in found] == ([] if said is None else [True])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("entropy_collapse", {"entropy": lambda t: 0.7 * (1 - t) + 0.05}),
        ("entropy_explosion", {"entropy": lambda t: 0.7 + 2 * t}),
        ("length_explosion", {"length": lambda t: 20 + 40 * t}),
        ("length_explosion", {"clipped": lambda t: 0.8 * t}),
        ("kl_runaway", {"kl": lambda t: 0.01 + 2 * t}),
        ("kl_runaway", {"drift": lambda t: 3 * t}),
    ],
)
def test_what_is_a_failure_alone_is_none_when_right_answers_become_more(name, changes):
    assert names(lines(30, **metrics(**changes))) == {name}
    assert names(lines(30, **metrics(**changes, accuracy=lambda t: 0.1 + 0.5 * t))) == set()
    excused = names(lines(30, **metrics(**changes, held_out=lambda t: 0.1 + 0.5 * t)))
    assert (name in excused) == (name == "length_explosion")  # which both measures have to excuse
    falling = names(lines(30, **metrics(**changes, accuracy=lambda t: 0.3 - 0.3 * t)))
    assert name in falling


def test_some_distance_is_a_runaway_only_while_right_answers_become_fewer():
    some = {"kl": lambda t: 0.01 + 0.6 * t}
    assert names(lines(30, **metrics(**some))) == set()
    assert names(lines(30, **metrics(**some, accuracy=lambda t: 0.3 - 0.1 * t))) == {"kl_runaway"}


def test_one_line_in_which_nothing_was_right_makes_no_runaway():
    rows = lines(30, **metrics(accuracy=0.5, kl=lambda t: 0.01 + 0.5 * t))
    rows[-1]["rewards/accuracy/mean"] = 0.0
    assert names(rows) == set()
    rows[-2]["rewards/accuracy/mean"] = rows[-3]["rewards/accuracy/mean"] = 0.0
    assert names(rows) == {"kl_runaway"}


def test_a_solved_task_leaves_a_quiet_policy_alone():
    quiet = metrics(entropy=lambda t: 0.7 * (1 - t) + 0.01, accuracy=0.95)
    assert "entropy_collapse" not in names(lines(30, **quiet))


def test_without_any_measure_of_right_answers_the_reward_stands_in_for_them():
    rows = lines(30, reward=0.3, entropy=lambda t: 0.7 * (1 - t) + 0.01)
    assert names(rows) == {"entropy_collapse"}
    assert names(lines(30, reward=lambda t: t, entropy=lambda t: 0.7 * (1 - t) + 0.01)) == set()
    assert names(lines(30, entropy=lambda t: 0.7 * (1 - t) + 0.01)) == set()  # a log that says nothing at all


def test_reward_up_and_held_out_down():
    rows = lines(30, **metrics(reward=lambda t: 0.3 + t))
    for step, value in ((5, 0.40), (10, 0.42), (20, 0.30)):
        rows[step - 1]["heldout/pass@1"] = value
    assert "reward_without_accuracy" not in names(rows[:10])
    assert "reward_without_accuracy" in names(rows[:20])  # 0.42 to 0.30 is more than 0.08
    assert "reward_without_accuracy" not in names(rows[:20], fall=0.125)
    still = [{**row, "reward": 0.3} for row in rows]
    assert "reward_without_accuracy" not in names(still)


def test_format_only():
    learnt = metrics(format=lambda t: min(1.0, 0.1 + 8 * t))
    assert "format_only" in names(lines(40, **learnt))
    assert "format_only" not in names(lines(20, **learnt))  # the format is too young to say so
    assert names(lines(40, **learnt, **{"heldout/pass@1": lambda t: 0.2 + 0.5 * t})) == set()
    slow = metrics(format=lambda t: min(1.0, 0.1 + 8 * t), accuracy=lambda t: 0.1 + max(0, t - 0.5) * 0.4)
    assert names(lines(40, **slow)) == set()  # accuracy has begun to move


def test_no_signal_tells_too_easy_from_too_hard():
    easy = [
        f
        for f in look(History.of(lines(20, **metrics(dead=0.97, accuracy=0.97))), AlarmThresholds())
        if f.name == "no_signal"
    ]
    hard = [
        f
        for f in look(History.of(lines(20, **metrics(dead=0.97, accuracy=0.0))), AlarmThresholds())
        if f.name == "no_signal"
    ]
    assert (easy[0].level, hard[0].level) == ("notice", "alarm")
    assert "too easy" in easy[0].advice
    assert "too hard" in hard[0].advice


def test_no_signal_tells_groups_that_nobody_could_grade():
    ungraded = lines(20, **metrics(dead=0.05), frac_reward_ungraded=0.9)
    assert [f.seen[:45] for f in look(History.of(ungraded), AlarmThresholds())] == [
        "90% of the groups could not be graded by any "
    ]
    assert names(lines(20, **metrics(dead=0.05), frac_reward_ungraded=0.8)) == set()
    mixed = look(History.of(lines(20, **metrics(dead=0.6), frac_reward_ungraded=0.4)), AlarmThresholds())
    assert mixed[0].seen.startswith("60% of the groups have the same reward")


def test_language_mixing_is_a_notice():
    found = look(History.of(lines(30, **metrics(language=lambda t: 1 - 0.5 * t))), AlarmThresholds())
    assert [(one.name, one.level) for one in found] == [("language_mixing", "notice")]


def test_the_shape_of_a_healthy_miniature_run_is_silent():
    """As measured on mini/zero, seed 1: entropy .84 to .15, length 13 to 24, accuracy .04 to .85, held out .44 to .98."""

    def s(t):
        return 1 / (1 + math.exp(-10 * (t - 0.33)))

    rows = lines(
        140,
        **metrics(
            entropy=lambda t: 0.15 + 0.69 * (1 - s(t)), length=lambda t: 13 + 10.5 * min(1, 6 * t),
            accuracy=lambda t: 0.85 * s(t), format=lambda t: 0.16 + 0.83 * min(1, 4 * t), reward=lambda t: 0.2 + 1.6 * s(t),
            dead=lambda t: 0.4 * t, drift=lambda t: 2 * t,
        ),
    )  # fmt: skip
    for step in range(10, 141, 10):
        rows[step - 1]["heldout/pass@1"] = 0.3 + 0.68 * s(step / 140)
    history = History()
    for row in rows:
        history.add(row["step"], row)
        assert [one.name for one in look(history, AlarmThresholds()) if one.level == "alarm"] == [], row["step"]


def test_every_alarm_says_what_to_do():
    assert len(ALARMS) == 10
    rows = lines(80, **metrics(entropy=lambda t: 0.7 * (1 - t), length=lambda t: 20 + 60 * t, kl=lambda t: 3 * t))
    for found in look(History.of(rows), AlarmThresholds()):
        assert found.seen.endswith(".")
        assert found.advice.endswith(".")
        assert found.name in ALARMS
