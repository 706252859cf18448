"""What our mixins use of TRL's trainer is there, and where it is not, one sentence says what is missing."""

import ast
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest
from trl import GRPOTrainer

import trl_r1.grpo
from trl_r1 import R1GRPOConfig, R1GRPOTrainer
from trl_r1.compat import trl as compat
from trl_r1.compat.host import ATTRIBUTES, METHODS, missing_members
from trl_r1.grpo.identity import run


def test_the_member_that_a_trainer_lacks_is_named():
    trainer = SimpleNamespace(**dict.fromkeys({*ATTRIBUTES, *METHODS} - {"reward_weights"}))
    (sentence,) = missing_members(trainer)
    assert sentence.endswith("GRPOTrainer has no reward_weights, which trl_r1 uses.")


def test_a_trainer_is_not_built_on_a_trl_that_lacks_a_member(tiny, tmp_path, monkeypatch):
    build = GRPOTrainer.__init__

    def build_and_rename(self, *args, **kwargs):
        build(self, *args, **kwargs)
        self.numbers = self.__dict__.pop("_metrics")

    monkeypatch.setattr(GRPOTrainer, "__init__", build_and_rename)
    with pytest.raises(RuntimeError, match="GRPOTrainer has no _metrics, which trl_r1 uses"):
        run(R1GRPOTrainer, R1GRPOConfig, tiny, tmp_path, {})


def test_every_method_that_we_extend_has_its_parameters_checked():
    assert set(METHODS) - {"__init__", "add_callback", "remove_callback"} == set(compat.SEAMS)
    assert compat.broken_seams() == []


def test_a_wrapper_around_train_is_no_other_trl(monkeypatch):
    monkeypatch.setattr(GRPOTrainer, "train", lambda self, *arguments, **options: None)
    assert compat.broken_seams() == []
    monkeypatch.setattr(GRPOTrainer, "_compute_loss", lambda self, *arguments: None)
    (sentence,) = compat.broken_seams()
    assert "GRPOTrainer._compute_loss takes (arguments)" in sentence


def members_read() -> set[str]:
    """Every `self.name` in the classes that extend TRL's trainer."""
    read = set()
    for file in Path(inspect.getfile(trl_r1.grpo)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and node.name in {cls.__name__ for cls in R1GRPOTrainer.__mro__}:
                read |= {
                    part.attr
                    for part in ast.walk(node)
                    if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self"
                }
    return read


def test_no_member_is_declared_that_nothing_reads():
    elsewhere = {"remove_callback", "_generate_single_turn", "optimizer"}  # stages; the rollout; the critic's callback
    ours = R1GRPOTrainer.__mro__[: R1GRPOTrainer.__mro__.index(GRPOTrainer)]
    supers = {name for name in METHODS if any(name in vars(cls) for cls in ours)}
    assert {*ATTRIBUTES, *METHODS} - members_read() - supers <= elsewhere
