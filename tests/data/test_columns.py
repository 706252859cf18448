"""Rows from every kind of place, and one clear sentence for everything that can be wrong with one."""

import json
import sys
import types

import datasets
import pytest
from datasets import Dataset, DatasetDict

from trl_r1.data.columns import load_rows, looks_like_path, require_columns, to_prompts


ROWS = [{"question": f"What is {i} + 1?", "answer": i + 1, "level": "easy"} for i in range(4)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Arrow files of the readers go to the test's folder, not to the user's."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write_lines(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def complaint(call, *arguments, **options) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


# --- what can be read


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "csv"])
def test_every_kind_of_file(tmp_path, kind):
    path = tmp_path / f"problems.{kind}"
    rows = Dataset.from_list(ROWS)
    if kind == "jsonl":
        write_lines(path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        getattr(rows, f"to_{kind}")(str(path))
    assert load_rows(str(path), "train").to_list() == ROWS
    assert load_rows(str(path), "train[1:3]").to_list() == ROWS[1:3]


def test_a_file_answers_to_its_own_name_and_to_train(tmp_path):
    path = write_lines(tmp_path / "test-00000-of-00001.jsonl")
    assert len(load_rows(path, "test")) == len(load_rows(path, "train")) == 4
    assert complaint(load_rows, path, "validation").endswith("has no split 'validation'; it has: 'train', 'test'.")


def test_a_folder_of_files_has_the_splits_their_names_say(tmp_path):
    write_lines(tmp_path / "train-0.jsonl", ROWS[:1])
    write_lines(tmp_path / "train-1.jsonl", ROWS[1:3])
    write_lines(tmp_path / "test.jsonl", ROWS[3:])
    (tmp_path / "README.md").write_text("not data")
    assert load_rows(str(tmp_path), "train").to_list() == ROWS[:3]
    assert load_rows(str(tmp_path), "test").to_list() == ROWS[3:]
    assert "'test', 'train'" in complaint(load_rows, str(tmp_path), "dev")


def test_folders_written_by_save_to_disk(tmp_path):
    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    DatasetDict(train=rows, heldout=rows.select([0])).save_to_disk(tmp_path / "two")
    assert load_rows(str(tmp_path / "one"), "train").to_list() == ROWS
    assert load_rows(str(tmp_path / "two"), "heldout").to_list() == ROWS[:1]
    assert load_rows(str(tmp_path / "two"), "train[:50%]+heldout").to_list() == [*ROWS[:2], ROWS[0]]
    assert "'train', 'heldout'" in complaint(load_rows, str(tmp_path / "two"), "test")


def test_the_miniature_world_is_asked_with_the_seed(monkeypatch):
    asked = []
    store = types.ModuleType("trl_r1.mini.store")
    store.load_split = lambda name, seed: asked.append((name, seed)) or Dataset.from_list(ROWS)
    monkeypatch.setitem(sys.modules, "trl_r1.mini.store", store)
    assert len(load_rows("mini:train", "train", seed=7)) == 4
    assert asked == [("mini:train", 7)]
    assert load_rows("mini:test", "anything[1:3]").to_list() == ROWS[1:3]


def test_everything_else_goes_to_the_hub(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append((a, k)) or Dataset.from_list(ROWS))
    load_rows("openai/gsm8k", "test[:2]", "main")
    assert asked == [(("openai/gsm8k", "main"), {"split": "test[:2]"})]


# --- what cannot


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError('Unknown split "tset". Should be one of [\'train\'].'), "no split 'test'; it has: 'train'"),
        (ValueError("Config name is missing.\nPlease pick one among the available configs: ['a', 'b']"), "'a', 'b'"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'x/y' doesn't exist.\nMore"), "not a file or folder here"),
        (ConnectionError("no route to host"), "ConnectionError: no route to host"),
    ],
)  # fmt: skip
def test_what_the_hub_says_becomes_one_sentence(monkeypatch, error, words):
    def refuse(*arguments, **options):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    assert words in complaint(load_rows, "x/y", "test")


def test_a_missing_file_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("went to the hub"))
    write_lines(tmp_path / "problems.jsonl")
    message = complaint(load_rows, str(tmp_path / "problem.jsonl"))
    assert "no file or folder" in message
    assert f"did you mean {str(tmp_path / 'problems.jsonl')!r}" in message
    assert "folder" in complaint(load_rows, str(tmp_path / "nowhere" / "a.jsonl"))
    assert "no file or folder './x'" in complaint(load_rows, "./x")
    assert "No dataset was named" in complaint(load_rows, " ")


