"""A pipeline of processes: beside each other, killed, resumed, failed, changed. All stages are fakes that really run."""

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from trl_r1 import errors
from trl_r1.pipeline.orders import log_path
from trl_r1.pipeline.plan import read
from trl_r1.pipeline.run import Run
from trl_r1.pipeline.supervisor import marked


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
CHAIN = [
    {"name": "first"},
    {"name": "second", "options": {"source": "{first}/kept.jsonl", "rows": 9}},
    {"name": "beside", "options": {"rows": 8}},
    {"name": "third", "options": {"source": "{second}/kept.jsonl"}, "after": ["beside"]},
]


def finish(process, expected=0):
    out, err = process.communicate(timeout=60)
    assert process.returncode == expected, out + err
    return out + err


def contents(folder):
    return {path.parent.name: path.read_text() for path in sorted(Path(folder).glob("*/kept.jsonl"))}


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_whole_run_then_nothing_left_to_do(toy, start, tmp_path):
    file = toy(CHAIN)
    said = finish(start(file))
    assert "third finished" in said
    assert "All 4 stages are finished" in said
    record = json.loads((tmp_path / "out/pipeline.json").read_text())
    assert record["stages"]["second"]["inputs"]["first"] == {
        "kept.jsonl": record["stages"]["first"]["products"]["kept.jsonl"]["sha256"]
    }
    assert [record["stages"][name]["starts"] for name in ("first", "second", "beside", "third")] == [1, 1, 1, 1]
    assert record["versions"]["trl"]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["stages"]["second"]["after"]["pass@1"] == 0.9
    report = (tmp_path / "out/report.md").read_text()
    assert re.search(r"\| second \| \d:\d\d \| 10.0 % → 90.0 % \|", report)
    assert (tmp_path / "out/pass_at_1.png").read_bytes().startswith(b"\x89PNG")
    assert (
        (tmp_path / "out/logs/first.log")
        .read_text()
        .startswith("=== start 1 of first: accelerate launch -m fakes.count")
    )
    before = contents(tmp_path / "out")
    assert "Finished already: first, second, beside, third." in finish(start(file))
    assert contents(tmp_path / "out") == before


def test_independent_stages_run_beside_each_other(toy, start, tmp_path):
    file = toy([{"name": name, "options": {"pause": 0.2}} for name in ("a", "b", "c")])
    process = start(file)
    until(lambda: (tmp_path / "out/a/kept.jsonl").is_file() and (tmp_path / "out/b/kept.jsonl").is_file())
    assert not (tmp_path / "out/a/summary.json").exists()
    assert not (tmp_path / "out/c").exists()  # max_parallel is 2
    finish(process)
    times = {name: (tmp_path / f"out/{name}/summary.json").stat().st_mtime for name in "abc"}
    assert times["c"] > max(times["a"], times["b"])


def test_a_dry_run_writes_nothing_and_says_what_would_run(toy, start, tmp_path):
    file = toy(CHAIN)
    said = finish(start(file, "--dry-run"))
    assert "third: runs after beside, second" in said
    assert "accelerate launch -m fakes.count --config out/configs/third.yaml" in said
    assert "count.yaml with source='out/first/kept.jsonl', rows=9" in said
    assert not (tmp_path / "out").exists()
    finish(start(file, "--until", "first"))
    assert not (tmp_path / "out/summary.json").exists()  # the others are still to come
    said = finish(start(file, "--dry-run"))
    assert "first: finished" in said
    assert "second: runs after first" in said


def test_one_failure_is_told_with_its_log_and_stops_only_what_rests_on_it(toy, start, tmp_path):
    stages = [
        {"name": "bad", "options": {"fail": "the disk is full"}},
        {"name": "rests", "after": ["bad"]},
        {"name": "good", "options": {"pause": 0.05}},
        {"name": "later", "after": ["good"]},
    ]
    said = finish(start(toy(stages)), expected=1)
    assert f"bad failed: trl-r1 count: the disk is full. Its log: {Path('out/logs/bad.log')}" in said
    assert "    | a line before\n" in said
    assert "1 of 4 stages failed: bad. Not started, because they rest on them: rests." in said
    assert (tmp_path / "out/later/summary.json").is_file()
    assert not (tmp_path / "out/summary.json").exists()
    status = finish(start("status", "toy.yaml"))
    assert "bad                  failed" in status
    assert "rests                waiting             for bad" in status
    stages[0]["options"] = {"forget": True}
    said = finish(start(toy(stages)), expected=1)
    assert "bad had failed and is asked for otherwise now, so it starts anew" in said
    assert "it ended without leaving out/bad/summary.json" in said
    stages[0]["options"] = {}
    assert "All 4 stages are finished" in finish(start(toy(stages)))
    assert len(list((tmp_path / "out/previous").iterdir())) == 2


