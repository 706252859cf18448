"""The alarms of a run on disk: ``monitor_alarms.jsonl``, one JSON object per alarm (step, name, seen, advice, level)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict, cast

from trl_r1.monitor import hack_alarm as preference
from trl_r1.monitor.alarms import AlarmThresholds, Finding, look
from trl_r1.monitor.signals import History
from trl_r1.storage.files import read_json_lines, replace_file


FILE_NAME = "monitor_alarms.jsonl"


class Alarm(TypedDict):
    """A line of the file."""

    step: int
    name: str
    seen: str
    advice: str
    level: str


def read_alarms(folder: Path) -> list[Alarm]:
    """The monitor's alarms of a run, in the order they were raised."""
    rows = read_json_lines(folder / FILE_NAME)
    return [cast(Alarm, row) for row in rows if Alarm.__required_keys__ <= set(row) and isinstance(row["step"], int)]


def every_alarm(folder: Path) -> list[Alarm]:
    """The same, with those of the preference alarm (``trl_r1.monitor.hack_alarm``) among them, by step."""
    others: list[Alarm] = [
        {
            "step": row["step"],
            "name": "preference_up_rule_down",
            "seen": f"The reward {row['preference']} rose by {row['rise']:.3g}, {row['rule']} fell by {row['fall']:.3g}.",
            "advice": preference.ADVICE,
            "level": "alarm",
        }
        for row in preference.read_alarms(folder)
        if {"preference", "rule", "rise", "fall"} <= set(row)
    ]
    return sorted([*read_alarms(folder), *others], key=lambda row: row["step"])


def record(folder: Path, step: int, findings: Sequence[Finding]) -> list[Alarm]:
    """Adds findings to the file; their rows come back."""
    rows = [cast(Alarm, {"step": step, **asdict(one)}) for one in findings]
    write(folder, [*read_alarms(folder), *rows])
    return rows


def keep_until(folder: Path, step: int) -> None:
    """Drops the alarms of a future that did not happen: those after the step that training starts from (0: all)."""
    if (folder / FILE_NAME).is_file():
        write(folder, [row for row in read_alarms(folder) if 0 < row["step"] <= step])


def judged_again(rows: Sequence[Alarm], history: History, limits: AlarmThresholds) -> tuple[list[Alarm], list[Alarm]]:
    """Alarms that the end of a run bears out, and those that it has disproved; each in the order they were raised."""
    standing = {finding.name for finding in look(history, limits)}
    return [row for row in rows if row["name"] in standing], [row for row in rows if row["name"] not in standing]


def write(folder: Path, rows: Sequence[Alarm]) -> None:
    replace_file(folder / FILE_NAME, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def passed_sentence(row: Alarm) -> str:
    """An alarm that did not last, in one line without its advice."""
    seen = row["seen"]
    return (
        f"Passed: {row['name']} was raised at step {row['step']} ({seen.rstrip('.')}); at the end it no longer holds."
    )


def sentence(row: Alarm) -> str:
    """An alarm in one line."""
    return f"{str(row['level']).upper()} at step {row['step']}, {row['name']}: {row['seen']} {row['advice']}"
