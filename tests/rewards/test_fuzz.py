"""Hostile completions through every reward, 2,000 without a model and 1,000 with one: nothing raised, scores in range."""

import importlib.util
import re
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from places import ROOT

from trl_r1.rewards.catalogue import BUILT_IN


PATH = ROOT / "benchmarks" / "fuzz_rewards.py"
spec = importlib.util.spec_from_file_location("fuzz_rewards", PATH)
fuzz_rewards = importlib.util.module_from_spec(spec)
sys.modules["fuzz_rewards"] = fuzz_rewards
spec.loader.exec_module(fuzz_rewards)

PIECES = st.sampled_from(fuzz_rewards.PIECES)
TEXTS = st.lists(PIECES | st.text(st.characters(codec=None), max_size=30), max_size=40).map("".join)


@pytest.fixture(scope="module")
def subjects():
    return list(fuzz_rewards.rewards())


@pytest.mark.slow
def test_2000_hostile_completions(subjects):
    failures, spent = fuzz_rewards.fuzz(2000, seed=20250120, subjects=subjects)
    assert failures == []
    assert set(spent) == {subject.label for subject in subjects}


@pytest.mark.slow
def test_1000_hostile_completions_for_the_rewards_with_a_model(tmp_path):
    model = fuzz_rewards.random_classifier(tmp_path)
    failures, _ = fuzz_rewards.fuzz(1000, seed=20250121, subjects=list(fuzz_rewards.model_rewards(model)))
    assert failures == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(text=TEXTS, gold=st.sampled_from(fuzz_rewards.GOLDS))
@example(text="<think></think>\\boxed{\x00}", gold="72")
def test_what_hypothesis_finds(subjects, text, gold):
    columns = {**fuzz_rewards.columns_of([1]), "solution": [gold]}
    for subject in subjects:
        if not subject.label.startswith("code"):  # a process per program
            assert fuzz_rewards.check(*subject[:3], [0], [text], columns) == []
            assert fuzz_rewards.check_spans(subject, [0], [text]) == []


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


def test_every_built_in_reward_is_fuzzed(subjects):
    with_a_model = [subject.label for subject in fuzz_rewards.model_rewards("no model is loaded before a call")]
    fuzzed = {label.split()[0] for label in [subject.label for subject in subjects] + with_a_model}
    left_out = set() if fuzz_rewards.has_sandbox() else {"code"}
    assert fuzzed | left_out == set(BUILT_IN), "give a new reward its range in benchmarks/fuzz_rewards.py"
    assert fuzz_rewards.RANGES.keys() | fuzz_rewards.MODEL_RANGES.keys() == set(BUILT_IN)


def test_completions_come_in_every_shape():
    shapes = [fuzz_rewards.completion_of(seed) for seed in range(400)]
    assert None in shapes
    assert [] in shapes
    assert any(isinstance(shape, str) and shape for shape in shapes)
    messages = [message for shape in shapes if isinstance(shape, list) for message in shape]
    assert {message["role"] for message in messages} == {"assistant", "tool"}
    assert {type(message["content"]) for message in messages} == {str, list, type(None)}
    assert any("reasoning_content" in message for message in messages)


class Misplaced:
    """A reward whose places sum to something else, or lie beyond the reply."""

    def __init__(self, spans):
        self._spans = spans

    def score(self, completion):
        return 1.0

    def spans(self, completion):
        return self._spans


@pytest.mark.parametrize(
    ("spans", "failures"),
    [
        ([(0, 1, 0.5), (1, 2, 0.5)], []),
        ([(0, 1, 0.5)], ["spans sum to 0.5, the score is 1.0"]),
        ([(0, 3, 1.0)], ["a span lies outside the reply"]),
        ([(1, 0, 1.0)], ["a span lies outside the reply"]),
    ],
)
def test_misplaced_spans_are_noticed(spans, failures):
    subject = fuzz_rewards.Subject("bad", Misplaced(spans), (0.0, 1.0))
    found = fuzz_rewards.check_spans(subject, [7], ["ab"])
    assert found == [f"bad: text_of(7): {failure}" for failure in failures]


def test_spans_that_raise_are_traced_to_their_text():
    subject = fuzz_rewards.Subject("bad", Misplaced([]), (0.0, 1.0))
    subject.reward.spans = lambda completion: 1 / 0
    (found,) = fuzz_rewards.check_spans(subject, [7], ["ab"])
    assert found == "bad: text_of(7): spans: ZeroDivisionError: division by zero"


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
