"""Declared answer types: the row says how its gold is to be read; one table of types for all who need it."""

import pickle

import pytest

from trl_r1.answers import forms
from trl_r1.answers.declared import Interval, decide_as, interval, spelled
from trl_r1.answers.equality import Pending
from trl_r1.answers.types import type_name
from trl_r1.rewards.accuracy import Accuracy, judge, verdict, verify
from trl_r1.rewards.symbolic import Symbolic


@pytest.mark.parametrize(
    ("kind", "answer", "gold", "verdict"),
    [
        # numbers: what equals what is as ever; the gold has to be one
        ("integer", "72", "72 apples", True), ("integer", "72.0", "72", True), ("integer", "x = 72", "72", True),
        ("integer", "73", "72", False), ("integer", r"8 \cdot 9", "72", False), ("integer", "72", "72.5", None),
        ("integer", "72", "seventy-two", None), ("fraction", "6/8", r"\frac{3}{4}", True), ("decimal", "0.5", "1/2", True),
        ("number", "1101", "1101_2", None), ("number", "5", "(3, 5)", None),
        # percent: a bare number is a percentage, on either side; 12 is not 0.12
        ("percent", "12", r"12\%", True), ("percent", r"12\%", "12", True), ("percent", "12 percent", "12.0", True),
        ("percent", "0.12", "12", False), ("percent", "13", "12%", False), ("percent", "half", "50", False),
        # letters: never words or mathematics
        ("choice", "(B)", "b", True), ("choice", "B. a coat", "B) a coat", True), ("choice", "C", "(b)", False),
        ("choice", "A", "Apple", None), ("choice:abc", "D", "D", None), ("choice:abcd", "d", "D", True),
        # truth
        ("yes_no", "true", "Yes", True), ("yes_no", "No, it is not prime", "No", False), ("yes_no", "否", "no", True),
        ("yes_no", "yes", "maybe", None),
        # a text is a text: Mr No, house number 01, the string "x + 1"
        ("text", "no", "No", True), ("text", "false", "No", False), ("text", "01", "1", False), ("text", "1", "1", True),
        ("text", "the Eiffel Tower.", "Eiffel tower", True), ("text", r"\text{x+1}", "x + 1", True),
        ("text", "1+x", "x+1", False), ("text", "sey", "Yes", False), ("text", "巴黎", "巴黎", True),
        # clocks, ratios, bases
        ("clock", "3 : 45", "3:45", True), ("clock", "0.6", "3:5", False), ("clock", "1101_{2}", "1101_2", True),
        ("clock", "1101", "1101", None),
        # intervals: brackets and ends exactly, inequalities are intervals
        ("interval", "(1, 2]", r"1 < x \le 2", True), ("interval", r"1 \leq t < 2", "[1, 2)", True),
        ("interval", "(1, 2)", "[1, 2]", False), ("interval", "(1, 3)", "(1, 2)", False),
        ("interval", r"x \in (\frac12, \infty)", "x > 0.5", True), ("interval", "x < 3", r"(-\infty, 3)", True),
        ("interval", "(oo, 3)", r"(-\infty, 3)", False), ("interval", "x >= 3", r"(3, \infty)", False),
        ("interval", r"(3, 4) \cup [0, 1)", r"[0, 1) \cup (3, 4)", True),
        ("interval", "x > 2 or x < 1", "x < 1 or x > 2", True),
        ("interval", r"(3, 4) \cup [0, 1)", "[0, 1)", False), ("interval", r"-\infty < x < 3", "x < 3", True),
        ("interval", "7", "(1, 2)", False), ("interval", "(1, 2)", "7", None), ("interval", "all of them", "(1, 2)", False),
        # lists as ever
        ("list", "2, 1", "1, 2", True), ("list", "(2, 1)", "(1, 2)", False),
        # an expression that looks like something else
        ("expression", "E", "E", True), ("expression", "e", "E", False), ("expression", "A B", "AB", True),
        ("", "false", "No", True),
    ],
)  # fmt: skip
def test_what_equals_what_under_a_declared_type(kind, answer, gold, verdict):
    assert decide_as(kind, answer, gold) is verdict
    assert verify(answer, gold, answer_type=kind, math_verify=False) is verdict


def test_what_is_left_goes_to_math_verify():
    assert decide_as("expression", "B+A", "AB") == Pending((("B+A", "AB"),))
    assert verify("A + B", "B + A", answer_type="expression") is True
    assert verify("|x| < 1", "(-1, 1)", answer_type="interval") is True
    assert verify(r"(\sqrt{2}, 2)", r"(2^{1/2}, 2)", answer_type="interval") is True
    assert verify(r"(\sqrt{3}, 2)", r"(\sqrt{2}, 2)", answer_type="interval") is False


def test_the_option_and_the_column_which_wins():
    replies = [r"\boxed{12}"] * 3
    assert Accuracy()(replies, solution=[r"12\%"] * 3) == [0.0] * 3
    assert Accuracy(answer_type="percent")(replies, solution=[r"12\%"] * 3) == [1.0] * 3
    typed = Accuracy(answer_type="percent")(replies, solution=[r"12\%"] * 3, answer_type=["Percentage", "text", None])
    assert typed == [1.0, 0.0, 1.0]
    named = Accuracy(type_column="kind")(replies, solution=[r"12\%"] * 3, kind=["percent"] * 3, answer_type=["x"] * 3)
    assert named == [1.0] * 3
    assert Accuracy(type_column=None)(replies, solution=["12"] * 3, answer_type=["whatever"] * 3) == [1.0] * 3


