"""Names in recipes: what ``mini:...`` resolves to."""

from pathlib import Path

import pytest

from trl_r1.mini import model, store
from trl_r1.mini.store import load_split, resolve_model


def test_a_model_is_built_once_below_the_cache_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path))
    built = []
    monkeypatch.setattr(model, "pretrain", lambda folder, seed, scale: built.append((seed, scale)))
    first, again, other = (resolve_model("mini:base-tiny", seed) for seed in (0, 0, 1))
    assert first == again != other
    assert Path(first).is_dir()
    assert Path(first).is_relative_to(tmp_path)
    assert built == [(0, "tiny"), (1, "tiny")]


def test_a_changed_recipe_is_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_R1_CACHE", str(tmp_path))
    monkeypatch.setattr(model, "pretrain", lambda folder, seed, scale: None)
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


@pytest.mark.parametrize("name", ["mini:bse", "mini:base-large", "mini:base-", "base", "mini:train"])
def test_an_unknown_model_is_named_with_the_choices(name):
    with pytest.raises(ValueError, match=f"'{name}' is unknown here. Choose one of: mini:base, mini:base-tiny."):
        resolve_model(name)


def test_an_unknown_split_is_named_with_the_choices():
    with pytest.raises(ValueError, match="Choose one of: mini:train, mini:dev, mini:test, mini:train-tiny"):
        load_split("mini:valid")
