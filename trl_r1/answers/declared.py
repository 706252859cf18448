r"""Answers of a declared type: the row (or an option) says how its gold is to be read, so nothing has to be guessed.

    integer, fraction, decimal, number   the gold has to be such a literal
    percent                              the same; a bare number, on either side, is a percentage: 12 is 12%
    choice, yes_no, clock                compared exactly, never as mathematics; a choice may be written in lower case
    text                                 compared letter by letter, but for case, articles, spaces and punctuation
    interval                             ends and brackets exactly; ``1 < x \le 2`` is ``(1, 2]``; parts in any order
    list                                 as without a declaration
    sequence                             item by item, in this order; brackets and what parts the items do not matter
    fact                                 stated by the reply, neither denied nor one of several (``trl_r1.answers.facts``)
    expression                           mathematics, even if it looks like a choice, a word or a truth value

A gold that is not of its declared type is no gold: None.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from trl_r1.answers.equality import (
    BASED,
    CHOICE_GOLD,
    COLON,
    SYMBOL,
    TRUTH,
    Pending,
    decide,
    parts,
    plain_words,
    sides_of,
)
from trl_r1.answers.facts import found_in, mentions, states
from trl_r1.answers.notation import LONGEST_ANSWER, canonical, squeezed
from trl_r1.answers.quantities import quantity


NUMBERS = frozenset("integer fraction decimal percent number".split())


def decide_as(kind: str, answer: str, gold: str, require_simplified: bool = True) -> bool | Pending | None:
    r"""``equality.decide`` for a declared type.

    Args:
        kind: as ``answer_types.type_name`` returns it; "" for no declaration.

    Returns:
        True, False, or what to ask math-verify; None: the gold is not of this type.

    >>> decide_as("text", "sey", "Yes"), decide_as("percent", "12", r"12\%"), decide_as("integer", "5", "Paris")
    (False, True, None)
    """
    if not kind:
        return decide(answer, gold, require_simplified)
    base, _, detail = kind.partition(":")
    g = canonical(gold)
    if base in NUMBERS:
        number = quantity(sides_of(g)[-1])
        if number is None or (base == "integer" and number.value.denominator != 1):
            return None
        if base == "percent" and plain_words(canonical(answer)) is not None:
            return False  # of what?
        return decide(
            *(_percentage(side) if base == "percent" else side for side in (answer, gold)), require_simplified
        )
    if base == "choice":
        letter = _letter(g)
        return decide(answer, letter) if letter and (not detail or letter.lower() in detail) else None
    if base == "yes_no":
        return decide(answer, gold) if g.lower() in TRUTH else None
    if base == "clock":
        if not (BASED.fullmatch(g) or COLON.fullmatch(g)):
            return None
        return (
            decide(answer, gold) if BASED.fullmatch(canonical(answer)) or COLON.fullmatch(canonical(answer)) else False
        )
    if len(answer) > max(LONGEST_ANSWER, 2 * len(gold)):
        return False
    if base == "sequence":
        return _same_sequence(canonical(answer), g, require_simplified)
    if base == "fact":
        if not found_in(gold, gold):
            return None
        return spelled(answer) == spelled(gold) or states(answer, gold) or mentions(answer, gold)
    if base == "text":
        return spelled(answer) == spelled(gold)
    if base == "interval":
        return _same_intervals(canonical(answer), g, require_simplified)
    if base == "expression" and (CHOICE_GOLD.fullmatch(g) or g.lower() in TRUTH or plain_words(g) is not None):
        a = canonical(answer)
        if squeezed(a) == squeezed(g):
            return True
        return False if not a or SYMBOL.fullmatch(a) else Pending(((a, g),))  # to math-verify b and B are one
    return decide(answer, gold, require_simplified)


_STEP = re.compile(r"\s*(?:<=?|>=?|\\(?:[lg]eq?|to|rightarrow|prec|succ)(?![A-Za-z])|->|→|，|、|;|\bthen\b)\s*")


def in_order(text: str) -> list[str]:
    """The items of a sequence, whatever parts and encloses them.

    >>> in_order("29 < 51 < 60"), in_order("(3, 1, 2)"), in_order("A -> C -> B")
    (['29', '51', '60'], ['3', '1', '2'], ['A', 'C', 'B'])
    """
    brackets, items = parts(text)
    inner = text[1:-1] if brackets else text
    items = items if len(items) > 1 else [item.strip() for item in _STEP.split(inner)]
    items = [item for item in (re.sub(r"^(?:and|then)\s+", "", item) for item in items) if item]
    return inner.split() if len(items) == 1 and re.fullmatch(r"\S+(?: \S+){2,}", inner) else items


def _same_sequence(a: str, g: str, simplified: bool) -> bool | Pending | None:
    golds = in_order(g)
    if len(golds) < 2:
        return None
    found = in_order(a)
    turned = [
        ">" in text or "\\g" in text for text in (a, g)
    ]  # 60 > 51 > 29 is that order, whatever the other's signs
    if len(found) != len(golds) or (turned[0] != turned[1] and "<" in a + g and ">" in a + g):
        return False
    verdicts = [decide(one, wanted, simplified) for one, wanted in zip(found, golds, strict=True)]
    if False in verdicts:
        return False
    pairs = tuple(pair for verdict in verdicts if isinstance(verdict, Pending) for pair in verdict.pairs)
    return Pending(pairs) if pairs else True


def _percentage(text: str) -> str:
    number = quantity(canonical(text))
    bare = number is not None and not number.unit and not re.search(r"%|\bper ?cent|\bpct", text, re.IGNORECASE)
    return f"{canonical(text)}%" if bare else text


def _letter(gold: str) -> str:
    """The letter of a gold like "B", "(b)" or "B) a coat"; "" if there is none."""
    for candidate in (gold, gold[:3].strip(), gold[:2].strip(), gold[:1]):
        found = CHOICE_GOLD.fullmatch(candidate.upper())
        if found and (candidate == gold or not gold[len(candidate) : len(candidate) + 1].isalnum()):
            if candidate == gold or not candidate[-1].isalnum():
                return found.group(1)
    return ""


def spelled(text: str) -> str:
    """A text as a declared text is compared: lower case; of plain words without articles and punctuation, of anything
    else without spaces.

    >>> spelled("The Eiffel Tower."), spelled("A-12 b")
    ('eiffel tower', 'a-12b')
    """
    read = canonical(text)
    return plain_words(read) or squeezed(read.casefold())


class Interval(NamedTuple):
    """One interval: ``opening`` and ``closing`` are its brackets."""

    opening: str
    left: str
    right: str
    closing: str


_LESS = r"(?P<{}><=?|\\leq?(?![a-z]))"
_BETWEEN = re.compile(
    rf"(?P<left>[^<>=]+?)\s*{_LESS.format('one')}\s*[A-Za-z]\s*{_LESS.format('two')}\s*(?P<right>[^<>=]+)"
)
_BEYOND = re.compile(r"[A-Za-z]\s*(?P<sign>[<>]=?|\\[lg]eq?(?![a-z]))\s*(?P<end>[^<>=]+)")
_MEMBER = re.compile(r"[A-Za-z]\s*\\in(?![A-Za-z])\s*")
_INFINITE = re.compile(r"(?P<sign>[-+]?)\s*(?:\\infty|infinity|inf|oo)", re.IGNORECASE)


def interval(text: str) -> list[Interval] | None:
    r"""The intervals of a canonical answer: in brackets, as inequalities of one letter, or joined by ``\cup`` or "or".

    >>> interval("0 < x <= 1")
    [Interval(opening='(', left='0', right='1', closing=']')]
    """
    text = _MEMBER.sub("", text, count=1)
    found = []
    for part in re.split(r"\\cup(?![A-Za-z])|\bor\b", text):
        one = _one_interval(part.strip())
        if one is None:
            return None
        found.append(one)
    return found


def _one_interval(text: str) -> Interval | None:
    between = _BETWEEN.fullmatch(text)
    if between:
        opening, closing = "(" if between["one"] == "<" else "[", ")" if between["two"] == "<" else "]"
        return Interval(opening, between["left"].strip(), between["right"].strip(), closing)
    beyond = _BEYOND.fullmatch(text)
    if beyond:
        sign, end = beyond["sign"], beyond["end"].strip()
        strict = sign in "<>"
        if sign.startswith((">", "\\g")):
            return Interval("(" if strict else "[", end, "\\infty", ")")
        return Interval("(", "-\\infty", end, ")" if strict else "]")
    brackets, items = parts(text)
    if brackets in ("()", "[]", "(]", "[)") and len(items) == 2 and all(items):
        return Interval(brackets[0], items[0], items[1], brackets[1])
    return None


def _same_intervals(a: str, g: str, simplified: bool) -> bool | Pending | None:
    golds = interval(g)
    if golds is None:
        return None
    found = interval(a)
    if found is None:
        return Pending(((a, g),)) if a and quantity(a) is None and plain_words(a) is None else False
    if len(found) != len(golds):
        return False
    pending: list[tuple[str, str]] = []
    for one in found:
        verdicts = [_same_interval(one, gold, simplified) for gold in golds]
        if True in verdicts:
            del golds[verdicts.index(True)]
            continue
        open_ones = [index for index, verdict in enumerate(verdicts) if isinstance(verdict, Pending)]
        if not open_ones:
            return False
        if len(open_ones) > 1:
            return Pending(((a, g),))
        pending += verdicts[open_ones[0]].pairs  # type: ignore[union-attr]
        del golds[open_ones[0]]
    return Pending(tuple(pending)) if pending else True


def _same_interval(one: Interval, gold: Interval, simplified: bool) -> bool | Pending:
    if (one.opening, one.closing) != (gold.opening, gold.closing):
        return False
    pending: list[tuple[str, str]] = []
    for end, wanted in ((one.left, gold.left), (one.right, gold.right)):
        infinite, wanted_infinite = _INFINITE.fullmatch(end), _INFINITE.fullmatch(wanted)
        if infinite or wanted_infinite:
            if not (infinite and wanted_infinite) or (infinite["sign"] == "-") != (wanted_infinite["sign"] == "-"):
                return False
            continue
        verdict = decide(end, wanted, simplified)
        if verdict is False:
            return False
        if isinstance(verdict, Pending):
            pending += verdict.pairs
    return Pending(tuple(pending)) if pending else True
