"""Value targets, GAE and the value loss against numbers made by hand and a float64 reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.grpo.critic.values import (
    Moments,
    clipped_value_errors,
    explained_variance,
    generalized_advantages,
    reward_to_go,
    tower_targets,
    value_of,
    whitened,
)


close = torch.testing.assert_close

REWARDS = torch.tensor([[0.0, 1.0, 2.0]])
VALUES = torch.tensor([[0.5, 1.0, 1.0]])
WHOLE = torch.ones(1, 3)


def test_rewards_to_go_are_discounted_from_the_end():
    # 2;  1 + 0.5 * 2 = 2;  0 + 0.5 * 2 = 1
    close(reward_to_go(REWARDS, WHOLE, 0.5), torch.tensor([[1.0, 2.0, 2.0]]))


def test_advantages_by_hand():
    # delta: 2 + 0 - 1 = 1;  1 + 0.5 * 1 - 1 = 0.5;  0 + 0.5 * 1 - 0.5 = 0
    # A: 1;  0.5 + 0.5 * 0.5 * 1 = 0.75;  0 + 0.25 * 0.75 = 0.1875
    close(generalized_advantages(REWARDS, VALUES, WHOLE, 0.5, 0.5), torch.tensor([[0.1875, 0.75, 1.0]]))


def test_padding_and_holes_are_stepped_over():
    rewards = torch.tensor([[0.0, 9.0, 1.0, 2.0, 9.0]])
    values = torch.tensor([[0.5, 7.0, 1.0, 1.0, 7.0]])
    mask = torch.tensor([[1, 0, 1, 1, 0]])
    close(generalized_advantages(rewards, values, mask, 0.5, 0.5), torch.tensor([[0.1875, 0.0, 0.75, 1.0, 0.0]]))
    close(reward_to_go(rewards, mask, 0.5), torch.tensor([[1.0, 0.0, 2.0, 2.0, 0.0]]))
    # the last token has nothing behind it; the first is followed by the third
    two = tower_targets(rewards, values, mask, 0.5, 1.0, 2)
    close(two[..., 1], torch.tensor([[2.0, 0.0, 2.0, 0.0, 0.0]]))


def test_targets_of_two_towers_by_hand():
    # R = A + V = 0.6875, 1.75, 2;  long-term: 0.5 * V[t+1] + 0.5 * R[t+1] = 0.5 + 0.875, 0.5 + 1, 0
    two = tower_targets(REWARDS, VALUES, WHOLE, 0.5, 0.5, 2)
    close(two[..., 0], REWARDS)
    close(two[..., 1], torch.tensor([[1.375, 1.5, 0.0]]))
    # put together they are the one tower's: 0 + 0.5 * 1.375, 1 + 0.5 * 1.5, 2
    close(value_of(two, 0.5), torch.tensor([[0.6875, 1.75, 2.0]]))
    close(tower_targets(REWARDS, VALUES, WHOLE, 0.5, 0.5, 1)[..., 0], value_of(two, 0.5))


def slow_advantages(rewards, values, mask, gamma, lam):
    """GAE from its definition, a double sum, in Python's own floats."""
    result = []
    for row in range(len(rewards)):
        places = [t for t in range(rewards.size(1)) if mask[row, t]]
        r, v = ([float(x[row, t]) for t in places] for x in (rewards, values))
        v.append(0.0)
        delta = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(places))]
        line = [0.0] * rewards.size(1)
        for number, place in enumerate(places):
            line[place] = sum((gamma * lam) ** (k - number) * delta[k] for k in range(number, len(places)))
        result.append(line)
    return torch.tensor(result, dtype=torch.float64)


unit = st.floats(0.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), unit, unit)
def test_advantages_and_targets_equal_their_definition_in_float64(seed, gamma, lam):
    draw = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(3, 7, generator=draw, dtype=torch.float64) for _ in range(2))
    mask = (torch.rand(3, 7, generator=draw) < 0.7).double()
    expected = slow_advantages(rewards, values, mask, gamma, lam)
    close(generalized_advantages(rewards, values, mask, gamma, lam), expected)
    single = generalized_advantages(rewards.float(), values.float(), mask.float(), gamma, lam)
    close(single.double(), expected, atol=1e-5, rtol=1e-5)
    for towers in (1, 2):
        targets = tower_targets(rewards, values, mask, gamma, lam, towers)
        close(value_of(targets, gamma), expected + values * mask)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_without_discount_and_critic_advantages_are_the_reward_to_go(seed):
    draw = torch.Generator().manual_seed(seed)
    rewards = torch.randn(2, 6, generator=draw)
    mask = (torch.rand(2, 6, generator=draw) < 0.7).float()
    advantages = generalized_advantages(rewards, torch.zeros(2, 6), mask, 1.0, 1.0)
    close(advantages, reward_to_go(rewards, mask, 1.0))
    following = (rewards * mask).flip(1).cumsum(1).flip(1) * mask
    close(advantages, following)


