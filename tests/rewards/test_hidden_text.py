"""What a reader does not see declares no answer, is no thought, and counts for no language."""

import time

import pytest

from trl_r1.rewards.accuracy import accuracy_reward, extract, verify
from trl_r1.rewards.format import well_formed
from trl_r1.rewards.language import consistency
from trl_r1.text.completions import visible, without_hidden


HIDDEN = [
    ("a<!-- b -->c", "a          c"),
    ("a<!-- b", "a      "),
    ('a<span style="display:none">b</span>c', "a" + " " * 35 + "c"),
    ('a<b style="color: white">b', "a" + " " * 25),
    (r"a\phantom{b{c}}d", "a" + " " * 14 + "d"),
    (r"a\hphantom {b}d", "a" + " " * 13 + "d"),
    (r"a{\color{white} b}d", "a{" + " " * 15 + "}d"),
    (r"a\textcolor{white}{b}d", "a" + " " * 20 + "d"),
    (r"{\tiny b}d", "{" + " " * 7 + "}d"),
    (r"\tiny b", " " * 7),
]
SHOWN = ["a white cat", "tiny", r"\tinyurl", "x < y -->", "<b>bold</b>", r"\textcolor{red}{b}",
         r"\color{blue} b", "<span class='x'>y</span>"]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), HIDDEN)
def test_hidden_text_becomes_spaces_and_offsets_stay(text, expected):
    assert without_hidden(text) == expected


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_shown_stays(text):
    assert without_hidden(text) == text


def test_a_hidden_answer_does_not_count():
    for hidden in (r"<!-- \boxed{4} -->", r"\phantom{\boxed{4}}", r"{\tiny \boxed{4}}", r"{\color{white} \boxed{4}}"):
        assert extract(rf"It is \boxed{{5}}. {hidden}") == "5"
        assert accuracy_reward([rf"\boxed{{5}} {hidden}"], solution=["4"]) == [0.0]
        assert accuracy_reward([hidden], solution=["4"]) == [0.0]


def test_two_answers_in_one_box_are_wrong():
    for answer in (r"(3, 6) \boxed{(3, 5)}", r"(3, 5) \boxed{(3, 6)}", r"x+2 \boxed{x+1}", r"5 \fbox{4}"):
        assert verify(answer, "(3, 5)") is False
        assert verify(answer, "x+1") is False


def test_a_hidden_thought_is_no_thought_and_hidden_words_no_language():
    assert not visible("<!-- I think, so I am -->")
    assert not well_formed("<think><!-- I think --></think><answer>4</answer>")
    assert well_formed("<think>I think <!-- so --></think><answer>4</answer>")
    assert consistency("我们先计算 <!-- now some English words to look English -->", "en") == 0.0
    assert consistency(r"我们先计算 \phantom{now some English words to look English}", "en") == 0.0


@pytest.mark.parametrize("piece", ["<!--", "<!-- -->", "\\phantom{", "\\phantom{}", "{\\tiny ", "<b style='display:none'>",
                                   "<b color:white", "\\textcolor{white}{{", "\\color{white}}"])  # fmt: skip
def test_hiding_is_linear(piece):
    started = time.process_time()
    without_hidden(piece * (1_000_000 // len(piece)))
    assert time.process_time() - started < 5.0
