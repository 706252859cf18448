"""The log is what happened: each step once, after a resume and after a kill in the middle of a line."""

import json
import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from transformers import TrainerState

from trl_r1.evaluation.curves import read_metrics
from trl_r1.evaluation.metrics_log import MetricsLog


def state(step, main=True):
    return TrainerState(global_step=step, is_world_process_zero=main)


def steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def log_steps(log, start, stop, **extra):
    for step in range(start + 1, stop + 1):
        log.on_log(None, state(step), None, logs={"reward": step / 10, **extra})


def test_every_line_is_one_json_object_without_nan(tmp_path):
    log = MetricsLog(tmp_path / "run")
    logs = {
        "reward": 0.5,
        "kl": math.nan,
        "loss": -math.inf,
        "numpy": np.float32(1.5),
        "tensor": torch.tensor(2),
        "tensor_nan": torch.tensor(math.nan),
        "text": "中",
        "list": [1.0, math.nan],
        "object": object,
    }
    log.on_log(None, state(3), None, logs=logs)
    [row] = [
        json.loads(line, parse_constant=pytest.fail) for line in log.path.read_text(encoding="utf-8").splitlines()
    ]
    expected = {"step": 3, "reward": 0.5, "kl": None, "loss": None, "numpy": 1.5, "tensor": 2, "tensor_nan": None}
    assert {key: row[key] for key in expected} == expected
    assert (row["text"], row["list"]) == ("中", [1.0, None])


def test_only_the_main_process_writes(tmp_path):
    log = MetricsLog(tmp_path)
    log.on_log(None, state(1, main=False), None, logs={"reward": 1.0})
    log.on_log(None, state(1), None, logs=None)
    assert not log.path.exists()
    log_steps(log, 0, 2)
    before = log.path.read_bytes()
    log.on_train_begin(None, state(1, main=False), None)
    assert log.path.read_bytes() == before


def test_a_resume_drops_the_steps_after_the_checkpoint(tmp_path):
    log_steps(MetricsLog(tmp_path), 0, 7)
    log = MetricsLog(tmp_path)
    log.on_train_begin(None, state(4), None)
    assert steps(log.path) == [1, 2, 3, 4]
    log_steps(log, 4, 6)
    assert steps(log.path) == [1, 2, 3, 4, 5, 6]


def test_a_start_from_zero_moves_an_earlier_log_aside(tmp_path):
    log_steps(MetricsLog(tmp_path), 0, 3)
    log = MetricsLog(tmp_path)
    log.on_log(None, state(0), None, logs={"heldout/pass@1": 0.1})  # measured before training begins
    log.on_train_begin(None, state(0), None)
    log_steps(log, 0, 1)
    assert steps(log.path) == [0, 1]
    assert steps(tmp_path / "metrics.previous.jsonl")[:3] == [1, 2, 3]
    MetricsLog(tmp_path).on_train_begin(None, state(0), None)
    assert steps(tmp_path / "metrics.previous-2.jsonl") == [0, 1]


def test_a_half_written_line_is_dropped_at_the_resume(tmp_path):
    log = MetricsLog(tmp_path)
    log_steps(log, 0, 3)
    with open(log.path, "a") as file:
        file.write('{"step": 4, "rew')
    log.on_train_begin(None, state(3), None)
    log_steps(log, 3, 4)
    assert steps(log.path) == [1, 2, 3, 4]


def test_a_half_written_line_costs_only_itself_without_a_resume(tmp_path):
    log = MetricsLog(tmp_path)
    log_steps(log, 0, 2)
    with open(log.path, "ab") as file:
        file.write(b'{"step": 3, "text": "\xe4\xb8')  # in the middle of a character
    log_steps(log, 3, 4)
    assert [row["step"] for row in read_metrics(log.path)] == [1, 2, 4]


def write_forever(folder, ready):
    log = MetricsLog(folder)
    step = 0
    while True:
        step += 1
        log.on_log(None, state(step), None, logs={"text": "x" * 20_000})
        ready.set()


def test_kill_9_leaves_a_log_that_resumes(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=write_forever, args=(tmp_path, ready))
    process.start()
    assert ready.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    log = MetricsLog(tmp_path)
    written = [row["step"] for row in read_metrics(log.path)]
    assert written == list(range(1, len(written) + 1))
    log.on_train_begin(None, state(1), None)
    log_steps(log, 1, 2)
    assert steps(log.path) == [1, 2]
