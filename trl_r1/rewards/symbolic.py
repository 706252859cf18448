r"""Symbolic: is the final answer well-formed? Whether it is right is no question here (that is ``accuracy``).

Four parts, each 0 or 1; the score is the mean of those that can be judged:

    single   after the thought there is exactly one final answer (a second, different box or <answer> makes two)
    reads    it is an answer and not prose, and its brackets, LaTeX groups and operators are complete
    type     it is of the type asked for; judged where the row, the question or the gold answer says which
    unit     it has the unit asked for; judged where the row or the question says which

A reply that declares no answer scores 0. A row that asks for nothing (no type, no unit, no gold) is None.

Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2: "the model is required to provide the final answer in a specified
format". Departure: the paper pays this only together with a right answer; here it is a score of its own, meant as one
layer of several: a constant ``\boxed{0}`` is well-formed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trl_r1.answers.declared import in_order, interval
from trl_r1.answers.equality import BASED, COLON, decide, parts
from trl_r1.answers.extract import SOURCES, checked_sources, extract
from trl_r1.answers.forms import TYPES
from trl_r1.answers.notation import LONGEST_ANSWER, boxes, canonical
from trl_r1.answers.quantities import quantity, unit_name
from trl_r1.answers.types import MATHEMATICAL, Asked, asked, is_truth, letter_of, type_name
from trl_r1.rewards.semantic import question_of
from trl_r1.storage.structured import option
from trl_r1.text.completions import ANSWER, THINK, after_reasoning, reply, visible
from trl_r1.text.reasoning_format import PREFILLED_HELP, THINK_HELP, ReadsReasoning, checked_tags


LONGEST_TEXT = 200  # characters of an answer in words


class Form(NamedTuple):
    """The verdict on one answer; a part is None where it cannot be judged."""

    single: bool
    reads: bool
    type: bool | None
    unit: bool | None

    @property
    def score(self) -> float:
        judged = [part for part in self if part is not None]
        return sum(judged) / len(judged)


# ---------------------------------------------------------------- what is there

_COMMAND_OR_WORD = re.compile(r"\\[A-Za-z]+|[A-Za-z]{4,}|[\u4e00-\u9fff]{3,}")
_KNOWN_WORDS = frozenset(
    "sqrt arcsin arccos arctan sinh cosh tanh alpha beta gamma delta epsilon theta lambda sigma omega infty infinity "
    "undefined none empty set degrees units percent".split()
)
_DANGLING = re.compile(r"^\s*[*/^_=<>,;]|[-+*/^_=<>]\s*$|\\(?:frac|sqrt|times|cdot|div|pm|le|ge|ne|in)\s*$")
_TWO_OPERATORS = re.compile(r"[*/^=]\s*[*/^=]|[-+]\s*[*/^=]|\(\s*[*/^=,]|[-+*/^=,(]\s*\)")
_FRAC_GROUPS = re.compile(r"\\frac(?![A-Za-z])\s*(?P<first>\{|\d|\\?[A-Za-z]+)?")
_OPEN, _CLOSE = "([{⦃", ")]}⦄"


def well_formed_mathematics(text: str) -> bool:
    r"""Whether a canonical answer is complete as mathematics: closed brackets, both groups of every ``\frac``, no
    operator without its operand, no sentence. Nothing is evaluated; one pass, linear in the text.

    >>> well_formed_mathematics("x^2 + 1"), well_formed_mathematics(r"\frac{1}{"), well_formed_mathematics("3 +")
    (True, False, False)
    """
    if not text or len(text) > LONGEST_ANSWER or not _balanced(text):
        return False
    if _DANGLING.search(text) or _TWO_OPERATORS.search(text.replace("**", "^").replace("==", "=")):
        return False
    words = [word for word in _COMMAND_OR_WORD.findall(text) if not word.startswith("\\")]
    if len([word for word in words if word.lower() not in _KNOWN_WORDS]) > 3:
        return False
    return all(_has_groups(text, match) for match in _FRAC_GROUPS.finditer(text))


def _balanced(text: str) -> bool:
    r"""Brackets close in order; round and square ones may end each other's intervals; ``\left.`` is gone already."""
    opened: list[str] = []
    for character in text:
        if character in _OPEN:
            opened.append(character)
        elif character in _CLOSE:
            if not opened:
                return False
            pair = opened.pop() + character
            if pair not in ("()", "[]", "{}", "⦃⦄", "(]", "[)"):
                return False
    return not opened


