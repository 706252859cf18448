"""The reward of reasoning-gym: the dataset's own score of the answer, whatever the answer is."""

import json
import os
import pickle
from types import SimpleNamespace

import pytest

from trl_r1.rewards import reasoning_gym as module
from trl_r1.rewards.catalogue import load_reward, load_rewards
from trl_r1.rewards.reasoning_gym import ReasoningGym, readings, reasoning_gym_reward
from trl_r1.rewards.reasoning_gym_entry import Entry, to_text


if os.environ.get("CI") != "true":
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed: pip install 'trl-r1[real]'")

SUM = to_text(Entry("chain_sum", {}, {"question": "4 + 3 =", "answer": "7", "metadata": {}}))
SPELL = to_text(
    Entry("spell_backward", {}, {"question": "abcdef", "answer": "fedcba", "metadata": {"word": "abcdef"}})
)
GRID = to_text(Entry("rotate_matrix", {}, {"question": "", "answer": "1 2 3\n4 5 6", "metadata": {}}))
INTEGRAL = to_text(
    Entry(
        "simple_integration",
        {},
        {"question": "", "answer": "x**2 + C", "metadata": {"integrand": "2*x", "variable": "x"}},
    )
)


def paid(answer, entry, reward=reasoning_gym_reward):
    return reward(completions=[f"<think>so</think> <answer>{answer}</answer>"], reasoning_gym=[entry])[0]


def test_the_datasets_own_score_is_paid_with_its_partial_credit():
    assert paid("7", SUM) == 1.0
    assert paid("8", SUM) == 0.0
    assert 0.0 < paid("fedcxx", SPELL) < 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "<think>4 and 3</think><answer>7</answer>",
        r"4 and 3 make \boxed{7}.",
        "It is easy. The answer is 7.",
        "<answer>The answer is 7.</answer>",
        [{"role": "assistant", "content": "<think>hm</think> <answer>7</answer>"}],
        [{"role": "assistant", "content": r"\boxed{7}", "reasoning_content": "hm"}],
    ],
)
def test_the_answer_is_found_where_our_extraction_finds_it(completion):
    assert reasoning_gym_reward(completions=[completion], reasoning_gym=[SUM]) == [1.0]


def test_a_grid_stays_as_it_is_written():
    assert paid("\n1 2 3\n4 5 6\n", GRID) == 1.0


def test_of_two_answers_only_the_last_counts():
    assert readings("<answer>7</answer> no: <answer>8</answer>") == ["8"]
    assert readings(r"<answer>7</answer> no: \boxed{8}") == ["8"]
    assert readings("<think><answer>7</answer></think>") == []
    assert readings("<!-- <answer>7</answer> -->") == []


def test_rows_of_other_datasets_are_not_judged():
    assert reasoning_gym_reward(completions=["7", "<answer>7</answer>", "7"], reasoning_gym=[None, SUM, ""]) == [
        None,
        1.0,
        None,
    ]
    assert reasoning_gym_reward(completions=["7", "8"], solution=["7", "7"]) == [None, None]


@pytest.mark.parametrize("entry", ["no json", "[]", '["nowhere", {}, {}]', '["chain_sum", {"no": 1}, {}]', "[" * 9000])
def test_an_entry_that_cannot_be_read_is_not_judged(entry):
    assert paid("7", entry) is None


@pytest.mark.parametrize("text", ["", "<think>7", None, [], "<answer></answer>", "\ud800", "<answer>\x00</answer>"])
def test_no_answer_earns_nothing(text):
    assert reasoning_gym_reward(completions=[text], reasoning_gym=[SUM]) == [0.0]


