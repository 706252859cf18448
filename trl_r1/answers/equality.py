"""Equality of answers as far as rational arithmetic and spelling decide it: true, false, or a question for math-verify."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from trl_r1.answers.facts import states
from trl_r1.answers.letters import letters_of
from trl_r1.answers.named import (
    compares,
    has_unknown,
    is_name,
    is_unsolved,
    names_value,
    relates,
    same_marks,
    same_name,
)
from trl_r1.answers.notation import (
    FUNCTION_NAMES,
    LONGEST_ANSWER,
    NOUN,
    canonical,
    in_signs,
    squeezed,
    unbraced,
    unlabelled,
)
from trl_r1.answers.quantities import known_unit, quantity, unit_name, units_agree
from trl_r1.answers.ratios import BASED, COLON, same_clock, same_digits, same_ratio, terms_of


TRUTH = dict.fromkeys("yes true correct 是 是的 对 正确".split(), True)
TRUTH |= dict.fromkeys("no false incorrect 否 不是 不对 错 错误".split(), False)
_LEADING_TRUTH = re.compile(r"(yes|no|true|false)\b\s*[,.;:!-]", re.IGNORECASE)
CHOICE_GOLD = re.compile(r"\(?\s*([A-J])\s*\)?[.):]?")
_CHOICE = re.compile(
    r"(?:(?i:option|choice|answer)\s+)?(?:\(\s*([A-Ja-j])\s*\)|([A-Ja-j])(?=[.):]|$))(?:[.):]|$|\s)\s*(.*)",
    re.DOTALL,
)
VARIABLE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def plain_words(text: str) -> str | None:
    """A text of plain words, normalised; None where it might be mathematics."""
    if re.search(r"[\d\\^_=+*/<>|()\[\]{}⦃⦄$]", text):
        return None
    words = re.findall(r"[^\W\d_]+", text)
    if not any((len(word) >= 3 or not word.isascii()) and word.lower() not in FUNCTION_NAMES for word in words):
        return None
    bare = " ".join(re.sub(r"[^\w\s]", " ", _ARTICLES.sub(" ", text.casefold())).split())
    return bare or text.casefold()


_OPENING, _CLOSING = "([{⦃", ")]}⦄"
_BETWEEN_ITEMS = re.compile(r"\s+(?:and|or)\s+|\s*(?:和|以及|及|与|或者?)\s*")


def parts(text: str) -> tuple[str, list[str]]:
    """A canonical answer as (its brackets, its items): ``("()", ["1", "2"])`` for a pair, ``("", [...])`` for a bare
    list, and ``("", [text])`` for one item. Square and round brackets may mix, as in a half-open interval."""
    if not text:
        return "", [""]
    depth, commas, closes_at = 0, [], -1
    for index, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            if depth == 0 and closes_at < 0:
                closes_at = index
        elif character in ",;" and depth <= 1:
            commas.append((index, depth))
    if text[0] in "([⦃" and text[-1] in ")]⦄" and closes_at == len(text) - 1:
        cuts = [index for index, deep in commas if deep == 1]
        items = [text[i + 1 : j].strip() for i, j in zip([0, *cuts], [*cuts, len(text) - 1], strict=True)]
        return text[0] + text[-1], items
    cuts = [index for index, deep in commas if deep == 0]
    items = [text[i:j].strip(" ,;") for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    words = [_BETWEEN_ITEMS.split(item) for item in items]
    if any(len(split) > 1 for split in words) and all(len(word) <= 40 for split in words for word in split):
        items = [re.sub(r"^(?:and|or)\s+", "", word) for split in words for word in split]
    else:
        items = [re.sub(r"^(?:and|or)\s+", "", item) for item in items]
    return "", [item for item in items if item] or [""]


_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)|\\approx(?![A-Za-z])")
SYMBOL = re.compile(  # x, x_1, \theta, f(x), "the total", 总数
    r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{\w+\}))?'*(?:\([A-Za-z](?:,\s*[A-Za-z])*\))?"
    r"|(?!(?:[A-Za-z]+\s){0,3}(?:not|no|never|neither)\b)[A-Za-z]{2,}(?:\s[A-Za-z]+){0,3}|(?!.*不)[\u4e00-\u9fff]{1,8}"
)
_WITH = re.compile(
    r",?\s*\(?\s*[A-Za-z]\s*\\in(?![A-Za-z])\s*\\math(?:bb|bf|rm)\s*\{?\s*[NZRQ]\s*\}?(?:\^?[*+])?\s*\)?$"
)  # k \in Z
_MEMBER = re.compile(r"[A-Za-z]\s*\\in(?![A-Za-z])\s*")
OPERATION = re.compile(r"\\(?!infty|pi|text)[A-Za-z]+|[*^+/(]|!(?!=)|\d\s*-\s*[\d(]|[-]\s*-")
_TWO_NUMBERS = re.compile(r"(?<![_\d])\d+\s+\d")  # "5 7" is neither 57 nor 5
UNEVALUATED = re.compile(r"\\(?:int|iint|oint|sum|prod|lim|binom|dbinom|partial)(?![A-Za-z])|!(?!=)|\\frac\s*\{\s*d")


class Pending(NamedTuple):
    """Not decided here: equal if math-verify finds every (answer, gold) pair equal."""

    pairs: tuple[tuple[str, str], ...]


@lru_cache(maxsize=16384)
def decide(answer: str, gold: str, require_simplified: bool = True) -> bool | Pending:
    r"""The exact part of ``verify``: True or False where rational arithmetic and spelling decide, else ``Pending``.

    >>> decide("0.50", r"\frac{1}{2}"), decide("5 m", "5 cm"), decide("(1,2)", "1,2")
    (True, False, False)
    """
    if len(answer) > max(LONGEST_ANSWER, 2 * len(gold)):
        return False
    a, g = canonical(answer), canonical(gold)
    if not a or "\\boxed" in a or "\\fbox" in a:  # a box inside more text: two answers in one
        return False
    if a == g or squeezed(a) == squeezed(g) or unbraced(a) == unbraced(g):
        return True
    return _decide(unlabelled(a), unlabelled(g), require_simplified)


def sides_of(text: str) -> list[str]:
    r"""A canonical answer cut at its equality signs outside all brackets: ``\sum_{k=1}^{9} k`` is one side."""
    found = list(_EQUALS.finditer(text))
    if not found:
        return [text]
    depth, position, start, sides = 0, 0, 0, []
    for match in found:
        for character in text[position : match.start()]:
            depth += (character in _OPENING) - (character in _CLOSING)
        position = match.end()
        if depth <= 0:
            sides.append(text[start : match.start()].strip())
            start = match.end()
    return [*sides, text[start:].strip()]


def _decide(a: str, g: str, simplified: bool) -> bool | Pending:
    a, g = (
        _MEMBER.sub("", a, count=1) if _MEMBER.match(a) else a,
        _MEMBER.sub("", g, count=1) if _MEMBER.match(g) else g,
    )
    if simplified and (relates(g) or parts(g)[0]) and is_unsolved(a) and not is_unsolved(g):
        return False  # 2x+3=7 for x=2: the task, not its answer
    ends = [_WITH.search(text) for text in (a, g)]
    if ends[0] and ends[1] and squeezed(ends[0].group()) == squeezed(ends[1].group()):
        a, g = a[: ends[0].start()].strip(), g[: ends[1].start()].strip()
    named = _named_items(a, g, simplified)
    if named is not None:
        return named
    gold_sides = _turned(sides_of(g))
    sides = _turned(sides_of(a) if len(gold_sides) > 1 or len(parts(a)[1]) == 1 else [a])
    if len(gold_sides) == 2 and _names(gold_sides[0]):
        if len(sides) == 2 and _names(sides[0]):
            if not same_name(sides[0], gold_sides[0]):
                return False if quantity(gold_sides[1]) else Pending(((a, g),))
            return _compare(sides[1], gold_sides[1], simplified)
        if len(sides) == 1:
            return _compare(a, gold_sides[1], simplified)
        return Pending(((a, g),))
    if len(gold_sides) > 1:
        if len(gold_sides) == 2 and has_unknown(gold_sides[0]) and not relates(a):
            return False  # x+y=8 is not answered by 8
        return Pending(((a, g),))
    if len(sides) > 1:
        named_value = _names(sides[0]) or (names_value(sides[0], sides[-1]) and not has_unknown(g))
        members = sides[1:] if not sides[0] or named_value else sides
        if not all(members):
            return False
        members = [member for member in members if not _DOTS.search(member)] or members[-1:]
        if simplified and all(_compare(member, g, True) is False for member in members):
            return False
        return _all([_compare(member, g, False) for member in members])  # all have to be true
    return _compare(a, g, simplified)


_DOTS = re.compile(r"\\[lc]?dots|\.\.\.")  # 1+2+\dots+10: what is meant cannot be examined


def _names(side: str) -> bool:
    return SYMBOL.fullmatch(side) is not None or is_name(side)


def _turned(sides: list[str]) -> list[str]:
    """``5 = x`` is ``x = 5``."""
    turn = len(sides) == 2 and _names(sides[1]) and not _names(sides[0]) and not has_unknown(sides[0])
    return sides[::-1] if turn else sides


def _named_items(a: str, g: str, simplified: bool) -> bool | Pending | None:
    """Lists whose items are named: ``a=2, b=3`` by name, or in order; ``x=4, x=-3`` without the name. None: no such list."""
    if "=" not in a + g:
        return None
    golds, answers = _values_by_name(g), _values_by_name(a)
    if golds and len(golds[0]) == 1:  # one unknown with several values
        values = ", ".join(golds[1])
        bare = ", ".join(answers[1]) if answers and answers[0] == golds[0] else a
        return _compare(bare, values, simplified)
    if golds:
        brackets, items = parts(a)
        if answers and len(answers[0]) > 1:
            if set(answers[0]) != set(golds[0]):
                return False
            wanted = [answers[1][answers[0].index(name)] for name in golds[0]]
        elif "=" in a or len(items) != len(golds[1]) or brackets not in ("", "()"):
            return Pending(((a, g),)) if "=" in a else False
        else:
            wanted = items
        return _all([_compare(x, y, simplified) for x, y in zip(wanted, golds[1], strict=True)])
    brackets, items = parts(g)
    if answers and len(answers[0]) == len(items) > 1 and brackets == "()" and "=" not in g:
        ordered = [value for _, value in sorted(zip(*answers, strict=True))]  # x before y
        return _all([_compare(x, y, simplified) for x, y in zip(ordered, items, strict=True)])
    if answers and len(answers[0]) == 1 and "=" not in g and brackets in ("", "⦃⦄"):
        return _compare(", ".join(answers[1]), ", ".join(items), simplified)
    return None


_POINT = re.compile(
    r"\(\s*([A-Za-z](?:_\w)?(?:\s*,\s*[A-Za-z](?:_\w)?)+)\s*\)\s*=\s*(\(.*\))", re.DOTALL
)  # (x,y)=(1,2)


def _values_by_name(text: str) -> tuple[list[str], list[str]] | None:
    """The names (one, if all are the same) and values of a bare list of named items; None for anything else."""
    point = _POINT.fullmatch(text)
    if point and (held := parts(point[2]))[0] == "()" and len(held[1]) == point[1].count(",") + 1:
        return [name.strip() for name in point[1].split(",")], held[1]
    brackets, items = parts(text)
    if brackets or len(items) < 2:
        return None
    pairs = [sides_of(item) for item in items]
    if (
        any(len(pair) not in (1, 2) or (len(pair) == 2 and not is_name(pair[0])) for pair in pairs)
        or len(pairs[0]) != 2
    ):
        return None
    names = [pair[0] for pair in pairs if len(pair) == 2]
    if len(set(names)) == 1:  # x = 4 or -3
        return names[:1], [pair[-1] for pair in pairs]
    return (names, [pair[1] for pair in pairs]) if len(set(names)) == len(pairs) else None


def _all(verdicts: Sequence[bool | Pending]) -> bool | Pending:
    if any(verdict is False for verdict in verdicts):
        return False
    pairs = tuple(pair for verdict in verdicts if isinstance(verdict, Pending) for pair in verdict.pairs)
    return Pending(pairs) if pairs else True


def _compare(a: str, g: str, simplified: bool) -> bool | Pending:
    if a == g or squeezed(a) == squeezed(g):
        return True
    if not a:
        return False

    a, g = in_signs(a), in_signs(g)
    if a == g:
        return True
    gold_number = quantity(g)
    if gold_number is not None:
        number = quantity(a)
        if number is not None:
            return units_agree(number, gold_number)
        terms = terms_of(a)
        if terms and len(terms) == 2 and terms[1] and not gold_number.unit:
            return Fraction(*terms) == gold_number.value
        if symbol := _letter_unit(g):  # \frac{3}{7} m, and \frac{3m}{7}
            if VARIABLE.findall(a) == [symbol]:
                return Pending(((a, g),))
        if BASED.fullmatch(a) or COLON.fullmatch(a) or len(parts(a)[1]) > 1 or a.lower() in TRUTH:
            return False
        if _TWO_NUMBERS.search(a):
            return False
        if simplified and (OPERATION.search(a) or VARIABLE.search(a)):
            return False  # 17 \cdot 23 for 391: the task, not its answer
        return False if NOUN.search(a) else Pending(((a, g),))

    if g.lower() in TRUTH:
        leading = _LEADING_TRUTH.match(a)
        if leading and not re.search(r"\b(?:yes|no|true|false|not)\b", a[leading.end() :], re.IGNORECASE):
            return TRUTH[leading.group(1).lower()] == TRUTH[g.lower()]
        return TRUTH.get(a.lower().strip(" .!")) is TRUTH[g.lower()]

    choice = CHOICE_GOLD.fullmatch(g)
    if choice:
        chosen = _CHOICE.fullmatch(a)
        return bool(chosen) and (chosen.group(1) or chosen.group(2)).upper() == choice.group(1)  # type: ignore[union-attr]

    several = letters_of(g)
    if len(several) > 1 and several == sorted(several) and (chosen_letters := letters_of(a)):
        return set(chosen_letters) == set(several)  # AC, and A, C

    based, colon = BASED.fullmatch(g), COLON.fullmatch(g)
    if based:
        other = BASED.fullmatch(a)
        return bool(other) and same_digits(based, other)  # type: ignore[arg-type]
    if colon:
        other = COLON.fullmatch(a)
        if other is None and terms_of(g) is not None and len(parts(a)[1]) == 1:
            quotient = quantity(a)
            terms = terms_of(g) or []
            if quotient is None or len(terms) != 2:
                return Pending(((a, g),)) if quotient is None and plain_words(a) is None else False
            return bool(terms[1]) and not quotient.unit and Fraction(*terms) == quotient.value
        return bool(other) and (same_clock(colon, other) or same_ratio(colon, other))  # type: ignore[arg-type]

    words = plain_words(g)
    if words is not None and "," not in g:
        return plain_words(a) == words or states(a, g)

    brackets, gold_items = parts(g)
    if brackets or len(gold_items) > 1:
        listed = _compare_lists(a, g, brackets, gold_items, simplified)
        return Pending(((a, g),)) if listed is False and compares(g) and not quantity(a) else listed
    if quantity(a) is not None and len(parts(g)[1]) == 1 and not re.search(r"[A-Za-z\\^*+!/-]", g):
        return False
    if (simplified and _left_to_do(a) and not UNEVALUATED.search(g)) or not same_marks(a, g):
        return False
    units = [_unit_behind(text) for text in (a, g)]
    if None not in units and units[0] != units[1]:
        return False
    a, g = (_UNIT_BEHIND.sub("", text) if unit else text for text, unit in zip((a, g), units, strict=True))
    return Pending(((a, g),))


_BINOMIAL = re.compile(r"\\[dt]?binom\s*(?:\{[^{}]*\}|\w)\s*(?:\{[^{}]*\}|\w)")


def _left_to_do(text: str) -> bool:
    """Whether a sum, an integral, a factorial or a binomial of numbers is left to be evaluated."""
    return (
        UNEVALUATED.search(_BINOMIAL.sub(lambda m: "n" if VARIABLE.search(m.group()) else m.group(), text)) is not None
    )


_LETTER_BEHIND = re.compile(r"[\d}]\s*([A-Za-z])$", re.ASCII)


def _letter_unit(text: str) -> str:
    """The one letter behind a number, which may be a unit or an unknown; "" if there is none."""
    found = _LETTER_BEHIND.search(text)
    return found[1] if found else ""


_UNIT_BEHIND = re.compile(
    r"\s((?:(?:square|sq|cubic|cu)\.?\s)?(?:\\mathrm\{[A-Za-z]\}|[^\W\d_]{2,})(?:\s*\^\{?[23]\}?)?)$"
)


_OF_AN_ANGLE = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z]).*degrees?$")


def _unit_behind(text: str) -> tuple[str, Fraction] | None:
    """What a unit behind an expression without variables measures, and its size; None without one that is known. A
    letter is one where LaTeX sets it upright."""
    found = _UNIT_BEHIND.search(text)
    if found is None or VARIABLE.search(text[: found.start()]) or _OF_AN_ANGLE.search(text):
        return None
    name = unit_name(f" {re.sub(r'mathrm|[{}]|^ *', '', found[1].replace(chr(92), ''))}")
    return known_unit(name) if name else None


def _compare_lists(a: str, g: str, brackets: str, gold_items: list[str], simplified: bool) -> bool | Pending:
    other, items = parts(a)
    if brackets == "()" and len(gold_items) == 1:
        return _compare(a[1:-1].strip() if other == "()" and len(items) == 1 else a, gold_items[0], simplified)
    ordered = brackets not in ("", "⦃⦄")
    if ordered != (other not in ("", "⦃⦄")):
        spelt = len(items) > 1 and "\\pm" not in a + g
        return False if spelt or quantity(a) is not None else Pending(((a, g),))
    if (ordered and brackets != other) or len(items) != len(gold_items):
        pending = OPERATION.search(a) or OPERATION.search(g)  # \pm, \cup and the like may still say the same
        if brackets == other == "⦃⦄":
            return Pending(((a, g),))  # a member named twice
        return Pending(((a, g),)) if pending and not ordered else False
    if ordered:
        return _all([_decide(x, y, simplified) for x, y in zip(items, gold_items, strict=True)])
    left = list(gold_items)
    for item in items:
        verdicts = [_decide(item, gold_item, simplified) for gold_item in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif all(verdict is False for verdict in verdicts):
            return False
        else:
            return Pending(((a, g),))
    return True
