"""Names in recipes: what ``mini:...`` resolves to."""

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from trl_r1.mini import model, store
from trl_r1.mini.store import load_split, resolve_model


def test_a_model_is_built_once_below_the_cache_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path))
    built = []
    monkeypatch.setattr(model, "pretrain", lambda folder, seed, scale: built.append((seed, scale)) or {})
    first, again, other = (resolve_model("mini:base-tiny", seed) for seed in (0, 0, 1))
    assert first == again != other
    assert Path(first).is_dir()
    assert Path(first).is_relative_to(tmp_path)
    assert built == [(0, "tiny"), (1, "tiny")]


def test_a_changed_recipe_is_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path))
    monkeypatch.setattr(model, "pretrain", lambda folder, seed, scale: {})
    before = resolve_model("mini:base")
    changed = tmp_path / "world.py"
    changed.write_bytes(Path(store.world.__file__).read_bytes() + b"\n")
    monkeypatch.setattr(store.world, "__file__", str(changed))
    assert resolve_model("mini:base") != before


def test_a_split_has_the_columns_of_a_recipe():
    rows = load_split("mini:dev", seed=5)
    assert rows.column_names == ["question", "solution", "language", "id"]
    assert len(rows) == 200
    for row in rows:
        language, *digits = row["id"].split("-")
        assert row["language"] == language in ("en", "zh")
        assert int(row["solution"]) == sum(map(int, digits))
        assert ("Compute" in row["question"]) == (language == "en")


def test_the_seed_draws_the_rows():
    first, again, other = (load_split("mini:test-tiny", seed)["id"] for seed in (0, 0, 1))
    assert list(first) == list(again) != list(other)
    assert len(first) == 16


def test_train_and_test_rows_share_no_digits():
    digits = [
        {"".join(sorted(row.split("-", 1)[1])) for row in load_split(f"mini:{s}")["id"]} for s in store.ROWS["demo"]
    ]
    train, dev, test = digits
    assert not train & dev
    assert not train & test
    assert not dev & test


def test_general_splits_have_the_columns_of_what_they_are_for():
    common = ["question", "solution", "language", "domain", "reward_for", "id"]
    more = {"preferences": ["reply_a", "reply_b", "scores_a", "scores_b"], "safety": ["completion", "label"]}
    for name, count in store.GENERAL_ROWS["tiny"].items():
        rows = load_split(f"mini:{name}-tiny", seed=2)
        extra = more.get(name, ["completion"] if name in store.labels.DOMAINS else [])
        assert (rows.column_names, len(rows)) == (common + extra, count)
        assert rows.to_list() == load_split(f"mini:{name}-tiny", seed=2).to_list()
        assert rows.to_list() != load_split(f"mini:{name}-tiny", seed=3).to_list()
        for row in rows:
            assert row["reward_for"] == ("harmlessness" if row["domain"] == "unsafe" else "helpfulness")


def test_more_models_are_built_from_the_base_of_their_seed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path))
    folders = [Path(resolve_model(f"mini:{kind}-tiny", seed=1)) for kind in ("student", "base-general", "base")]
    student, general, base = (
        sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters()) for folder in folders
    )
    assert student < base < general  # the general base has more words, the student is half as wide
    for folder in folders:
        assert json.loads((folder / "mini.json").read_text())["seed"] == 1
    monkeypatch.setattr(store.wider, "build_once", lambda path, make: path)  # nothing is made a second time
    assert [Path(resolve_model(f"mini:{kind}-tiny", seed=1)) for kind in ("base-general", "student")] == folders[1::-1]


def test_a_base_that_reads_on_is_the_same_for_a_seed(tmp_path):
    base = model.build_base(tmp_path / "base", seed=2, scale="tiny")
    first, again = (store.wider.build_general(tmp_path / name, base, 2, "tiny") for name in ("first", "again"))
    other = store.wider.build_general(tmp_path / "other", base, 3, "tiny")
    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("name", ["mini:bse", "mini:base-large", "mini:base-", "base", "mini:train"])
def test_an_unknown_model_is_named_with_the_choices(name):
    choices = "mini:base, mini:base-general, mini:student, mini:base-tiny, mini:base-general-tiny, mini:student-tiny."
    with pytest.raises(ValueError, match=f"'{name}' is unknown here. Choose one of: {choices}"):
        resolve_model(name)


def test_an_unknown_split_is_named_with_the_choices():
    with pytest.raises(ValueError, match="Choose one of: mini:train, mini:dev, mini:test, mini:writing"):
        load_split("mini:valid")
