"""The symbolic reward: the form of an answer, part by part, and never its value."""

import pickle
import random
import time

import pytest

from trl_r1.answers.types import TYPES, Asked, asked
from trl_r1.rewards.symbolic import Form, Symbolic, form, symbolic_reward


def boxed(answer: str) -> str:
    return rf"<think>we work it out</think> \boxed{{{answer}}}"


def parts_of(text: str, *ask) -> Form:
    return form(text, Asked(*ask))[1]


@pytest.mark.parametrize(
    ("answer", "kind", "right"),
    [
        ("5", "integer", True), ("1,000", "integer", True), ("-5", "integer", True), ("x = 5", "integer", True),
        (r"\$18.00", "integer", True), ("12 apples", "integer", True), ("5.0", "integer", False),
        ("10/2", "integer", False), ("50\\%", "integer", False), ("5 or 6", "integer", False), ("x", "integer", False),
        ("3.14", "decimal:2", True), ("3.1", "decimal:2", False), ("3.140", "decimal:2", False),
        ("12.50\\%", "decimal:2", True), ("3", "decimal", False), ("3.5", "decimal", True), ("3", "decimal:0", True),
        (r"\frac{3}{4}", "fraction", True), ("3/4", "fraction", True), ("6/8", "fraction", True), ("2", "fraction", True),
        ("0.75", "fraction", False), ("75\\%", "fraction", False), ("0.75", "number", True), (r"\pi", "number", False),
        ("(B)", "choice", True), ("B. a dog", "choice", True), ("b", "choice:ab", True), ("C", "choice:ab", False),
        ("42", "choice", False), ("Yes", "yes_no", True), ("false", "yes_no", True), ("否", "yes_no", True),
        ("maybe", "yes_no", False), ("x^2 + 1", "expression", True), (r"\frac{\pi}{4}", "expression", True),
        (r"y = \sqrt{2}x", "expression", True), (r"[0, \infty)", "expression", True), (r"\frac12", "expression", True),
        ("x^2 +", "expression", False), (r"\frac{1}", "expression", False), (r"\frac{}{2}", "expression", False),
        ("(x + 1", "expression", False), ("x + 1]", "expression", False), ("2 ** * 3", "expression", False),
        ("(1, 2)", "list", True), ("1, 2", "list", True), (r"\{1, 2\}", "list", True), ("1", "list", False),
        ("50\\%", "percent", True), ("50", "percent", False), ("12:30", "clock", True), ("12", "clock", False),
        ("[0, 1)", "interval", True), ("x > 2", "interval", True), ("0 < x", "interval", False),
        ("5", "interval", False), ("(1, )", "list", False), ("Evelyn", "text", True), ("word " * 60, "text", False),
    ],
)  # fmt: skip
def test_the_type(answer, kind, right):
    assert parts_of(boxed(answer), kind).type is right


def test_the_score_is_the_mean_of_the_parts_that_can_be_judged():
    # single, reads, type, unit = 1, 1, 1, 1
    assert symbolic_reward([boxed("3 cm")], answer_type=["integer"], unit=["cm"]) == [1.0]
    # 1, 1, 0, 1 of four
    assert symbolic_reward([boxed("3.5 cm")], answer_type=["integer"], unit=["cm"]) == [0.75]
    # 1, 1, 0, 0 of four
    assert symbolic_reward([boxed("3.5 kg")], answer_type=["integer"], unit=["cm"]) == [0.5]
    # no unit asked: 1, 1, 0 of three
    assert symbolic_reward([boxed("3.5")], answer_type=["integer"]) == [pytest.approx(2 / 3)]
    # two different answers: 0, 1, 1
    assert symbolic_reward([boxed("3") + r" no, wait, it must be rather \boxed{4}"], solution=["4"]) == [
        pytest.approx(2 / 3)
    ]
    # broken: 1, 0, 0
    assert symbolic_reward([boxed("x^2 +")], solution=["x^2 + 1"]) == [pytest.approx(1 / 3)]


def test_a_right_and_a_wrong_answer_of_one_form_score_the_same():
    for gold, wrong in [("7", "8"), ("1/2", "3/5"), ("B", "C"), ("yes", "no"), ("x+1", "x-2"), ("(1,2)", "(3,4)")]:
        assert symbolic_reward([boxed(gold), boxed(wrong)], solution=[gold, gold]) == [1.0, 1.0]


@pytest.mark.parametrize("text", ["", "<think>it is 5", r"<think>\boxed{5}</think>", "<think>a</think><answer> </answer>",
                                  "<think>a</think>\\boxed{\u200b}", "<think>a</think>\\boxed{5"])  # fmt: skip
def test_no_declared_answer_scores_zero(text):
    assert symbolic_reward([text], solution=["5"]) == [0.0]


def test_a_row_that_asks_for_nothing_is_not_judged():
    assert symbolic_reward([boxed("5"), ""]) == [None, None]
    assert symbolic_reward([boxed("5")], solution=[None], prompts=["Write a poem."]) == [None]


def test_one_answer_may_be_said_twice_and_a_list_in_several_boxes():
    assert parts_of(r"a</think> \boxed{5}. <answer>\boxed{5}</answer>", "integer").single
    assert parts_of(r"a</think> \boxed{5} <answer>5</answer>", "integer").single
    assert parts_of(r"a</think> \boxed{2} and \boxed{3}", "list") == Form(True, True, True, None)
    assert not parts_of(r"a</think> \boxed{6} <answer>5</answer>", "integer").single
    assert not parts_of("a</think><answer>5</answer><answer>5</answer>", "integer").single
    assert not parts_of(
        " ".join(rf"or rather, on second thoughts, \boxed{{{n}}}" for n in range(100)), "integer"
    ).single


