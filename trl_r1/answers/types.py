"""What a row asks its answer to be: type and unit, from the row's columns, its question, or the kind of its gold answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from trl_r1.answers.equality import decide
from trl_r1.answers.extract import gold_answer
from trl_r1.answers.forms import TYPES
from trl_r1.answers.forms import answer_type as type_of
from trl_r1.answers.notation import canonical
from trl_r1.answers.quantities import unit_name
from trl_r1.errors import did_you_mean


class Asked(NamedTuple):
    """What a row asks for; "" where it does not say. ``unit_required`` is False where a bare number will do."""

    answer_type: str = ""
    unit: str = ""
    unit_required: bool = False


_WORDS_OF_DIGITS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "一": 1, "两": 2, "二": 2, "三": 3}
_DIGITS = "|".join(_WORDS_OF_DIGITS)
_PLACES = re.compile(rf"\b(\d|{_DIGITS}) decimal (?:places?|digits?)\b|保留(\d|{_DIGITS})位小数", re.IGNORECASE)
_NEAREST = re.compile(
    r"\bto the nearest (tenth|hundredth|thousandth|integer|whole number|cent)(?!s? of)\b", re.IGNORECASE
)
_NEAREST_DIGITS = {"tenth": 1, "hundredth": 2, "thousandth": 3, "cent": 2}
_AS = r"\b(?:answer|result|it|express\w*|write|give|leave|written)\b[^.?!\n]{0,60}\bas (?:an? )?(?:\w+ ){0,2}"
_AS_FRACTION = re.compile(rf"{_AS}fraction\b|用分数表示|结果写成分数", re.IGNORECASE)
_AS_INTEGER = re.compile(rf"{_AS}(?:integer|whole number)\b", re.IGNORECASE)
_AS_DECIMAL = re.compile(rf"{_AS}decimal\b|用小数表示", re.IGNORECASE)
_OPTION = re.compile(r"(?:^|\n)\s*\(?([A-J])[).:、]\s*\S")
_UNIT_ASKED = re.compile(
    r"\b(?:answer|result|express\w*|give|report|state)\b[^.?!\n]{0,40}?\bin (?:units of )?"
    r"((?:(?:square|cubic) )?[a-z²³^23]{1,14}(?: per [a-z]{1,12})?)\s*(?:[.?!,)\n]|$)|单位\s*[:：]\s*([^\s。，,)）]{1,8})",
    re.IGNORECASE,
)
_WITH_UNIT = re.compile(
    r"\b(?:include|with|state|give) (?:the |its |appropriate |correct )*units?\b|带单位", re.IGNORECASE
)


def asked(answer_type: Any = None, unit: Any = None, question: str = "", gold: Any = None) -> Asked:
    """What a row asks for. Its columns win, then the words of the question, then the kind of its gold answer.

    The question is read conservatively: only a request in so many words counts ("to 2 decimal places", "as a common
    fraction", "give your answer in cm"; options A to D on lines of their own). A unit found in a question excludes
    other units, and a bare number passes unless the question asks for units; a unit column demands the unit. A gold
    number asks for a number, and for an integer if it is one: 1/2 may answer 0.5.

    Raises:
        ValueError: the type in the column is none of ``TYPES``.

    >>> asked(question="How long is it? Round to two decimal places.", gold="3.14")
    Asked(answer_type='decimal:2', unit='', unit_required=False)
    """
    kind = type_name(answer_type)
    named = str(unit).strip() if unit else ""
    question = question[-4000:]
    kind = kind or _type_in_question(question) or _type_of_gold(gold)
    if named:
        return Asked(kind, named, True)
    found = _UNIT_ASKED.search(question)
    inferred = (found.group(1) or found.group(2)) if found else ""
    if inferred and not _is_unit(inferred):
        inferred = ""
    return Asked(kind, inferred, bool(inferred) and _WITH_UNIT.search(question) is not None)


_ALIASES = {  # other words in use: those of data sets, and of Python
    **dict.fromkeys(("int", "whole number"), "integer"),
    **dict.fromkeys(("float", "real"), "decimal"),
    **dict.fromkeys(("numerical", "numeric"), "number"),
    **dict.fromkeys(("percentage", "%"), "percent"),
    **dict.fromkeys(("letter", "choice letter", "option", "multiple choice", "multiple_choice", "mcq"), "choice"),
    **dict.fromkeys(("yes/no", "yes or no", "bool", "boolean", "true/false", "truth"), "yes_no"),
    **dict.fromkeys(("clock or base", "time", "ratio", "base"), "clock"),
    **dict.fromkeys(("inequality",), "interval"),
    **dict.fromkeys(("set or tuple", "set", "tuple", "pair", "list of integer", "list of float"), "list"),
    **dict.fromkeys(("ordered list", "ordered", "sorted", "ordering", "permutation"), "sequence"),
    **dict.fromkeys(("entity", "factual", "factoid"), "fact"),
    **dict.fromkeys(("formula", "equation", "symbolic"), "expression"),
    **dict.fromkeys(("string", "str", "words", "word", "name"), "text"),
}


@lru_cache(maxsize=1024)
def _named(name: str) -> str:
    kind = " ".join(name.lower().split())
    kind = _ALIASES.get(kind, kind)
    base, _, detail = kind.partition(":")
    fine = not detail or (base == "decimal" and detail.isdecimal()) or (base == "choice" and detail.isalpha())
    if base not in TYPES or not fine:
        raise ValueError(
            f"The answer type {name!r} is unknown.{did_you_mean(base, [*TYPES, *_ALIASES])}"
            f" Choose from: {', '.join(TYPES)}; decimal:2 and choice:ABCD say more."
        )
    return kind


def type_name(value: Any) -> str:
    """A type of ``TYPES`` as an option or a row's column names it, in any case and by its other names; "" for none.

    Raises:
        ValueError: no type is called that.

    >>> type_name("Integer"), type_name("bool"), type_name("choice:ABCD"), type_name(None)
    ('integer', 'yes_no', 'choice:abcd', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip():
        return ""
    return _named(str(value))


def declared_type(row: Mapping[str, Any], column: str | None = "answer_type") -> str:
    """The type that a row declares for its gold; "" without one, and where its word for it is none of ours.

    >>> declared_type({"answer_type": "Integer"}), declared_type({"answer_type": "essay"}), declared_type({})
    ('integer', '', '')
    """
    return known_type(row.get(column)) if column else ""


def known_type(name: Any) -> str:
    """A type as a row declares it; "" for none, and for a word that is none of ours."""
    try:
        return type_name(name)
    except ValueError:
        return ""


def _type_in_question(question: str) -> str:
    if not question:
        return ""
    options = sorted({match.group(1) for match in _OPTION.finditer(question)})
    if len(options) >= 2 and options == [chr(ord("A") + index) for index in range(len(options))]:
        return f"choice:{''.join(options).lower()}"
    places = _PLACES.search(question)
    if places:
        digits = (places.group(1) or places.group(2)).lower()
        return f"decimal:{_WORDS_OF_DIGITS.get(digits, digits)}"
    nearest = _NEAREST.search(question)
    if nearest:
        digits = _NEAREST_DIGITS.get(nearest.group(1).lower(), 0)
        return f"decimal:{digits}" if digits else "integer"
    if _AS_FRACTION.search(question):
        return "fraction"
    if _AS_INTEGER.search(question):
        return "integer"
    return "decimal" if _AS_DECIMAL.search(question) else ""


def _type_of_gold(gold: Any) -> str:
    answer = gold_answer(gold)
    if not answer or not canonical(answer):
        return ""
    kind = type_of(answer)
    return "number" if kind in ("fraction", "decimal", "percent") else kind


MATHEMATICAL = re.compile(r"[\d\\^_=+*/<>|()\[\]{}⦃⦄]|(?<![A-Za-z])[A-Za-z](?![A-Za-z])")
_LETTERS = "ABCDEFGHIJ"


def is_truth(text: str) -> bool:
    return decide(text, "yes") is True or decide(text, "no") is True


def letter_of(text: str) -> str:
    return next((letter for letter in _LETTERS if decide(text, letter) is True), "") if len(text) <= 200 else ""


def _is_unit(text: str) -> bool:
    """Whether a word measures something, as far as the accuracy reward knows: to that, "3 red apples" are 3 apples, but
    no adjective may stand before centimetres."""
    return bool(unit_name(f" {text}")) and decide(f"1 {text}", f"1 zzz {text}") is False
