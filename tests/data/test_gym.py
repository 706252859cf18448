"""reasoning-gym's datasets by name: rows, options, splits that stay apart, and one sentence for what is wrong."""

import os
import random

import numpy as np
import pytest

from trl_r1.data import gym
from trl_r1.data.columns import load_rows
from trl_r1.data.spec import DatasetSpec
from trl_r1.rewards.reasoning_gym_entry import from_text


if os.environ.get("CI") != "true":
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed: pip install 'trl-r1[real]'")


def test_a_row_has_the_question_the_gold_answer_and_the_entry():
    row = load_rows("reasoning_gym:chain_sum", "train", {"max_terms": 2, "size": 1})[0]
    kept = from_text(row["reasoning_gym"])
    assert (kept.dataset, kept.config) == ("chain_sum", {"max_terms": 2})
    assert (row["question"], row["solution"]) == (kept.entry["question"], kept.entry["answer"])
    assert kept.entry["metadata"]["num_terms"] == 2


def test_the_options_are_a_mapping_or_a_text():
    given = {"max_terms": 2, "size": 3}
    rows = load_rows("reasoning_gym:chain_sum", config=given)["question"][:]
    assert load_rows("reasoning_gym:chain_sum", config="{max_terms: 2, size: 3}")["question"][:] == rows
    assert load_rows("reasoning_gym:chain_sum", config='{"max_terms": 2, "size": 3}')["question"][:] == rows


def test_without_a_size_a_split_has_its_own():
    assert {split: len(load_rows("reasoning_gym:gcd", split)) for split in gym.SIZES} == gym.SIZES


def test_a_dataset_whose_config_checks_nothing_is_drawn_too():
    assert len(load_rows("reasoning_gym:power_function", "train", {"size": 2})) == 2


def test_a_seed_draws_the_same_rows_again_and_another_others():
    first, again, other = (load_rows("reasoning_gym:gcd", "test[:20]", seed=seed)[:] for seed in (1, 1, 2))
    assert first == again
    assert not set(first["question"]) & set(other["question"])


def test_no_question_is_in_two_splits_whatever_the_seeds_and_options():
    drawn = [
        {split: set(load_rows("reasoning_gym:chain_sum", split, config, seed)["question"]) for split in gym.SIZES}
        for config in ({"max_terms": 2, "max_digits": 1}, {"max_terms": 3, "max_digits": 1, "size": 300})
        for seed in (0, 1)
    ]
    whole = {split: set().union(*(part[split] for part in drawn)) for split in gym.SIZES}
    assert all(whole.values())
    assert not whole["train"] & whole["test"]
    assert not whole["train"] & whole["few_shot"]
    assert not whole["test"] & whole["few_shot"]


def test_no_question_comes_twice_in_other_letters_and_spaces():
    questions = load_rows("reasoning_gym:coin_flip", "train", {"size": 100})["question"]
    assert len({" ".join(question.lower().split()) for question in questions}) == len(questions)
    assert gym.digest("What  is\n2?") == gym.digest("what is 2?") != gym.digest("what is 3?")


def test_a_dataset_with_few_questions_gives_what_it_has_and_says_so(caplog):
    rows = load_rows(
        "reasoning_gym:chain_sum", "train", {"min_terms": 2, "max_terms": 2, "max_digits": 1, "size": 5000}
    )
    assert 50 < len(rows) < 5000
    assert f"has {len(rows)} different questions in its split 'train'" in caplog.text


def test_a_slice_is_cut_and_two_splits_are_joined():
    assert len(load_rows("reasoning_gym:gcd", "train[:5]+few_shot[:2]")) == 7


def test_a_spec_without_a_split_takes_test():
    spec = DatasetSpec("reasoning_gym:gcd", {"size": 4}, split=None)
    assert spec.read()[:] == load_rows("reasoning_gym:gcd", "test", {"size": 4})[:]


def test_an_entry_without_a_gold_answer_shows_an_example_that_scores():
    row = load_rows("reasoning_gym:graph_color", "train", {"size": 1})[0]
    assert from_text(row["reasoning_gym"]).entry["answer"] is None
    assert row["solution"].startswith('{"')


def test_drawing_leaves_the_processes_generators_and_its_output_alone(capsys):
    random.seed(3)
    np.random.seed(3)
    states = random.getstate(), np.random.get_state()[1].tolist()
    load_rows("reasoning_gym:pool_matrix", "few_shot", {"size": 2})
    load_rows("reasoning_gym:bf", "few_shot", {"size": 2})
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "split", "config", "said"),
    [
        ("chain_sums", "train", None, "no dataset 'chain_sums'. Did you mean 'chain_sum'?"),
        ("composite", "train", None, "'reasoning_gym:composite' is not offered"),
        ("rush_hour", "train", None, "no gold answer"),
        ("chain_sum", "dev", None, "has no split 'dev'; it has: 'train', 'test', 'few_shot'"),
        ("chain_sum", "train", {"max_term": 2}, "no option 'max_term'. Did you mean 'max_terms'?"),
        ("chain_sum", "train", {"seed": 2}, "'seed' is the run's own"),
        ("chain_sum", "train", {"size": 0}, "size=0 must be a whole number of at least 1"),
        (
            "chain_sum",
            "train",
            {"max_terms": 0},
            "refuses the config {'max_terms': 0}: max_terms must be >= min_terms",
        ),
        ("chain_sum", "train", {"max_terms": "two"}, "refuses the config {'max_terms': 'two'}"),
        ("chain_sum", "train", "max_terms", "must be a mapping such as {size: 500}"),
        ("chain_sum", "train", "{max_terms", "must be a mapping such as {size: 500}"),
    ],
)
def test_a_mistake_is_one_sentence(name, split, config, said):
    with pytest.raises(ValueError) as refused:
        load_rows(f"reasoning_gym:{name}", split, config)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_mapping_is_no_config_of_another_dataset():
    with pytest.raises(ValueError, match="takes the name of a configuration as its config, not the mapping"):
        load_rows("openai/gsm8k", "train", {"size": 3})


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(gym.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "trl-r1\[real\]" \(it compiles pycosat.*apt-get install'):
        load_rows("reasoning_gym:chain_sum")
