"""How a copy is compared with its policy before it generates."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trl_r1.grpo.copies.sampler import difference


class Shifted(nn.Module):
    """Gives each prompt the same logits, of spread 1, with something added.

    Args:
        more: (V,), added to the logits of every token.
    """

    device = torch.device("cpu")

    def __init__(self, more):
        super().__init__()
        self.more = more

    def forward(self, input_ids, **options):
        logits = torch.randn(1, input_ids.shape[1], 50, generator=torch.Generator().manual_seed(0))
        return SimpleNamespace(logits=logits + self.more)


NONE = torch.zeros(50)
ONE = torch.zeros(50).index_fill(0, torch.tensor([7]), 1.0)


def test_what_shifts_all_logits_of_a_token_alike_is_no_difference():
    """In bfloat16 such a shift was half of the largest difference of SmolLM2's logits; softmax takes it away."""
    assert difference(Shifted(NONE), Shifted(NONE + 5.0), [[1, 2, 3]], torch.bfloat16) is None


@pytest.mark.parametrize(("size", "same"), [(0.05, True), (0.5, False)])
def test_one_logit_that_is_off_is_told_from_half_a_spread_on_but_not_for_rounding(size, same):
    found = difference(Shifted(NONE), Shifted(ONE * size), [[1, 2, 3]], torch.bfloat16)
    assert (found is None) == same
    assert same or "of their spread" in found


def test_in_float32_a_hundredth_is_told():
    assert difference(Shifted(NONE), Shifted(ONE * 0.01), [[1, 2, 3]], torch.float32) is not None
