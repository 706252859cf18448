"""Accuracy: what is taken for the answer, what equals what, and every known way to cheat or to hang the check."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT, shared_file

from trl_r1.rewards import accuracy as accuracy_module
from trl_r1.rewards.accuracy import (
    LONGEST_ANSWER,
    SOURCES,
    Accuracy,
    accuracy_reward,
    boxes,
    decide,
    extract,
    gold_answer,
    same_answer,
    verify,
)


def rows_of(name: str) -> list[dict]:
    return [json.loads(line) for line in shared_file(f"data/{name}").read_text().splitlines()]


EXTRACTIONS = [
    ("The answer is 72. I hope this helps!", "72"),
    ("The final answer is $\\frac{1}{2}$.", "\\frac{1}{2}"),
    ("答案是72。", "72"),
    ("答案：72页。", "72页"),
    ("He has 72 apples left.", "72"),
    ("So x = 1/2.", "1/2"),
    ("It costs $5.50 in total.", "$5.50"),
    ("Paris", "Paris"),
    ("<answer>Paris</answer>", "Paris"),
    ("<answer>The answer is 72.</answer>", "72"),
    ("<answer>72", "72"),
    ("<answer></answer>", None),
    ("\\boxed{12", None),
    ("\\boxed{5} … no, \\boxed{7}", "7"),
    ("\\boxed{2} and \\boxed{3}", "2, 3"),
    ("\\boxed{4} or \\boxed{3}", "4, 3"),
    ("\\boxed{\\boxed{5}}", "\\boxed{5}"),
    ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
    ("<think>\\boxed{5}</think>", None),
    ("<think>\\boxed{5}", None),
    ("a</think>\\boxed{5}", "5"),
    ("<think>a</think>\\boxed{5}<think>\\boxed{6}", "5"),
    ("<think>a</think>\\boxed{5}</think>\\boxed{6}", "6"),
    ("<think>a</think>\\boxed{5}</think>", None),
    ("<answer>5</answer> \\boxed{7}", "7"),
    ("\\boxed{7} <answer>5</answer>", "5"),
    ("<answer>\\boxed{7}</answer>", "7"),
    ("#### 72", "72"),
    ("text\n#### 1,072\n", "1,072"),
    ("#### Step 4: Conclusion\nThe answer is 5.", "5"),
    ("", None),
    ("...", None),
    ("**Answer:** 42", "42"),
    ("**Answer: 42**", "42"),
    ("Answer: (B)", "B"),
    ("The correct answer is B. Because x.", "B"),
    ("The answer is 3 or 4.", "3 or 4"),
    (" a2b9 ; so 15", "15"),
    ("所以15", "15"),
    ("The answer is: \\(x^2\\)", "x^2"),
    ("The answer is -1.8 billion", "-1.8 billion"),
    ("Yes, he can.", "Yes, he can"),
    ("The answer is $18$ or $19$.", "$18$ or $19$"),
    ("The answer is **5 dollars**.", "5 dollars"),
]

EQUAL = [  # (answer, gold)
    ("72", "72"),
    ("72.0", "72"),
    ("072", "72"),
    ("1,072", "1072"),
    ("1{,}072", "1072"),
    ("1\\,072", "1072"),
    ("1 072", "1,072"),
    ("72 apples", "72"),
    ("\\$72", "72"),
    ("72\\text{ km/h}", "72"),
    ("$72$", "72"),
    ("\\text{72 dollars}", "72"),
    ("x=72", "72"),
    ("x = 72", "72"),
    ("144/2", "72"),
    ("\\frac{144}{2}", "72"),
    ("7.2\\times 10^1", "72"),
    ("7.2e1", "72"),
    ("50\\%", "0.5"),
    ("0.5", "50\\%"),
    ("50%", "1/2"),
    ("12%", "12%"),
    ("0.12", "12%"),
    ("5/7", "30/42"),
    ("30/42", "30/42"),
    ("1\\frac{1}{2}", "1.5"),
    ("1 1/2", "3/2"),
    ("-\\frac12", "-0.5"),
    ("\\frac{-1}{2}", "-0.5"),
    ("0.333333", "1/3"),
    ("5 m", "500 cm"),
    ("5", "5 cm"),
    ("5\\text{ cm}^2", "5 square centimeters"),
    ("5 hours", "5 hour"),
    ("5 dollars", "$5"),
    ("5 million", "5000000"),
    ("1.5 dozen", "18"),
    ("1101_2", "1101_2"),
    ("1101_{2}", "1101_2"),
    ("3:45", "3:45"),
    ("03:45", "3:45"),
    ("3:45 pm", "3:45"),
    ("(1,2)", "(1, 2)"),
    ("(1.0, 4/2)", "(1,2)"),
    ("\\{1,2\\}", "2,1"),
    ("2,1", "1, 2"),
    ("2 and 1", "1,2"),
    ("\\left(\\frac{1}{2}, 3\\right)", "(1/2,3)"),
    ("[1,2)", "[1, 2)"),
    ("2+3=5", "5"),
    ("x=2+3=5", "5"),
    ("17\\cdot 23=391", "391"),
    ("Yes", "Yes"),
    ("yes.", "Yes"),
    ("Yes, he can", "Yes"),
    ("\\text{True}", "True"),
    ("B", "B"),
    ("(B)", "B"),
    ("\\text{B}", "(B)"),
    ("B. Paris", "B"),
    ("b", "B"),
    ("B) 42", "B"),
    ("Option B", "B"),
    ("Evelyn", "Evelyn"),
    ("evelyn", "Evelyn"),
    ("\\text{Evelyn}", "Evelyn"),
    ("the blue car", "blue car"),
    ("1024", "2^{10}"),
    ("2^{10}", "2^{10}"),
    ("\\sqrt{2}", "\\sqrt{2}"),
    ("\\sqrt2", "\\sqrt{2}"),
    ("sqrt(2)", "\\sqrt{2}"),
    ("2^{1/2}", "\\sqrt{2}"),
    ("\\frac{\\pi}{4}", "pi/4"),
    ("π/4", "\\frac{\\pi}{4}"),
    ("-\\infty", "-\\infty"),
    ("-oo", "-\\infty"),
    ("n^2", "n^2"),
    ("n*n", "n^2"),
    ("e^3", "e^3"),
    ("1+x", "x+1"),
    ("[1,2]", "[1,2]"),
    ("x>2", "(2,\\infty)"),
    ("(2,\\infty)", "x>2"),
    ("x \\in (2,\\infty)", "(2,\\infty)"),
    ("y=2x+1", "2x+1"),
    ("2x+1", "y = 2x+1"),
    ("y=1+2x", "y=2x+1"),
    ("(-\\infty,2]\\cup[3,\\infty)", "(-\\infty, 2] \\cup [3, \\infty)"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ("90^\\circ", "90"),
    ("90°", "90^{\\circ}"),
    ("5\\%", "0.05"),
    ("025", "25"),
    ("25", "025"),
    ("10^6", "1000000"),
    ("５", "5"),
    ("5\u200b", "5"),
    ("72个", "72"),
    ("72页", "72"),
    ("3 分钟", "3"),
    ("\\text{two}", "two"),
    ("monday", "Monday"),
    ("3+4i", "4i+3"),
    ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
    ("10%", "10 percent"),
    ("6\\frac{1}{2}\\%", "0.065"),
    ("x=1,y=2", "x=1, y=2"),
    ("1,000,000", "1000000"),
    ("1,234", "1234"),
]

UNEQUAL = [  # (answer, gold)
    ("71", "72"),
    ("-72", "72"),
    ("27", "72"),
    ("72.01", "72"),
    ("17\\cdot 23", "391"),
    ("17 \\times 23", "391"),
    ("17*23", "391"),
    ("17 x 23", "391"),
    ("17 times 23", "391"),
    ("400-9", "391"),
    ("\\sqrt{16}", "4"),
    ("4!", "24"),
    ("9\\%", "9"),
    ("9", "9\\%"),
    ("0.3333", "1/3"),
    ("0.333334", "1/3"),
    ("4.9999999", "5"),
    ("5 m", "5 cm"),
    ("5 cm^2", "5 cm"),
    ("€5", "$5"),
    ("1101", "1101_2"),
    ("1101_2", "1101"),
    ("13", "1101_2"),
    ("12:30", "2/5"),
    ("2/5", "12:30"),
    ("3:45", "3"),
    ("3", "3:45"),
    ("3:45 pm", "3:45 am"),
    ("(1,2)", "1,2"),
    ("1,2", "(1,2)"),
    ("(2,1)", "(1,2)"),
    ("[1,2]", "(1,2)"),
    ("5", "(3,5)"),
    ("3,5", "5"),
    ("4 or 3", "3"),
    ("1, 2, 3, 4, 5", "3"),
    ("(1,2]", "(1,2)"),
    ("2=3=5", "5"),
    ("sey", "Yes"),
    ("sey", "$Yes$"),
    ("No", "Yes"),
    ("Yes and no", "Yes"),
    ("False", "True"),
    ("C", "B"),
    ("A or B", "B"),
    ("A, B", "B"),
    ("Eve", "Evelyn"),
    ("2", "2^{10}"),
    ("1.4142", "\\sqrt{2}"),
    ("x+2", "x+1"),
    ("3", "[1,2]"),
    ("\\int_0^1 x^2 dx", "1/3"),
    ("\\sum_{k=1}^{10}k", "55"),
    ("5 pi", "5"),
    ("5\\pi", "5"),
    ("5i", "5"),
    ("5x", "5"),
    ("5 x", "5"),
    ("5 or 6", "5"),
    ("5 not", "5"),
    ("٥", "5"),
    ("5²", "52"),
    ("5^2", "25"),
    ("十", "10"),
    ("5 plus 3", "5"),
    ("5:00", "5"),
    ("$5", "5 euros"),
    ("1/0", "1"),
    ("5,000", "5.000"),
    ("", "5"),
    ("2x", "x"),
    ("1,2,3", "123"),
]


# ---------------------------------------------------------------- extraction


@pytest.mark.parametrize(("text", "answer"), EXTRACTIONS)
def test_the_answer_is_found_where_the_reply_declares_it(text, answer):
    assert extract(text) == answer


def test_sources_can_be_chosen():
    assert extract("so it is 72", sources=("boxed",)) is None
    assert extract(r"\boxed{5} <answer>7</answer>", sources=("boxed",)) == "5"
    assert extract(r"<answer>7</answer> \boxed{5}", sources=("answer",)) == "7"
    with pytest.raises(ValueError, match="No source of answers is called 'box'"):
        extract("5", sources=("box",))


def test_a_prefilled_thought_that_never_ends_holds_no_answer():
    assert extract(r"so \boxed{5}", prefilled_think=True) is None
    assert extract(r"so</think>\boxed{5}", prefilled_think=True) == "5"


def test_boxes_may_nest_and_be_cut_off():
    assert [text[2:] for text in boxes(r"\boxed{a{b}\}c}")[0]] == [(7, 14)]
    assert boxes(r"\boxed{1} \boxed{2")[1] == 10
    assert extract(r"\boxed{5}, or rather \boxed{12") is None  # 12 may have been the start of 123


def test_an_answer_as_long_as_a_page_is_no_answer():
    assert decide("0" * LONGEST_ANSWER + "5", "5") is False
    assert decide("x" * 2000, "x" * 2000) is True


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("He has 48 / 2 = 24.\n#### 24", "24"),
        ("#### 1,080", "1,080"),
        (r"so $\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        ("<answer>B</answer>", "B"),
        ("She makes $18.\nA: 18", "18"),
        (72, "72"),
        (True, "True"),
        (Fraction(1, 2), "1/2"),
        ("x+1", "x+1"),
        (None, None),
        ("  ", None),
        (float("nan"), None),
    ],
)
def test_golds_of_every_kind(gold, answer):
    assert gold_answer(gold) == answer


# ---------------------------------------------------------------- what equals what


@pytest.mark.parametrize(("answer", "gold"), EQUAL)
def test_equal(answer, gold):
    assert verify(answer, gold) is True


@pytest.mark.parametrize(("answer", "gold"), UNEQUAL)
def test_unequal(answer, gold):
    assert verify(answer, gold) is False


@pytest.mark.parametrize(
    "gold",
    [
        "B",
        "Yes",
        "True",
        "Evelyn",
        "[1,2]",
        r"-\infty",
        r"\sqrt{2}",
        r"\frac{\pi}{4}",
        "n^2",
        "e^3",
        "x+1",
        "2^{10}",
        "3:45",
        "(3, 5)",
        r"\{1,2\}",
        "50%",
        "1101_2",
        "x = 5",
        "5 cm",
    ],
)
def test_every_gold_accepts_itself_with_and_without_delimiters(gold):
    assert accuracy_reward([rf"\boxed{{{gold}}}"] * 2, solution=[gold, f"${gold}$"]) == [1.0, 1.0]


def test_an_unreadable_gold_abstains_unless_repeated():
    assert verify("5", r"\frac{") is None
    assert verify("5", "") is None
    assert accuracy_reward([r"\boxed{5}"] * 2, solution=[r"\frac{", None]) == [None, None]


def test_a_restated_task_is_refused_unless_allowed():
    for task, gold in (
        (r"17\cdot 23", "391"),
        (r"\int_0^1 x^2dx", "1/3"),
        (r"\sum_{k=1}^{10}k", "55"),
        ("2^{10}", "1024"),
    ):
        assert verify(task, gold) is False
        assert verify(task, gold, require_simplified=False) is True
    assert verify("30/42", "5/7") is True  # an unreduced fraction is an answer
    assert verify(r"\int x dx", r"\frac{x^2}{2}") is False


def test_without_math_verify_only_what_is_exact_counts():
    assert verify("0.5", "1/2", math_verify=False) is True
    assert verify("1+x", "x+1", math_verify=False) is False


def test_same_answer_is_symmetric_for_voting():
    for a, b, same in [
        ("1/2", "0.5", True),
        ("5", None, False),
        ("x+1", "1+x", True),
        (r"2^{10}", "1024", True),
        ("B", "(B)", True),
        ("B. Paris", "B", True),
        ("5", "6", False),
        ("", "", False),
    ]:
        assert same_answer(a, b) is same
        assert same_answer(b, a) is same


numbers = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1000)


@settings(max_examples=200, deadline=None)
@given(numbers, st.integers(min_value=2, max_value=9))
def test_a_fraction_equals_its_other_forms_and_no_other_number(value, factor):
    top, bottom = value.numerator, value.denominator
    forms = [
        rf"\frac{{{top}}}{{{bottom}}}",
        f"{top * factor}/{bottom * factor}",
        f"${top}/{bottom}$",
        f"x = {top}/{bottom}",
    ]
    if bottom == 1:
        forms += [f"{top:,}", f"{top}.0", f"{top} apples", f"{top * 100}%", rf"{top}\text{{ km}}"]
    for form in forms:
        assert decide(form, str(value)) is True, form
        assert decide(str(value), form) is True, form
    for wrong in [value + 1, -value if value else Fraction(1), value + Fraction(1, 1001), value * 10 if value else 1]:
        assert decide(str(wrong), str(value)) is False


# ---------------------------------------------------------------- traps other rewards fall for


def trl_says(completion: str, gold: str) -> float | None:
    from trl.rewards import accuracy_reward as theirs

    return theirs([[{"role": "assistant", "content": completion}]], [gold])[0]


TRAPS = [  # (what, completion, gold, right verdict)
    ("plain letter", r"\boxed{B}", "B", 1.0),
    ("plain word", r"\boxed{Evelyn}", "Evelyn", 1.0),
    ("undelimited root", r"\boxed{\sqrt{2}}", r"\sqrt{2}", 1.0),
    ("undelimited power", r"\boxed{1024}", "2^{10}", 1.0),
    ("undelimited power, its base", r"\boxed{2}", "2^{10}", 0.0),
    ("time of day", r"\boxed{3}", "3:45", 0.0),
    ("undelimited pair", r"\boxed{5}", "(3, 5)", 0.0),
    ("word as a product of letters", r"\boxed{sey}", "$Yes$", 0.0),
    ("percent gold", r"\boxed{0.5}", r"50\%", 1.0),
    ("percent for a number", r"\boxed{9\%}", "$9$", 0.0),
    ("end of a false chain", r"\boxed{2=3=5}", "$5$", 0.0),
    ("self-correction", r"\boxed{5} and no, wait, $x$ \boxed{7}", "$7$", 1.0),
    ("two boxes", r"\boxed{4}, then \boxed{3}", "$3$", 1.0),
    ("answer only in the thought", r"<think>\boxed{3}</think> I am done.", "$3$", 0.0),
    ("restated task", r"\boxed{17\cdot 23}", "$391$", 0.0),
    ("restated integral", r"\boxed{\int_0^1 x^2dx}", r"$\frac{1}{3}$", 0.0),
    ("base", r"\boxed{1101_2}", "$1101$", 0.0),
    ("unit", r"\boxed{5 m}", "$5 cm$", 0.0),
    ("pair and list", r"\boxed{(1,2)}", "$1,2$", 0.0),
    ("ratio for a time", r"\boxed{\frac{2}{5}}", "$12:30$", 0.0),
]


@pytest.mark.parametrize(("what", "completion", "gold", "right"), TRAPS, ids=[trap[0] for trap in TRAPS])
def test_we_do_not_fall_for_it(what, completion, gold, right):
    assert accuracy_reward([completion], solution=[gold]) == [right]


@pytest.mark.parametrize(("what", "completion", "gold", "right"), TRAPS, ids=[trap[0] for trap in TRAPS])
def test_trl_does(what, completion, gold, right):
    """Why these tests exist. Measured with TRL 1.16 and math-verify 0.9: all of them; a repaired peer is skipped."""
    if trl_says(completion, gold) == right:
        pytest.skip("this TRL and math-verify judge it right")


@pytest.mark.parametrize(
    "completion",
    [
        "",
        " ",
        r"\boxed{}",
        "<answer></answer>",
        r"\boxed{1, 2, 3, 4, 5, 6, 7}",
        r"\boxed{5 or 6}",
        r"\boxed{\text{not 5}}",
        r"<think>\boxed{5}",
        r"<think>5</think>",
        r"\boxed{5",
        r"\boxed{\phantom{5}}",
        r"\boxed{٥}",
        r"\boxed{5x}",
        r"\boxed{5!}",
        r"\boxed{5 \neq 5}",
        r"\boxed{x \approx 5 \text{ or } x = 6}",
        r"\boxed{\gold}",
        r"\boxed{answer}",
        r"\boxed{5, 5}",
        r"\boxed{__import__('os').abort()}",
        r"\boxed{10**10**10}",
        r"\boxed{2+3}",
        r"\boxed{\sqrt{25}}",
        r"\boxed{5^{1}}",
        r"\boxed{[0, 10]}",
        r"\boxed{x}",
        r"\boxed{0 < x < 10}",
        r"\boxed{\pm 5}",
        r"\boxed{5 \pm 1}",
        r"\boxed{4.9999999}",
        "#### ",
        "the answer is 5 or 6",
        "I will not say 5, the answer is 6",
        "\x00",
        "\ud800",
    ],
)
def test_no_exploit_is_paid(completion):
    assert accuracy_reward([completion], solution=["5"]) == [0.0]


# ---------------------------------------------------------------- real data


@pytest.fixture(scope="module")
def gsm8k_solutions():
    models = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    return [
        (row[model]["solution"], row["ground_truth"], row[model]["is_correct"])
        for row in rows_of("gsm8k_model_solutions.jsonl")
        for model in models
    ]


@pytest.mark.parametrize(
    "place",
    [
        "{solution}",
        r"<think>{solution}</think>The answer is \boxed{{{answer}}}.",
        "<think>{solution}</think><answer>{answer}</answer>",
        "{solution}\n#### {answer}",
        "<think>{solution}</think>So the answer is {answer}.",
        "{working}\nTherefore it is {answer}.",
    ],
)
def test_2800_verdicts_on_gsm8k_solutions(gsm8k_solutions, place):
    completions, golds, expected = [], [], []
    for solution, gold, right in gsm8k_solutions:
        working, _, last = solution.strip().rpartition("\n")
        completions.append(place.format(solution=solution, working=working, answer=last.removeprefix("A: ")))
        golds.append(gold)
        expected.append(float(right))
    assert len(expected) == 2800
    scores = accuracy_reward(completions, solution=golds)
    wrong = [(completions[i][-80:], golds[i][-20:], scores[i]) for i in range(2800) if scores[i] != expected[i]]
    assert wrong == []


def mutations(gold: str) -> list[tuple[str, bool]]:
    """Twenty-five forms of a whole-number gold with their verdicts."""
    n = int(gold.replace(",", ""))
    equal = [
        f"{n}.0",
        f"{n}.",
        f"{n:,}",
        f"{n:,}".replace(",", "{,}"),
        f"{n} apples",
        f"${n}",
        rf"\${n}.00",
        rf"{n}\text{{ km}}",
        f"{n * 3}/3",
        rf"\frac{{{n * 4}}}{{4}}",
        f"{n * 100}%",
        f"x = {n}",
        f"({n})",
    ]
    unequal = [
        f"{n + 1}",
        f"{n - 1}",
        f"{-n if n else 7}",
        f"{n}.5",
        f"{n}1",
        f"{n}%" if n else "1%",
        f"{n}, {n + 1}",
        rf"{n + 1}\cdot 1",
        rf"{n}\cdot 1",
        f"{n + 3} - 3",
        f"{n}x",
        f"({n}, {n})",
    ]
    return [(form, True) for form in equal] + [(form, False) for form in unequal]


def test_25_mutations_of_every_gsm8k_test_gold():
    golds = {gold_answer(row["answer"]) for row in rows_of("gsm8k_test.jsonl")}
    wrong = [(form, gold) for gold in golds for form, right in mutations(gold) if verify(form, gold) is not right]
    assert len(mutations("5")) == 25
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "column"), [("aime24.jsonl", "answer"), ("cmath.jsonl", "answer"), ("gsm8k_train.jsonl", "answer")]
)
def test_every_real_gold_accepts_itself_and_an_equal_form_and_rejects_a_wrong_one(name, column):
    for row in rows_of(name):
        gold = gold_answer(row[column])
        percent = gold.endswith("%")
        value = Fraction(gold.rstrip("%").replace(",", "")) / (100 if percent else 1)
        assert verify(gold, row[column]) is True
        assert verify(rf"\frac{{{value.numerator * 2}}}{{{value.denominator * 2}}}", row[column]) is True
        assert verify(str(value + 1), row[column]) is False


def test_worked_solutions_verify_as_replies():
    rows = rows_of("gsm8k_test.jsonl")[:300]
    answers = [row["answer"] for row in rows]
    assert accuracy_reward(answers, solution=answers) == [1.0] * len(rows)
    aime = rows_of("aime24.jsonl")
    assert (
        accuracy_reward(
            [rf"<think>a</think>\boxed{{{int(r['answer'])}}}" for r in aime], solution=[r["answer"] for r in aime]
        )
        == [1.0] * 30
    )


# ---------------------------------------------------------------- never raises, never hangs


TOWERS = [
    r"10^{10^{10}}",
    r"2^{2^{2^{2^{2^{2}}}}}",
    "99999999!",
    r"(2^{30})!",
    r"\sum_{k=1}^{10^9}1/k",
    r"9^{9^{9^9}}+1",
    r"9^{9^{9^9}}x+y",
    r"\binom{10^9}{5\cdot 10^8}",
    r"(x+y)^{100000}",
    r"\sqrt[99999]{7^{99999}}",
    r"\left(\left(9!\right)!\right)!",
    r"x^{x^{x^{x}}}",
]


@pytest.mark.parametrize("gold", ["5", r"x+\sqrt{2}"])
def test_towers_from_a_worker_thread_are_killed_and_the_others_judged_right(gold):
    reward = Accuracy(require_simplified=False, seconds=0.7)
    completions = [rf"\boxed{{{tower}}}" for tower in TOWERS]
    completions = [rf"\boxed{{{gold}}}", *completions, rf"\boxed{{0 + {gold}}}"]
    scores: list[float | None] = []
    thread = threading.Thread(target=lambda: scores.extend(reward(completions, solution=[gold] * len(completions))))
    start = time.monotonic()
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert scores == [1.0, *[0.0] * len(TOWERS), 1.0]
    assert time.monotonic() - start < 40
    assert verify("y+1", "1+y") is True  # the pool is healthy


def test_what_exhausts_the_limits_scores_as_chosen():
    tower = [r"\boxed{\sum_{k=1}^{10^9}1/k}"]
    metrics: dict[str, float] = {}
    reward = Accuracy(require_simplified=False, seconds=0.5, on_timeout=None)
    assert reward(tower, solution=["5"], log_metric=metrics.__setitem__) == [None]
    assert metrics["accuracy/gave_up"] == 1.0
    assert Accuracy(require_simplified=False, seconds=0.5, on_timeout=-0.5)(tower, solution=["5"]) == [-0.5]
    assert verify(r"\sum_{k=1}^{10^9}1/k", "5", require_simplified=False, seconds=0.5, on_timeout=None) is None


@pytest.mark.parametrize(
    "unit",
    [
        r"\boxed{",
        r"\boxed{}",
        "{",
        "}",
        r"\boxed{5}",
        "<answer>",
        "####",
        "####\n",
        "answer is ",
        "$",
        r"\(",
        "5 ",
        "5,",
        "\n",
        ".",
        "(",
    ],
)
def test_hostile_length_takes_linear_time(unit):
    for text in (unit * (600_000 // len(unit)), rf"\boxed{{{unit * (600_000 // len(unit))}}}"):
        start = time.process_time()
        accuracy_reward([text], solution=["7"])
        assert time.process_time() - start < 2.5


@pytest.mark.parametrize("length", [LONGEST_ANSWER - 1])
@pytest.mark.parametrize(
    "unit",
    ["(", "((1,2),", "1,", "{", "$", "**", r"\text{", r"\frac", "1/", "1 ", "=", "1=", "- ", "x_", r"\{", "，", "a "],
)
def test_the_longest_answers_are_decided_quickly(unit, length):
    for gold in ("7", "(1,2)", "1,2", "x+1"):
        start = time.process_time()
        decide((unit * length)[:length], gold)
        assert time.process_time() - start < 1.0


pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        r"\boxed{",
        "}",
        "{",
        "####",
        "$",
        "answer is",
        "\n",
        "5",
        "/",
        ",",
        "x=",
        "%",
        r"\frac{1}{2}",
        "(",
        ")",
        "é",
        "我",
        "\ud800",
        "\x00",
        "½",
        "²",
        "∞",
        " ",
        ".",
        "10^",
        "or",
        "yes",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.lists(pieces, max_size=40).map("".join), st.text(max_size=200)),
    st.one_of(st.text(max_size=20), st.just("5")),
)
def test_no_text_raises_and_every_score_is_in_range(text, gold):
    reward = Accuracy(math_verify=False)
    assert reward([text, [{"role": "assistant", "content": text}]], solution=[gold] * 2)[0] in (0.0, 1.0, None)
    answer = extract(text)
    assert answer is None or answer in text or ", " in answer


def test_model_output_is_never_evaluated(tmp_path):
    canary = tmp_path / "canary"
    for attack in (
        f"__import__('os').system('touch {canary}')",
        f"open('{canary}','w')",
        f"exec(\"open('{canary}','w')\")",
    ):
        accuracy_reward([rf"\boxed{{{attack}}}", attack, f"<answer>{attack}</answer>"], solution=["x+1"] * 3)
    assert not canary.exists()


# ---------------------------------------------------------------- the object


def test_plain_and_conversational_completions_and_none_content():
    completions = [
        r"\boxed{5}",
        [{"role": "assistant", "content": r"\boxed{5}"}],
        [
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "5"},
            {"role": "assistant", "content": "It is 5"},
        ],
        [{"role": "assistant", "content": None}],
        None,
    ]
    assert accuracy_reward(completions, solution=["5"] * 5) == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_the_gold_column_can_be_named():
    assert Accuracy(solution_column="answer")(["#### 72"], answer=["48 + 24\n#### 72"], prompts=["?"]) == [1.0]
    with pytest.raises(ValueError, match="needs a column 'answer' with the gold answers. The rows have: gold"):
        Accuracy(solution_column="answer")(["5"], gold=["5"])


def test_it_logs_what_it_extracted():
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    completions = [r"\boxed{5}", "", r"\boxed{6}", r"\boxed{6}"]
    accuracy_reward(
        completions, solution=["5", "5", "5", None], log_extra=extra.__setitem__, log_metric=metrics.__setitem__
    )
    assert extra["accuracy_answer"] == ["5", "", "6", "6"]
    assert extra["accuracy_gold"] == ["5", "5", "5", ""]
    assert extra["accuracy_verdict"] == ["equal", "no answer", "different", "no gold"]
    assert metrics["accuracy/no_answer"] == metrics["accuracy/no_gold"] == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": ("box",)}, "choose from boxed, answer, hashes, sentence"),
        ({"seconds": 0}, "positive time"),
        ({"on_timeout": float("inf")}, "not a score"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Accuracy(**options)


def test_pickles_and_stays_equal():
    reward = Accuracy(sources=["boxed"], require_simplified=False, name="strict")
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert reward.__name__ == "strict"
    assert accuracy_reward.__name__ == "accuracy"
    assert set(accuracy_reward.sources) == set(SOURCES)


def test_equal_pairs_are_judged_once(monkeypatch):
    from trl_r1.sandbox import pool as verifier

    asked = []
    real = verifier.run
    monkeypatch.setattr(
        verifier, "run", lambda judge, items, **limits: asked.extend(items) or real(judge, items, **limits)
    )
    accuracy_module._VERDICTS.clear()
    for _ in range(2):
        assert accuracy_reward([r"\boxed{w+1}"] * 8, solution=["1+w"] * 8) == [1.0] * 8
    assert len(asked) == 1


def test_two_processes_give_the_same_verdicts():
    code = (
        "from trl_r1.rewards import accuracy_reward as a\n"
        r"answers = [r'\boxed{%s}' % t for t in ('1+x','x-1','2x','{2,1}','x>2')]"
        "\n"
        r"print(a(answers, solution=['x+1','1+x','x*2','1,2',r'(2,\infty)']))"
    )
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        outputs.add(
            subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            ).stdout
        )
    assert outputs == {"[1.0, 0.0, 1.0, 1.0, 1.0]\n"}


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("1\\frac{1}{2}", "11/2"),
        ("1\\frac{1}{2}", "\\frac{11}{2}"),
        ("1 1/2 cups", "11/2 cups"),
        ("5 7", "57"),
        ("5\\quad 7", "57"),
        ("(1 2, 3)", "(12, 3)"),
        ("x^2 3", "x^{23}"),
        ("2\\ 3\\sqrt{2}", "23\\sqrt{2}"),
    ],
)
def test_a_space_between_two_digits_does_not_make_one_number(answer, gold):
    assert verify(answer, gold) is False


def test_a_space_inside_one_number_is_none():
    assert verify("1\\frac{1}{2}", "3/2") is True
    assert verify("1 000 000", "1000000") is True
    assert verify("x + 1", "x+1") is True


@pytest.mark.parametrize(
    "answer",
    [
        "5 or seven", "5 versus seven", "5 maybe six", "5 seven", "5或七", "5七", "5又二分之一", "5分之一", "5以上", "5不是",
        "5 tenths", "5 hundredths", "5 tens", "5 eighths", "5 lakh", "5 gross", "5 permille", "5 basis points",
        "5 doubled", "5 degrees below zero", "5 except", "5 wrong", "not = 5", "不是 = 5",
    ],
)  # fmt: skip
def test_words_that_change_a_number_or_doubt_it_are_no_unit(answer):
    assert verify(answer, "5") is False
    assert verify(f"\\text{{{answer}}}", "5") is False


@pytest.mark.parametrize("answer", ["5 red apples", "5个三角形", "5种不同的颜色", "5两", "5点", "5 different colors"])
def test_words_that_count_something_are(answer):
    assert verify(answer, "5") is True


def test_units_behind_an_expression_are_compared():
    assert verify("\\sqrt{2} \\text{ cm}", "\\sqrt{2} \\text{ m}") is False
    assert verify("2\\pi \\text{ seconds}", "2\\pi \\text{ m}") is False
    assert verify("2\\pi \\text{ meters}", "2\\pi \\text{ m}") is True
    assert verify("\\sqrt{2}", "\\sqrt{2} \\text{ cm}") is True  # understood


def test_a_gold_in_a_list_an_array_or_a_table():
    import numpy
    import torch

    golds = [["5"], [5], ("5",), numpy.array([5]), numpy.array(5), torch.tensor(5), "['5']", '["5"]']
    assert accuracy_reward(completions=["\\boxed{5}"] * len(golds), solution=golds) == [1.0] * len(golds)
    assert accuracy_reward(completions=["\\boxed{6}"] * len(golds), solution=golds) == [0.0] * len(golds)
    unclear = [["5", "6"], [], {"answer": "5"}, b"5"]  # all of them or any? nothing is said, so nothing is judged
    assert accuracy_reward(completions=["\\boxed{5}"] * 4, solution=unclear) == [None] * 4


@pytest.mark.parametrize(
    "text",
    [
        "There are 5 or 7 apples.", "We get x = 5 or x = 7.", "It is either 5 or 7", "There are 5, 6 or 7 apples.",
        "$5$ or $7$", "There are not 7 apples.", "Not $7$", "答案不是7", "有5或7个苹果", "There are between 5 and 7 apples.",
        "Maybe 1, 2, 3, 4, 5, 6, 7", "The answer is 7? No, 8.",
    ],
)  # fmt: skip
def test_a_last_sentence_that_leaves_a_choice_or_denies_is_no_answer(text):
    assert verify(extract(text), "7") is False


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It takes 5 hours or 300 minutes.", "300"),
        ("So the digits are 1, 2, 3.", "1, 2, 3"),
        ("In the end, after 5 days, 7 apples are left.", "7"),
        ("He has not eaten, so 7 apples are left.", "7"),
    ],
)
def test_a_last_sentence_that_does_not_is(text, answer):
    assert extract(text) == answer
