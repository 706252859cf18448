"""What a reward logs has the same names on every rank, whatever its rows are: TRL 1.12 gathers each name it knows of,
and a rank that does not know it waits for ever."""

import math

import psutil
import pytest
from tiny_classifier import save

from trl_r1.rewards.catalogue import BUILT_IN, load_reward


GOOD = "<think>A(0, 0), B(3, 4), so AB = 5 and 2 + 3 = 5. We add the two numbers.</think> <answer>5</answer>"
PROGRAM = "<think>a</think>\n```python\nprint(int(input()) + 1)\n```"
TESTS = [{"input": "1\n", "output": "2\n"}]


def batch(texts: list, **columns) -> dict:
    rows = len(texts)
    named = {
        "solution": "5",
        "language": "en",
        "prompts": "2 + 3?",
        "tests": TESTS,
        "reward_for": "helpfulness",
    } | columns
    return {"completions": texts, **{name: [value] * rows for name, value in named.items()}}


BATCHES = {
    "judged": batch([GOOD, PROGRAM]),
    "wrong": batch(["<think>2 + 3 = 6, AB = 7</think> <answer>6</answer>", "```python\n1/0\n```"]),
    "nothing to judge": batch(
        ["", None, [{"role": "assistant", "content": None}]], solution=None, reward_for="nobody"
    ),
    "no word, no gold": batch(["?"], solution="", prompts="", language="zh", tests=[]),
    "empty": batch([]),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("classifier"), labels=("bad", "coherent"))


def options_of(name: str, checkpoint: str) -> dict:
    if name in ("overlong", "cosine_length", "repetition"):
        return {"inner": "accuracy"}
    if name == "semantic":
        return {"model": checkpoint}
    if name in ("preference", "helpfulness", "harmlessness"):
        return {"model": checkpoint, "label": "coherent"}
    if name == "layered":
        layers = [{"name": "symbolic", "weight": 0.5}, {"name": "logic", "weight": 0.5}]
        return {"layers": [*layers, {"name": "semantic", "options": {"model": checkpoint}}]}
    return {"allow_unsafe_local": True, "tests_column": "tests"} if name == "code" else {}


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_the_names_do_not_depend_on_the_rows(name, checkpoint, tiny):
    options = {"model": tiny, "max_new_tokens": 4} if name == "agser" else options_of(name, checkpoint)
    reward = load_reward(name, **options)
    names: dict[str, tuple] = {}
    for what, columns in BATCHES.items():
        metrics: list[tuple[str, float]] = []
        extras: dict[str, list] = {}
        scores = reward(
            **columns,
            log_metric=lambda key, value, metrics=metrics: metrics.append((key, value)),
            log_extra=extras.__setitem__,
        )
        assert len(scores) == len(columns["completions"])
        assert all(isinstance(value, float) and not math.isinf(value) for _, value in metrics), metrics
        assert all(len(values) == len(scores) for values in extras.values()), what
        names[what] = ([key for key, _ in metrics], list(extras))
    assert len(names["judged"][0]) == len(set(names["judged"][0]))
    assert {what: found for what, found in names.items() if found != names["judged"]} == {}


@pytest.mark.slow
def test_two_ranks_give_the_same_verdicts_from_both_threads_and_leave_no_process(two_ranks, tmp_path):
    printed = two_ranks("logged_names.py", cwd=tmp_path)
    lines = [line.removeprefix("keepers ").split() for line in printed.splitlines() if line.startswith("keepers ")]
    assert len(lines) == 2
    pids = [int(pid) for line in lines for pid in line]
    assert len(set(pids)) == len(pids) >= 2  # a pool of its own per rank
    left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
    assert left == []
