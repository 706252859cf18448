"""Programs and their tests: found in replies and rows, compared outside the sandbox."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.rewards.code import Code, extract_program, fenced_blocks
from trl_r1.rewards.code_tests import (
    CallCase,
    StdinCase,
    Unreadable,
    assert_cases,
    read_cases,
    same_output,
    same_value,
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


def fenced(program: str) -> str:
    return f"<think>Let me see.</think>\n```python\n{program}\n```"


# ---------------------------------------------------------------- extraction


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("```py\nprint(1)\n```\nor better\n```python\nprint(2)\n```", "print(2)\n"),
        ("```python\nprint(1)\n```\nwhich prints\n```\n1\n```", "print(1)\n"),  # the marked one is the program
        ("```python\nprint(1)\n```\nwhich prints\n```text\n1\n```", "print(1)\n"),
        ("```\nprint(1)\n```", "print(1)\n"),
        ("~~~python\nprint('```')\n~~~", "print('```')\n"),
        ("````python\nprint(1)\n```\nprint(2)\n````", "print(1)\n```\nprint(2)\n"),
        ("1. Do:\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n"),
        ("<think>\n```python\nprint(1)\n```\n</think> That is it.", None),  # only in the thought
        ("<think>```python\nprint(1)\n```", None),
        ("<think>hm</think><answer>print(1)\n</answer>", "print(1)\n"),
        ("<think>hm</think>```python\nprint(1)\n```<answer>\n```python\nprint(2)\n```\n</answer>", "print(2)\n"),
        ("```python\nprint(1)", None),  # cut off
        ("<answer>```python\nprint(1)</answer>", None),
        ("```cpp\nint main(){}\n```", None),
        ("```python\n\n```", None),
        ("", None),
        ("The answer is 4.", None),
    ],
)
def test_the_program_is_the_last_block_after_the_thought(text, program):
    assert extract_program(text) == program


def test_extraction_is_linear():
    for text in ("```" * 100_000, "```\n" * 100_000, "`" * 300_000, ("`" * 50 + "\n") * 5_000, "~\n" * 150_000):
        fenced_blocks(text)  # a quadratic scan would take minutes


# ---------------------------------------------------------------- comparing


@pytest.mark.parametrize(
    ("actual", "expected", "tolerance", "same"),
    [
        ("4\n", "4", None, True),
        ("1 2 \n3\n\n\n", "1 2\n3", None, True),
        ("1\r\n2\r\n", "1\n2\n", None, True),
        (" 4", "4", None, False),  # leading space counts
        ("1\n\n2", "1\n2", None, False),
        ("1 2", "1  2", None, False),
        ("", "", None, True),
        ("0.333", "0.3333333", None, False),
        ("0.333", "0.3333333", 1e-3, True),
        ("0.333", "0.3333333", 1e-6, False),
        ("1000001", "1000000", 1e-5, True),  # relative
        ("x 1.0", "x 1", 1e-9, True),
        ("y 1.0", "x 1", 1e-9, False),
        ("1 2", "1", 1e-9, False),
        ("nan", "1", 1e9, False),
    ],
)
def test_same_output(actual, expected, tolerance, same):
    assert same_output(actual, expected, tolerance) is same


@pytest.mark.parametrize(
    ("encoded", "expected", "options", "same"),
    [
        (["i", "0x4"], 4, {}, True),
        (["f", (4.0).hex()], 4, {}, True),
        (["s", "4"], 4, {}, False),
        (["b", 1], True, {}, True),
        (["n"], None, {}, True),
        (["t", [["i", "0x1"]]], [1], {}, True),
        (["t", [["i", "0x1"]]], [1], {"strict": True}, False),
        (["l", [["i", "0x1"]]], [1], {"strict": True}, True),
        (["l", [["i", "0x1"]]], [1, 2], {}, False),
        (["e", [["i", "0x2"], ["i", "0x1"]]], {1, 2}, {"strict": True}, True),
        (["e", [["i", "0x1"], ["i", "0x1"]]], {1, 2}, {"strict": True}, False),
        (["d", [[["i", "0x1"], ["s", "a"]]]], {1: "a"}, {"strict": True}, True),
        (["d", [[["i", "0x1"], ["s", "a"]]]], {"1": "a"}, {}, True),  # JSON has only text as keys
        (["d", [[["i", "0x1"], ["s", "a"]]]], {"1": "a"}, {"strict": True}, False),
        (["d", [[["i", "0x1"], ["s", "a"]], [["i", "0x1"], ["s", "a"]]]], {1: "a", 2: "b"}, {}, False),
        (["f", (0.1 + 0.2).hex()], 0.3, {}, False),
        (["f", (0.1 + 0.2).hex()], 0.3, {"tolerance": 1e-9}, True),
        (["o", "Equal"], 4, {}, False),
        # what no harness of ours would send
        (["i", "four"], 4, {}, False),
        (["l", 4], [4], {}, False),
        (["e", [["l", []]]], {1}, {}, False),
        ([], 4, {}, False),
        (None, None, {}, False),
        ("passed", "passed", {}, False),
        ({"passed": True}, True, {}, False),
    ],
)
def test_same_value(encoded, expected, options, same):
    assert same_value(encoded, expected, **options) is same


# ---------------------------------------------------------------- reading rows


def test_rows_of_verifiable_coding_problems_are_read():
    assert read_cases(DOUBLE)[0] == StdinCase("2\n", "4\n")
    assert read_cases(json.dumps(DOUBLE)) == read_cases(DOUBLE)
    columns = {key: [case[key] for case in DOUBLE["test_cases"]] for key in ("fn_name", "input", "output", "type")}
    assert read_cases({"language": "python", "test_cases": columns}) == read_cases(DOUBLE)
    assert read_cases({**DOUBLE, "language": "cpp"}) is None
    call = {"type": "function_call", "fn_name": "add", "input": [1, [2]], "output": [3]}
    assert read_cases({"language": "python", "test_cases": [call]}) == [
        CallCase(("find_function('add')(*[1, [2]])",), [3], "wrapped")
    ]


def test_rows_of_apps_and_mbpp_are_read():
    assert read_cases({"inputs": ["1\n"], "outputs": ["2\n"]}) == [StdinCase("1\n", "2\n")]
    assert read_cases({"inputs": [["1", "2"]], "outputs": [["3"]]}) == [StdinCase("1\n2", "3")]
    assert read_cases({"inputs": ["[1, 2]\n3"], "outputs": ["[4]"], "fn_name": "f"}) == [
        CallCase(("find_function('f')(*[[1, 2], 3])",), [4], "wrapped")
    ]
    assert read_cases(["assert f(2) == (4, 'x')"]) == [CallCase(("f(2)",), (4, "x"), "python")]
    assert assert_cases("assert 4 == g(f(2))[0].h + 1") == [
        CallCase(("g(f(2))[0].h",), "4 == answers[0] + 1", "check")
    ]
    text = "from solution import f\nfrom math import isclose, pi\nassert isclose(f(pi), 2 * pi)"
    assert assert_cases(text) == [
        CallCase(("f(pi)",), "isclose(answers[0], 2 * pi)", "check", "from math import isclose, pi")
    ]
    assert assert_cases("assert numbers(2) == 4")[0].calls == ("numbers(2)",)  # also a module's name
    assert assert_cases("assert Solution().f(2) == 4")[0].calls == ("Solution().f(2)",)
    assert assert_cases("assert abs(f(2) - f(1)) < 1e-6") == [
        CallCase(("f(2)", "f(1)"), "abs(answers[0] - answers[1]) < 1e-06", "check")
    ]


@pytest.mark.parametrize(
    "cell",
    [None, 4, [], {}, "", "def check(f): pass", ["assert True"], ["assert ("], [4], {"inputs": ["1"], "outputs": []}]
    + [{"test_cases": None}, {"inputs": [1], "outputs": [2], "fn_name": "os.system('x')"}, "[" * 100_000],
)
def test_what_is_no_test_is_unreadable(cell):
    with pytest.raises(Unreadable):
        read_cases(cell)
    if isinstance(cell, list) and cell:
        assert Code(backend="piston", url="http://nowhere")([fenced("1")], verification_info=[cell]) == [None]


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["assert f(1)", "f"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from("inputs outputs input output fn_name test_cases tests language type".split()),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(json_like)
def test_any_cell_is_tests_or_unreadable(cell):
    for version in (cell, json.dumps(cell)):
        try:
            assert read_cases(version) is None or len(read_cases(version)) > 0
        except Unreadable:
            pass


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(["```", "~~~~", "python", "\n", " ", "<answer>", "</answer>", "</think>", "<think>", "x"])
    )
)
def test_any_reply_has_a_program_or_none(parts):
    program = extract_program("".join(parts))
    assert program is None or program.strip()
