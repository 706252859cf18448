import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.grpo.advantages import (
    ADVANTAGES,
    batch_normalized,
    compares_nothing,
    dead_groups,
    find_advantage,
    group_centered,
    group_normalized,
    leave_one_out,
    pass_at_k,
    robust,
    ungraded_groups,
    weighted_sum,
    weighted_sum_of_normalized,
)


NAN = float("nan")


def close(actual, expected):
    torch.testing.assert_close(actual, torch.tensor(expected), atol=1e-5, rtol=0)


def test_group_normalized_counts_in_standard_deviations_of_the_group():
    # mean 1/2; sample variance (4 * 1/4) / 3 = 1/3, std 0.57735; 0.5 / (0.57735 + 0.0001) = 0.865876
    close(group_normalized(torch.tensor([1.0, 0.0, 0.0, 1.0]), 4), [0.865876, -0.865876, -0.865876, 0.865876])


def test_group_centered_counts_in_points():
    close(group_centered(torch.tensor([1.0, 0.0, 0.0, 0.0, 3.0, 1.0, 1.0, 1.0]), 4),
          [0.75, -0.25, -0.25, -0.25, 1.5, -0.5, -0.5, -0.5])  # fmt: skip


def test_leave_one_out_compares_each_completion_with_its_siblings():
    # first: 1 - (0 + 0 + 1)/3 = 2/3      second: 0 - (1 + 0 + 1)/3 = -2/3
    close(leave_one_out(torch.tensor([1.0, 0.0, 0.0, 1.0]), 4), [2 / 3, -2 / 3, -2 / 3, 2 / 3])


def test_batch_normalized_divides_by_the_spread_of_all_groups():
    # groups [1, 0] and [3, 1]: centred +-0.5 and +-1; all four: mean 1.25, squares .0625 + 1.5625 + 3.0625 + .0625 = 4.75,
    # sample variance 4.75/3, std 1.258306; 0.5/1.258406 = 0.397328, 1/1.258406 = 0.794656
    close(batch_normalized(torch.tensor([1.0, 0.0, 3.0, 1.0]), 2), [0.397328, -0.397328, 0.794656, -0.794656])


def test_robust_measures_from_the_median_and_ignores_how_far_an_outlier_lies():
    # [0, 1, 2, 3, 1000]: median 2, distances 2 1 0 1 998, MAD 1; (r - 2) / (1.4826 + 0.0001)
    expected = [-2 / 1.4827, -1 / 1.4827, 0.0, 1 / 1.4827, 998 / 1.4827]
    torch.testing.assert_close(robust(torch.tensor([0.0, 1.0, 2.0, 3.0, 1000.0]), 5), torch.tensor(expected))
    nearer = robust(torch.tensor([0.0, 1.0, 2.0, 3.0, 10.0]), 5)
    close(nearer[:4], expected[:4])


def test_robust_still_pays_a_lone_success():
    # median 0, MAD 0; mean absolute deviation 1/4, times 1.2533 = 0.313325; 1 / 0.313425 = 3.190556
    close(robust(torch.tensor([0.0, 1.0, 0.0, 0.0]), 4), [0.0, 3.190556, 0.0, 0.0])


def test_pass_at_k_equals_the_published_formula_for_zero_one_rewards():
    # n=4, c=1, k=2: 3 of 6 pairs hold the success: R = 1/2, std = 1/2. Success: (1 - 1/2)/(1/2 + 1e-4) = 0.9998.
    # A failure: its pairs are {f, s}, {f, f'}, {f, f''}: 1/3 succeed: (1/3 - 1/2)/(0.5001) = -0.333267
    close(pass_at_k(torch.tensor([1.0, 0.0, 0.0, 0.0]), 4, k=2), [0.9998, -0.333267, -0.333267, -0.333267])


def test_pass_at_k_is_zero_once_every_subset_of_k_succeeds():
    assert pass_at_k(torch.tensor([1.0, 1.0, 1.0, 0.0]), 4, k=2).tolist() == [0.0, 0.0, 0.0, 0.0]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]), min_size=2, max_size=7), st.data())