@pytest.mark.parametrize(
    ("answer", "unit", "required", "right"),
    [
        ("3 cm", "cm", True, True), ("3 centimeters", "cm", True, True),
        ("3 m", "cm", True, False), ("3", "cm", True, False), ("3", "cm", False, True), ("3 m", "cm", False, False),
        ("9 square meters", "m^2", True, True), ("9 m", "square meters", True, False), (r"\$5", "dollars", True, True),
        ("5 dollars", "$", True, True), ("5 apples", "apples", True, True), ("5 red apples", "apples", True, True),
        ("5\\%", "%", True, True), ("5", "%", True, False), ("90^\\circ", "degrees", True, True),
        ("x = 3 cm", "cm", True, True), ("12 km/h", "km per h", True, True), ("x cm", "cm", True, False),
    ],
)  # fmt: skip
def test_the_unit(answer, unit, required, right):
    assert parts_of(boxed(answer), "", unit, required).unit is right


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Find x. Round your answer to 3 decimal places.", Asked("decimal:3")),
        ("Round to the nearest hundredth.", Asked("decimal:2")),
        ("Round to the nearest whole number.", Asked("integer")),
        ("Express your answer as a common fraction.", Asked("fraction")),
        ("Give your answer as a decimal.", Asked("decimal")),
        ("结果保留两位小数。", Asked("decimal:2")),
        ("Which?\nA) 3\nB) 4\nC) 5", Asked("choice:abc")),
        ("How tall is he? Give your answer in cm.", Asked("", "cm", False)),
        ("Answer in square meters, with units.", Asked("", "square meters", True)),
        ("求面积。单位：平方厘米", Asked("", "平方厘米", False)),
        # nothing that would not be asked in so many words
        ("How many meters did he walk?", Asked()),
        ("Give the answer in simplest form.", Asked()),
        ("Express the answer in terms of n.", Asked()),
        ("A fraction of the cake is eaten. How much?", Asked()),
        ("A dog met B. Who?", Asked()),
        ("The answer lies in Paris.", Asked()),
    ],
)
def test_what_a_question_asks_for(question, expected):
    assert asked(question=question) == expected


@pytest.mark.parametrize(
    ("gold", "kind"),
    [("5", "integer"), ("#### 72", "integer"), ("1/2", "number"), ("0.5", "number"), ("12%", "number"), ("B", "choice"),
     ("True", "yes_no"), ("x+1", "expression"), (r"$\sqrt{2}$", "expression"), ("(1,2)", "list"), ("Evelyn", "text"),
     ("", ""), (None, ""), (float("nan"), ""), (72, "integer"), ("12 cm", "integer"),
     ("100%", "number"), ("12:30", "clock"), (r"[0, \infty)", "interval")],
)  # fmt: skip
def test_the_type_of_a_gold(gold, kind):
    assert asked(gold=gold) == Asked(kind)


def test_a_column_wins_over_the_question_and_the_question_over_the_gold():
    question = "Round to two decimal places."
    assert asked("fraction", None, question, "3").answer_type == "fraction"
    assert asked(None, None, question, "3").answer_type == "decimal:2"
    assert asked("Choice letter", "cm").answer_type == "choice"  # as the gold doctor calls it
    assert asked("percent").answer_type == "percent"
    with pytest.raises(ValueError, match="'intger' is unknown. Did you mean 'integer'. Choose from: integer"):
        asked("intger")
    with pytest.raises(ValueError, match="is unknown"):
        Symbolic(answer_type="decimal:x")


def test_messages_logs_and_pickling():
    reward = pickle.loads(pickle.dumps(Symbolic(name="form")))
    assert reward == Symbolic(name="form")
    assert reward.__name__ == "form"
    columns, metrics = {}, {}
    completions = [[{"role": "assistant", "content": boxed("5")}], [{"role": "assistant", "content": None}], None]
    prompts = [[{"role": "user", "content": "2 + 3? Give the answer in cm."}]] * 3
    scores = reward(
        completions, prompts=prompts, solution=["7"] * 3, log_extra=columns.__setitem__, log_metric=metrics.__setitem__
    )
    assert scores == [1.0, 0.0, 0.0]
    assert columns == {"form_answer": ["5", "", ""], "form_asked": ["integer cm"] * 3}
    assert metrics == {"form/single": 1.0, "form/reads": 1.0, "form/type": 1.0, "form/unit": 1.0}


def test_hostile_text_is_judged_quickly_and_in_range():
    rng = random.Random(0)
    pieces = ["\\boxed{", "}", "{", "<answer>", "</answer>", "<think>", "</think>", "\\frac", "(", "]", "^", "10^", "9" * 50,
              "\ud800", "\u200b", "是", "A)", "\n", " ", "####", "$", "=", "yes", "answer is "]  # fmt: skip
    texts = ["".join(rng.choice(pieces) for _ in range(rng.randint(1, 60))) for _ in range(400)]
    texts += ["\\boxed{" * 20_000, "\\boxed{1}" * 20_000, "<answer>" * 20_000, "(" * 200_000, "\\frac{" * 30_000,
              "\\boxed{" + "(" * 900 + "}", "\\boxed{" + "\\frac" * 190 + "}", "1" * 200_000]  # fmt: skip
    started = time.process_time()
    for kind in [*TYPES, "decimal:2"]:
        scores = symbolic_reward(texts, answer_type=[kind] * len(texts), unit=["cm"] * len(texts))
        assert all(0.0 <= score <= 1.0 for score in scores)
    assert time.process_time() - started < 20
