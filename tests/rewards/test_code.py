"""Code: a program earns by its answers alone, whatever else it tries."""

import pickle
import random
import re
import threading

import pytest

from trl_r1.data.function_drill import TASKS, draw_function
from trl_r1.rewards import code as code_module
from trl_r1.rewards.code import Code, code_reward, judge_program
from trl_r1.rewards.code_tests import (
    StdinCase,
    read_cases,
)
from trl_r1.sandbox import NoSandbox, Outcome, ResourceLimits, open_sandbox


def offered():
    try:
        return bool(open_sandbox().describe())
    except NoSandbox:
        return False


isolated = pytest.mark.skipif(
    not offered(), reason="no sandbox works on this machine; test_sandbox.py fails CI for it"
)

DOUBLE = {
    "language": "python",
    "test_cases": [
        {"fn_name": None, "input": "2\n", "output": "4\n", "type": "stdin_stdout"},
        {"fn_name": None, "input": "5\n", "output": "10\n", "type": "stdin_stdout"},
        {"fn_name": None, "input": "0\n", "output": "0\n", "type": "stdin_stdout"},
        {"fn_name": None, "input": "-3\n", "output": "-6\n", "type": "stdin_stdout"},
    ],
}
FUNCTION = {"inputs": [[2], [5], [0]], "outputs": [4, 10, 0], "fn_name": "double"}


def fenced(program: str) -> str:
    return f"<think>Let me see.</think>\n```python\n{program}\n```"


