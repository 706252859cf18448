"""Values by hand; gradients against the closed form, over every outcome of a small distribution in float64."""

import pytest
import torch

from trl_r1.grpo.kl import (
    KL_ESTIMATORS,
    AdaptiveBeta,
    as_product,
    importance_log_weight,
    k1,
    k2,
    k3,
    kl_to_reference,
    weighted_kl,
)


LOGITS = torch.tensor([0.3, -0.7, 1.1, 0.0], dtype=torch.double)
REFERENCE = torch.tensor([-0.2, 0.4, 0.5, 0.1], dtype=torch.double).log_softmax(0)
OLD = torch.tensor([0.5, -0.1, 0.6, -0.3], dtype=torch.double).log_softmax(0)


def test_values_by_hand():
    # pi = 1/2, pi_ref = 1/4: log-ratio log(1/2) = -0.693147
    logps, reference = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    assert k1(logps, reference).item() == pytest.approx(0.693147, abs=1e-6)
    assert k2(logps, reference).item() == pytest.approx(0.240227, abs=1e-6)  # 0.693147^2 / 2
    assert k3(logps, reference).item() == pytest.approx(0.193147, abs=1e-6)  # 1/2 + 0.693147 - 1


def test_k1_and_k3_have_the_divergence_as_their_mean():
    policy = LOGITS.log_softmax(0)
    divergence = (policy.exp() * (policy - REFERENCE)).sum()
    for estimator in (k1, k3):
        torch.testing.assert_close((policy.exp() * estimator(policy, REFERENCE)).sum(), divergence)


def gradient(of) -> torch.Tensor:
    logits = LOGITS.clone().requires_grad_(True)
    of(logits.log_softmax(0)).backward()
    return logits.grad


def reverse_kl(policy):
    return (policy.exp() * (policy - REFERENCE)).sum()


def expected_loss(estimator, sampler=None, weighted=False):
    """Mean over the sampler's outcomes, the way a training loss sees it: the outcomes' probabilities are constants."""

    def loss(policy):
        draws = (policy if sampler is None else sampler).exp().detach()
        kl = KL_ESTIMATORS[estimator](policy, REFERENCE)
        if weighted:
            old = policy.detach() if sampler is None else sampler
            kl = weighted_kl(estimator, kl, policy - old)
        return (draws * kl).sum()

    return loss


def test_k1_in_the_loss_has_no_expected_gradient():
    assert gradient(expected_loss("k1")).abs().max() < 1e-12
    assert gradient(reverse_kl).abs().max() > 0.05  # while the divergence has one


def test_k2_in_the_loss_has_the_gradient_of_the_reverse_divergence():
    torch.testing.assert_close(gradient(expected_loss("k2")), gradient(reverse_kl))


def test_k3_in_the_loss_has_the_gradient_of_the_forward_divergence_without_a_ratio():
    def forward_kl(policy):
        return (REFERENCE.exp() * (REFERENCE - policy)).sum()

    torch.testing.assert_close(gradient(expected_loss("k3")), gradient(forward_kl))


@pytest.mark.parametrize("estimator", ["k2", "k3"])
@pytest.mark.parametrize("sampler", [None, OLD], ids=["on policy", "off policy"])
def test_with_the_ratio_both_have_the_gradient_of_the_reverse_divergence(estimator, sampler):
    torch.testing.assert_close(gradient(expected_loss(estimator, sampler, weighted=True)), gradient(reverse_kl))


def test_k1_in_the_reward_has_the_gradient_of_the_reverse_divergence():
    def policy_gradient(policy):  # reward -k1, score function: minimise the mean of k1 as a constant times log pi
        return (policy.exp().detach() * k1(policy, REFERENCE).detach() * policy).sum()

    torch.testing.assert_close(gradient(policy_gradient), gradient(reverse_kl))


def test_sequence_level_applies_the_estimator_to_the_whole_completion_once():
    logps = torch.tensor([[-1.0, -2.0, -9.0]])
    reference = torch.tensor([[-1.5, -1.0, -9.9]])
    mask = torch.tensor([[1, 1, 0]])
    # summed log-ratio: (-1.0 + 1.5) + (-2.0 + 1.0) = -0.5; k3 = exp(0.5) - 0.5 - 1 = 0.148721
    assert kl_to_reference("k3", "sequence", logps, reference, mask).tolist() == [[pytest.approx(0.148721, abs=1e-6)]]
    assert kl_to_reference("k2", "sequence", logps, reference, mask).tolist() == [[pytest.approx(0.125, abs=1e-6)]]
    far = kl_to_reference("k3", "sequence", logps * 1e6, reference, mask)
    assert far.isfinite().all()


def test_ratio_levels_token_mean_and_product():
    logps, old = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[-1.5, -2.5, -9.0]])
    mask = torch.tensor([[1, 1, 0]])
    assert importance_log_weight(logps, old, mask, "token").tolist() == [[0.5, 0.5, 6.0]]
    assert importance_log_weight(logps, old, mask, "sequence").tolist() == [[0.5]]
    assert importance_log_weight(logps, old, mask, "sequence_product").tolist() == [[1.0]]


@pytest.mark.parametrize("old", [None, torch.tensor([[-1.5, -2.4, -9.0], [-0.5, -0.7, -0.6]], dtype=torch.double)])
def test_as_product_turns_trls_mean_into_the_sum_with_its_gradient(old):
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    logps = torch.tensor([[-1.0, -2.0, -3.0], [-0.4, -0.9, -0.2]], dtype=torch.double, requires_grad=True)
    prepared = as_product(logps, old, mask)
    base = prepared.detach() if old is None else old
    mean = ((prepared - base) * mask).sum(-1) / mask.sum(-1)  # what TRL computes at its sequence level
    true_old = logps.detach() if old is None else old
    total = ((logps - true_old) * mask).sum(-1)
    torch.testing.assert_close(mean, total)
    ours = torch.autograd.grad(mean.exp().sum(), logps, retain_graph=True)[0]
    formula = torch.autograd.grad(total.exp().sum(), logps)[0]
    torch.testing.assert_close(ours, formula)


def test_beta_rises_by_two_percent_when_the_kl_is_far_above_its_target_and_falls_alike():
    controller = AdaptiveBeta(beta=0.1, target=0.05, gain=0.1)
    assert controller.update(1.0) == pytest.approx(0.1 * 1.02)  # error clipped at 0.2, gain 0.1
    assert controller.update(0.0) == pytest.approx(0.1 * 1.02 * 0.98)
    assert AdaptiveBeta(0.1, 0.05).update(0.055) == pytest.approx(0.1 * 1.01)  # 10 % above


def test_beta_never_reaches_zero_which_would_switch_the_kl_off():
    controller = AdaptiveBeta(beta=2e-6, target=0.05, gain=1.0)
    for _ in range(100):
        controller.update(0.0)
    assert controller.beta == 1e-6
