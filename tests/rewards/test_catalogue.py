"""Rewards by name, by path, by entry point; two of a kind keep two names; mistakes get one clear sentence."""

import asyncio
import importlib.metadata
import pickle
import sys
from pathlib import Path

import pytest
from places import ROOT

from trl_r1.rewards import catalogue
from trl_r1.rewards.accuracy import Accuracy, accuracy_reward
from trl_r1.rewards.catalogue import BUILT_IN, load_reward, load_rewards, metric_name
from trl_r1.rewards.format import Format
from trl_r1.text.reasoning_format import ReadsReasoning


def plain_reward(completions, bonus=0.0, **columns):
    return [bonus] * len(completions)


class AsyncReward:
    async def __call__(self, completions, **columns):
        return [1.0] * len(completions)


async_reward = AsyncReward()


def test_by_name_with_options():
    assert load_reward("accuracy") == Accuracy()
    assert load_reward("format", graded=True, name="layout") == Format(graded=True, name="layout")


@pytest.mark.parametrize("path", ["trl_r1.rewards.accuracy:accuracy_reward", "trl_r1.rewards.accuracy_reward"])
def test_by_path(path):
    assert load_reward(path) is accuracy_reward
    assert load_reward(path, solution_column="gold") == Accuracy(solution_column="gold")


def test_a_function_takes_its_keywords_as_options():
    reward = load_reward(f"{__name__}:plain_reward", bonus=0.5, name="bonus")
    assert reward(["a", "b"], prompts=["x", "y"]) == [0.5, 0.5]
    assert metric_name(reward) == "bonus"


def test_functions_and_weights_of_a_recipe():
    functions, weights = load_rewards(["accuracy", {"name": "format", "weight": "0.1", "options": {"graded": True}}])
    assert functions == [Accuracy(), Format(graded=True)]
    assert weights == [1.0, 0.1]
    assert load_rewards([]) == ([], [])


def test_two_of_a_kind_have_two_metric_names():
    from trl.trainer.utils import get_callable_name

    path = f"{__name__}:"
    functions, _ = load_rewards(
        ["accuracy", {"name": "accuracy", "options": {"require_simplified": False}}, "accuracy"]
        + [path + "plain_reward", {"name": path + "plain_reward", "options": {"bonus": 1.0}}]
        + [path + "async_reward", path + "async_reward"]
    )
    names = [get_callable_name(function) for function in functions]
    assert names[:5] == ["accuracy", "accuracy_2", "accuracy_3", "plain_reward", "plain_reward_2"]
    assert len(set(names)) == len(names)
    assert functions[4](["a"]) == [1.0]
    assert asyncio.run(functions[6](["a"])) == [1.0]
    for function, name in zip(functions, names, strict=True):
        assert get_callable_name(pickle.loads(pickle.dumps(function))) == name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("formt", {}, r"No reward is called 'formt'\. Did you mean 'format'\? Installed: .*accuracy, .*format"),
        ("format", {"grated": True}, r"has no option 'grated'\. Did you mean 'graded'\? Its options: layout, graded"),
        ("nowhere.at_all:x", {}, "There is no module 'nowhere'"),
        ("trl_r1.rewards.format:Formt", {}, "has no 'Formt'.* Did you mean 'Format'"),
        ("trl_r1.rewards.format:LAYOUTS", {}, "cannot be called"),
        (":x", {}, "no path to a reward"),
    ],
)
def test_mistakes_get_one_clear_sentence(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_reward(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ("accuracy", "must be a list"),
        ([{"weight": 1.0}], "needs a name"),
        ([{"name": "accuracy", "wieght": 1.0}], "has the unknown key 'wieght'. Did you mean 'weight'"),
        ([{"name": "accuracy", "weight": "much"}], "weight='much' of 'accuracy' must be a number"),
        ([{"name": "accuracy", "weight": float("nan")}], "weight=nan of 'accuracy' must be a finite number"),
        ([{"name": "accuracy", "options": ["x"]}], "must be a mapping such as {key: value}"),
    ],
)
def test_mistakes_in_a_recipe(rewards, message):
    with pytest.raises(ValueError, match=message):
        load_rewards(rewards)


def test_a_broken_dependency_of_a_reward_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        load_reward("needs_more:reward")


def _distribution(folder: Path, name: str, lines: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[trl_r1.rewards]\n{lines}\n")


def test_another_package_adds_a_reward_and_stale_metadata_of_ours_does_not_matter(tmp_path, monkeypatch):
    _distribution(tmp_path, "theirs", f"bonus = {__name__}:plain_reward\nformat = gone.away:Format")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_reward("bonus") is plain_reward
    assert load_reward("format") == Format()
    _distribution(tmp_path, "others", "bonus = other.module:reward")
    with pytest.raises(ValueError, match="Two installed packages offer a reward called 'bonus'"):
        load_reward("accuracy")


def test_ours_are_found_without_any_metadata(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    for name in BUILT_IN:
        assert metric_name(load_reward(name)) == name


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_pyproject_declares_the_same_rewards_as_the_built_in_table():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project.get("entry-points", {}).get(catalogue.GROUP)
    if declared is None:
        pytest.skip(f"pyproject.toml has no entry points {catalogue.GROUP!r} yet")
    assert declared == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_reward_that_looks_for_a_thought_can_be_told_of_it(name):
    reward = load_reward(name)
    if hasattr(reward, "think") or hasattr(reward, "prefilled_think"):
        assert isinstance(reward, ReadsReasoning)
        assert (reward.think, reward.prefilled_think) == (None, None), "a stated default would win over what is found"
