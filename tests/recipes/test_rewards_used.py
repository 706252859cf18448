"""Which rewards the recipes train with: none of ours is left without one, on a GPU and on a CPU."""

from pathlib import Path

import pytest
import yaml


RECIPES = Path(__file__).parents[2] / "recipes"


def named(entries):
    """Names of rewards that weigh something, those of layers among them."""
    for entry in entries:
        if entry.get("weight", 1.0):
            yield entry["name"]
            yield from named((entry.get("options") or {}).get("layers") or [])


@pytest.mark.parametrize("folder", [(".",), ("mini", "smollm2")], ids=["gpu", "cpu"])
def test_every_reward_for_reasoning_has_a_recipe(folder):
    contents = [yaml.safe_load(path.read_text()) for part in folder for path in (RECIPES / part).glob("*.yaml")]
    used = {name for content in contents for name in named(content.get("rewards") or [])}
    assert {"accuracy", "format", "code", "geometry", "layered", "symbolic", "logic", "semantic"} <= used


@pytest.mark.parametrize("name", ["layered", "mini/layered"])
def test_the_layers_weigh_what_the_article_gives_them(name):
    content = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
    (layered,) = [reward for reward in content["rewards"] if reward["name"] == "layered"]
    weights = {layer["name"]: layer["weight"] for layer in layered["options"]["layers"]}
    assert weights == {"symbolic": 0.4, "logic": 0.3, "semantic": 0.3}


def test_recipes_paid_by_tests_judge_held_out_programs_by_tests():
    contents = {str(path.relative_to(RECIPES)): yaml.safe_load(path.read_text()) for path in RECIPES.glob("**/*.yaml")}
    coding = {name: one for name, one in contents.items() if "code" in named(one.get("rewards") or [])}
    assert set(coding) >= {"code.yaml", "smollm2/code.yaml"}
    assert {name: one["evaluation_verifier"] for name, one in coding.items()} == dict.fromkeys(coding, "code")
