"""What is true only during a loss or a generation is gone afterwards, and cannot be read before."""

from types import SimpleNamespace

import pytest
import torch

from trl_r1.grpo.loss import ChosenKL
from trl_r1.grpo.passes import KLPass, LossPass, holding


def test_a_pass_is_there_meanwhile_and_gone_afterwards():
    trainer = SimpleNamespace(_loss_pass=None)
    with holding(trainer, "_loss_pass", LossPass(skipped=None, old_logps=None)) as now:
        assert trainer._loss_pass is now
    assert trainer._loss_pass is None


def test_it_is_gone_where_the_loss_raised():
    trainer = SimpleNamespace(_loss_pass=None)
    with pytest.raises(ZeroDivisionError), holding(trainer, "_loss_pass", LossPass(None, None)):
        raise ZeroDivisionError
    assert trainer._loss_pass is None


def test_two_of_a_kind_at_once_are_an_error():
    trainer = SimpleNamespace(_kl_pass=None)
    with holding(trainer, "_kl_pass", KLPass({})), pytest.raises(RuntimeError, match="_kl_pass began again"):
        with holding(trainer, "_kl_pass", KLPass({})):
            pass
    assert trainer._kl_pass is None


def test_the_kl_term_outside_a_loss_is_an_error():
    with pytest.raises(RuntimeError, match="outside a loss"):
        ChosenKL._kl_term(SimpleNamespace(_kl_pass=None), 0.1, torch.zeros(1, 1))
