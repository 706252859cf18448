"""The mix: quotas that can be counted, choices that do not depend on order."""

import random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.stages.rejection_sampling.mix import is_simple, mix, quotas, without_reasoning


class Line(NamedTuple):
    id: str


def rows(name, count):
    return [Line(f"{name}{i}") for i in range(count)]


def test_the_papers_proportion():
    """600k and 200k are three quarters and one quarter."""
    assert quotas({"reasoning": 900, "general": 150}, {"reasoning": 0.75, "general": 0.25}) == {
        "reasoning": 450,  # the 150 of the general pool are a quarter of 600
        "general": 150,
    }
    assert quotas({"a": 9, "b": 9, "c": 9}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, total=10) == {"a": 4, "b": 3, "c": 3}
    assert quotas({"a": 9, "b": 9}, {"a": 5}) == {"a": 5, "b": None}


@pytest.mark.parametrize(
    ("targets", "total", "sentence"),
    [
        ({"c": 1}, None, "There is no pool 'c'"),
        ({"a": -1}, None, "neither a number of samples nor a share"),
        ({"a": True}, None, "neither a number"),
        ({"a": 1.5}, None, "a share is below 1"),
        ({"a": 0.7, "b": 0.7}, 10, "sum to 1.4"),
        ({"a": 0.7}, None, "need the total"),
    ],
)
def test_targets_that_cannot_be_are_told(targets, total, sentence):
    with pytest.raises(ValueError, match=sentence):
        quotas({"a": 5, "b": 5}, targets, total)


def test_a_short_pool_gives_all_it_has_and_is_told():
    taken, shares = mix({"a": rows("a", 10), "b": rows("b", 2)}, {"a": 5, "b": 5})
    assert sorted(row.id[0] for row in taken) == ["a"] * 5 + ["b"] * 2
    assert [(share.pool, share.short) for share in shares] == [("a", 0), ("b", 3)]
    assert str(shares[1]) == "b: 2 of 2 taken, 5 wanted, 3 too few"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 30), st.integers(0, 9))
def test_the_choice_depends_on_seed_and_ids_alone(a, b, wanted, seed):
    pools = {"a": rows("a", a), "b": rows("b", b)}
    shuffled = {name: random.Random(1).sample(list(of), len(of)) for name, of in reversed(pools.items())}
    first, shares = mix(pools, {"a": wanted}, seed=seed)
    second, _ = mix(shuffled, {"a": wanted}, seed=seed)
    assert first == second
    assert len(first) == min(a, wanted) + b == sum(share.taken for share in shares)
    assert len({row.id for row in first}) == len(first)
    more, _ = mix({**pools, "a": [*pools["a"], Line("new")]}, {"a": wanted}, seed=seed)
    assert len({row.id for row in first} - {row.id for row in more}) <= 1  # one more row changes one choice


def test_another_seed_is_another_choice():
    pool = {"a": rows("a", 100)}
    assert mix(pool, {"a": 50}, seed=0)[0] != mix(pool, {"a": 50}, seed=1)[0]


def test_small_talk_needs_no_chain():
    assert all(map(is_simple, ["hello", "Hi there!", "Thank you", "你好", "how are you", "早上好"]))
    assert not any(map(is_simple, ["", "hello, what is 2+2?", "Translate: hello", "你好吗，请计算", "good " * 7]))


def test_the_chain_goes_and_the_answer_stays():
    assert without_reasoning("<think>a greeting</think> <answer>Hello!</answer>") == "Hello!"
    assert without_reasoning("<think>a greeting</think>\n\nHello!", "summary") == "Hello!"
    assert without_reasoning("|special_token|a greeting|special_token|Hello!", "cold_start") == "Hello!"
    assert without_reasoning("Hello!") == "Hello!"