class Fake:
    """A sandbox that answers what it is told, and counts."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes, self.runs = list(outcomes), []

    def run(self, code, stdin="", limits=None):
        self.runs.append((code, stdin))
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

    def describe(self):
        return "fake"


# ---------------------------------------------------------------- scores


@isolated
def test_all_or_nothing_and_partial_credit():
    completions = [
        fenced("print(2 * int(input()))"),
        fenced("print(abs(2 * int(input())))"),  # 3 of 4 tests
        fenced("print('4')"),  # 1 of 4
        fenced("import nothing"),
        "I do not know.",
        [{"role": "assistant", "content": fenced("print(2 * int(input()))")}],
        [{"role": "assistant", "content": None}],
    ]
    rows = {"verification_info": [DOUBLE] * 7, "prompts": ["?"] * 7}
    assert code_reward(completions, **rows) == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert Code(partial=True)(completions, **rows) == [1.0, 0.75, 0.25, 0.0, 0.0, 1.0, 0.0]
    assert Code(max_tests=3)(completions, **rows)[:2] == [1.0, 1.0]  # the fourth test is left out


@isolated
def test_columns_of_their_own_and_functions():
    programs = [
        fenced("def double(x): return 2 * x"),
        fenced("class Solution:\n    def double(self, x): return x + 2"),
    ]
    columns = {name: [FUNCTION[name]] * 2 for name in FUNCTION}
    assert Code()(programs, **columns) == [1.0, 0.0]
    assert Code(tests_column="tests", partial=True)(programs, tests=[FUNCTION] * 2) == [1.0, 1 / 3]
    asserts = [
        "assert double(2) == 4",
        "assert double([1]) == [1, 1]",
        "from math import pi\nassert double(pi) > 2 * math.pi - 1 > 5",
    ]
    programs[1] = fenced("def double(x): return x + 2")
    assert Code(tests_column="test_list", partial=True)(programs, test_list=[asserts] * 2) == [1.0, 1 / 3]
    with pytest.raises(ValueError, match="needs a column 'verification_info'.*The rows have: answer"):
        Code()(programs, answer=["4"] * 2)


@isolated
def test_every_kind_of_function_of_the_drill_passes_its_tests_and_a_constant_does_not():
    tasks = {}  # by what is asked, without numbers and letters
    rng = random.Random(0)
    for row in (draw_function(rng) for _ in range(100)):
        tasks.setdefault(re.sub(r"\d+|'.'", "", row["question"]), row)
    assert len(tasks) == len(TASKS)
    tests = [row["verification_info"] for row in tasks.values()]
    assert code_reward([row["completion"] for row in tasks.values()], verification_info=tests) == [1.0] * len(TASKS)
    assert code_reward(["<answer>def f(x): return 7</answer>"], verification_info=tests[:1]) == [0.0]


@isolated
def test_rows_that_cannot_be_judged_score_none_and_what_happened_is_logged():
    logged = {}
    rows = [DOUBLE, {**DOUBLE, "language": "rust"}, "nonsense (", DOUBLE, DOUBLE]
    replies = [fenced("print(2 * int(input()))")] * 3 + [fenced("print([0] * 10**10)"), "no"]
    scores = code_reward(replies, verification_info=rows, log_extra=logged.__setitem__, log_metric=logged.__setitem__)
    assert scores == [1.0, None, None, 0.0, 0.0]
    assert logged["code_verdict"] == ["passed", "no tests", "unreadable tests", "memory", "no program"]
    assert logged["code_program"][0] == "print(2 * int(input()))\n"
    assert logged["code_tests"] == ["4/4", "0/0", "0/0", "0/4", "0/4"]
    assert logged["code/no_program"] == logged["code/memory"] == 0.2


@isolated
def test_the_same_from_a_worker_thread_and_after_pickling():
    reward = pickle.loads(pickle.dumps(Code(partial=True, name="tests")))
    assert reward.__name__ == "tests"
    scores = []
    arguments = [fenced("print(4)")], {"verification_info": [DOUBLE]}
    thread = threading.Thread(target=lambda: scores.extend(reward(arguments[0], **arguments[1])))
    thread.start()
    thread.join()
    assert scores == [0.25]


def test_infrastructure_is_none_after_a_second_try_and_never_remembered(monkeypatch):
    broken, fine = Outcome("infrastructure"), Outcome("ok", "4\n")
    case, limits = StdinCase("2\n", "4\n"), ResourceLimits()
    assert judge_program("a", [case], Fake(broken), limits).verdict == "infrastructure"
    assert judge_program("a", [case], Fake(broken, fine), limits).verdict == "passed"
    monkeypatch.setattr(code_module, "open_sandbox", lambda *options: Fake(broken))
    for reward in (Code(), Code(partial=True)):
        assert reward([fenced("print(4)"), "none"], verification_info=[DOUBLE] * 2) == [None, 0.0]


def test_equal_programs_run_once(monkeypatch):
    fake = Fake(Outcome("ok", "4\n"))
    monkeypatch.setattr(code_module, "open_sandbox", lambda *options: fake)
    monkeypatch.setattr(code_module, "_memory", code_module.OrderedDict())
    row = {"inputs": ["2"], "outputs": ["4"]}
    assert Code()([fenced("print(4)")] * 8, verification_info=[row] * 8) == [1.0] * 8
    assert Code()([fenced("print(4)")], verification_info=[row]) == [1.0]
    assert len(fake.runs) == 1
    assert Code()([fenced("print(4)")], verification_info=[{"inputs": ["2"], "outputs": ["5"]}]) == [0.0]
    assert len(fake.runs) == 2


def test_a_timeout_is_asked_again_in_the_next_batch():
    fake = Fake(Outcome("timeout"), Outcome("ok", "4\n"))
    verdicts = [judge_program("c", [StdinCase("2", "4")], fake).verdict for _ in range(2)]
    assert verdicts == ["timeout", "passed"]


def test_timeouts_end_the_judging_of_a_program():
    fake = Fake(Outcome("timeout"))
    cases = [StdinCase(str(n), "") for n in range(20)]
    report = judge_program("b", cases, fake, stop_at_failure=False, timeouts=3)
    assert (report.verdict, report.passed, report.tests, len(fake.runs)) == ("timeout", 0, 20, 3)


def test_options_are_checked_where_they_are_written():
    for options in ({"backend": "docker"}, {"backend": "piston"}, {"tolerance": -1.0}, {"workers": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Code(**options)
    with pytest.raises(ValueError, match="memory_mib"):
        Code(memory_mib=0)
    assert hash(Code(packages=["/a"], think=["<t>", "</t>"]))


def test_without_a_sandbox_it_refuses_instead_of_scoring(monkeypatch):
    def refuse(*options):
        raise NoSandbox("No sandbox works on this machine.")

    monkeypatch.setattr(code_module, "open_sandbox", refuse)
    with pytest.raises(NoSandbox):
        code_reward([fenced("print(4)")], verification_info=[DOUBLE])


# ---------------------------------------------------------------- forging

FORGERIES = {  # none of them doubles
    "says so": "print('PASSED')\nprint('ok 3/3')",
    "exits well": "import sys\nsys.exit(0)",
    "exits hard": "import os\nos._exit(0)",
    "equals everything": """
