"""What is counted in a thought, by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.mini.world import Problem, draw_problems, gold_reply
from trl_r1.text.steps import REFLECTION_WORDS, reasoning, reasoning_steps, reflection_words, without_marks


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", 0),
        ("...", 0),
        ("2 + 3 = 5", 1),
        ("2 + 3 = 5 = 10/2", 2),
        ("x <= 4 and y >= 2 and a != b and c == d", 1),  # no equality among them, one sentence
        ("Natalia sold 24. In all 48 + 24 = 72.", 2),
        ("3.5 is more than 3.25", 1),  # a decimal point ends nothing
        ("first\nsecond\n\nthird", 3),
        ("先加一。再加二！对吗？", 3),
    ],
)
def test_steps(text, steps):
    assert reasoning_steps(text) == steps


def test_a_gold_chain_has_one_step_less_than_terms():
    for problem in draw_problems("dev", 40, 0):
        assert reasoning_steps(reasoning(gold_reply(problem))) == len(problem.terms) - 1


def test_the_ten_words_of_the_paper_are_counted_as_whole_words():
    text = "Wait, that is wrong. However, but WAIT: buttons are checked, errors verified. Check!"
    found = reflection_words(text)
    assert list(found) == list(REFLECTION_WORDS)
    assert {word: n for word, n in found.items() if n} == {"wait": 2, "wrong": 1, "however": 1, "but": 1, "check": 1}


def test_reasoning_is_the_thought_or_the_whole_reply():
    assert reasoning("<think>a</think> b") == "a"
    assert reasoning("a b") == "a b"
    assert reasoning([{"role": "assistant", "content": "a</think> b"}]) == "a"
    assert reasoning(gold_reply(Problem((2, 9), "en"))) == " ①2 add ②9=11"


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_counts_add_up_over_lines(a, b):
    assert reasoning_steps(a + "\n" + b) <= reasoning_steps(a) + reasoning_steps(b)
    together = reflection_words(a + "\n" + b)
    assert together == {w: reflection_words(a)[w] + reflection_words(b)[w] for w in REFLECTION_WORDS}


def test_calculator_marks_are_no_steps():
    assert without_marks("48/2 = <<48/2=24>>24 clips") == "48/2 = 24 clips"
    assert reasoning_steps("48/2 = <<48/2=24>>24, 48+24 = <<48+24=72>>72") == 2
