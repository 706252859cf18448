"""Sampling and evaluation on a Ray cluster of two workers on this machine: the same texts, also when a worker is killed."""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time

import psutil
import pytest
import yaml


ray = pytest.importorskip("ray", reason='Ray is not installed: pip install "trl-r1[ray]"')

from trl_r1.models.cluster import Cluster, connected, scatter  # noqa: E402
from trl_r1.models.engines import EngineError  # noqa: E402
from trl_r1.stages import evaluate, rejection_sampling  # noqa: E402


pytestmark = pytest.mark.slow  # starting a cluster takes ten seconds, and two workers that import torch as much again
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test module
ROWS = 24


@pytest.fixture(scope="module")
def cluster():
    """A local cluster with two cores, which every test here uses as it is; sockets need a short path."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    os.environ["RAY_TMPDIR"] = folder
    try:
        with connected(Cluster(2)):
            yield Cluster(2, restarts=1)
    finally:
        del os.environ["RAY_TMPDIR"]
        logging.getLogger("ray.data").setLevel(logging.NOTSET)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def recipe(tiny, tmp_path):
    """`recipe(folder, **changes)` writes a small valid YAML and returns its path."""
    rows = [{"question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en"} for i in range(ROWS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(folder, **changes):
        content = {
            "model_name_or_path": tiny, "dtype": "float32", "use_cpu": True, "disable_tqdm": True, "template": "mini",
            "dataset_name": str(tmp_path / "rows.jsonl"), "language_column": "language", "samples_per_prompt": 4,
            "max_new_tokens": 64, "unit_prompts": 2, "filters": ["answered"], "output_dir": str(tmp_path / folder),
            **changes,
        }  # fmt: skip
        path = tmp_path / f"{folder}.yaml"
        path.write_text(yaml.safe_dump(content))
        return ["--config", str(path)]

    return write


def start(greeting):
    """What a worker does with a job that names what shall happen."""
    if greeting == "no model":
        raise ValueError("There is no such model.")

    def work(job):
        if job == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "half a character":
            return "\ud83d"
        if job == "bug":
            raise KeyError("a bug in the job")
        return f"{greeting} {job}"

    return work


def hello():
    return start("hello")


def hopeless():
    return start("no model")


def test_every_job_is_done_once_whatever_it_returns(cluster):
    jobs = ["a", "half a character", "c", "d", "e"]
    found = list(scatter(cluster, jobs, hello))
    assert sorted(number for number, _, _ in found) == [0, 1, 2, 3, 4]
    assert {number: value for number, value, _ in found} == {
        0: "hello a", 1: "\ud83d", 2: "hello c", 3: "hello d", 4: "hello e",
    }  # fmt: skip
    assert list(scatter(cluster, [], hello)) == []


def test_a_worker_that_cannot_start_or_dies_for_ever_is_one_sentence_and_a_bug_keeps_its_name(cluster):
    with pytest.raises(EngineError, match=r"cannot start: There is no such model\."):
        list(scatter(cluster, ["a"], hopeless))
    with pytest.raises(EngineError, match="died more than 1 times"):
        list(scatter(cluster, ["die"], hello))
    with pytest.raises(Exception, match="a bug in the job"):
        list(scatter(cluster, ["bug"], hello))
    with pytest.raises(EngineError, match="has 2 CPU, and 9 workers of 1 need 9; lower ray_workers"):
        list(scatter(Cluster(9), ["a"], hello))


def workers() -> list[psutil.Process]:
    """The actors of Ray Data among this process's own descendants."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:  # it ended between the two looks
            continue
    return found


def kill_one(folder, seen: dict) -> None:
    """As soon as a shard is finished, kills a worker with SIGKILL; notes who was there and how much was done."""
    ends = time.monotonic() + 300
    while time.monotonic() < ends and not seen.get("over"):
        there = workers()
        seen["pids"] = seen.get("pids", set()) | {process.pid for process in there}
        done = len(list((folder / "samples").glob("*.jsonl")))
        if done and len(there) == 2 and "killed" not in seen:
            seen["killed"], seen["done"] = there[0].pid, done
            there[0].kill()
        time.sleep(0.02)


def shards(folder) -> dict[str, bytes]:
    """The rows of every shard, without its first line, which holds seconds."""
    return {
        str(path.relative_to(folder)): path.read_bytes().partition(b"\n")[2]
        for path in sorted(folder.glob("*/*.jsonl"))
    }


def test_two_workers_keep_what_one_process_keeps_also_when_one_is_killed(cluster, recipe, tmp_path):
    rejection_sampling.main(recipe("alone"))
    wanted, kept = shards(tmp_path / "alone"), (tmp_path / "alone" / "kept.jsonl").read_bytes()
    assert len(wanted) == 2 * ROWS // 2  # samples/ and judged/
    assert kept.count(b"\n") > ROWS  # most of the 96 samples are different texts

    seen: dict = {}
    killer = threading.Thread(target=kill_one, args=(tmp_path / "pool", seen))
    killer.start()
    try:
        rejection_sampling.main(recipe("pool", ray_workers=2))
    finally:
        seen["over"] = True
        killer.join()
    assert 1 <= seen["done"] < ROWS // 2, "the worker was killed in the middle"
    assert len(seen["pids"]) >= 3, "another one took its place"
    assert not psutil.pid_exists(seen["killed"])
    assert shards(tmp_path / "pool") == wanted
    assert (tmp_path / "pool" / "kept.jsonl").read_bytes() == kept

    # begun on a cluster, finished without one
    for name in ("summary.json", "kept.jsonl", "samples/00003.jsonl", "judged/00003.jsonl"):
        (tmp_path / "pool" / name).unlink()
    rejection_sampling.main(recipe("pool"))
    assert shards(tmp_path / "pool") == wanted
    assert (tmp_path / "pool" / "kept.jsonl").read_bytes() == kept


def test_an_evaluation_on_two_workers_is_that_of_one_process(cluster, tiny, tmp_path):
    rows = [{"question": f"Compute {i} + 1.", "solution": str(i + 1), "language": "en"} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = str(tmp_path / "rows.jsonl")
    datasets = [{"name": path, "label": "four", "problems": 4}, {"name": path, "label": "all", "samples": 3}]
    found = {}
    for name, more in (("alone", ()), ("pool", ("--ray_workers", "2"))):
        options = {
            "model_name_or_path": tiny, "dtype": "float32", "use_cpu": "true", "template": "mini", "samples": "2",
            "datasets": json.dumps(datasets), "max_tokens": "8", "chunk_problems": "2",
            "disable_tqdm": "true", "output_dir": str(tmp_path / name),
        }  # fmt: skip
        evaluate.main([*(part for key, value in options.items() for part in (f"--{key}", value)), *more])
        found[name] = {
            part: json.loads((tmp_path / name / part).read_text())["problems"] for part in ("four.json", "all.json")
        }
    shape = {name: (len(problems), len(problems[0]["texts"])) for name, problems in found["alone"].items()}
    assert shape == {"four.json": (4, 2), "all.json": (6, 3)}
    assert found["pool"] == found["alone"]
    assert not (tmp_path / "pool" / "chunks").exists()