class Any(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 4
def double(x): return Any(7)""",
    "equals everything, no number": """
class Any:
    def __eq__(self, other): return True
    def tolist(self): return self
def double(x): return Any()""",
    "patches the interpreter": """
import builtins, json, operator
builtins.eval = lambda *a: 4
json.dumps = lambda *a: '[["b", 1]]'
builtins.all = builtins.any = builtins.isinstance = lambda *a: True
operator.eq = lambda *a: True
def double(x): return 7""",
    "looks at its callers": """
import gc, sys
def double(x):
    frame, seen = sys._getframe(), []
    while frame:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values()); frame = frame.f_back
    found = [o for o in gc.get_objects() if isinstance(o, (list, tuple)) and 10 in o and len(o) == 3]
    for name in dir(sys.modules['__main__']):
        seen.append(getattr(sys.modules['__main__'], name))
    return next((v for v in seen if isinstance(v, int) and v == 2 * x and v), found or 7)""",
    "catches and returns": """
def double(x):
    try: raise AssertionError
    except BaseException: return True""",
    "answers in the harness's name": """
import os, sys
frame = sys._getframe()
while 'nonce' not in frame.f_locals: frame = frame.f_back
os.write(1, ('\\n' + frame.f_locals['nonce'] + ' [["s", "PASSED"]]').encode()); os._exit(0)""",
    "answers malformed": """
import os, sys
frame = sys._getframe()
while 'nonce' not in frame.f_locals: frame = frame.f_back
os.write(1, ('\\n' + frame.f_locals['nonce'] + ' ' + '[' * 100000).encode()); os._exit(0)""",
    "writes after the end": """
import atexit
atexit.register(print, 'PASSED')
class Late:
    def __del__(self): print('PASSED')
late = Late()
def double(x): return 7""",
    "reads the tests from files": """
import glob
found = [open(path).read() for path in glob.glob('/box/**', recursive=True) + glob.glob('/tmp/*') if path.count('.')]
def double(x): return found or 7""",
    "remembers over runs": """
import os
try: count = int(open('/tmp/count').read())
except OSError: count = 0
open('/tmp/count', 'w').write(str(count + 1)); open('/dev/shm/count', 'w').write('1')
print([4, 10, 0][count - 1] if count else 'first')
def double(x): return [4, 10, 0][count - 1] if count else 'first'""",
}


@isolated
@pytest.mark.parametrize("name", FORGERIES)
def test_a_program_cannot_forge_its_verdict(name):
    reply = [fenced(FORGERIES[name])]
    reward = Code(partial=True, tests_column="tests", wall_seconds=5.0)
    lines = {"inputs": ["2", "5", "1"], "outputs": ["4", "10", "2"]}
    calls = {**lines, "inputs": [[2], [5], [1]], "fn_name": "double"}
    asserts = ["assert double(2) == 4", "assert abs(double(5) - 10.0) < 1e-9", "assert str(double(1)) == '2'"]
    for tests in (lines, {**calls, "outputs": [4, 10, 2]}, asserts):
        assert reward(reply, tests=[tests]) == [0.0], tests


def test_what_is_expected_never_reaches_the_sandbox_of_the_program(monkeypatch):
    secret = 987_654_321
    for tests in (
        {"inputs": ["2"], "outputs": [str(secret)]},
        {"inputs": [[2]], "outputs": [secret], "fn_name": "double"},
        [f"assert double(2) == {secret}"],
        [f"assert {secret} == double(2)"],
        [f"assert abs(double(2) - {secret}) < 1e-9"],
        [f"assert double(2) in ({secret}, 4)"],
    ):
        fake = Fake(Outcome("ok", "4\n"))
        for case in read_cases(tests):
            case.run("def double(x): return 2 * x", fake, ResourceLimits(), None)
        assert fake.runs
        assert not any(str(secret) in code + stdin for code, stdin in fake.runs)


@isolated
def test_values_of_every_kind_come_back_as_they_are():
    program = fenced("def echo(x): return x\ndef numbers():\n    return [10**6000, -1, 0.1, 1e300, True, None, 1j]")
    values = ["'é\\n'", "b'x'", "(1, (2,))", "{1, 2}", "{(1, 2): [3]}", "[[], {}]", "-0.5", "'\\ud800'"]
    asserts = [f"assert echo({value}) == {value}" for value in values]
    asserts.append(f"assert numbers() == [{10**4000} * {10**2000}, -1, 0.1, 1e300, True, None, 1j]")
    scores = Code(tests_column="tests", partial=True)([program], tests=[asserts])
    assert scores == [1.0]
    wrong = ["assert echo((1,)) == [1]", "assert echo('1') == 1", "assert echo({1}) == [1]", "assert echo(1) == '1'"]
    assert Code(tests_column="tests", partial=True)([program], tests=[wrong]) == [0.0]
