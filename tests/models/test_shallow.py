"""Leaving layers out: which stay, and that the model that is left can generate."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_r1.mini.store import resolve_model
from trl_r1.models.shallow import write_shallow


@pytest.fixture(scope="module")
def whole():
    return resolve_model("mini:base-tiny")


def test_the_layers_that_stay_are_those_named_and_the_model_still_generates(tmp_path, whole):
    write_shallow(whole, tmp_path, [1])
    model, shallow = (AutoModelForCausalLM.from_pretrained(name) for name in (whole, tmp_path))
    assert shallow.config.num_hidden_layers == len(shallow.model.layers) == 1
    kept = model.model.layers[1].state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in shallow.model.layers[0].state_dict().items())
    ids = AutoTokenizer.from_pretrained(tmp_path)("Compute a2 b9.", return_tensors="pt")["input_ids"]
    cached, fresh = (shallow.generate(ids, max_new_tokens=4, do_sample=False, use_cache=use) for use in (True, False))
    assert torch.equal(cached, fresh)


@pytest.mark.parametrize("kept", [[], [0, 7], [-1]])
def test_a_layer_that_is_not_there_is_one_sentence(tmp_path, whole, kept):
    with pytest.raises(ValueError, match="cannot be kept of a model that has"):
        write_shallow(whole, tmp_path, kept)
