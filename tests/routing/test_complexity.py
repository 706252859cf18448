"""Complexity: features by hand, the fit against its own optimality condition."""

import json
import math

import numpy as np
import pytest

from trl_r1.routing.complexity import GUESS, Complexity, draft_features, fit, prompt_features
from trl_r1.routing.paths import Candidate


def test_features_are_what_the_text_shows():
    found = prompt_features([{"role": "user", "content": "Prove that $x^2 = 4$?"}])
    assert found == {
        "length": math.log1p(21),
        "numbers": 2.0,
        "signs": 2.0,
        "questions": 1.0,
        "hard_words": 1.0,
        "code": 0.0,
    }
    assert prompt_features("```python\ndef f(): pass\n```")["code"] == 1.0


def test_a_number_nobody_reported_is_left_out():
    assert draft_features(Candidate("x", 3, answer="4")) == {
        "draft_length": math.log(4), "draft_clipped": 0.0, "draft_unanswered": 0.0,
    }  # fmt: skip
    assert draft_features(Candidate("x", 3, logprob=-0.5, entropy=0.25))["draft_surprise"] == 0.5


def test_the_formula_by_hand_and_missing_features_say_nothing():
    model = Complexity({"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 4.0, "b": 1.0}, bias=-0.5)
    assert model({"a": 3.0}) == pytest.approx(1 / (1 + math.exp(-0.5)))  # -0.5 + 2 (3 - 1) / 4 = 0.5
    assert model({}) == pytest.approx(1 / (1 + math.exp(0.5)))


def test_the_fit_is_the_ridge_regression_s_optimum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) * [3.0, 0.5] + [5.0, -1.0]
    y = (rng.random(200) < 1 / (1 + np.exp(-(x[:, 0] - 5)))).astype(float)
    model = fit([{"a": a, "b": b, "same": 1.0} for a, b in x], y, ridge=2.0)
    assert set(model.weights) == {"a", "b"}  # a feature that never changes has no weight
    p = np.array([model({"a": a, "b": b}) for a, b in x])
    for name, column in (("a", x[:, 0]), ("b", x[:, 1])):
        z = (column - column.mean()) / column.std()
        assert z @ (p - y) + 2.0 * model.weights[name] == pytest.approx(0.0, abs=1e-5)  # the slope of the loss is 0
    assert model.weights["a"] > 1.5 > abs(model.weights["b"])


def test_all_labels_alike_and_missing_values_can_be_fitted():
    model = fit([{"a": 1.0, "b": 2.0}, {"a": 2.0}, {"a": 3.0, "b": 4.0}], [0.0, 0.0, 0.0])
    assert model({"a": 2.0}) < 0.05
    with pytest.raises(ValueError, match="got 1 for 0"):
        fit([], [1.0])


def test_a_model_survives_its_file_and_a_broken_one_is_refused():
    assert Complexity.from_dict(json.loads(GUESS.to_json())) == GUESS
    for wrong in ({}, {"weights": {"a": 1}, "centres": {}, "scales": {"a": 1}, "bias": 0},
                  {"weights": {"a": 1}, "centres": {"a": 0}, "scales": {"a": 0}, "bias": 0},
                  {"weights": {"a": "x"}, "centres": {"a": 0}, "scales": {"a": 1}, "bias": 0}):  # fmt: skip
        with pytest.raises(ValueError, match="complexity model"):
            Complexity.from_dict(wrong)


def test_the_guess_finds_a_hesitant_draft_harder():
    sure, unsure = (
        Candidate("x", 30, logprob=-0.05, entropy=0.05, answer="4"),
        Candidate("x", 30, logprob=-1, entropy=1, answer="4"),
    )
    assert GUESS(draft_features(sure)) < 0.2 < 0.8 < GUESS(draft_features(unsure))
    assert GUESS(draft_features(Candidate("x", 30, truncated=True))) > 0.8
