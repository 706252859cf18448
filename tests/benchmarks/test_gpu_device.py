"""benchmarks/gpu_sections/device.py asks a card what torch offers, and caps what a smaller card would leave a process."""

import pickle
import sys
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
import torch
from places import ROOT


sys.path.insert(0, str(ROOT / "benchmarks"))
from gpu_sections.catalogue import SECTIONS
from gpu_sections.device import GIB, Meter


ASKED = (
    "init", "synchronize", "reset_peak_memory_stats", "max_memory_reserved", "max_memory_allocated", "memory_allocated",
    "empty_cache", "set_per_process_memory_fraction",
)  # fmt: skip


@pytest.fixture
def card(monkeypatch):
    """torch.cuda with a card of 139 GiB; every function has the signature of the installed torch's."""
    for name in ASKED:
        monkeypatch.setattr(torch.cuda, name, create_autospec(getattr(torch.cuda, name), return_value=3 * GIB))
    card = SimpleNamespace(total_memory=139 * GIB)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", create_autospec(torch.cuda.get_device_properties, return_value=card)
    )
    return Meter("cuda")


def test_a_cap_is_the_smaller_cards_memory_less_one_gib_as_a_share_of_this_one(card):
    card.cap(24)
    torch.cuda.set_per_process_memory_fraction.assert_called_with(23 / 139)
    card.cap(None)
    torch.cuda.set_per_process_memory_fraction.assert_called_with(1.0)


def test_every_question_to_a_card_is_one_that_torch_answers(card):
    assert (card.peak(), card.peak_allocated(), card.allocated(), card.total()) == (3.0, 3.0, 3.0, 139.0)
    assert card.seconds(lambda: None) >= 0.0
    card.forget_peak()
    card.trim()
    card.release()
    assert all(getattr(torch.cuda, name).called for name in ASKED if name != "set_per_process_memory_fraction")


def test_every_section_can_be_handed_to_a_process_that_is_no_fork():
    """Where one that was forked could not use the device."""
    assert pickle.loads(pickle.dumps(SECTIONS)) == SECTIONS
