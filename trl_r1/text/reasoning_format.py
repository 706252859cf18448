"""How the replies of a run think, and by which marks a reward reads one: stated options, else what a trainer has told.

A reward that looks for a thought is a `ReadsReasoning`: its options ``think`` and ``prefilled_think`` say what is to be
looked for, and where they are None a trainer or an evaluation that knows the template says so (``tell``). Nobody told:
``<think>``, opened by the model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from trl_r1.text.completions import REASONING_KEYS, THINK, reply


if TYPE_CHECKING:
    from typing_extensions import Self


Tags = tuple[str, str]
PREFILLED_HELP = "The template writes the opening think tag; None: as the trainer or the evaluation finds out."
THINK_HELP = "Opening and closing tag of the thought; None: as found out, else <think>."


class ReasoningFormat(Protocol):
    """What a template does with thoughts."""

    @property
    def marks(self) -> Tags:
        """The model's own marks of a thought."""
        ...

    def opened(self, prompt: Any, marks: Tags) -> bool:
        """Whether a reply to this prompt begins inside a thought that these marks open."""
        ...


class ReadsReasoning:
    """A reward whose options say where the reasoning is; None: as its `ReasoningFormat` says, where it has one."""

    name: str
    think: Tags | None
    prefilled_think: bool | None
    _reasoning_format: ReasoningFormat | None = None

    @property
    def __name__(self) -> str:
        return self.name

    def with_format(self, reasoning_format: ReasoningFormat) -> Self:
        """The same reward, knowing how the template writes reasoning."""
        twin = copy.copy(self)
        object.__setattr__(twin, "_reasoning_format", reasoning_format)
        return twin

    def reading(self, completion: Any, prompt: Any = None) -> tuple[Tags, bool]:
        """The marks to look for in this completion, and whether the prompt has written the opening one."""
        if self._reasoning_format is None:
            return self.think or THINK, bool(self.prefilled_think)
        marks = self.think or marks_of(self._reasoning_format, completion, prompt)
        opened = self._reasoning_format.opened(prompt, marks) if self.prefilled_think is None else self.prefilled_think
        return marks, opened


def tell(reward: Any, reasoning_format: ReasoningFormat | None) -> Any:
    """A reward that knows what the template does with thoughts; unchanged where it does not ask (has no ``with_format``)."""
    with_format = getattr(reward, "with_format", None)
    return with_format(reasoning_format) if reasoning_format is not None and callable(with_format) else reward


def marks_of(reasoning_format: ReasoningFormat, completion: Any, prompt: Any = None) -> Tags:
    """The marks that count for a completion: those that the prompt has opened, else the first that occurs of the model's
    own and ``<think>`` (behind a text prompt the other way round). A thought that a parser took out stands in ``<think>``,
    as ``reply`` puts it back."""
    if is_parsed(completion):
        return THINK
    pairs = (THINK, reasoning_format.marks) if isinstance(prompt, str) else (reasoning_format.marks, THINK)
    text = reply(completion)
    for pair in pairs:
        if reasoning_format.opened(prompt, pair):
            return pair
    return next((pair for pair in pairs if pair[0] in text or pair[1] in text), pairs[0])


def is_parsed(completion: Any) -> bool:
    """Whether a parser has taken the thought out of an assistant's message and put it under a key."""
    if isinstance(completion, Mapping):
        return any(completion.get(key) for key in REASONING_KEYS)
    if isinstance(completion, Sequence) and not isinstance(completion, str):
        return any(isinstance(message, Mapping) and is_parsed(message) for message in completion)
    return False


def checked_tags(tags: Sequence[str] | None) -> Tags | None:
    """``think`` as a recipe brings it (YAML has lists), as a pair that hashes; None stays None."""
    return None if tags is None else tuple(tags)  # type: ignore[return-value]