def test_value_loss_by_hand_with_its_gradient():
    outputs = torch.tensor([1.0, 1.0, 0.1, -1.0], requires_grad=True)
    old, targets = torch.zeros(4), torch.tensor([3.0, 0.5, 1.0, 1.0])
    errors, clipped = clipped_value_errors(outputs, old, targets, 0.2)
    # 1: moved towards its target beyond 0.2: (0.2 - 3)^2 = 7.84 > 4, held, no gradient
    # 2: moved beyond its target: (1 - 0.5)^2 = 0.25 > (0.2 - 0.5)^2 = 0.09, free, gradient 1 - 0.5
    # 3: within 0.2: 0.81, gradient 0.1 - 1
    # 4: moved away: 4 > (-0.2 - 1)^2 = 1.44, free, gradient -1 - 1
    close(errors.detach(), torch.tensor([3.92, 0.125, 0.405, 2.0]))
    assert clipped.tolist() == [True, False, False, False]
    errors.sum().backward()
    close(outputs.grad, torch.tensor([0.0, 0.5, -0.9, -2.0]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 3.0))
def test_value_loss_and_gradient_equal_a_float64_reference(seed, clip):
    draw = torch.Generator().manual_seed(seed)
    outputs, old, targets = (torch.randn(20, generator=draw) for _ in range(3))
    leaf = outputs.clone().requires_grad_()
    clipped_value_errors(leaf, old, targets, clip)[0].sum().backward()
    loss, gradient = 0.0, []
    for o, b, y in zip(outputs.double().tolist(), old.double().tolist(), targets.double().tolist()):
        held = b + min(max(o - b, -clip), clip)
        free_error, held_error = (o - y) ** 2, (held - y) ** 2
        loss += 0.5 * max(free_error, held_error)
        inside = abs(o - b) < clip
        gradient.append(o - y if free_error >= held_error or inside else 0.0)
    assert float(clipped_value_errors(outputs, old, targets, clip)[0].sum()) == pytest.approx(loss, rel=1e-5)
    close(leaf.grad.double(), torch.tensor(gradient, dtype=torch.float64), atol=1e-5, rtol=1e-5)
    free = clipped_value_errors(outputs, old, targets, math.inf)[0]
    close(free, 0.5 * (outputs - targets) ** 2)


def test_whitening_and_explained_variance_by_hand():
    advantages, mask = torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([[1, 1, 0]])
    close(whitened(advantages, mask, torch.tensor(2.0), torch.tensor(1.0)), torch.tensor([[-1.0, 1.0, 0.0]]))
    assert explained_variance(1.0, 4.0) == 0.75
    assert math.isnan(explained_variance(0.0, 0.0))


def test_moments_by_hand():
    moments = Moments(2, decay=0.9)
    assert moments.deviation.tolist() == [1.0, 1.0]
    close(moments.to_points(torch.tensor([0.5, -1.0])), torch.tensor([0.5, -1.0]))  # nothing seen: as it is
    # targets 1 and 3 of the first tower: mean 2, mean square 5, variance 1; the second's never vary
    moments.update(torch.tensor(2.0), torch.tensor([4.0, 6.0]), torch.tensor([10.0, 18.0]))
    close(moments.mean, torch.tensor([2.0, 3.0], dtype=torch.float64))
    close(moments.deviation, torch.tensor([1.0, 1.0], dtype=torch.float64))
    # then a batch of 6, 6: weights 0.09 and 0.1, so mean = (0.09 * 2 + 0.1 * 6) / 0.19
    moments.update(torch.tensor(2.0), torch.tensor([12.0, 6.0]), torch.tensor([72.0, 18.0]))
    mean, square = (0.09 * 2 + 0.1 * 6) / 0.19, (0.09 * 5 + 0.1 * 36) / 0.19
    assert moments.mean.tolist() == pytest.approx([mean, 3.0])
    assert moments.deviation[0].item() == pytest.approx(math.sqrt(square - mean**2))
    points = torch.tensor([[6.0, 1.0]])
    close(moments.to_points(moments.to_outputs(points)), points)
    before = moments.sums.clone()
    moments.update(torch.tensor(0.0), torch.zeros(2), torch.zeros(2))  # a batch in which nothing was scored
    assert torch.equal(moments.sums, before)
