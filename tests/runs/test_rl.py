"""What the act behind the reinforcement-learning stages says at a run's end."""

from types import SimpleNamespace

from trl_r1.monitor.alarms import AlarmThresholds, look
from trl_r1.monitor.record import record
from trl_r1.monitor.signals import History
from trl_r1.runs.rl import alarm_notes


def quiet_policy(reward_name):
    """Forty lines whose entropy falls to a tenth, with a reward that does not say what is right."""
    return [
        {
            "step": step,
            "loss": 0.0,
            "reward": 0.3,
            f"rewards/{reward_name}/mean": 0.3,
            "entropy": 0.7 if step < 20 else 0.07,
        }
        for step in range(1, 41)
    ]


def run(folder, before, after):
    evaluations = {"before": {"pass@1": before}, "after": {"pass@1": after}}
    return SimpleNamespace(folder=folder, steps=40, **evaluations)


def test_a_run_that_went_from_52_to_96_percent_has_no_bold_alarm(tmp_path):
    log = quiet_policy("my_own")
    [finding] = look(History.of(log), AlarmThresholds())
    record(tmp_path, 24, [finding])
    [good] = alarm_notes(run(tmp_path, 0.52, 0.96), log, AlarmThresholds())
    assert good.startswith("Passed: entropy_collapse was raised at step 24")
    [bad] = alarm_notes(run(tmp_path, 0.52, 0.55), log, AlarmThresholds())
    assert bad.startswith("**ALARM at step 24, entropy_collapse")
    unmeasured = SimpleNamespace(folder=tmp_path, steps=40, before=None, after=None)
    assert alarm_notes(unmeasured, log, AlarmThresholds()) == [bad]
