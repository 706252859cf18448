"""The preference reward: what is judged, whose rows, in which steps, on which scale."""

import math
import pickle
from types import SimpleNamespace

import pytest
from tiny_classifier import save

from trl_r1.rewards.preference import (
    HARMLESSNESS_VARIABLE,
    HELPFULNESS_VARIABLE,
    Moments,
    Preference,
    conversation,
    harmlessness_reward,
    helpfulness_reward,
    summary,
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward_models")
    return {
        "random": save(folder / "random", ("score",)),
        "chat": save(folder / "chat", ("score",), decoder=True, chat=True),
        "fixed": save(folder / "fixed", ("score",), [1.5]),
        "two": save(folder / "two", ("toxic", "fine"), [1.0, 3.0]),
        "nan": save(folder / "nan", ("score",), [float("nan")]),
        "headless": save(folder / "headless", headless=True),
    }


# ---------------------------------------------------------------- scope


@pytest.mark.parametrize("kind", ["random", "chat"])
def test_the_summary_alone_is_judged(checkpoints, kind):
    reward = Preference(checkpoints[kind], scope="summary")
    prompts = ["Which planet is red?"] * 4
    texts = ["<think>a</think>Mars.", "<think>" + "b <think> c" * 30 + "</think>Mars.", "</think> Mars.",
             "<think>a</think> <answer>Mars.</answer>"]  # fmt: skip
    scores = reward(texts, prompts=prompts)
    assert scores == [scores[0]] * 4
    assert reward(["<think>a</think>Venus."], prompts=prompts[:1]) != scores[:1]
    assert reward(texts[:1], prompts=["Another question?"]) != scores[:1]


@pytest.mark.parametrize("kind", ["random", "chat"])
def test_the_whole_response_is_judged(checkpoints, kind):
    reward = Preference(checkpoints[kind], scope="response")
    one, other = reward(["<think>a</think>Mars.", "<think>b</think>Mars."], prompts=["q", "q"])
    assert one != other


def test_plain_and_conversational_rows_score_the_same(checkpoints):
    reward = Preference(checkpoints["chat"])
    plain = reward(["<think>a</think>Mars."], prompts=["Which?"])
    prompt = [{"role": "user", "content": [{"type": "text", "text": "Which?"}]}]
    assert reward([[{"role": "assistant", "content": "<think>a</think>Mars."}]], prompts=[prompt]) == plain
    message = {"role": "assistant", "content": "Mars.", "reasoning_content": "another thought"}
    assert reward([[message]], prompts=[prompt]) == plain


def test_summaries_and_conversations():
    assert summary("<think>a</think> <answer> b </answer>c") == "b c"
    assert summary("<think>a") == ""
    assert summary("a") == "a"
    assert summary("a", prefilled_think=True) == ""
    token = "|special_token|"
    assert summary(f"{token}thought{token}summary", (token, token)) == "summary"
    assert conversation(None) == conversation([]) == [{"role": "user", "content": ""}]
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "b"},
    ]
    assert conversation(turns) == [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]


def test_an_empty_summary_is_judged_unless_its_score_is_set(checkpoints):
    completions = [None, [{"role": "assistant", "content": None}], "<think>never ends"]
    assert all(math.isfinite(score) for score in Preference(checkpoints["chat"])(completions, prompts=["q"] * 3))
    assert Preference("no such model", empty_score=-1.0)(completions, prompts=["q"] * 3) == [-1.0] * 3


# ---------------------------------------------------------------- rows and steps


def test_rows_are_routed(checkpoints):
    reward = Preference(checkpoints["fixed"], route="helpfulness")
    routes = ["helpfulness", "harmlessness", None, ["harmlessness", "helpfulness"]]
    metrics = {}
    scores = reward(["a"] * 4, reward_for=routes, log_metric=metrics.__setitem__)
    assert scores == [1.5, None, None, 1.5]
    assert metrics["preference/routed"] == 0.5
    assert reward(["a"]) == [1.5]  # rows without the column are everyone's
    assert Preference(checkpoints["fixed"])(["a"], reward_for=["helpfulness"]) == [1.5]
    assert Preference("no such model", route="x")(["a"], reward_for=["y"]) == [None]  # and nothing is loaded


@pytest.mark.parametrize(
    ("options", "open_in"),
    [
        ({}, range(0, 1700)),
        ({"last_steps": 400}, range(1300, 1700)),
        ({"last_steps": 5000}, range(0, 1700)),
        ({"last_steps": 0}, range(0)),
        ({"from_step": 10}, range(10, 1700)),
        ({"to_step": 10}, range(0, 10)),
        ({"from_step": 10, "to_step": 20}, range(10, 20)),
    ],
)
def test_the_window_of_steps(options, open_in):
    reward = Preference("no such model", **options)
    for step in (0, 9, 10, 19, 20, 1299, 1300, 1699):
        state = SimpleNamespace(global_step=step, max_steps=1700)
        assert reward.active(state) == (step in open_in)
        if step not in open_in:
            assert reward(["a"], trainer_state=state) == [None]


def test_the_window_needs_to_know_the_last_step():
    assert Preference("x", last_steps=400).active(None)
    with pytest.raises(ValueError, match="the trainer has no max_steps yet"):
        Preference("x", last_steps=400).active(SimpleNamespace(global_step=0, max_steps=0))