def test_a_gold_that_is_not_of_its_type_abstains_and_is_counted():
    metrics: dict[str, float] = {}
    reward = Accuracy(answer_type="integer")
    scores = reward([r"\boxed{5}"] * 2, solution=["5", "Paris"], log_metric=metrics.__setitem__)
    assert scores == [1.0, None]
    assert metrics["accuracy/unreadable_gold"] == 0.5
    assert judge(["5"], ["Paris"], types=["integer"]) == ["unreadable gold"]


def test_an_unknown_type_is_one_sentence():
    with pytest.raises(
        ValueError, match="The answer type 'intger' is unknown. Did you mean 'integer'. Choose from: integer, "
    ):
        Accuracy(answer_type="intger")
    with pytest.raises(
        ValueError, match=r"Column 'answer_type': The answer type 'zzz' is unknown.*With type_column null"
    ):
        Accuracy()([r"\boxed{5}"], solution=["5"], answer_type=["zzz"])
    with pytest.raises(ValueError, match="is unknown"):
        verify("5", "5", answer_type="choice:12")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Integer", "integer"), ("bool", "yes_no"), ("Multiple choice", "choice"), ("string", "text"), ("Tuple", "list"),
     ("Equation", "expression"), ("Numerical", "number"), ("decimal:2", "decimal:2"), ("choice:ABCD", "choice:abcd"),
     ("", ""), (None, ""), (float("nan"), "")],
)  # fmt: skip
def test_types_by_their_other_names(name, kind):
    assert type_name(name) == kind


def test_one_table_of_types_serves_golds_options_and_columns():
    golds = ["72", "1/2", "0.5", "12%", "B", "yes", "12:30", "[0, 1)", "(1, 2)", "x^2", "Paris"]
    read = [forms.answer_type(gold) for gold in golds]
    assert {*read, "number", "sequence", "fact"} == set(forms.TYPES)
    for gold, kind in zip(golds, read, strict=True):
        assert verify(gold, gold, answer_type=kind) is True
        assert verify(forms.wrong_form(gold), gold, answer_type=kind) is False
        assert Accuracy(answer_type=kind).answer_type == Symbolic(answer_type=kind).answer_type == kind
    assert pickle.loads(pickle.dumps(Accuracy(answer_type="Bool"))) == Accuracy(answer_type="yes_no")


def test_intervals_and_spelling():
    assert interval(r"0 \le x < 1") == [Interval("[", "0", "1", ")")]
    assert interval("(1, 2, 3)") is None
    assert interval("") is None
    assert spelled("An A-12 b") == "ana-12b"  # a digit: no plain words, so no article either


@pytest.mark.parametrize("unit", ["<", "(", "[0,", "1<x<", r"\cup ", "or ", "x>", "-", "∞", r"\le"])
@pytest.mark.parametrize("kind", list(forms.TYPES))
def test_hostile_answers_are_decided(kind, unit):
    decide_as(kind, unit * (900 // len(unit)), "(1, 2)")
    decide_as(kind, "(1, 2)", unit * (900 // len(unit)))


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("29, 51, 60", "29, 51, 60", True),
        ("60, 51, 29", "29, 51, 60", False),
        ("29 < 51 < 60", "29, 51, 60", True),
        ("(29, 51, 60)", "29, 51, 60", True),
        ("[29,51,60]", "(29, 51, 60)", True),
        ("29, 60, 51", "29, 51, 60", False),
        ("29, 51", "29, 51, 60", False),
        ("29, 51, 51, 60", "29, 51, 60", False),
        ("29 51 60", "29, 51, 60", True),
        (r"29 \to 51 \to 60", "29, 51, 60", True),
        ("C, A, B", "C, A, B", True),
        ("A, B, C", "C, A, B", False),
        (r"\frac{1}{2}, 0.25", "1/2, 1/4", True),
        (r"0.25, \frac{1}{2}", "1/2, 1/4", False),
        ("60 > 51 > 29", "29 < 51 < 60", False),
        ("2", "2", None),
    ],
)
def test_the_order_of_a_sequence_counts(answer, gold, right):
    assert verify(answer, gold, answer_type="sequence") is right


def test_without_a_declaration_a_bare_list_is_a_set_of_solutions():
    assert verify("60, 51, 29", "29, 51, 60") is True


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The capital of France is Paris.", "Paris", True),
        ("首都是北京。", "北京", True),
        ("It was Camus, in 1942.", "Camus", True),
        ("Paris. It lies on the Seine.", "Paris", True),
        ("Paris", "Paris", True),
        (r"\boxed{Paris}", "Paris", True),
        ("It is not Paris.", "Paris", False),
        ("Paris or London.", "Paris", False),
        ("Paris, London, Rome, Berlin", "Paris", False),
        ("It is 42.5.", "42", False),
        ("It is 42.", "42", True),
        ("In 1942.", "194", False),
        ("Parisian fashion", "Paris", False),
        ("不是北京。", "北京", False),
        ("北京或上海", "北京", False),
    ],
)
def test_a_fact_is_stated(text, gold, right):
    assert verdict(text, gold, answer_type="fact") is right


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The capital of France is Paris.", "Paris", True),
        ("首都是北京。", "北京", True),
        ("中国的首都是北京市。", "北京", True),
        ("Paris is the capital of France.", "Paris", True),
        ("The answer is Paris, the capital of France.", "Paris", True),
        ("The capital of France is London.", "Paris", False),
        ("The capital of France is not Paris.", "Paris", False),
        ("It is 42.5.", "42", False),
        ("It is 42.", "42", True),
        ("The curve is a hyperbola.", "hyperbola", True),
        ("The capital is Paris or Lyon.", "Paris", False),
    ],
)
def test_without_a_declaration_one_plain_statement_states_it(text, gold, right):
    assert verdict(text, gold) is right
