"""Alarm: the preference reward rises while the rule reward falls, the sign that a reward model is being played.

Source  DeepSeek-R1, arXiv:2501.12948v2, B.5, Fig. 6: the helpful reward goes up while Codeforces goes down, the reason
        why preference rewards run in the last 400 steps only. The test and its numbers are ours.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from trl_r1.storage.files import read_json_lines, replace_file
from trl_r1.text.records import Row


logger = logging.getLogger(__name__)

FILE_NAME = "alarms.jsonl"
METRIC = "alarm/preference_up_rule_down"
ADVICE = "The reward model is probably being played: use an earlier checkpoint, fewer steps, or a lower weight."


@dataclass(frozen=True)
class Divergence:
    """What two series did between the halves of a window, in reward points."""

    rise: float  # of the preference reward
    fall: float  # of the rule reward


def find_divergence(
    preference: Sequence[float], rule: Sequence[float], errors: float = 2.0, least_fall: float = 0.02
) -> Divergence | None:
    """Whether, from the first half of a window to the second, one rose and the other fell beyond chance.

    Args:
        preference, rule: (W,) means per logged step, the same steps; W at least 4, of an odd one the middle is left out.
        errors: how many standard errors of the difference of two means count as beyond chance.
        least_fall: points of the rule reward below which a fall is none.

    >>> find_divergence([0, 1, 4, 5], [9, 8, 2, 1])
    Divergence(rise=4.0, fall=7.0)
    """
    half = len(preference) // 2
    if half < 2:
        return None
    rise, rise_error = difference(preference[:half], preference[-half:])
    change, fall_error = difference(rule[:half], rule[-half:])
    if rise > errors * rise_error and -change > max(errors * fall_error, least_fall):
        return Divergence(rise, -change)
    return None


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Mean of the second minus mean of the first, and its standard error (unequal variances)."""
    means = [sum(part) / len(part) for part in (first, second)]
    squares = [
        sum((value - mean) ** 2 for value in part) / (len(part) - 1) / len(part)
        for part, mean in zip((first, second), means, strict=True)
    ]
    return means[1] - means[0], math.sqrt(sum(squares))


@dataclass
class HackAlarm(TrainerCallback):
    """Watches the logged rewards; an alarm is warned of, written to ``alarms.jsonl``, logged, and told in the report.

    A line counts when it has both numbers, so the window fills only where the preference reward is active. After an
    alarm the window starts anew: the next one needs fresh evidence. A resumed run refills it from the trainer's history.
    The metric ``alarm/preference_up_rule_down`` (1 or 0) appears one line after the line it is about.
    """

    trainer: Any
    folder: Path
    preferences: Sequence[str] = ("helpfulness", "harmlessness")  # names of rewards
    rules: Sequence[str] = ("accuracy",)
    window: int = 40  # logged steps
    errors: float = 2.0
    least_fall: float = 0.02
    stop: bool = False  # end training at the first alarm
    seen: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)
    watched: int = 0  # logged steps with a preference reward

    def __post_init__(self) -> None:
        if self.window < 4:
            raise ValueError(f"alarm_window={self.window}: at least 4 logged steps, two for each half.")

    def on_train_begin(self, args, state, control, **kwargs):
        rows = [row for row in read_alarms(self.folder) if row["step"] <= state.global_step]
        if state.is_world_process_zero and (self.folder / FILE_NAME).is_file():
            replace_file(self.folder / FILE_NAME, "".join(json.dumps(row) + "\n" for row in rows))
        self.seen, self.watched = {}, 0
        known_alarms = {(row["step"], row["preference"], row["rule"]) for row in rows}
        for line in state.log_history:
            for pair in self.take(line):
                if (line.get("step"), *pair) in known_alarms:
                    self.seen[pair] = []

    def take(self, logs: Row) -> list[tuple[str, str]]:
        """Adds a line's numbers to the windows; the pairs that got one."""
        got = []
        for preference in self.preferences:
            for rule in self.rules:
                values = [logs.get(f"rewards/{name}/mean") for name in (preference, rule)]
                if all(isinstance(value, int | float) and math.isfinite(value) for value in values):
                    window = self.seen.setdefault((preference, rule), [])
                    window.append((float(values[0]), float(values[1])))  # type: ignore[arg-type]
                    del window[: -self.window]
                    got.append((preference, rule))
        self.watched += bool(got)
        return got

    def on_log(self, args, state, control, logs=None, **kwargs):
        raised = False
        for preference, rule in self.take(logs or {}):
            window = self.seen[preference, rule]
            if len(window) < self.window:
                continue
            divergence = find_divergence([a for a, _ in window], [b for _, b in window], self.errors, self.least_fall)
            if divergence is None:
                continue
            raised = True
            self.seen[preference, rule] = []
            if state.is_world_process_zero:
                row = {"step": state.global_step, "preference": preference, "rule": rule, **asdict(divergence)}
                rows = [*read_alarms(self.folder), row]
                replace_file(self.folder / FILE_NAME, "".join(json.dumps(one) + "\n" for one in rows))
                logger.warning("%s", sentence(row, self.window))
            control.should_training_stop = control.should_training_stop or self.stop
        if self.watched and self.trainer is not None:
            self.trainer._metrics["train"][METRIC].append(float(raised))


def read_alarms(folder: Path) -> list[Row]:
    """The alarms of a run, by step."""
    return [row for row in read_json_lines(Path(folder) / FILE_NAME) if isinstance(row.get("step"), int)]


def sentence(row: Row, window: int) -> str:
    """
    >>> sentence({"step": 90, "preference": "helpfulness", "rule": "accuracy", "rise": 0.5, "fall": 0.25}, 40)
    'ALARM at step 90: over 40 logged steps the reward helpfulness rose by 0.5 while accuracy fell by 0.25.'
    """
    return (
        f"ALARM at step {row['step']}: over {window} logged steps the reward {row['preference']} rose by "
        f"{row['rise']:.3g} while {row['rule']} fell by {row['fall']:.3g}."
    )


def notes(alarm: HackAlarm) -> list[str]:
    """What the report says."""
    rows = read_alarms(alarm.folder)
    if not rows:
        return [
            f"No alarm: in {alarm.watched} logged steps with a preference reward, none rose while "
            f"{' or '.join(alarm.rules)} fell (windows of {alarm.window})."
        ]
    log = getattr(getattr(alarm.trainer, "state", None), "log_history", [])
    standing = [row for row in rows if not came_back(row, log, alarm.window)]
    passed = [
        f"Passed: {sentence(row, alarm.window)} At the end {row['rule']} is not below what it was before."
        for row in rows
        if row not in standing
    ]
    return [*(f"**{sentence(row, alarm.window)}**" for row in standing), *([ADVICE] if standing else []), *passed]


def came_back(row: Row, log: Sequence[Row], window: int) -> bool:
    """Whether the rule reward of an alarm ends no lower than it stood in the first half of the alarm's window.

    Args:
        log: all lines of the run.
    """
    key = f"rewards/{row['rule']}/mean"
    values = [(line["step"], line[key]) for line in log if isinstance(line.get(key), int | float) and "step" in line]
    until = [value for step, value in values if step <= row["step"]][-window:]
    after = [value for step, value in values if step > row["step"]][-(window // 2) :]
    before = until[: window // 2]
    return bool(before) and len(after) == window // 2 and sum(after) / len(after) >= sum(before) / len(before)
