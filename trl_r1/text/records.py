"""The records that every stage shares: a problem, a text a model wrote for it, where that came from, what was decided.

    Problem      what is asked, and what the right answer is
    Completion   one sampled text, as every engine returns it
    Origin       who wrote it and how it could be drawn again
    Sample       a completion of a problem, with its origin
    Verdict      is it right, who says so, and which filter dropped it

All are frozen; `dataclasses.replace` makes a changed copy. `to_row` and `of_row` stand beside a record where files hold
it, so that the keys on disk are written down in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


Row = dict[str, Any]  # one line of a data set or of a JSON lines file; the file's format, or its owner, gives the keys
Json = dict[str, Any]  # a JSON object as a whole: options of a recipe, a request, a summary; its writer says the keys
Message = dict[str, Any]  # one turn of a conversation: role, content, and what else a chat template reads
Messages = list[Message]
Prompt = str | Messages


@dataclass(frozen=True)
class Problem:
    """What is asked. ``prompt`` is what a model reads, ``question`` what a person asked ("": only the prompt is known)."""

    prompt: Prompt
    question: str
    solution: str | None = None  # the gold answer; None: nobody can verify
    language: str | None = None  # ISO 639 code that the reply is to be in; None: not known
    domain: str = "reasoning"
    answer_type: str = ""  # a declared type (`trl_r1.answers.types`); "": told from the gold answer
    reference: str | None = None  # a reply that the data set brings; None: a model writes it

    def to_row(self) -> Row:
        """As the digests of shards know it; keys without a value of their own are left out."""
        row: Row = {
            "prompt": self.prompt,
            "question": self.question,
            "solution": self.solution,
            "language": self.language,
            "domain": self.domain,
        }
        row |= {"answer_type": self.answer_type} if self.answer_type else {}
        return row | ({"answer": self.reference} if self.reference is not None else {})


@dataclass(frozen=True)
class Completion:
    """One sampled text."""

    text: str
    token_count: int | None = None  # generated, the end token included; None where a server does not say
    truncated: bool = False  # the token limit ended it, not the model
    refused: str = ""  # why a server would not answer; then the text is empty
    logprob: float | None = None  # mean over its tokens, nats
    entropy: float | None = None  # mean over its tokens, nats
    opened: bool | None = None  # the prompt has opened its thought, so that it begins inside; None: not known

    def to_row(self) -> Row:
        """As a shard holds it."""
        row: Row = {"text": self.text, "tokens": self.token_count, "clipped": self.truncated, "refused": self.refused}
        return row if self.opened is None else {**row, "opened": self.opened}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Completion:
        """From a shard's row.

        >>> Completion.of_row({"text": "4", "tokens": 2, "clipped": False, "refused": "", "index": 0})
        Completion(text='4', token_count=2, truncated=False, refused='', logprob=None, entropy=None, opened=None)
        """
        refused, opened = row.get("refused", ""), row.get("opened")
        return cls(row["text"], row.get("tokens"), bool(row["clipped"]), refused, opened=opened)


@dataclass(frozen=True)
class Origin:
    """Who wrote a text: enough to draw it again."""

    source: str = ""  # the label of a source, the name of a pool
    model: str | None = None
    model_hash: str = ""  # 16 hex digits, or ``endpoint:NAME``
    prompt_hash: str = ""
    seed: int = 0
    place: int = 0  # which problem of the source
    index: int = 0  # which of the texts drawn for the problem


@dataclass(frozen=True)
class Sample:
    """A completion of a problem: what filters see and what a shard stores."""

    problem: Problem
    completion: Completion
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True)
class Verdict:
    """What was decided about a sample. ``correct`` is None where nobody could decide."""

    correct: bool | None = None
    decided_by: Literal["rule", "judge", ""] = ""
    dropped_by: str = ""  # the first filter that objected; "" keeps the sample
    reason: str = ""  # of the decision, or of the filter: half a sentence
