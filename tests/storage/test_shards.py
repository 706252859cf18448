"""Shards: whole or not at all, in any order, and what cannot be read is told and done again."""

import errno
import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_r1.storage.shards import ShardError, Shards, cut, digest_of


def rows_of(unit):
    return [{"place": place, "text": f"é\ud800 {unit.seed}"} for place in range(unit.first, unit.last)]


@pytest.fixture
def shards(tmp_path):
    made = Shards(tmp_path / "samples", cut({"a": 5, "b": 2}, 2, seed=0), digest_of("work"))
    made.open()
    return made


def test_every_prompt_is_in_exactly_one_unit_and_seeds_do_not_depend_on_neighbours():
    units = cut({"a": 5, "b": 2}, 2, seed=0)
    assert [(u.number, u.pool, u.first, u.last) for u in units] == [
        (0, "a", 0, 2), (1, "a", 2, 4), (2, "a", 4, 5), (3, "b", 0, 2),
    ]  # fmt: skip
    assert len({unit.seed for unit in units}) == 4
    alone = cut({"b": 2}, 2, seed=0)
    assert alone[0].seed == units[3].seed
    assert cut({"b": 2}, 2, seed=1)[0].seed != alone[0].seed


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.integers(0, 30), max_size=3), st.integers(1, 9))
def test_units_cover_all_prompts_once(pools, size):
    covered = [(u.pool, place) for u in cut(pools, size, 0) for place in range(u.first, u.last)]
    assert covered == [(pool, place) for pool, length in pools.items() for place in range(length)]


def test_what_is_written_is_read_in_any_order(shards):
    for unit in reversed(shards.units):
        assert unit in shards.missing()
        shards.write(unit, rows_of(unit), seconds=1.5)
    assert shards.missing() == []
    assert [(unit.number, rows) for unit, rows in shards.rows()] == [(u.number, rows_of(u)) for u in shards.units]
    assert shards.seconds() == 6.0
    manifest = json.loads((shards.folder / "units.json").read_text())
    assert manifest["units"][1]["first"] == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],  # cut
        lambda data: data.replace(b'"place": 1', b'"place": 7'),  # altered
        lambda data: b"",
        lambda data: b"\xff\xfe" + data,
        lambda data: data.replace(digest_of("work").encode(), digest_of("other").encode()),
    ],
)
def test_a_shard_that_cannot_be_read_is_set_aside_told_and_done_again(shards, damage, caplog):
    for unit in shards.units:
        shards.write(unit, rows_of(unit))
    path = shards.path(shards.units[0])
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    broken = path.read_bytes()
    with pytest.raises(ShardError, match=r"shard .*00000\.jsonl"):
        shards.read(shards.units[0])
    with caplog.at_level(logging.WARNING):
        assert shards.missing() == [shards.units[0]]
    assert "set aside as 00000.jsonl.damaged and its unit is done again" in caplog.text
    assert (shards.folder / "00000.jsonl.damaged").read_bytes() == broken
    shards.write(shards.units[0], rows_of(shards.units[0]))
    assert path.read_bytes() == whole


def test_other_work_in_the_folder_is_refused(shards):
    shards.write(shards.units[0], rows_of(shards.units[0]))
    with pytest.raises(ValueError, match="holds shards of other work"):
        Shards(shards.folder, shards.units, digest_of("changed")).open()


def test_other_units_of_the_same_work_are_other_work(shards):
    shards.write(shards.units[0], rows_of(shards.units[0]))
    with pytest.raises(ValueError, match="holds shards of other work"):
        Shards(shards.folder, shards.units[:-1], shards.digest).open()


def test_a_folder_without_a_finished_unit_is_nobodys(shards):
    other = Shards(shards.folder, shards.units, digest_of("changed"))
    other.open()
    assert json.loads((shards.folder / "units.json").read_text())["digest"] == other.digest


def test_derived_units_of_other_work_are_set_aside_and_made_anew(shards, caplog):
    unit = shards.units[0]
    shards.write(unit, rows_of(unit))
    before = shards.path(unit).read_bytes()
    other = Shards(shards.folder, shards.units, digest_of("changed"))
    other.open(derived=True)
    assert (shards.folder / "earlier" / shards.path(unit).name).read_bytes() == before
    assert "set aside in its folder 'earlier'" in caplog.text
    assert other.missing() == list(shards.units)
    other.write(unit, rows_of(unit))
    other.open(derived=True)  # its own now
    assert other.missing() == list(shards.units[1:])


def test_half_written_files_of_a_killed_writer_are_cleared(shards):
    (shards.folder / ".00001.jsonl.abc.tmp").write_text("half")
    shards.open()
    assert [path.name for path in shards.folder.iterdir()] == ["units.json"]


def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_there(shards, monkeypatch):
    shards.write(shards.units[0], rows_of(shards.units[0]))

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("trl_r1.storage.files.os.fsync", full)
        with pytest.raises(ShardError, match=r"no room for .*00001\.jsonl .*make room, then start this again"):
            shards.write(shards.units[1], rows_of(shards.units[1]))
    assert sorted(path.name for path in shards.folder.iterdir()) == ["00000.jsonl", "units.json"]
    assert shards.read(shards.units[0]) == rows_of(shards.units[0])


def test_a_real_limit_of_the_operating_system_is_told_the_same_way(tmp_path):
    script = f"""
import resource, signal
from pathlib import Path
from trl_r1.storage.shards import ShardError, Shards, cut
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
shards = Shards(Path({str(tmp_path)!r}), cut({{"a": 2}}, 1, 0), "d")
shards.open()
shards.write(shards.units[0], [{{"x": 1}}])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    shards.write(shards.units[1], [{{"x": "y" * 10000}}])
except ShardError as error:
    print(error, [unit.number for unit in shards.missing()], len(list(Path({str(tmp_path)!r}).iterdir())))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "There is no room for" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("[1] 2")