@settings(max_examples=60, deadline=None)
def test_pass_at_k_equals_the_average_over_all_subsets_written_out(values, data):
    from itertools import combinations

    n, k = len(values), data.draw(st.integers(1, len(values)))
    subsets = list(combinations(range(n), k))
    best = [max(values[i] for i in subset) for subset in subsets]
    mean = sum(best) / len(best)
    std = math.sqrt(sum((b - mean) ** 2 for b in best) / len(best))
    expected = []
    for i in range(n):
        mine = [b for b, subset in zip(best, subsets) if i in subset]
        expected.append((sum(mine) / len(mine) - mean) / (std + 1e-4))
    torch.testing.assert_close(pass_at_k(torch.tensor(values), n, k=k), torch.tensor(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_an_unscored_completion_gets_nothing_and_moves_no_one(name):
    options = {"k": 2} if name == "pass_at_k" else {}
    function = ADVANTAGES[name]
    with_gap = function(torch.tensor([1.0, NAN, 0.0, 0.0]), 4, **options)
    without = function(torch.tensor([1.0, 0.0, 0.0]), 3, **options)
    assert with_gap[1] == 0.0
    torch.testing.assert_close(with_gap[[0, 2, 3]], without)
    assert function(torch.full((4,), NAN), 4, **options).tolist() == [0.0] * 4
    assert function(torch.tensor([NAN, NAN, 1.0, NAN]), 4, **options).abs().max() < 1e-6


@pytest.mark.parametrize("name", ADVANTAGES)
def test_one_generation_in_evaluation_has_nothing_to_compare_with(name):
    options = {"k": 1} if name == "pass_at_k" else {}
    advantages = ADVANTAGES[name](torch.tensor([1.0, 0.0, NAN]), 1, **options)
    assert advantages.tolist() == [0.0, 0.0, 0.0]


GROUPS = st.lists(st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4), min_size=1, max_size=5)


@pytest.mark.parametrize("name", ADVANTAGES)
@given(rewards=GROUPS)
@settings(max_examples=40, deadline=None)
def test_a_constant_added_to_every_reward_changes_nothing(name, rewards):
    options = {"k": 2} if name == "pass_at_k" else {}
    flat = torch.tensor(rewards, dtype=torch.double).flatten()
    before = ADVANTAGES[name](flat, 4, **options)
    after = ADVANTAGES[name](flat + 3.0, 4, **options)
    # a spread of 1e-13 divided by 1e-4 is rounding noise of 1e-9
    torch.testing.assert_close(before, after, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in ADVANTAGES if name != "robust"])
@given(rewards=GROUPS)
@settings(max_examples=40, deadline=None)
def test_advantages_of_a_group_sum_to_zero(name, rewards):
    options = {"k": 2} if name == "pass_at_k" else {}
    flat = torch.tensor(rewards, dtype=torch.double).flatten()
    sums = ADVANTAGES[name](flat, 4, **options).view(-1, 4).sum(dim=1)
    assert sums.abs().max() < 1e-6


@given(rewards=GROUPS, order=st.permutations(range(4)))
@settings(max_examples=40, deadline=None)
def test_credit_follows_the_completion_not_its_place(rewards, order):
    flat = torch.tensor(rewards, dtype=torch.double)
    for name, function in ADVANTAGES.items():
        options = {"k": 2} if name == "pass_at_k" else {}
        straight = function(flat.flatten(), 4, **options).view(-1, 4)[:, list(order)]
        shuffled = function(flat[:, list(order)].flatten(), 4, **options).view(-1, 4)
        torch.testing.assert_close(straight, shuffled, atol=1e-6, rtol=1e-6)


def test_a_group_without_spread_is_dead_also_when_a_completion_is_unscored():
    rewards = torch.tensor([1.0, 1.0, 0.0, 0.5, NAN, 2.0, NAN, NAN])
    assert dead_groups(rewards, 2).tolist() == [True, True, False, False, True, True, True, True]


def test_a_group_with_fewer_than_two_rewards_was_graded_by_nobody():
    nan = float("nan")
    rewards = torch.tensor([1.0, 1.0, nan, nan, 2.0, nan, nan, nan, nan, nan, nan, nan])
    assert ungraded_groups(rewards, 4).tolist() == [False] * 4 + [True] * 8
    assert ungraded_groups(torch.tensor([1.0, nan]), 1).tolist() == [False, True]


def test_only_the_whole_group_as_one_subset_compares_nothing():
    compares = [k for k in range(1, 6) if not compares_nothing(pass_at_k, 5, {"k": k})]
    assert compares == [1, 2, 3, 4]
    assert not any(
        compares_nothing(ADVANTAGES[name], 2, {"k": 1} if name == "pass_at_k" else {}) for name in ADVANTAGES
    )


def test_weighted_sum_leaves_out_what_a_function_did_not_judge():
    scores = torch.tensor([[1.0, 0.5], [NAN, 0.5], [NAN, NAN]])
    rewards = weighted_sum(scores, torch.tensor([1.0, 2.0]))
    assert rewards[:2].tolist() == [2.0, 1.0]
    assert rewards[2].isnan()


def test_normalising_each_reward_first_makes_their_scales_irrelevant():
    scores = torch.tensor([[1.0, 0.0], [0.0, 100.0], [0.0, 0.0], [1.0, 100.0]])
    rewards = weighted_sum_of_normalized(scores, torch.tensor([1.0, 1.0]), 4)
    # both columns are two high, two low: +-0.5/0.57745 each (the second up to 1e-4/57.7)
    assert rewards[0].abs() < 2e-4
    assert rewards[1].abs() < 2e-4
    assert rewards[3] == pytest.approx(0.865876 + 50 / (57.735027 + 1e-4), abs=1e-5)


def my_own(rewards, group_size, scale=1.0):
    return scale * (rewards - rewards.mean())


def test_a_users_function_is_found_by_dotted_path():
    assert find_advantage(f"{__name__}.my_own")(torch.tensor([1.0, 3.0]), 2, scale=2.0).tolist() == [-2.0, 2.0]


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"advantage='leave_one_oot' is unknown. Did you mean 'leave_one_out'\?"):
        find_advantage("leave_one_oot")
    with pytest.raises(ValueError, match="could not be imported"):
        find_advantage("no_such_module.function")
    with pytest.raises(ValueError, match="is a float, not a function"):
        find_advantage("math.pi")
