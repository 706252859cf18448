"""Which requests have an answer that can be voted on."""

import importlib.util
import time

import pytest
from places import ROOT

from trl_r1.routing.checkable import asks_for_answer, declares_answer


spec = importlib.util.spec_from_file_location("chat_requests", ROOT / "benchmarks" / "chat_requests.py")
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)


def test_no_chat_request_of_the_table_asks_for_an_answer():
    requests = table.chat_requests()
    assert len(requests) == 240
    assert [turns[-1]["content"] for turns in requests if asks_for_answer(turns)] == []


@pytest.mark.parametrize(
    "question",
    [
        "What is 3+4?",
        "Compute \u24602 \u24619 \u24624.",
        "\u8ba1\u7b97 \u24606 \u24611\u3002",
        "Janet has 3 apples and buys 4 more. How many does she have?",
        "Solve x^2 - 5x + 6 = 0.",
        "State the final answer to the following arithmetic problem: 4 + 3 =",
        "Which gas do plants take in?\nA. oxygen\nB. helium\nC. carbon dioxide\nD. neon",
        "Is 91 prime? Answer yes or no.",
        'How many times does the letter "a" appear in these 3 words of 12 letters?',
    ],
)
def test_questions_with_an_answer(question):
    assert asks_for_answer(question)
    assert asks_for_answer([{"role": "system", "content": "Write poems."}, {"role": "user", "content": question}])


def test_the_last_turn_is_the_one_that_asks():
    first = [{"role": "user", "content": "What is 3 + 4?"}, {"role": "assistant", "content": "7"}]
    assert not asks_for_answer([*first, {"role": "user", "content": "Thank you, that is all."}])


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        (r"So \boxed{4}.", True),
        (r"So \boxed{4", False),
        ("<answer>Berlin</answer>", True),
        ("<answer>A poem of a great many words, and it goes on.</answer>", False),
        ("3 + 4 is 7.\n#### 7", True),
        ("#### A heading", False),
        ("The answer is 7.", True),
        ("The answer is blowing in the wind, my friend.", False),
        ("It has 7 verses.", False),
        ("The capital is Berlin.", False),
    ],
)
def test_what_declares_an_answer(text, declared):
    assert declares_answer(text) is declared


def test_long_texts_take_no_time():
    """20,000 characters of what a backtracking pattern would stumble over: linear is well below a second."""
    started = time.process_time()
    for piece in ("\n", " ", "1 ", "1=", ", ", "A. ", "write", "(" * 3 + "1 "):
        asks_for_answer(piece * (20_000 // len(piece)))
        declares_answer(piece * (20_000 // len(piece)))
    assert time.process_time() - started < 2.0
