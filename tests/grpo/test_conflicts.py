"""Every row of CONFLICTS is run into once for each setting that it names, and every advice of it is followed."""

from dataclasses import fields
from types import SimpleNamespace

import pytest
from places import ROOT

from trl_r1 import R1GRPOConfig
from trl_r1.grpo.conflict import DROPPED
from trl_r1.grpo.conflicts import CONFLICTS, as_markdown


def config(options):
    return R1GRPOConfig("unused", use_cpu=True, bf16=False, **options)


def example(conflict, against):
    """Options that are in this conflict through `against` alone."""
    others = {setting.option: setting.allowed for setting in conflict.against if setting is not against}
    options = {
        **{option: value for option, value in others.items() if value is not DROPPED},
        **conflict.besides,
        **{setting.option: setting.example for setting in (*conflict.where, conflict.option, against)},
    }
    return {option: value for option, value in options.items() if option in known()}


def known():
    return {entry.name for entry in fields(R1GRPOConfig)}


ROWS = [
    pytest.param(conflict, against, id=f"{conflict.option.option}={conflict.option.example}-{against.option}")
    for conflict in CONFLICTS
    for against in conflict.against
]


@pytest.mark.parametrize(("conflict", "against"), ROWS)
def test_it_is_refused_in_its_sentence(conflict, against):
    options = example(conflict, against)
    with pytest.raises(ValueError) as caught:
        config(options)
    said = str(caught.value)
    assert said.startswith(f"{conflict.option.option}={conflict.option.example!r} ")
    assert f"{against.option}={against.example!r}" in said
    assert "{" not in said.replace(repr(conflict.option.example), "")
    assert "\n" not in said


@pytest.mark.parametrize(("conflict", "against"), ROWS)
def test_each_advice_is_accepted(conflict, against):
    for remedy in conflict.instead:
        changes = dict(remedy.changes) or {against.option: against.allowed}
        options = {**example(conflict, against), **changes}
        config({option: value for option, value in options.items() if value is not DROPPED})


def test_a_conflict_without_its_condition_is_none():
    conflict = next(row for row in CONFLICTS if row.option.option == "kl_level" and row.where)
    apart = SimpleNamespace(kl_level="sequence", loss_type="dapo", kl_placement="reward")
    assert conflict.sentence(apart) is None
    assert "one KL per completion" in conflict.sentence(SimpleNamespace(**{**vars(apart), "kl_placement": "loss"}))


def test_all_settings_that_stand_against_an_option_are_named_at_once():
    with pytest.raises(ValueError, match=r"not with loss_type='dapo', top_entropy_quantile=0.5"):
        config({"importance_sampling_level": "sequence_product", "top_entropy_quantile": 0.5})


def test_the_page_prints_the_table():
    page = (ROOT / "docs" / "conflicts.md").read_text(encoding="utf-8")
    assert as_markdown() in page, "write it anew: python -m trl_r1.grpo.conflicts"