def test_a_changed_option_of_a_finished_stage_is_told_and_run_again_only_on_request(toy, start, tmp_path):
    finish(start(toy(CHAIN)))
    before = contents(tmp_path / "out")
    changed = [dict(CHAIN[0], options={"rows": 7}), *CHAIN[1:]]
    said = finish(start(toy(changed)), expected=2)
    assert "first ran with rows=6 and rows=7 is asked for now. What rests on it: second, third." in said
    assert "--redo first` runs first, second, third again" in said
    assert contents(tmp_path / "out") == before
    assert "first: changed" in finish(start("toy.yaml", "--dry-run"))
    assert "second: rests on a change" in finish(start("toy.yaml", "--dry-run"))
    finish(start("toy.yaml", "--redo", "first"))
    after = contents(tmp_path / "out")
    assert after["beside"] == before["beside"]
    assert all(after[name] != before[name] for name in ("first", "second", "third"))
    assert (tmp_path / "out/previous/1/second/kept.jsonl").read_text() == before["second"]
    assert "All 4 stages" in finish(start("toy.yaml"))


def test_a_product_changed_by_hand_is_noticed(toy, start, tmp_path):
    file = toy(CHAIN)
    finish(start(file))
    with open(tmp_path / "out/first/kept.jsonl", "a") as data:
        data.write("{}\n")
    said = finish(start(file), expected=2)
    assert "out/first/kept.jsonl is not what first left when it finished" in said
    assert "second was made from another out/first/kept.jsonl" in said


def test_a_stage_run_again_by_removing_its_folder_must_leave_the_same(toy, start, tmp_path):
    import shutil

    file = toy(CHAIN)
    finish(start(file))
    shutil.rmtree(tmp_path / "out/first")
    assert "first goes on" in finish(start(file))  # same lines again: what rests on it stays
    shutil.rmtree(tmp_path / "out/first")
    (tmp_path / "out/first").mkdir()
    (tmp_path / "out/first/kept.jsonl").write_text('{"id": "planted"}\n')
    said = finish(start(file), expected=1)
    assert "second failed: second was made from another out/first/kept.jsonl than the one that is there now" in said


@linux
def test_killed_twice_it_ends_with_the_lines_of_an_uninterrupted_run(toy, start, tmp_path):
    file = toy([dict(stage, options={"pause": 0.05, **stage.get("options", {})}) for stage in CHAIN])
    finish(start(file, cwd=tmp_path))
    whole = contents(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "whole")
    moments = random.Random(0)
    for _ in range(2):
        process = start(file)
        until(lambda: (tmp_path / "out/logs/first.log").is_file())
        time.sleep(moments.uniform(0.1, 0.5))
        process.kill()
        process.communicate()
        until(lambda: not marked(str((tmp_path / "out").resolve())), 5)  # no stage outlives it
    said = finish(start(file))
    assert "goes on" in said or "Finished already" in said
    assert contents(tmp_path / "out") == whole
    assert json.loads((tmp_path / "out/pipeline.json").read_text())["seconds"] > 0


@linux
@pytest.mark.parametrize("use_cpu", [True, False])
def test_no_orphan_holds_a_killed_pipelines_folder(toy, start, tmp_path, use_cpu):
    file = toy([{"name": "a", "options": {"pause": 0.05, "rows": 10_000, "child": True, "use_cpu": use_cpu}}])
    folder = str((tmp_path / "out").resolve())
    process = start(file)
    until(lambda: (tmp_path / "out/a/kept.jsonl").is_file(), 60)
    alive = set(marked(folder))
    # supervisor, stage and the stage's child in a session of its own; a launched stage has its launcher as well
    assert len(alive) >= 3
    process.kill()
    process.communicate()
    until(lambda: not marked(folder), 5)
    process = start(file)  # and at once again, this time killing the supervisor: it is a failure of the stage
    before = (tmp_path / "out/a/kept.jsonl").stat().st_size
    until(lambda: (tmp_path / "out/a/kept.jsonl").stat().st_size > before, 60)
    parents = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]): pid for pid in marked(folder)}
    os.kill(parents[process.pid], signal.SIGKILL)
    said = finish(process, expected=1)
    assert "a failed: the process that watches the stages was stopped from outside" in said
    until(lambda: not marked(folder), 5)


