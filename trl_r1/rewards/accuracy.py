r"""Accuracy: is the final answer of a reply the gold answer?

Three steps, each usable alone: ``extract`` finds the answer after the thought; ``decide`` compares it with the gold
exactly (numbers, fractions, units, lists, letters, words) in this process; what it cannot decide goes to math-verify
in a process that can be killed (``trl_r1.rewards.verifier``). Nothing here evaluates a model's text as code.

Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2, accuracy rewards: "the model is required to provide the final answer
in a specified format (e.g., within a box), enabling reliable rule-based verification of correctness".
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from trl_r1.rewards.text import ANSWER, THINK, after_thought, reply


SOURCES: dict[str, str] = {
    "boxed": r"the last \boxed{...}",
    "answer": "the last <answer>...</answer>; a missing closing tag (a stop string) is forgiven",
    "hashes": "what follows the last ####, as in GSM8K",
    "sentence": "the last sentence: what follows 'answer is', or its last formula or number",
}
LONGEST_ANSWER = 1000  # characters; a longer answer is wrong, unless the gold is as long
SECONDS = 2.0  # wall time math-verify may take for one pair of answers
MEGABYTES = 1024  # address space of the process it runs in


# ---------------------------------------------------------------- extraction

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{|\\.|[{}]", re.DOTALL)
_JOIN = re.compile(r"[\s$.]*(?:,|;|、|\\text\{\s*and\s*\}|and|和|及)[\s$,;]*(?:and)?[\s$]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\s\"”)]+|[。！？\n]+")
_IS = r"\s*(?:(?:is|are|equals|=)\b\s*(?:therefore|thus|indeed|simply|just)?\s*[:：=]?|[:：=])\s*"
_CUE = re.compile(
    rf"\banswers?(?:\s+here)?{_IS}|^\s*A:\s*|(?:答案|答)\s*(?:[:：]|是|为|等于)\s*[:：]?\s*", re.IGNORECASE
)
_WEAK_CUE = re.compile(rf"\b(?:result|solution|total){_IS}|(?:结果|总共|一共)(?:是|为|有)\s*|等于\s*", re.IGNORECASE)
_NUMERAL = r"(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+"
_PLAIN_NUMBER = re.compile(
    rf"(?<![\w.])[-+]?[$€£¥]?[-+]?(?:{_NUMERAL})(?:\s*/\s*\d+)?"
    r"(?:\s*(?:%|\\%|percent\b|hundred\b|thousand\b|million\b|billion\b|trillion\b|dozen\b|万|亿))?",
    re.IGNORECASE | re.ASCII,
)
_FORMULA = re.compile(r"\$(?![\s$])([^$\n]*)(?<!\s)\$(?!\d)|\\\(([^\n]{0,300}?)\\\)|\\\[([^\n]{0,300}?)\\\]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCES_BACK = 5
_TAIL = 2000  # characters of the end in which a last sentence is looked for


def boxes(text: str) -> tuple[list[tuple[int, int, int, int]], int]:
    r"""All closed ``\boxed{...}`` as (start, end, content start, content end), in order of their ends, and the start
    of the last one never closed (-1: none). Braces may nest; one pass."""
    closed: list[tuple[int, int, int, int]] = []
    open_braces: list[tuple[int, int]] = []  # (start of the box, start of its content); (-1, -1) for a plain brace
    for token in _BOX_TOKEN.finditer(text):
        kind = token.group()
        if kind == "}":
            if open_braces:
                start, content = open_braces.pop()
                if start >= 0:
                    closed.append((start, token.end(), content, token.start()))
        elif kind == "{":
            open_braces.append((-1, -1))
        elif kind[-1] == "{" and len(kind) > 2:
            open_braces.append((token.start(), token.end()))
    return closed, max((start for start, _ in open_braces), default=-1)


def extract(
    text: str,
    sources: Sequence[str] = tuple(SOURCES),
    prefilled_think: bool = False,
    think: tuple[str, str] = THINK,
) -> str | None:
    r"""The final answer that a reply declares after its thought; None if it declares none.

    Of a box and an ``<answer>`` the later one counts, and a box inside an ``<answer>`` is that answer. A box that is
    never closed was cut off: no answer. Without box and tag, ``####`` and then the last sentence are read.
    Boxes joined by a comma or "and" are one answer (``\boxed{2}`` and ``\boxed{3}`` is "2, 3").

    Args:
        text: a reply (``trl_r1.rewards.text.reply``).
        sources: which of ``SOURCES`` to look at.
        prefilled_think: the template opened the thought, so a text without ``</think>`` is unfinished: no answer.

    >>> extract(r"<think>\boxed{3}?</think> No, \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> extract("He has 72 - 2 = 70 apples.")
    '70'
    """
    unknown = [source for source in sources if source not in SOURCES]
    if unknown:
        raise ValueError(f"No source of answers is called {unknown[0]!r}. Choose from: {', '.join(SOURCES)}.")
    region = after_thought(text, think, prefilled_think)

    block = region.rfind(ANSWER[0]) if "answer" in sources else -1
    if "boxed" in sources and "box" in region:
        closed, cut_off = boxes(region)
        if closed and closed[-1][0] >= block and closed[-1][1] > cut_off:
            return _joined_boxes(region, closed) or None
        if cut_off > block:
            return None
    if block >= 0:
        inside = region[block + len(ANSWER[0]) :].partition(ANSWER[1])[0].strip()
        if not inside:
            return None
        cue = _after_cue(inside, _CUE) if len(inside) <= LONGEST_ANSWER else None
        if cue:
            return cue
        return inside if len(inside) <= 60 and not _is_prose(inside) else _from_prose(inside) or inside
    if "hashes" in sources and "####" in region:
        found = _after_hashes(region)
        if found:
            return found
    return _from_prose(region) if "sentence" in sources else None


def _joined_boxes(text: str, closed: list[tuple[int, int, int, int]]) -> str:
    last = closed[-1]
    contents = [text[last[2] : last[3]].strip()]
    for box in reversed(closed[:-1]):
        if box[0] > last[0]:
            continue  # inside the later one
        if last[0] - box[1] > 30 or not _JOIN.fullmatch(text, box[1], last[0]):
            break
        contents.append(text[box[2] : box[3]].strip())
        last = box
    return ", ".join(reversed(contents))


def _after_hashes(text: str) -> str | None:
    start = text.rfind("####") + 4
    line, _, below = text[start:].lstrip(" \t").partition("\n")
    line = line.strip()
    if line and (not below.strip() or quantity(canonical(line[:LONGEST_ANSWER])) is not None):
        return line
    return None  # a heading


def _from_prose(text: str) -> str | None:
    sentences = [part for part in _SENTENCE_END.split(text.strip()[-_TAIL:]) if part.strip()]
    if not sentences:
        return None
    for sentence in reversed(sentences[-_SENTENCES_BACK:]):
        found = _after_cue(sentence, _CUE)
        if found:
            return found
    found = _after_cue(sentences[-1], _WEAK_CUE)
    if found:
        return found
    last = _trim(sentences[-1])
    formulas = [next(filter(None, m.groups()), "") for m in _FORMULA.finditer(last)]
    if formulas and formulas[-1]:
        return formulas[-1].strip()
    numbers = _PLAIN_NUMBER.findall(last)
    if (
        numbers
        and ("=" in last or _WORD_OR_NAME.search(last))
        and "\\" not in last
        and quantity(canonical(last)) is None
    ):
        return numbers[-1].strip()
    return last if last and len(last) <= 80 else None


def _after_cue(sentence: str, cue: re.Pattern[str]) -> str | None:
    cues = list(cue.finditer(sentence))
    if not cues:
        return None
    found = _trim(sentence[cues[-1].end() :])
    formula = _FORMULA.match(found)
    if formula and not re.match(r"\s*(?:or|,|/)", found[formula.end() :]):
        return next(filter(None, formula.groups()), "").strip() or None
    if len(found) <= 40 and not _is_prose(found):
        return found or None
    number = _PLAIN_NUMBER.match(found)
    if number and not re.match(r"\s*(?:or\b|and\b|to\b|[,/;±+*^!]|-\s*\d|或)", found[number.end() :]):
        return number.group().strip()
    return found if len(found) <= 80 else None


def _trim(text: str) -> str:
    return text.strip().strip("*_").strip().rstrip(".,;:!?。").strip().strip("*_").strip()


def _is_prose(text: str) -> bool:
    return len(_WORD.findall(text)) >= 4 or len(re.findall(r"[\u4e00-\u9fff]", text)) >= 5


# ---------------------------------------------------------------- reading answers

_TRANSLATE: dict[int, str | None] = {ord(full): chr(ord(full) - 0xFEE0) for full in map(chr, range(0xFF01, 0xFF5F))}
_TRANSLATE |= {0x3000: " ", 0xA0: " ", 0x2009: " ", 0x202F: " ", 0x2212: "-", 0x2013: "-", 0x2010: "-", 0x2011: "-"}
_TRANSLATE |= {ord("、"): ",", ord("。"): ".", ord("×"): r"\times ", ord("÷"): r"\div ", ord("·"): r"\cdot "}
_TRANSLATE |= {ord("π"): r"\pi ", ord("∞"): r"\infty ", ord("≤"): r"\le ", ord("≥"): r"\ge ", ord("≠"): r"\ne "}
_TRANSLATE |= {ord("°"): " degrees ", ord("²"): "^2", ord("³"): "^3", ord("√"): r"\sqrt ", ord("∪"): r"\cup "}
_TRANSLATE |= {ord("±"): r"\pm ", ord("≈"): r"\approx ", ord("½"): " 1/2", ord("¼"): " 1/4", ord("¾"): " 3/4"}
_TRANSLATE |= {ord("∈"): r"\in ", ord("\u200b"): None, ord("\u2060"): None, ord("\ufeff"): None}

_SPACING = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|limits|big|Big|bigg|Bigg)(?![A-Za-z])|(?<!\\)\\[,;: >]|~"
)
_STYLED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}"
)
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![a-z])")
_FRACTION = re.compile(rf"\\frac\s*\{{\s*([-+]?(?:{_NUMERAL}))\s*\}}\s*\{{\s*([-+]?(?:{_NUMERAL}))\s*\}}", re.ASCII)
_SHORT_FRACTION = re.compile(
    r"\\frac\s*(\d)\s*(\d)(?!\d)|\\frac\s*(\d)\s*\{\s*(\d+)\s*\}|\\frac\s*\{\s*(\d+)\s*\}\s*(\d)", re.ASCII
)
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))


@lru_cache(maxsize=16384)
def canonical(text: str) -> str:
    r"""One spelling for many: delimiters, spacing commands, styles and Unicode look-alikes go, fractions get a slash.

    >>> canonical(r"$\left(\dfrac{1}{2},\, \text{3 cm}\right)$.")
    '( 1/2 , 3 cm )'
    """
    text = text.translate(_TRANSLATE).strip()
    before = None
    while before != text:
        before = text
        text = text.strip().rstrip(".,;").strip() if not text.endswith("\\.") else text.strip()
        for opening, closing in _DELIMITERS:
            inner = text[len(opening) : -len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                if closing not in inner and not inner.endswith("\\"):
                    text = inner.strip()
        if text.startswith(("\\boxed", "\\fbox")):
            closed, _ = boxes(text)
            if closed and closed[-1][:2] == (0, len(text)):
                text = text[closed[-1][2] : closed[-1][3]]
    text = text.replace("{,}", ",").replace("\\!", "").replace("\\$", "$").replace("\\%", "%").replace("\\#", "#")
    text = text.replace("\\{", "⦃").replace("\\}", "⦄").replace("\\lbrace", "⦃").replace("\\rbrace", "⦄")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    text = _DEGREES.sub(" degrees ", _SPACING.sub(" ", text))
    text = _STYLED.sub(r" \1 ", text)
    if "\\frac" in text:
        text = _FRACTION.sub(r" \1/\2 ", text)
        text = _SHORT_FRACTION.sub(lambda m: " " + "/".join(filter(None, m.groups())) + " ", text)
    text = " ".join(text.split())
    while len(text) > 2 and text[0] == "{" and text[-1] == "}" and "{" not in text[1:] and "}" not in text[1:-1]:
        text = text[1:-1].strip()
    return text


class Quantity(NamedTuple):
    """A number as written in an answer. ``value`` has percent and magnitude words worked in; ``unit`` may be ""."""

    value: Fraction
    unit: str
    decimals: int | None  # digits after the point when written as a decimal, else None


_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?!\d)|\d+)"
_QUANTITY = re.compile(
    r"(?P<currency>(?:[$€£¥]|USD|US\$|RMB)\s*)?(?P<sign>[-+]?)\s*(?P<inner>[$€£¥]\s*)?"
    r"(?:(?P<whole>\d+)\s+(?P<over>\d+)/(?P<under>\d+)"
    rf"|(?P<top>[-+]?{_INTEGER}(?:\.\d+)?)\s*/\s*(?P<bottom>-?{_INTEGER}(?:\.\d+)?)"
    rf"|10\s*\^\s*\{{?\s*(?P<ten>-?\d{{1,3}})\s*\}}?"
    rf"|(?P<number>{_INTEGER}(?:\.(?P<decimals>\d*))?|\.(?P<only>\d+))"
    r"(?:[eE](?P<e>[-+]?\d{1,3})|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*(?P<power>[-+]?\d{1,3})\s*\}?)?)"
    r"(?P<rest>(?![\d./^!*]).*)",
    re.ASCII | re.DOTALL,
)
_PERCENT = re.compile(r"\s*(?:%|percent(?:age)?\b|per cent\b|pct\b)", re.IGNORECASE)
_MAGNITUDES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MAGNITUDES |= {"dozen": 12, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_MAGNITUDE = re.compile(rf"\s*({'|'.join(_MAGNITUDES)})(?![a-z克米瓦])", re.IGNORECASE)

_UNITS: dict[str, tuple[str, Fraction]] = {}  # unit -> (what it measures, size)
for _dimension, _sizes in {
    "length": "mm 1/1000, millimeter 1/1000, 毫米 1/1000, cm 1/100, centimeter 1/100, 厘米 1/100, dm 1/10, 分米 1/10, "
    "m 1, meter 1, metre 1, 米 1, km 1000, kilometer 1000, kilometre 1000, 千米 1000, 公里 1000, "
    "inch 254/10000, inches 254/10000, in 254/10000, foot 3048/10000, feet 3048/10000, ft 3048/10000, yard 9144/10000, "
    "yd 9144/10000, mile 1609344/1000, mi 1609344/1000",
    "mass": "mg 1/1000000, milligram 1/1000000, g 1/1000, gram 1/1000, 克 1/1000, kg 1, kilogram 1, 千克 1, 公斤 1, "
    "ton 1000, tonne 1000, 吨 1000, lb 45359237/100000000, lbs 45359237/100000000, oz 45359237/1600000000, "
    "ounce 45359237/1600000000",
    "time": "s 1, sec 1, second 1, 秒 1, min 60, minute 60, 分钟 60, h 3600, hr 3600, hour 3600, 小时 3600, day 86400, "
    "天 86400, week 604800, 周 604800",
    "volume": "ml 1/1000, milliliter 1/1000, 毫升 1/1000, l 1, liter 1, litre 1, 升 1",
    "angle": "degree 1",
    "force": "n 1, kn 1000",
    "energy": "j 1, kj 1000, kwh 3600000, ev 1",
    "power": "w 1, kw 1000",
    "voltage": "v 1",
    "pressure": "pa 1, kpa 1000",
    "frequency": "hz 1, khz 1000",
    "radian": "rad 1, radian 1",
    "dollar": "$ 1, usd 1, us$ 1, dollar 1, buck 1, cent 1/100",
    "euro": "€ 1, eur 1, euro 1",
    "pound": "£ 1, gbp 1",
    "yuan": "¥ 1, rmb 1, cny 1, yuan 1, 元 1, 块 1, 角 1/10",
    "forenoon": "am 1, a.m 1",
    "afternoon": "pm 1, p.m 1",
}.items():
    for _entry in _sizes.split(", "):
        _unit, _size = _entry.split(" ")
        _UNITS[_unit] = (_dimension, Fraction(_size))
_NO_UNIT = frozenset(  # words that change a number instead of naming what it counts
    "pi sqrt sin cos tan log ln exp and or not to plus minus times over squared cubed mod modulo choose factorial base "
    "root half third quarter halves thirds quarters infinity infty inf nan more less than either between divided "
    "multiplied by power point if but isn't negative hundred thousand million billion trillion dozen percent".split()
)
_UNIT_WORD = re.compile(r"[^\W\d_]+\.?(?:\^\{?-?\d\}?)?")


def quantity(text: str) -> Quantity | None:
    r"""A canonical answer as an exact number with its unit; None if it is anything more than a literal.

    >>> quantity(canonical(r"\$1{,}250.50"))
    Quantity(value=Fraction(2501, 2), unit='$', decimals=2)
    """
    if len(text) > 400:
        return None
    while len(text) > 2 and text[0] == "(" and text[-1] == ")" and "(" not in text[1:] and ")" not in text[1:-1]:
        text = text[1:-1].strip()
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    group = match.groupdict()
    decimals = None
    if group["whole"] is not None:
        if int(group["under"]) == 0:
            return None
        value = int(group["whole"]) + Fraction(int(group["over"]), int(group["under"]))
    elif group["top"] is not None:
        bottom = _literal(group["bottom"])
        if bottom == 0:
            return None
        value = _literal(group["top"]) / bottom
    elif group["ten"] is not None:
        value = Fraction(10) ** int(group["ten"])
    else:
        value = _literal(group["number"])
        exponent = int(group["e"] or group["power"] or 0)
        value *= Fraction(10) ** exponent
        places = group["decimals"] if group["decimals"] is not None else group["only"]
        decimals = len(places) - exponent if places is not None else None
    if group["sign"] == "-":
        value = -value
    rest = group["rest"]
    percent = _PERCENT.match(rest)
    if percent:
        value, rest = value / 100, rest[percent.end() :]
        decimals = decimals + 2 if decimals is not None else None
    magnitude = _MAGNITUDE.match(rest)
    if magnitude:
        value, rest = value * _MAGNITUDES[magnitude.group(1).lower()], rest[magnitude.end() :]
    unit = unit_name(rest)
    if unit is None:
        return None
    currency = (group["currency"] or group["inner"] or "").strip().lower()
    if currency and unit and _UNITS.get(unit, ("",))[0] != _UNITS[currency][0]:
        unit = f"{currency} {unit}"  # "$5 per hour"
    return Quantity(value, unit or currency, decimals)


def _literal(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", "").rstrip("."))


@lru_cache(maxsize=8192)
def unit_name(text: str) -> str | None:
    """What stands behind a number, if it is a unit or a noun: "" for nothing, None for anything that is neither.

    >>> unit_name(" square meters"), unit_name(" apples"), unit_name("x"), unit_name(" or 6")
    ('meter^2', 'apple', None, None)
    """
    spaced = text[:1].isspace()
    text = text.strip().strip(".").lower()
    if not text:
        return ""
    if len(text) > 60:
        return None
    power = ""
    found = re.search(r"\s*\^\s*\{?\s*([23])\s*\}?$", text)
    if found:
        text, power = text[: found.start()], f"^{found.group(1)}"
    found = re.match(r"(?:(square|sq\.?)|(cubic|cu\.?))\s+", text)
    if found:
        text, power = text[found.end() :], "^2" if found.group(1) else "^3"
    found = re.match(r"(平方|立方)", text)
    if found:
        text, power = text[2:], "^2" if found.group(1) == "平方" else "^3"
    words = re.split(r"\s+|(/)", text)
    words = [word for word in words if word]
    if not words or len(words) > 6:
        return None
    names = []
    for word in words:
        if word == "/":
            names.append("per")
            continue
        if word in _NO_UNIT:
            return None
        if word in _UNITS:
            if len(word) == 1 and word.isascii() and word.isalpha() and not (spaced or "per" in names):
                return None  # 5m may be five times m
            names.append(word)
            continue
        short = word.isascii() and len(word.strip(".")) < 3 and word not in ("of", "a", "an", "in", "on")
        if short or not _UNIT_WORD.fullmatch(word):
            return None
        word = word.strip(".")
        if word.isascii() and word.endswith("s") and not word.endswith("ss"):
            word = word[:-1]
        names.append(word)
    return " ".join(names) + power


def _units_agree(a: Quantity, b: Quantity) -> bool:
    """Whether two quantities are equal, units considered: a unit on one side only is taken as understood."""
    left, right = a.value, b.value
    if a.unit and b.unit and a.unit != b.unit:
        known_a, known_b = _known(a.unit), _known(b.unit)
        if known_a is None and known_b is None:  # "3 red apples", "3 apples"
            words_a, words_b = a.unit.split(" "), b.unit.split(" ")
            return _same_number(a, b) and (words_a[0] == words_b[0] or words_a[-1] == words_b[-1])
        if known_a is None or known_b is None or known_a[0] != known_b[0]:
            return False
        return left * known_a[1] == right * known_b[1]
    return _same_number(a, b)


def _known(unit: str) -> tuple[str, Fraction] | None:
    base, _, power = unit.partition("^")
    found = _UNITS.get(base) or _UNITS.get(base.rstrip("s"))
    if found is None:
        return None
    exponent = int(power or 1)
    return f"{found[0]}^{exponent}", found[1] ** exponent


def _same_number(a: Quantity, b: Quantity) -> bool:
    if a.value == b.value:
        return True
    for decimal, fraction in ((a, b), (b, a)):  # 0.333333 for 1/3: a fraction that no decimal can write exactly
        places = decimal.decimals
        if places is not None and 6 <= places <= 400 and fraction.decimals is None:
            if _non_terminating(fraction.value) and abs(decimal.value - fraction.value) <= Fraction(1, 2 * 10**places):
                return True
    return False


def _non_terminating(value: Fraction) -> bool:
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom != 1


_TRUTH = dict.fromkeys("yes true correct 是 是的 对 正确".split(), True)
_TRUTH |= dict.fromkeys("no false incorrect 否 不是 不对 错 错误".split(), False)
_LEADING_TRUTH = re.compile(r"(yes|no|true|false)\b\s*[,.;:!-]", re.IGNORECASE)
_CHOICE_GOLD = re.compile(r"\(?\s*([A-J])\s*\)?[.):]?")
_CHOICE = re.compile(
    r"(?:(?i:option|choice|answer)\s+)?(?:\(\s*([A-Ja-j])\s*\)|([A-Ja-j])(?=[.):]|$))(?:[.):]|$|\s)\s*(.*)",
    re.DOTALL,
)
_BASED = re.compile(r"([0-9A-Za-z]+)\s*_\s*\{?\s*(?:base\s+)?(\d{1,2}|two|eight|ten|sixteen)\s*\}?", re.ASCII)
_COLON = re.compile(r"(\d+(?:\s*:\s*\d+)+)\s*(a\.?m|p\.?m)?\.?", re.IGNORECASE | re.ASCII)
_NO_WORDS = frozenset(
    "pi sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp lim max min mod gcd lcm sqrt det inf "
    "infty infinity alpha beta gamma delta epsilon theta lambda sigma omega phi psi rho tau and or cup cap".split()
)
_NO_WORD = rf"(?<![\\A-Za-z])(?!(?:{'|'.join(sorted(_NO_WORDS))})(?![A-Za-z]))"
_WORD_OR_NAME = re.compile(rf"{_NO_WORD}[A-Za-z]{{2,}}|[\u4e00-\u9fff]")  # no function, no LaTeX command
_NOUN = re.compile(rf"{_NO_WORD}[A-Za-z]{{3,}}|[\u4e00-\u9fff]")
_VARIABLE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def _plain_words(text: str) -> str | None:
    """A text of plain words, normalised; None where it might be mathematics."""
    if re.search(r"[\d\\^_=+*/<>|()\[\]{}⦃⦄$]", text):
        return None
    words = re.findall(r"[^\W\d_]+", text)
    if not any((len(word) >= 3 or not word.isascii()) and word.lower() not in _NO_WORDS for word in words):
        return None
    bare = " ".join(re.sub(r"[^\w\s]", " ", _ARTICLES.sub(" ", text.casefold())).split())
    return bare or text.casefold()


_OPENING, _CLOSING = "([{⦃", ")]}⦄"


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
    words = [re.split(r"\s+(?:and|or)\s+", item) for item in items]
    if any(len(split) > 1 for split in words) and all(len(word) <= 40 for split in words for word in split):
        items = [re.sub(r"^(?:and|or)\s+", "", word) for split in words for word in split]
    else:
        items = [re.sub(r"^(?:and|or)\s+", "", item) for item in items]
    return "", [item for item in items if item] or [""]


# ---------------------------------------------------------------- comparing

_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)|\\approx(?![A-Za-z])")
_SYMBOL = re.compile(  # x, x_1, \theta, f(x), "the total", 总数
    r"(?:[A-Za-z]|\\[A-Za-z]+)(?:_(?:\w|\{\w+\}))?'*(?:\([A-Za-z](?:,\s*[A-Za-z])*\))?"
    r"|[A-Za-z]{2,}(?:\s[A-Za-z]+){0,3}|[\u4e00-\u9fff]{1,8}"
)
_MEMBER = re.compile(r"[A-Za-z]\s*\\in(?![A-Za-z])\s*")
_OPERATION = re.compile(r"\\(?!infty|pi|text)[A-Za-z]+|[*^!+/(]|\d\s*-\s*[\d(]|[-]\s*-")
_UNEVALUATED = re.compile(r"\\(?:int|iint|oint|sum|prod|lim|binom|dbinom|partial)(?![A-Za-z])|!|\\frac\s*\{\s*d")


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
    if not a:
        return False
    if a == g or a.replace(" ", "") == g.replace(" ", ""):
        return True
    return _decide(a, g, require_simplified)


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
    gold_sides = sides_of(g)
    sides = sides_of(a) if "," not in a or len(gold_sides) > 1 else [a]
    if len(gold_sides) == 2 and _SYMBOL.fullmatch(gold_sides[0]):
        if len(sides) == 2 and _SYMBOL.fullmatch(sides[0]):
            if sides[0] != gold_sides[0]:
                return False if quantity(gold_sides[1]) else Pending(((a, g),))
            return _compare(sides[1], gold_sides[1], simplified)
        if len(sides) == 1:
            return _compare(a, gold_sides[1], simplified)
        return Pending(((a, g),))
    if len(gold_sides) > 1:
        return Pending(((a, g),))
    if len(sides) > 1:
        members = sides[1:] if not sides[0] or _SYMBOL.fullmatch(sides[0]) else sides
        if not all(members):
            return False
        verdict = _compare(members[-1], g, simplified)  # the last one is the answer; the others have to be true
        return _all([verdict, *(_compare(member, g, False) for member in members[:-1])])
    return _compare(a, g, simplified)


def _all(verdicts: Sequence[bool | Pending]) -> bool | Pending:
    if any(verdict is False for verdict in verdicts):
        return False
    pairs = tuple(pair for verdict in verdicts if isinstance(verdict, Pending) for pair in verdict.pairs)
    return Pending(pairs) if pairs else True


def _compare(a: str, g: str, simplified: bool) -> bool | Pending:
    if a == g or a.replace(" ", "") == g.replace(" ", ""):
        return True
    if not a:
        return False

    gold_number = quantity(g)
    if gold_number is not None:
        number = quantity(a)
        if number is not None:
            return _units_agree(number, gold_number)
        if _BASED.fullmatch(a) or _COLON.fullmatch(a) or len(parts(a)[1]) > 1 or a.lower() in _TRUTH:
            return False
        if simplified and (_OPERATION.search(a) or _VARIABLE.search(a)):
            return False  # 17 \cdot 23 for 391: the task, not its answer
        return False if _NOUN.search(a) else Pending(((a, g),))

    if g.lower() in _TRUTH:
        leading = _LEADING_TRUTH.match(a)
        if leading and not re.search(r"\b(?:yes|no|true|false|not)\b", a[leading.end() :], re.IGNORECASE):
            return _TRUTH[leading.group(1).lower()] == _TRUTH[g.lower()]
        return _TRUTH.get(a.lower().strip(" .!")) is _TRUTH[g.lower()]

    choice = _CHOICE_GOLD.fullmatch(g)
    if choice:
        chosen = _CHOICE.fullmatch(a)
        return bool(chosen) and (chosen.group(1) or chosen.group(2)).upper() == choice.group(1)  # type: ignore[union-attr]

    based, colon = _BASED.fullmatch(g), _COLON.fullmatch(g)
    if based:
        other = _BASED.fullmatch(a)
        return bool(other) and _same_digits(based, other)  # type: ignore[arg-type]
    if colon:
        other = _COLON.fullmatch(a)
        return bool(other) and _same_clock(colon, other)  # type: ignore[arg-type]

    words = _plain_words(g)
    if words is not None and "," not in g:
        return _plain_words(a) == words

    brackets, gold_items = parts(g)
    if brackets or len(gold_items) > 1:
        return _compare_lists(a, g, brackets, gold_items, simplified)
    if quantity(a) is not None and len(parts(g)[1]) == 1 and not re.search(r"[A-Za-z\\^*+!/-]", g):
        return False
    if simplified and _UNEVALUATED.search(a) and not _UNEVALUATED.search(g):
        return False
    return Pending(((a, g),))


def _compare_lists(a: str, g: str, brackets: str, gold_items: list[str], simplified: bool) -> bool | Pending:
    other, items = parts(a)
    if brackets == "()" and len(gold_items) == 1:
        return _compare(a[1:-1].strip() if other == "()" and len(items) == 1 else a, gold_items[0], simplified)
    ordered = brackets not in ("", "⦃⦄")
    if ordered != (other not in ("", "⦃⦄")):
        return False if len(items) > 1 or quantity(a) is not None else Pending(((a, g),))
    if (ordered and brackets != other) or len(items) != len(gold_items):
        pending = _OPERATION.search(a) or _OPERATION.search(g)  # \pm, \cup and the like may still say the same
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


def _same_digits(a: re.Match[str], b: re.Match[str]) -> bool:
    names = {"two": "2", "eight": "8", "ten": "10", "sixteen": "16"}
    bases = [names.get(m.group(2), m.group(2)) for m in (a, b)]
    return bases[0] == bases[1] and a.group(1).lstrip("0").upper() == b.group(1).lstrip("0").upper()


def _same_clock(a: re.Match[str], b: re.Match[str]) -> bool:
    numbers = [[int(n) for n in m.group(1).replace(" ", "").split(":") if len(n) < 20] for m in (a, b)]
    halves = [(m.group(2) or "").lower().replace(".", "") for m in (a, b)]
    return numbers[0] == numbers[1] and (halves[0] == halves[1] or "" in halves)


def gold_answer(gold: Any) -> str | None:
    r"""The answer in a gold cell: a number, an answer, or a worked solution that ends in one; None if it is empty.

    Worked solutions are read like replies: ``#### 72``, ``\boxed{72}``, ``<answer>72</answer>``, or, with several
    lines, the last sentence.

    >>> gold_answer("48 / 2 = 24\n#### 1,072"), gold_answer(True), gold_answer("x^2")
    ('1,072', 'True', 'x^2')
    """
    if gold is None or (isinstance(gold, float) and not math.isfinite(gold)):
        return None
    text = str(gold).strip()
    if not text:
        return None
    if "####" in text:
        return text.rpartition("####")[2].strip() or None
    if "boxed" in text or "box{" in text:
        closed, _ = boxes(text)
        if closed:
            return _joined_boxes(text, closed) or None
    if ANSWER[0] in text:
        return text.rpartition(ANSWER[0])[2].partition(ANSWER[1])[0].strip() or None
    if ("\n" in text and not text.startswith(("$", "\\[", "\\begin"))) or len(text) > LONGEST_ANSWER:
        return _from_prose(text)
    return text


# ---------------------------------------------------------------- math-verify

_FUNCTION = re.compile(
    r"(?<![\\A-Za-z])(sqrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|pi|infty)(?![A-Za-z])"
)
_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:infinity|inf|oo)(?![A-Za-z])")


def latex(text: str) -> str:
    r"""A canonical answer as LaTeX for math-verify: plain-text functions and operators get their commands."""
    text = text.replace("⦃", "\\{").replace("⦄", "\\}").replace("$", "").replace("%", "\\%").replace("\n", " ")
    text = text.replace("**", "^").replace("*", " \\cdot ").replace("<=", "\\le ").replace(">=", "\\ge ")
    text = text.replace("!=", "\\ne ")
    text = _FUNCTION.sub(r"\\\1 ", _INFINITY.sub(r"\\infty ", text))
    return re.sub(r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", re.sub(r"\\sqrt\s+(\w)", r"\\sqrt{\1}", text))


_VERDICTS: dict[tuple[str, str, float, int], str] = {}  # (answer, gold, seconds, megabytes) -> outcome
_VERDICTS_KEPT = 65536
_VERDICTS_LOCK = threading.Lock()


def _ask(pairs: set[tuple[str, str]], seconds: float, megabytes: int) -> dict[tuple[str, str], str]:
    """math-verify's outcome per (answer, gold): "equal", "different", "unreadable gold" or "gave up" (its limits)."""
    from trl_r1.rewards import verifier

    known: dict[tuple[str, str], str] = {}
    for pair in pairs:
        outcome = _VERDICTS.get((*pair, seconds, megabytes))
        if outcome is not None:
            known[pair] = outcome
    missing = sorted(pairs - known.keys())
    if missing:
        items = [(latex(answer), latex(gold)) for answer, gold in missing]
        outcomes = verifier.run("math_verify", items, seconds=seconds, megabytes=megabytes)
        with _VERDICTS_LOCK:
            for pair, result in zip(missing, outcomes, strict=True):
                known[pair] = result.value if result.value is not None else "gave up"
                if result.why == "gold":
                    known[pair] = "unreadable gold"
                if len(_VERDICTS) >= _VERDICTS_KEPT:
                    del _VERDICTS[next(iter(_VERDICTS))]
                _VERDICTS[(*pair, seconds, megabytes)] = known[pair]
    return known


def judge(
    answers: Sequence[str | None],
    golds: Sequence[str | None],
    require_simplified: bool = True,
    math_verify: bool = True,
    seconds: float = SECONDS,
    megabytes: int = MEGABYTES,
) -> list[str]:
    """One outcome per answer: "equal", "different", "no answer", "no gold", "unreadable gold" or "gave up".

    What ``decide`` leaves open goes to math-verify in one batch; without ``math_verify`` it counts as "different".
    """
    verdicts: list[str | Pending] = []
    for answer, gold in zip(answers, golds, strict=True):
        if gold is None or not canonical(gold):
            verdicts.append("no gold")
        elif answer is None or not answer.strip():
            verdicts.append("no answer")
        else:
            verdict = decide(answer, gold, require_simplified)
            verdicts.append(verdict if isinstance(verdict, Pending) else "equal" if verdict else "different")
    pairs = {pair for verdict in verdicts if isinstance(verdict, Pending) for pair in verdict.pairs}
    outcomes = _ask(pairs, seconds, megabytes) if pairs and math_verify else dict.fromkeys(pairs, "different")
    return [_worst([outcomes[p] for p in v.pairs]) if isinstance(v, Pending) else v for v in verdicts]


def _worst(outcomes: list[str]) -> str:
    return next((o for o in ("unreadable gold", "different", "gave up") if o in outcomes), "equal")


def verify(
    answer: str | None,
    gold: Any,
    *,
    require_simplified: bool = True,
    math_verify: bool = True,
    seconds: float = SECONDS,
    megabytes: int = MEGABYTES,
    on_timeout: bool | None = False,
) -> bool | None:
    r"""Whether an extracted answer equals the gold answer; None if the gold is empty or cannot be read.

    A unit on one side only is understood (``5 m`` is 5, but not 5 cm). Percent is a factor of 1/100 (``50\%`` is 0.5,
    not 50). A pair is not a list, an interval not a pair of other ends, ``1101_2`` not 1101. A bare list or a set is
    equal in any order. Every member of a chain ``a = b = c`` has to be right.

    Args:
        answer: as ``extract`` returns it; None is wrong.
        gold: see ``gold_answer``.
        require_simplified: to a number, an expression with operations left to do (``17 \cdot 23``) is no answer; nor
            is an integral, sum, limit or factorial to a gold without one. An unreduced fraction is.
        math_verify: also ask math-verify, in another process; otherwise what ``decide`` leaves open is False.
        seconds: wall time math-verify may take. megabytes: memory it may take.
        on_timeout: the verdict when it takes more.
    """
    outcome = judge([answer], [gold_answer(gold)], require_simplified, math_verify, seconds, megabytes)[0]
    if outcome == "gave up":
        return on_timeout
    return None if outcome in ("no gold", "unreadable gold") else outcome == "equal"


def same_answer(a: str | None, b: str | None, math_verify: bool = True) -> bool:
    """Whether two extracted answers say the same, for majority voting. Symmetric; an unsimplified form is the same.

    >>> same_answer("0.5", "1/2"), same_answer("5", None)
    (True, False)
    """
    if a is None or b is None or not a.strip() or not b.strip():
        return False
    if decide(a, b, False) is True or decide(b, a, False) is True:
        return True
    first, second = sorted((a, b))
    return judge([first], [second], False, math_verify)[0] == "equal"


# ---------------------------------------------------------------- the reward


@dataclass(frozen=True)
class Accuracy:
    """1.0 if the answer after the thought equals the row's gold answer, else 0.0; None where the gold is no use.

    Works in any ``GRPOTrainer``. An answer only inside the thought earns nothing. See ``extract`` for where an answer
    is looked for and ``verify`` for what equals what. Same verdict on every thread and rank.

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.2.2. Departures: the paper demands a box; here ``<answer>``, ``####``
    and a last sentence also count (``sources``). A restated task is refused (``require_simplified``).
    """

    solution_column: str = field(default="solution", metadata={"help": "Dataset column with the gold answer."})
    sources: tuple[str, ...] = field(default=tuple(SOURCES), metadata={"help": f"Any of: {', '.join(SOURCES)}."})
    require_simplified: bool = field(default=True, metadata={"help": "Refuse expressions left to be evaluated."})
    prefilled_think: bool = field(default=False, metadata={"help": "The template writes the opening think tag."})
    think: tuple[str, str] = field(default=THINK, metadata={"help": "Opening and closing tag of the thought."})
    math_verify: bool = field(default=True, metadata={"help": "Ask math-verify about what is not decided exactly."})
    seconds: float = field(default=SECONDS, metadata={"help": "Wall time math-verify may take for one answer."})
    megabytes: int = field(default=MEGABYTES, metadata={"help": "Memory math-verify may take for one answer, in MiB."})
    on_timeout: float | None = field(default=0.0, metadata={"help": "Score of an answer that exhausts the limits."})
    name: str = field(default="accuracy", metadata={"help": "The metric is logged as rewards/<name>/mean."})

    def __post_init__(self) -> None:
        sources = (self.sources,) if isinstance(self.sources, str) else tuple(self.sources)
        unknown = [source for source in sources if source not in SOURCES]
        if unknown or not sources:
            raise ValueError(f"sources={self.sources!r}: choose from {', '.join(SOURCES)}.")
        if self.seconds <= 0 or self.megabytes < 256:
            raise ValueError(
                f"seconds={self.seconds}, megabytes={self.megabytes}: an answer needs a positive time and 256 MiB or more."
            )
        if self.on_timeout is not None and not math.isfinite(self.on_timeout):
            raise ValueError(f"on_timeout={self.on_timeout} is not a score. Give a finite number or None.")
        object.__setattr__(self, "sources", sources)
        object.__setattr__(self, "think", tuple(self.think))

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(
        self,
        completions: list[Any],
        solution: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        golds = solution if self.solution_column == "solution" else columns.get(self.solution_column)
        if golds is None:
            raise ValueError(
                f"{self.name} needs a column {self.solution_column!r} with the gold answers. "
                f"The rows have: {', '.join(sorted(columns)) or 'none'}. Name yours with solution_column."
            )
        answers = [extract(reply(c), self.sources, self.prefilled_think, self.think) for c in completions]
        wanted = [gold_answer(gold) for gold in golds]
        outcomes = judge(answers, wanted, self.require_simplified, self.math_verify, self.seconds, self.megabytes)
        if log_extra is not None:
            log_extra(f"{self.name}_answer", [answer or "" for answer in answers])
            log_extra(f"{self.name}_gold", [gold or "" for gold in wanted])
            log_extra(f"{self.name}_verdict", outcomes)
        if log_metric is not None and outcomes:
            for outcome, metric in _METRICS.items():
                log_metric(f"{self.name}/{metric}", outcomes.count(outcome) / len(outcomes))
        return [self._score(outcome) for outcome in outcomes]

    def _score(self, outcome: str) -> float | None:
        if outcome == "gave up":
            return self.on_timeout
        return None if outcome in ("no gold", "unreadable gold") else float(outcome == "equal")


_METRICS = {"no answer": "no_answer", "no gold": "no_gold", "unreadable gold": "unreadable_gold", "gave up": "gave_up"}

accuracy_reward = Accuracy()
