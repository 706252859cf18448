"""The pool: whatever a model writes, it answers in time, stays healthy, and leaves no process behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from places import ROOT

from trl_r1.rewards.accuracy import Accuracy, verify
from trl_r1.sandbox import pool as verifier


HANGS = [  # (answer, gold): each ran for 25 s and longer on a worker thread with TRL 1.16
    ("99999999!", "x"),
    (r"(2^{30})!", "x"),
    (r"\sum_{k=1}^{10^9}1/k", "5"),
    (r"9^{9^{9^9}}x+y", "5x"),
]


def sleep(seconds: float) -> str:
    """A judge of our own, found by its path."""
    time.sleep(seconds)
    return "woke"


def fill_memory() -> int:
    return len(bytearray(4 << 30))


def exit_hard() -> None:
    os._exit(3)


def fail() -> None:
    raise KeyError("no such thing")


def ignore_everything() -> None:
    """Ignores every signal it can and never returns."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def ours(name: str) -> str:
    return f"{__name__}:{name}"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def gone(pids: list[int], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.05)
    return False


def test_math_verify_judges_in_both_directions():
    pairs = [(r"\frac{1}{2}", "0.5"), ("1+x", "x+1"), ("x>2", r"(2,\infty)"), (r"(2,\infty)", "x>2"), ("x+2", "x+1")]
    assert [result.value for result in verifier.run("math_verify", pairs)] == ["equal"] * 4 + ["different"]
    assert verifier.run("math_verify", [("5", r"\frac{")]) == [verifier.Result(None, "gold")]
    assert verifier.run("math_verify", []) == []


def test_hangs_are_killed_the_others_are_judged_and_the_pool_stays_healthy():
    items = [("1+x", "x+1"), *HANGS, ("x+2", "x+1"), ("1+x", "x+1")]
    results: list[verifier.Result] = []
    start = time.monotonic()
    thread = threading.Thread(target=lambda: results.extend(verifier.run("math_verify", items, seconds=1.0)))
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert [result.value for result in (results[0], *results[5:])] == ["equal", "different", "equal"]
    assert all(result.value != "equal" for result in results[1:5])
    assert "time" in {result.why for result in results[1:5]}
    assert time.monotonic() - start < 30
    begun = time.monotonic()
    assert verifier.run("math_verify", [("2+x", "x+2")])[0].value == "equal"
    assert time.monotonic() - begun < 5


def test_a_judge_that_ignores_signals_fills_memory_dies_or_fails_is_replaced():
    assert verifier.run(ours("ignore_everything"), [()], seconds=0.5) == [verifier.Result(None, "time")]
    assert verifier.run(ours("sleep"), [(30,), (0,)], seconds=0.5) == [
        verifier.Result(None, "time"),
        verifier.Result("woke"),
    ]
    assert verifier.run(ours("fill_memory"), [()], megabytes=512) == [verifier.Result(None, "memory")]
    assert verifier.run(ours("exit_hard"), [()]) == [verifier.Result(None, "died")]
    assert verifier.run(ours("fail"), [()])[0].why.startswith("error: KeyError")
    assert verifier.run(ours("sleep"), [(0,)] * 3) == [verifier.Result("woke")] * 3


def test_a_judge_that_cannot_be_imported_is_an_error_not_a_verdict():
    with pytest.raises(ImportError) as caught:
        verifier.run("not_there:judge", [()])
    assert str(caught.value) == "Judging with 'not_there:judge' is not possible here: No module named 'not_there'."
    with pytest.raises(ImportError, match="is no function"):
        verifier.run(ours("nothing"), [()])
    assert verifier.run("math_verify", [("x", "x")])[0].value == "equal"


@pytest.mark.parametrize(
    ("judge", "module", "advice"),
    [
        ("math_verify", "math_verify", "Try: pip install math-verify"),
        ("math_verify", "latex2sympy2_extended", "Try: pip install math-verify"),
        ("trl_r1.claims.solver:judge", "z3", 'Try: pip install "trl-r1[logic]"'),
    ],
)
def test_what_is_missing_is_named_with_its_own_cure(judge, module, advice, tmp_path, monkeypatch):
    (tmp_path / module).mkdir()
    broken = f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')"
    (tmp_path / module / "__init__.py").write_text(broken)
    verifier.close()  # the next keeper looks for modules where this process does now
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with pytest.raises(ImportError) as caught:
            verifier.run(judge, [("x", "x")])
    finally:
        monkeypatch.undo()
        verifier.close()
    assert str(caught.value) == f"Judging with {judge!r} is not possible here: No module named '{module}'. {advice}"
    assert caught.value.name == module