def test_a_killed_stage_is_a_failure_with_its_signal(toy, start, tmp_path):
    file = toy([{"name": "a", "options": {"pause": 0.05, "rows": 10_000}}])
    process = start(file)
    until(lambda: (tmp_path / "out/a/kept.jsonl").is_file())
    if not sys.platform.startswith("linux"):
        pytest.skip("finds the stage in /proc")
    folder = str((tmp_path / "out").resolve())
    groups = {pid: os.getpgid(pid) for pid in marked(folder)}
    stage = next(pid for pid, group in groups.items() if pid == group and parent(pid) in groups)
    os.kill(stage, signal.SIGKILL)
    assert "a failed: it was killed by SIGKILL (the system does that when memory runs out)" in finish(
        process, expected=1
    )


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("interrupt", [signal.SIG_DFL, signal.SIG_IGN], ids=["foreground", "background"])
def test_terminated_it_stops_its_stages_and_goes_on_later(interrupt, toy, start, tmp_path):
    """A shell's background jobs ignore SIGINT; SIGTERM ends them all the same."""
    file = toy([{"name": "a", "options": {"pause": 0.05, "rows": 160}}])
    process = start(file, interrupt=interrupt)
    until(lambda: (tmp_path / "out/a/kept.jsonl").is_file())
    process.send_signal(signal.SIGTERM)
    assert "Stopped. The same command goes on from here." in finish(process, expected=130)
    assert "stopped" in finish(start("status", file))
    assert "a goes on" in finish(start(file))
    numbers = [json.loads(line)["number"] for line in (tmp_path / "out/a/kept.jsonl").read_text().splitlines()]
    assert numbers == list(range(160))


def test_two_runs_do_not_share_a_folder(toy, start, tmp_path):
    file = toy([{"name": "a", "options": {"pause": 0.1, "rows": 3000}}])
    process = start(file)
    until(lambda: (tmp_path / "out/a/kept.jsonl").is_file())
    said = finish(start(file), expected=2)
    assert "Another process runs the pipeline in out right now." in said
    assert "running" in finish(start(file, "--status"))
    process.send_signal(signal.SIGINT)
    finish(process, expected=130)


def test_another_folder_is_refused(toy, start, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    said = finish(start(toy(CHAIN)), expected=2)
    assert "output_dir out is not empty (thesis.txt, ...) and holds no pipeline.json" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_redo_that_was_killed_half_way_is_completed(toy, start, tmp_path):
    file = toy(CHAIN)
    finish(start(file))
    path = tmp_path / "out/pipeline.json"
    record = json.loads(path.read_text())
    record["redo"] = ["second", "third"]
    path.write_text(json.dumps(record))
    (tmp_path / "out/previous/1").mkdir(parents=True)
    (tmp_path / "out/second").rename(tmp_path / "out/previous/1/second")  # killed between the two
    finish(start(file))
    assert (tmp_path / "out/previous/1/third/summary.json").is_file()
    assert (tmp_path / "out/third/summary.json").is_file()


@pytest.mark.slow
def test_a_real_stages_typo_is_told_before_anything_starts(tmp_path, start):
    (tmp_path / "p.yaml").write_text(
        "output_dir: out\nstages:\n"
        "  - {name: zero, stage: zero, config: mini/zero}\n"
        "  - {name: again, stage: zero, config: mini/zero, after: [zero], options: {beta: -1}}\n"
        "  - {name: typo, stage: zero, config: mini/zero, after: [zero], options: {lerning_rate: 1}}\n"
    )
    said = finish(start("p.yaml"), expected=2)
    assert "again does not accept its recipe: trl-r1 zero: beta=-1.0 would reward distance" in said
    assert "typo does not accept its recipe: trl-r1 zero:" in said
    assert "Did you mean 'learning_rate'?" in said
    assert "Nothing was started." in said
    assert not (tmp_path / "out/zero").exists()


def test_a_full_disk_is_one_sentence_and_what_is_finished_stays(toy, start, tmp_path):
    file = toy([{"name": "a"}, {"name": "b", "after": ["a"]}])
    finish(start(file, "--until", "a"))
    (tmp_path / "out/logs").rename(tmp_path / "out/logs.moved")
    (tmp_path / "out/logs").symlink_to("/dev/full")  # nothing can be written below it
    said = finish(start(file), expected=2)
    assert said.startswith("trl-r1 run: ")
    assert "Traceback" not in said
    (tmp_path / "out/logs").unlink()
    (tmp_path / "out/logs.moved").rename(tmp_path / "out/logs")
    assert "Finished already: a." in finish(start(file))


def test_a_stage_that_waits_for_a_person_has_not_failed(tmp_path, capsys):
    run = Run(read("mini/pipeline", str(tmp_path / "out")), command="trl-r1 run mini/pipeline")
    run.prepare()
    log = log_path(run.plan, run.plan["cold_start"])
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("trl-r1 cold_start: fill in review.csv\n")
    run.record.start(run.plan, run.plan["cold_start"])
    run.running["cold_start"] = time.monotonic()
    run.end("cold_start", errors.PERSON)
    assert run.close() == errors.PERSON
    assert "cold_start waits for a person: trl-r1 cold_start: fill in review.csv" in capsys.readouterr().out
    run.lock.release()