def _has_groups(text: str, match: re.Match[str]) -> bool:
    r"""Whether two arguments follow ``\frac``, none of them empty."""
    position = match.end("first")
    if match.group("first") is None:
        return False
    if match.group("first") == "{":
        position = _group_end(text, match.start("first"))
        if not text[match.end("first") : position - 1].strip():
            return False
    rest = text[position:].lstrip()
    if not rest.startswith("{"):
        return bool(rest) and (rest[0].isalnum() or rest[0] == "\\")
    return bool(rest[1 : _group_end(rest, 0) - 1].strip())


def _group_end(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return index + 1
    return len(text)


def of_type(text: str, kind: str) -> bool:
    """Whether a canonical answer is of a type of ``TYPES``.

    >>> of_type("1/2", "fraction"), of_type("0.50", "decimal:2"), of_type("2.5", "integer")
    (True, True, False)
    """
    base, _, detail = kind.partition(":")
    if base == "yes_no":
        return is_truth(text)
    if base == "choice":
        letter = letter_of(text)
        return bool(letter) and (not detail or letter.lower() in detail)
    if base == "sequence":
        return len(in_order(text)) > 1
    if base in ("text", "fact"):
        return len(text) <= LONGEST_TEXT
    if base == "expression":
        return well_formed_mathematics(text)
    if base == "list":
        brackets, items = parts(text)
        several = bool(brackets) or len(items) > 1 or "\\pm" in text or "\\cup" in text
        return several and all(items)
    if base == "interval":
        return interval(text) is not None
    if base == "clock":
        return bool(BASED.fullmatch(text) or COLON.fullmatch(text))
    number = quantity(_value_side(text))
    if number is None:
        return False
    percent = "%" in text or "percent" in text.lower()
    if base == "percent":
        return percent
    if base == "integer":
        whole = not number.decimals or (number.decimals == 2 and number.unit.startswith(_CURRENCIES))  # $18.00
        return number.value.denominator == 1 and whole and "/" not in text and not percent
    if base == "decimal":
        digits = number.decimals - 2 if number.decimals is not None and percent else number.decimals
        return digits == int(detail) if detail and int(detail) else (bool(digits) or detail == "0" and not digits)
    if base == "fraction":
        return number.decimals is None and not percent
    return True


_CURRENCIES = ("$", "€", "£", "¥", "usd", "dollar", "euro")
_NAMED = re.compile(r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_\{?\w\}?)?(?:\([A-Za-z]\))?\s*=\s*")


def _value_side(text: str) -> str:
    named = _NAMED.match(text)
    return text[named.end() :] if named else text


def has_unit(text: str, unit: str, required: bool) -> bool:
    """Whether a canonical answer is in a unit, by any of its names ("cm", "centimeters"); its size does not matter.

    >>> has_unit("3 centimeters", "cm", True), has_unit("3 m", "cm", True), has_unit("3", "cm", False)
    (True, False, True)
    """
    number = quantity(_value_side(text))
    canonical_unit = canonical(unit)
    if canonical_unit in ("%", "percent"):
        return "%" in text or "percent" in text.lower()
    if number is None or (not number.unit and "%" not in text):
        return number is not None and not required
    sample = f"1 {number.unit}"
    return unit_name(f" {canonical_unit}") == number.unit or decide(sample, f"1 {canonical_unit}") is True


def form(
    text: str,
    ask: Asked,
    sources: Sequence[str] = tuple(SOURCES),
    think: tuple[str, str] = THINK,
    prefilled_think: bool = False,
) -> tuple[str | None, Form | None]:
    r"""The final answer of a reply and the verdict on its form; (None, None) where no answer is declared.

    >>> form(r"<think>3 cm or so</think> \boxed{3 cm}", Asked("integer", "cm", True))[1].score
    1.0
    """
    answer = extract(text, sources, prefilled_think, think)
    if answer is None or not visible(answer):
        return None, None
    read = canonical(answer) if len(answer) <= LONGEST_ANSWER else ""
    reads = bool(read) and visible(read) and "\\boxed" not in read and "\\fbox" not in read  # a box in a box
    if reads:
        reads = _reads(read, ask.answer_type.partition(":")[0])
    right_type = (reads and of_type(read, ask.answer_type)) if ask.answer_type else None
    right_unit = (reads and has_unit(read, ask.unit, ask.unit_required)) if ask.unit else None
    return answer, Form(
        _single(after_reasoning(text, think, prefilled_think), answer, ask), reads, right_type, right_unit
    )


def _reads(read: str, kind: str) -> bool:
    if kind in ("text", "fact") or is_truth(read) or letter_of(read):
        return len(read) <= LONGEST_TEXT
    if quantity(read) is not None:
        return True
    if kind not in ("choice", "yes_no", "clock") and MATHEMATICAL.search(read):
        return well_formed_mathematics(read)
    return len(read) <= LONGEST_TEXT and len(read.split()) <= 12


def _single(region: str, answer: str, ask: Asked) -> bool:
    """Whether everything declared after the thought is the one answer: boxes that say the same, or parts of one list."""
    closed, _ = boxes(region) if "box" in region else ([], -1)
    if len(closed) > 64 or region.count(ANSWER[0]) > 1:
        return False
    outer = [box for box in closed if not any(other[0] < box[0] and box[1] < other[1] for other in closed)]
    contents = [region[box[2] : box[3]].strip() for box in outer]
    if len(contents) > 1 and ", ".join(contents) == answer:
        between = " ".join(region[a[1] : b[0]] for a, b in zip(outer, outer[1:], strict=False))
        alternatives = re.search(r"\bor\b|或", between) is not None
        bracketed = any(parts(canonical(content))[0] for content in contents)
        return not alternatives or (ask.answer_type in ("list", "sequence") and not bracketed)
    declared = {canonical(content) for content in contents if len(content) <= LONGEST_ANSWER}
    if region.count(ANSWER[0]) == 1:
        inside = extract(region[region.find(ANSWER[0]) :], ("boxed", "answer"))
        declared.add(canonical(inside) if inside and len(inside) <= LONGEST_ANSWER else "")
    return declared <= {canonical(answer)} if len(answer) <= LONGEST_ANSWER else False


# ---------------------------------------------------------------- the reward


@dataclass(frozen=True)
class Symbolic(ReadsReasoning):
    """Mean of the parts that can be judged (single, reads, type, unit; see the module), in [0, 1].

    0.0 where no answer is declared after the thought; None where the row asks for nothing: no type, unit or gold.
    What a row asks for: columns ``answer_type`` (one of ``TYPES``) and ``unit``, else its question, else the type of
    its gold answer. The gold's value is never looked at.

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2. Departure: see the module.
    """

    answer_type: str | None = option(None, f"For rows that name none: {', '.join(TYPES)}.")
    type_column: str = option("answer_type", "Dataset column with the type asked for.")
    unit_column: str = option("unit", "Dataset column with the unit asked for.")
    solution_column: str = option("solution", "Dataset column with the gold answer.")
    question_column: str = option("question", "Dataset column with the bare question.")
    read_question: bool = option(True, "Look for type and unit in the question's words.")
    sources: tuple[str, ...] = option(tuple(SOURCES), f"Any of: {', '.join(SOURCES)}.")
    prefilled_think: bool | None = option(None, PREFILLED_HELP)
    think: tuple[str, str] | None = option(None, THINK_HELP)
    name: str = option("symbolic", "The metric is logged as rewards/<name>/mean.")

    def __post_init__(self) -> None:
        object.__setattr__(self, "answer_type", type_name(self.answer_type) or None)
        object.__setattr__(self, "sources", checked_sources(self.sources))
        object.__setattr__(self, "think", checked_tags(self.think))

    def score(self, completion: Any, ask: Asked, prompt: Any = None) -> float | None:
        """The score of one completion, in [0, 1]; None for an ``Asked`` that asks for nothing."""
        return self._judge(completion, ask, prompt)[1]

    def _judge(self, completion: Any, ask: Asked, prompt: Any) -> tuple[str | None, float | None, Form | None]:
        answer, verdict = form(reply(completion), ask, self.sources, *self.reading(completion, prompt))
        if not ask.answer_type and not ask.unit:
            return answer, None, verdict
        return answer, 0.0 if verdict is None else verdict.score, verdict

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        nothing = [None] * len(completions)
        types = columns.get(self.type_column) or nothing
        units = columns.get(self.unit_column) or nothing
        golds = columns.get(self.solution_column) or nothing
        questions = columns.get(self.question_column) or [question_of(prompt) for prompt in prompts or nothing]
        asks = [
            asked(kind or self.answer_type, unit, str(question or "") if self.read_question else "", gold)
            for kind, unit, question, gold in zip(types, units, questions, golds, strict=True)
        ]
        judged = [self._judge(*row) for row in zip(completions, asks, prompts or nothing, strict=True)]
        if log_extra is not None:
            log_extra(f"{self.name}_answer", [answer or "" for answer, _, _ in judged])
            log_extra(f"{self.name}_asked", [" ".join(filter(None, ask[:2])) for ask in asks])
        if log_metric is not None:
            for part in Form._fields:
                values = [getattr(verdict, part) for _, _, verdict in judged if verdict is not None]
                values = [value for value in values if value is not None]
                log_metric(f"{self.name}/{part}", sum(values) / len(values) if values else math.nan)  # on every rank
        return [score for _, score, _ in judged]


symbolic_reward = Symbolic()