def test_a_killed_keeper_is_replaced_and_its_item_judged_again():
    assert verifier.run("math_verify", [("x", "x")])[0].value == "equal"
    pool = verifier._shared_pool()
    for pid in pool.processes():
        os.kill(pid, signal.SIGKILL)
    assert verifier.run("math_verify", [("1+x", "x+1")])[0].value == "equal"

    killer = threading.Timer(1.0, lambda: [os.kill(pid, signal.SIGKILL) for pid in pool.processes()])
    killer.start()
    assert verifier.run(ours("sleep"), [(2.0,)], seconds=10) == [verifier.Result("woke")]
    killer.join()


def test_many_threads_share_the_pool():
    verdicts: dict[int, list[bool | None]] = {}

    def judge(number: int) -> None:
        reward = Accuracy(require_simplified=False)
        verdicts[number] = reward(
            [rf"\boxed{{x+{number}}}", rf"\boxed{{x+{number + 1}}}"], solution=[f"{number}+x"] * 2
        )

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert verdicts == {number: [1.0, 0.0] for number in range(10, 18)}
    assert len(verifier._shared_pool().processes()) <= verifier.default_workers()


def _judge_in_child(queue) -> None:
    queue.put(([verify("x+31", "31+x"), verify("x+32", "31+x")], verifier._shared_pool().processes()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemonic_child_gets_its_own_pool_and_leaves_ours_alone(method):
    """TRL's async trainer calls rewards in a daemonic process, which may not have multiprocessing children."""
    assert verifier.run("math_verify", [("x", "x")])[0].value == "equal"
    before = verifier._shared_pool().processes()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_judge_in_child, args=(queue,), daemon=True)
    child.start()
    verdicts, keepers = queue.get(timeout=90)
    child.join(30)
    assert verdicts == [True, False]
    assert not set(keepers) & set(before)
    assert gone(keepers, 10)
    assert verifier.run("math_verify", [("x+1", "1+x")])[0].value == "equal"
    assert verifier._shared_pool().processes() == before


def children_of(pid):
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:  # it ended while we looked
        return []


@pytest.mark.parametrize("end", ["kill -9", "exit", "close"])
def test_no_orphan_is_left(end, tmp_path):
    script = tmp_path / "trainer.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import threading, time
            from trl_r1.sandbox import pool as verifier
            verifier.run("math_verify", [("1+x", "x+1")])
            busy = threading.Thread(
                target=verifier.run, daemon=True,
                args=("math_verify", [(r"\\sum_{{k=1}}^{{10^9}}1/k", "5")]), kwargs={{"seconds": 60}})
            {"busy.start()" if end != "exit" else ""}
            time.sleep(1)
            print(*verifier._shared_pool().processes(), flush=True)
            {"verifier.close()" if end == "close" else ""}
            {"time.sleep(60)" if end != "exit" else ""}
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    trainer = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        keepers = [int(pid) for pid in trainer.stdout.readline().split()]
        assert keepers
        pids = keepers + [child for keeper in keepers for child in children_of(keeper)]
        if end == "kill -9":
            assert len(pids) >= 2, "a judge should be busy"
            trainer.kill()
        assert gone(pids, 10)
    finally:
        trainer.kill()
        trainer.wait()
        trainer.stdout.close()


def test_an_interrupted_run_leaves_a_healthy_pool():
    class Stop(BaseException):
        pass

    def interrupt(*_):
        raise Stop

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        with pytest.raises(Stop):
            verifier.run(ours("sleep"), [(8,)], seconds=10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert verifier.run("math_verify", [("1+x", "x+1")])[0].value == "equal"


def test_workers_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("TRL_R1_VERIFIER_WORKERS", "3")
    assert verifier.WorkerPool().workers == 3
    monkeypatch.setenv("TRL_R1_VERIFIER_WORKERS", "none")
    with pytest.raises(ValueError, match="TRL_R1_VERIFIER_WORKERS='none'"):
        verifier.WorkerPool()


def test_a_judge_that_waits_for_the_processor_is_given_more_time_by_the_clock_but_not_for_ever():
    """Sleep stands for a machine so busy that the judge hardly gets to compute."""
    began = time.monotonic()
    assert verifier.run("time:sleep", [[0.8], [60.0]], seconds=0.4) == [
        verifier.Result(None),
        verifier.Result(None, "time"),
    ]
    assert time.monotonic() - began < 20.0