# ---------------------------------------------------------------- scale


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("fixed", {}, 1.5),
        ("fixed", {"sign": -1}, -1.5),
        ("fixed", {"center": 0.5, "spread": 2.0}, 0.5),
        ("fixed", {"normalize": "sigmoid"}, 0.817574),  # 1 / (1 + e^-1.5)
        ("fixed", {"normalize": "sigmoid", "sign": -1}, 0.182426),
        ("two", {"label": "fine"}, 3.0),
        ("two", {"label": "toxic", "sign": -1}, -1.0),
        ("two", {"label": "toxic", "normalize": "softmax"}, 0.119203),  # 1 / (1 + e^2)
        ("two", {"label": "toxic", "normalize": "softmax", "sign": -1}, 0.880797),
        ("nan", {}, None),
    ],
)
def test_the_scale(checkpoints, model, options, expected):
    (score,) = Preference(checkpoints[model], **options)(["a"])
    assert score == (expected if expected is None else pytest.approx(expected, abs=1e-5))


def test_running_scores_are_standardised_until_they_are_frozen(monkeypatch):
    reward = Preference("x", normalize="zscore", freeze_after=3, clip=2.0)
    score_lists = iter([[1.0, 2.0, None], [3.0, 100.0], [2.0, -100.0]])
    monkeypatch.setattr(Preference, "_raw", lambda self, pairs: next(score_lists))
    root = math.sqrt(0.5)
    # mean 1.5, standard deviation sqrt(0.5)
    assert reward(["a"] * 3) == [pytest.approx(-0.5 / root), pytest.approx(0.5 / root), None]
    # mean 2, standard deviation 1 of 1, 2, 3; 100 comes too late to count, and is clipped
    assert reward(["a"] * 2) == [pytest.approx(1.0), 2.0]
    assert reward(["a"] * 2) == [0.0, -2.0]


def test_moments():
    moments = Moments()
    assert moments.spread == 0.0
    moments.add([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    # squares around the mean 5: 9 + 1 + 1 + 1 + 0 + 0 + 4 + 16 = 32
    assert (moments.mean, moments.spread) == (5.0, pytest.approx(math.sqrt(32 / 7)))


def test_one_score_has_no_scale_yet(checkpoints):
    assert Preference(checkpoints["fixed"], normalize="zscore")(["a", "b"]) == [0.0, 0.0]


# ---------------------------------------------------------------- models


def test_what_cannot_work_is_refused(checkpoints, monkeypatch):
    for name, reward in ((HELPFULNESS_VARIABLE, helpfulness_reward), (HARMLESSNESS_VARIABLE, harmlessness_reward)):
        monkeypatch.delenv(name, raising=False)
        with pytest.raises(ValueError, match=f"has no model. Set the environment variable {name} "):
            reward(["a"])
    with pytest.raises(ValueError, match="Set its option model"):
        Preference()(["a"])
    with pytest.raises(ValueError, match="no trained weights for score.weight"):
        Preference(checkpoints["headless"])(["a"])
    with pytest.raises(ValueError, match="Choose label from: toxic, fine"):
        Preference(checkpoints["two"])(["a"])
    with pytest.raises(ValueError, match="has one label"):
        Preference(checkpoints["fixed"], normalize="softmax")(["a"])


@pytest.mark.parametrize(
    "options",
    [{"scope": "sumary"}, {"normalize": "z"}, {"sign": 0}, {"spread": 0.0}, {"clip": math.inf}, {"from_step": -1},
     {"last_steps": 4, "to_step": 5}, {"batch_size": 0}, {"empty_score": math.nan}, {"judge_options": {"seconds": 1}},
     {"endpoint": "ftp://x"}, {"endpoint": "http://x", "judge_options": {"second": 1}},
     {"endpoint": "http://x", "judge_options": {"seconds": 0}}, {"endpoint": "http://x", "normalize": "softmax"}],
)  # fmt: skip
def test_wrong_options_are_refused_when_they_are_given(options):
    with pytest.raises(ValueError):
        Preference("x", **options)


def test_the_ready_made_ones(checkpoints, monkeypatch):
    monkeypatch.setenv(HELPFULNESS_VARIABLE, checkpoints["random"])
    monkeypatch.setenv(HARMLESSNESS_VARIABLE, checkpoints["random"])
    texts, routes = ["<think>a</think>b"] * 2, ["helpfulness", "harmlessness"]
    helpful, harmless = (r(texts, reward_for=routes) for r in (helpfulness_reward, harmlessness_reward))
    assert helpful[1] is harmless[0] is None
    assert helpful[0] == helpfulness_reward(["<think>other</think>b"])[0]
    assert harmless[1] != harmlessness_reward(["<think>other</think>b"])[0]
    for reward in (helpfulness_reward, harmlessness_reward.bind("some model", last_steps=400)):
        copy = pickle.loads(pickle.dumps(reward))
        assert copy == reward
        assert copy.__name__ == reward.__name__


def test_hostile_text_scores_finite(checkpoints):
    texts = [
        "\ud800",
        "\x00",
        "<|end|><|user|>",
        "[PAD]" * 99,
        "a" * 1_000_000,
        "是" * 5000,
        "<answer>" * 500,
        "{{ 7 }}",
    ]
    for kind in ("random", "chat"):
        scores = Preference(checkpoints[kind])([f"</think>{t}" for t in texts], prompts=list(texts))
        assert all(math.isfinite(score) for score in scores)
