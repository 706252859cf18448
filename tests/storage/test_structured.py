from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from trl_r1.storage.structured import (
    option,
    read_entries,
    read_mapping,
    read_names,
    read_numbers,
    refuse_twins,
)


@dataclass(frozen=True)
class Shots:
    name: str = option(like="worked.jsonl")
    count: int = 2


@dataclass(frozen=True)
class Source:
    name: str = option(help="Where it lies.", like="rows.jsonl")
    share: float = option(1.0, "Its weight.", gt=0, like=0.5)
    samples: int | None = option(None, "Per problem.", ge=1, le=64)
    kind: str = option("rows", choices=("rows", "zero"))
    level: Literal["token", "sequence"] = "token"
    chat: bool = True
    filters: tuple[str, ...] = ()
    options: dict[str, Any] = option({})
    shots: Shots | None = None

    def __post_init__(self) -> None:
        if self.kind == "zero" and self.share != 1.0:
            raise ValueError("zero takes no share.")


@pytest.mark.parametrize(
    "given",
    [
        ["a", "b"],
        "a, b",
        '["a", "b"]',
        '[{"name": "a"}, {"name": "b"}]',
        [{"name": "a"}, "b"],
        [Source("a"), Source("b")],
    ],
)
def test_a_list_in_any_spelling_gives_the_same_entries(given):
    assert read_entries("sources", given, Source) == [Source("a"), Source("b")]


@pytest.mark.parametrize("given", [{"name": "a"}, "a", '{"name": "a"}', '"a"'])
def test_one_entry_alone_is_a_list_of_it(given):
    assert read_entries("sources", given, Source) == [Source("a")]


def test_values_take_the_type_of_their_field():
    entry = {"name": "a", "share": "1e-3", "filters": "right", "shots": "w.jsonl", "options": {"k": [1]}}
    (source,) = read_entries("sources", [entry], Source)
    assert source == Source("a", share=0.001, filters=("right",), options={"k": [1]}, shots=Shots("w.jsonl", 2))


def test_a_blank_value_is_the_default_and_defaults_are_not_shared():
    first, second = read_entries("sources", [{"name": "a", "share": None, "options": None}, {"name": "b"}], Source)
    assert first.share == 1.0
    assert first.options == {}
    assert first.options is not second.options


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "sources=[] must be a list such as [{name: rows.jsonl, share: 0.5}]."),
        (None, "sources=None must be a list such as [{name: rows.jsonl, share: 0.5}]."),
        ([3], "sources=[3] must be a list such as [{name: rows.jsonl, share: 0.5}], and holds 3."),
        ('[{"name": ', "is not JSON (Expecting value"),
        ([{"share": 2}], "sources: {'share': 2} needs a name, as in {name: rows.jsonl, share: 0.5}."),
        (
            [{"name": "a", "sampels": 4}],
            "sources: 'a' has the unknown key 'sampels'. Did you mean 'samples'? Known: name, share, samples, ",
        ),
        ([{"name": "a", "share": 0}], "sources: share=0 of 'a' must be a number above 0."),
        ([{"name": "a", "share": float("inf")}], "share=inf of 'a' must be a finite number above 0."),
        (
            [{"name": "a", "samples": 65}],
            "samples=65 of 'a' must be a whole number of at least 1 and of at most 64, or null.",
        ),
        ([{"name": "a", "samples": True}], "samples=True of 'a' must be a whole number"),
        ([{"name": "a", "samples": "4"}], "samples='4' of 'a' must be a whole number"),
        ([{"name": "a", "chat": "yes"}], "chat='yes' of 'a' must be true or false."),
        ([{"name": "a", "kind": "zeros"}], "kind='zeros' of 'a' must be one of: rows, zero. Did you mean 'zero'?"),
        (
            [{"name": "a", "level": "tokens"}],
            "level='tokens' of 'a' must be one of: token, sequence. Did you mean 'token'?",
        ),
        ([{"name": "a", "filters": [1]}], "filters=[1] of 'a' must be a list, each text."),
        ([{"name": "a", "options": []}], "options=[] of 'a' must be a mapping such as {key: value}."),
        ([{"name": 7}], "sources: name=7 must be text. Put it in quotes if it is meant as text."),
        (
            [{"name": "a", "shots": {"count": 1}}],
            "sources: shots of 'a': {'count': 1} needs a name, as in {name: worked",
        ),
        (
            [{"name": "a", "shots": {"name": "w", "cuont": 1}}],
            "shots of 'a': 'w' has the unknown key 'cuont'. Did",
        ),
        ([{"name": "a", "kind": "zero", "share": 2}], "sources: zero takes no share."),
    ],
)  # a mistake says what was given, what was expected and what to do
def test_a_mistake_is_one_sentence(given, sentence):
    with pytest.raises(ValueError) as caught:
        read_entries("sources", given, Source)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_entries_without_a_name_of_their_own_are_mappings_only():
    assert read_entries("general", "[]", Source, key=None, least=0) == []
    with pytest.raises(ValueError, match="general='a' is not JSON .*; write a list of mappings such as "):
        read_entries("general", "a", Source, key=None)


def test_what_is_usual_is_put_in_before_keys_are_checked():
    def complete(entry):
        return {"share": 2.0, "name": entry.pop("benchmark", "none"), **entry}

    assert read_entries("sources", {"benchmark": "x"}, Source, complete=complete, also=("benchmark",)) == [
        Source("x", share=2.0)
    ]


def test_two_of_one_name_are_refused():
    refuse_twins("sources", ["a", "b"], "label")
    with pytest.raises(ValueError, match="sources: two of them are called 'a'; give each its own label"):
        refuse_twins("sources", ["a", "b", "a"], "label")


@pytest.mark.parametrize("given", ["", [], [1], "[1]", {"right": 1}, None])
def test_names_are_a_list_of_texts(given):
    with pytest.raises(ValueError, match="must be a list of names such as"):
        read_names("filters", given)


@pytest.mark.parametrize(
    ("given", "sentence"), [("{", "is not JSON"), ("[1]", "must be a mapping"), (3, "be a mapping")]
)
def test_a_mapping_is_one(given, sentence):
    assert read_mapping("mix", '{"a": 0.5}') == read_mapping("mix", {"a": 0.5}) == {"a": 0.5}
    with pytest.raises(ValueError, match=f"mix=.* {sentence}"):
        read_mapping("mix", given)


@pytest.mark.parametrize("given", ["many", "1.5", [1.5], [True], [], "", [None], "0,-1"])
def test_numbers_are_whole_and_large_enough(given):
    with pytest.raises(ValueError, match="shots=.* must be a list of whole numbers of at least 0, such as"):
        read_numbers("shots", given)
    with pytest.raises(ValueError, match="at least 1"):
        read_numbers("pass_at", "0,4", ge=1)


def test_only_the_standard_library_is_needed():
    code = "import sys; before = set(sys.modules); import trl_r1.storage.structured; print({*sys.modules} - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "structured" in loaded
    assert not {name for name in ("torch", "yaml", "transformers", "datasets") if f"'{name}'" in loaded}