def test_an_answer_on_which_the_dataset_raises_earns_nothing():
    factors = to_text(Entry("prime_factorization", {}, {"question": "", "answer": "2 × 3", "metadata": {"number": 6}}))
    assert (paid("2 × 3", factors), paid("two", factors)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("dataset", "metadata", "gold", "literal", "call"),
    [
        ("string_insertion", {}, "ABCA", "['A', 'B', 'C', 'A']", "list('ABCA')"),
        ("simple_integration", {"integrand": "2*x", "variable": "x"}, "x**2 + C", "x**2 + C", "int(1)*x**2 + C"),
        ("polynomial_multiplication", {"result": "x"}, "x", "x", "int(1)*x"),
        ("puzzle24", {"numbers": [1, 2, 3, 4]}, "1*2*3*4", "1*2*3*4", "int(1)*2*3*4"),
    ],
)
def test_an_answer_is_read_and_not_evaluated(dataset, metadata, gold, literal, call):
    entry = to_text(Entry(dataset, {}, {"question": "", "answer": gold, "metadata": metadata}))
    assert paid(call, entry) < paid(literal, entry)  # it calls a function that is none of mathematics


def test_a_right_answer_in_the_datasets_notation_is_still_read():
    assert paid("x**2 + 5 + C", INTEGRAL) == 1.0
    inserted = to_text(Entry("string_insertion", {}, {"question": "", "answer": "ABCA", "metadata": {}}))
    assert paid("['A', 'B', 'C', 'A']", inserted) > 0.0


@pytest.mark.parametrize("answer", ["9" * 19_000, "7" * 30_000])
def test_a_long_answer_earns_nothing(answer):
    assert paid(answer, INTEGRAL) == 0.0
    assert paid(answer, SUM) == 0.0


def test_it_is_known_by_name_pickles_and_takes_another_name():
    functions, _ = load_rewards([{"name": "reasoning_gym"}, {"name": "reasoning_gym"}])
    assert [function.__name__ for function in functions] == ["reasoning_gym", "reasoning_gym_2"]
    assert pickle.loads(pickle.dumps(functions[1]))(completions=["<answer>7</answer>"], reasoning_gym=[SUM]) == [1.0]


def test_it_logs_how_answers_fared():
    metrics, extra = {}, {}
    reasoning_gym_reward(
        completions=["<answer>fedcba</answer>", "<answer>fedcxx</answer>", ""],
        reasoning_gym=[SPELL, SPELL, SPELL],
        log_metric=metrics.__setitem__,
        log_extra=extra.__setitem__,
    )
    third = pytest.approx(1 / 3)
    assert metrics == dict.fromkeys((f"reasoning_gym/{key}" for key in ("no_answer", "full", "partial")), third)
    assert extra == {"reasoning_gym_answer": ["fedcba", "fedcxx", ""]}


def test_a_wrong_option_is_refused():
    with pytest.raises(ValueError, match="choose from boxed, answer"):
        ReasoningGym(sources=("tag",))
    with pytest.raises(ValueError, match="give a positive time"):
        ReasoningGym(seconds=0)
    with pytest.raises(ValueError, match="Did you mean 'entry_column'"):
        load_reward("reasoning_gym", entry_colum="x")


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "trl-r1\[real\]" \(it compiles pycosat.*apt-get install'):
        paid("7", SUM)
    assert reasoning_gym_reward(completions=["7"]) == [None]


def test_an_entry_comes_back_from_its_text_as_it_was():
    from trl_r1.rewards.reasoning_gym_entry import from_text

    entry = Entry("a", {"b": (1, 2)}, {"answer": None, "metadata": {1: (1, [2.5]), "~": {3}, (1, 2): frozenset("a")}})
    assert from_text(to_text(entry)) == entry
    assert json.loads(to_text(Entry("a", {}, {"answer": "é"}))) == ["a", {}, {"answer": "é"}]
    with pytest.raises(TypeError, match="object is no plain data"):
        to_text(Entry("a", {}, {"answer": object()}))


def test_a_guess_in_a_thought_that_the_prompt_opened_is_not_paid():
    opened, marks = "4 + 3 = <think>", ("<think>", "</think>")
    told = reasoning_gym_reward.with_format(SimpleNamespace(marks=marks, opened=lambda prompt, marks: True))
    texts = ["it is <answer>7</answer>", "it is 8</think><answer>7</answer>"]
    assert told(completions=texts, prompts=[opened, opened], reasoning_gym=[SUM, SUM]) == [0.0, 1.0]
