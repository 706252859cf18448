"""`loss_head: one_pass`: TRL's log-probabilities, entropies and gradients, with less done for them."""

import logging

import pytest
import torch
from small_trainer import make
from test_precision import batch, gradient
from torch import nn
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

from trl_r1.grpo import head as heads
from trl_r1.grpo.head import OnePassHead, returning_hidden_states, why_not_one_pass


@pytest.fixture
def case():
    torch.manual_seed(0)
    layer = nn.Linear(16, 50, bias=True)
    return layer, torch.randn(7, 16, requires_grad=True), torch.randint(0, 50, (7,)), torch.randn(7)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_are_those_of_trls_head(trained, temperature, case, monkeypatch):
    monkeypatch.setattr(heads, "CHUNK", 3)
    layer, hidden, targets, upstream = case
    layer.requires_grad_(trained)
    wanted = [hidden, *(layer.parameters() if trained else ())]
    logps, entropies = OnePassHead(temperature).scores(layer, hidden, targets)
    theirs = ChunkedLogProbFunction.apply(
        hidden, layer.weight, layer.bias, targets, temperature, 8, None, 1.0, ("log_probs", "entropy")
    )
    torch.testing.assert_close(logps, theirs[0])
    torch.testing.assert_close(entropies, theirs[1])
    ours = torch.autograd.grad(logps @ upstream, wanted)
    for found, expected in zip(ours, torch.autograd.grad(theirs[0] @ upstream, wanted), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_in_autocast_only_products_are_rounded(case):
    layer, hidden, targets, upstream = case
    layer.requires_grad_(False)
    exact = OnePassHead(1.0).scores(layer, hidden, targets)
    with torch.autocast("cpu", torch.bfloat16):
        logps, entropies = OnePassHead(1.0).scores(layer, hidden, targets)
        whole, _ = OnePassHead(1.0, whole=True).scores(layer, hidden, targets)
    assert 0 < (logps - exact[0]).abs().max() < 0.02
    assert (entropies - exact[1]).abs().max() < 5e-3  # a sum of 50 rounded products would be further off
    assert torch.equal(whole, exact[0])
    assert torch.autograd.grad(logps @ upstream, hidden)[0].dtype == torch.float32


def test_the_head_is_itself_again_afterwards(case):
    layer, hidden, _, _ = case
    before = layer(hidden)
    with returning_hidden_states(layer):
        assert layer(hidden) is hidden
    assert torch.equal(layer(hidden), before)
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("more", [{}, {"loss_precision": "bfloat16"}])
def test_a_trainers_gradient_is_that_of_trls_head(more, tiny, tmp_path):
    theirs = gradient(make(tiny, tmp_path / "trl", batching="fast", **more))
    trainer = make(tiny, tmp_path / "ours", batching="fast", loss_head="one_pass", **more)
    ours = gradient(trainer)
    assert trainer._packs is True
    torch.testing.assert_close(ours, theirs, atol=2e-6 if not more else 5e-3, rtol=1e-3)


def test_only_predicted_tokens_are_scored(tiny, tmp_path, monkeypatch):
    seen = []
    scores = OnePassHead.scores
    monkeypatch.setattr(
        OnePassHead,
        "scores",
        lambda self, layer, hidden, targets: seen.append(len(hidden)) or scores(self, layer, hidden, targets),
    )
    trainer = make(tiny, tmp_path / "run", batching="fast", loss_head="one_pass")
    gradient(trainer)
    assert seen[-1] == int(batch()["completion_mask"].sum())


@pytest.mark.parametrize(
    ("options", "said"), [({"entropy_coef": 0.1}, "an entropy bonus needs the entropy's gradient"), ({}, None)]
)
def test_where_trls_head_stays_the_log_says_why(options, said, tiny, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = make(tiny, tmp_path / "run", batching="fast", loss_head="one_pass", **options)
    assert (trainer._head is None) == (said is not None)
    assert said is None or said in caplog.text


def test_a_model_that_changes_its_logits_is_left_to_trl(tiny, tmp_path):
    model = make(tiny, tmp_path / "run").model
    assert why_not_one_pass(model) is None
    model.config.final_logit_softcapping = 30.0
    assert "final_logit_softcapping" in why_not_one_pass(model)
