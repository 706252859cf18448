"""2,000 hostile completions through every reward without a model: nothing raised, every score in its range."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trl_r1.rewards.catalogue import BUILT_IN


PATH = Path(__file__).parents[2] / "benchmarks" / "fuzz_rewards.py"
spec = importlib.util.spec_from_file_location("fuzz_rewards", PATH)
fuzz_rewards = importlib.util.module_from_spec(spec)
sys.modules["fuzz_rewards"] = fuzz_rewards
spec.loader.exec_module(fuzz_rewards)

PIECES = st.sampled_from(fuzz_rewards.PIECES)
TEXTS = st.lists(PIECES | st.text(st.characters(codec=None), max_size=30), max_size=40).map("".join)


def test_2000_hostile_completions():
    failures, _ = fuzz_rewards.fuzz(2000, seed=20250120)
    assert failures == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(text=TEXTS, gold=st.sampled_from(fuzz_rewards.GOLDS))
@example(text="<think></think>\\boxed{\x00}", gold="72")
def test_what_hypothesis_finds(text, gold):
    columns = {"solution": [gold], "prompts": ["How many?"], "completion_ids": [[1, 2, 3]]}
    for name, label, reward in fuzz_rewards.rewards():
        assert fuzz_rewards.check(label, reward, fuzz_rewards.RANGES[name], [0], [text], columns) == []


def test_texts_are_of_every_length_and_kind():
    texts = [fuzz_rewards.text_of(seed) for seed in range(600)]
    lengths = sorted(map(len, texts))
    assert lengths[-1] == 200_000
    assert lengths[0] < 10
    assert 100 < lengths[300] < 2000  # log-uniform from 1 to 200,000: the median is near sqrt(200,000) = 447
    assert sum(length == 200_000 for length in lengths) in range(1, 20)  # one in a hundred
    assert texts[7] == fuzz_rewards.text_of(7)
    joined = "".join(texts)
    for sign in (
        "<think>",
        r"\\boxed\{",
        "[\u0400-\u04ff]",
        "[\u4e00-\u9fff]",
        "[\ud800-\udfff]",
        "\x00",
        "[\uac00-\ud7a3]",
    ):
        assert re.search(sign, joined)


def test_every_built_in_reward_without_a_model_is_fuzzed():
    fuzzed = {name for name, _, _ in fuzz_rewards.rewards()}
    assert fuzzed == set(BUILT_IN) - fuzz_rewards.LEFT_OUT, "give a new reward its range in benchmarks/fuzz_rewards.py"
    assert {"accuracy", "format", "language_consistency"} <= fuzzed


@pytest.mark.parametrize(
    ("reward", "failure"),
    [
        (lambda completions, **columns: [1.5] * len(completions), "1.5 is not in [0, 1]"),
        (lambda completions, **columns: [float("nan")] * len(completions), "nan is not in [0, 1]"),
        (lambda completions, **columns: [], "0 scores for 1 completions"),
        (lambda completions, **columns: [1 / 0], "ZeroDivisionError"),
    ],
)
def test_a_bad_reward_is_noticed(reward, failure):
    (found,) = fuzz_rewards.check("bad", reward, (0.0, 1.0), [7], ["x"], {})
    assert failure in found
    assert "text_of(7)" in found
