"""The hand-checked expectations of `templates_expected/`, and real tokenizers made to fit their families."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import AddedToken, AutoTokenizer


HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Family:
    """A hand-checked expectation: see templates_expected/README.md."""

    family: str
    templates: tuple[str, ...]
    tokenizer: str
    eos: str
    prompt_end: str
    plain: tuple[str, ...]
    end: tuple[str, ...]
    why: str
    thought: tuple[str, ...] = ()
    content: tuple[str, ...] | None = None
    key: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    bos: str = ""
    stops: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    marks_special: tuple[bool | None, ...] = (None,)
    prompt: str = "plain"
    shown: tuple[str, ...] = ()
    label: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def forms(self, row: str) -> tuple[str, ...]:
        """Accepted replies to a row, without their end."""
        if row == "none":
            return self.plain
        asked = self.content if row == "content" else self.key
        return self.thought if asked is None else asked

    def opening(self) -> str:
        """What stands in the prompt of the thought that its reply goes on with."""
        return self.marks[0] if self.prompt == "open" else ""


def families() -> list[Family]:
    """All tables."""
    found = []
    for path in sorted((HERE / "templates_expected").glob("*.yaml")):
        for table in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
            found.append(Family(**values))
    return found


def make_tokenizer(family: Family, special: bool | None, folder: Callable[[str], Path]) -> Any:
    """A real tokenizer with the family's markers, end token and marks (special, plain, or no tokens at all)."""
    source = folder(family.tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
        config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
        out = {*family.without, *family.marks} if special is not None or family.without else set()
        known = {token["content"] for token in content["added_tokens"]}
        content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in out]
        listed = config.get("added_tokens_decoder", {})
        config["added_tokens_decoder"] = {key: one for key, one in listed.items() if one["content"] not in out}
        config.pop("chat_template", None)
        (Path(scratch) / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        (Path(scratch) / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        tokenizer = AutoTokenizer.from_pretrained(scratch)
    vocabulary = tokenizer.get_vocab()
    wanted = [one for one in (*family.markers, family.eos, *family.stops, family.bos) if one and one not in vocabulary]
    tokenizer.add_tokens(
        [AddedToken(one, special=True, normalized=False) for one in dict.fromkeys(wanted)], special_tokens=True
    )
    if special is not None and family.marks:
        marks = [AddedToken(one, special=special, normalized=False) for one in family.marks]
        tokenizer.add_tokens(marks, special_tokens=special)
    missing = [one for one in (*family.markers, family.eos, *family.stops) if len(ids_of(tokenizer, one)) != 1]
    assert not missing, f"{family.family}: {missing} are no single tokens ({len(known)} known)"
    tokenizer.eos_token = family.eos
    if family.bos:
        tokenizer.bos_token = family.bos
    return tokenizer


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