def test_what_is_a_path():
    for name in ("./a", "../a", "/a/b", "~/a", "a/b/c", "a.jsonl", "a/b.csv", "a\\b", "data/", "x.txt"):
        assert looks_like_path(name), name
    for name in ("openai/gsm8k", "squad", "trl-lib/DeepMath-103K", "user/data-v1.5"):
        assert not looks_like_path(name), name


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"question": "x"}\n{"question": \n', "line 2 is not JSON"),
        ("a.jsonl", b'{"question": "x"}\n[1, 2]\n', "line 2 is not an object"),
        ("a.jsonl", b'{"question": "\xff\xfe"}\n', "byte 14 is not UTF-8"),
        ("a.jsonl", b'{ "question": "' + "é".encode() * (1 << 19) + b'\xe9"}\n', "byte 1048591 is not UTF-8"),
        ("a.json", b'[{"question": "x"},\n{"question"}]', "line 2 is not JSON"),
        ("a.parquet", b"PAR1 this is not parquet", "cannot be read as parquet"),
        ("a.csv", b'question,answer\n"x,1\n', "cannot be read as csv"),
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b"question,answer\n", "no rows"),
        ("a.txt", b"hello", "no kind of file"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    message = complaint(load_rows, str(path))
    assert words in message
    assert name in message


def test_broken_folders_are_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no dataset" in complaint(load_rows, str(tmp_path / "empty"))
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    for arrow in (tmp_path / "saved").glob("*.arrow"):
        arrow.write_bytes(b"broken")
    assert "cannot be read" in complaint(load_rows, str(tmp_path / "saved"))
    write_lines(tmp_path / "mixed" / "a.jsonl", [{"question": "x"}])
    write_lines(tmp_path / "mixed" / "b.jsonl", [{"question": [1]}])
    assert "do not have the same columns" in complaint(load_rows, str(tmp_path / "mixed"))


def test_an_empty_dataset_and_an_empty_slice(tmp_path):
    empty = Dataset.from_dict({"question": []})
    empty.save_to_disk(tmp_path / "empty")
    assert "no rows" in complaint(load_rows, str(tmp_path / "empty"))
    DatasetDict(train=Dataset.from_list(ROWS), test=empty).save_to_disk(tmp_path / "half")
    assert len(load_rows(str(tmp_path / "half"), "train")) == 4
    assert "no rows in split 'test'" in complaint(load_rows, str(tmp_path / "half"), "test")
    path = write_lines(tmp_path / "a.jsonl")
    assert "no rows in split 'train[4:]'" in complaint(load_rows, path, "train[4:]")
    assert "cannot be understood" in complaint(load_rows, path, "train[x:y]")


# --- columns


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("qestion", "question"),
        ("Question", "question"),
        ("problem", "question"),
        ("solution", "answer"),
        ("colour", None),
    ],
)
def test_a_missing_column_names_what_there_is_and_what_was_meant(asked, near):
    message = complaint(require_columns, Dataset.from_list(ROWS), {"prompt": "question", "question": asked})
    assert f"no column {asked!r}" in message
    assert "question, answer, level" in message
    assert ("Did you mean" in message) == (near is not None)
    assert near is None or f"Did you mean {near!r}" in message
    assert "question_column" in message


def test_columns_that_are_there_or_not_asked_for_pass():
    require_columns(Dataset.from_list(ROWS), {"question": "question", "language": None})


# --- prompts


def test_prompts_by_hand():
    rows = Dataset.from_list(
        [{"question": "2 {x}?", "answer": 4, "prompt": "old", "solution": [1], "lang": "zh", "id": 9}]
    )
    made = to_prompts(rows, "question", "answer", "mini", language_column="lang")
    assert made.to_list() == [
        {
            "question": "2 {x}?",
            "answer": 4,
            "lang": "zh",
            "id": 9,
            "prompt": "User: 2 {x}? Assistant:",
            "solution": "4",
            "language": "zh",
        }
    ]


def test_the_source_columns_may_already_have_the_final_names():
    rows = Dataset.from_list([{"prompt": "2?", "solution": 4, "language": "en"}])
    made = to_prompts(rows, "prompt", "solution", "Q: {question}", language_column="language")
    assert made.to_list() == [{"prompt": "Q: 2?", "solution": "4", "language": "en"}]


def test_columns_trl_passes_itself_are_left_out():
    rows = Dataset.from_list(
        [{"question": "a", "answer": "1", "completions": "x", "completion_ids": [1], "prompts": "y"}]
    )
    assert set(to_prompts(rows, "question", "answer", "mini").column_names) == {
        "question",
        "answer",
        "prompt",
        "solution",
    }


def test_chat_prompts_and_conversations():
    rows = Dataset.from_list([{"question": "a", "answer": "1"}])
    assert to_prompts(rows, "question", "answer", "chat")["prompt"][0] == [{"role": "user", "content": "a"}]
    talk = [{"role": "user", "content": "hi {question}"}]
    rows = Dataset.from_list([{"messages": talk, "answer": "1"}])
    assert to_prompts(rows, "messages", "answer", "mini")["prompt"][0] == talk


@pytest.mark.parametrize("gold", [None, "", "  \n"])
def test_a_row_without_a_gold_answer_is_refused_or_left_out(gold, caplog):
    rows = Dataset.from_list([{"question": "a", "answer": "1"}, {"question": "b", "answer": gold}])
    message = complaint(to_prompts, rows, "question", "answer", "mini")
    assert "1 of 2 rows" in message
    assert "row 1 (counted from 0), where 'answer' is empty" in message
    assert "drop_empty" in message
    assert to_prompts(rows, "question", "answer", "mini", drop_empty=True)["solution"][:] == ["1"]
    assert "Left out 1 of 2 rows" in caplog.text
    empty = rows.select([1])
    assert "nothing is left" in complaint(to_prompts, empty, "question", "answer", "mini", drop_empty=True)


def test_numbers_that_are_not_there_count_as_empty():
    rows = Dataset.from_dict({"question": ["a", "b", None], "answer": [0.0, float("nan"), 1.0]})
    assert "2 of 3 rows" in complaint(to_prompts, rows, "question", "answer", "mini")  # 0.0 is an answer
    assert "where 'question'" in complaint(to_prompts, rows.select([2]), "question", "answer", "mini")


def test_other_mistakes_in_one_sentence():
    rows = Dataset.from_list(ROWS)
    assert "template='mono'" in complaint(to_prompts, rows, "question", "answer", "mono")
    assert "solution_column" in complaint(to_prompts, rows, "question", "nix", "mini")
    assert "no rows" in complaint(to_prompts, rows.select([]), "question", "answer", "mini")
