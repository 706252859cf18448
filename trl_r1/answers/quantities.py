"""Quantities: a number as written in an answer, with its unit, percent and magnitude words, read exactly."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from trl_r1.answers.numerals import MARKED, arc, repeating_decimal


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

UNITS: dict[str, tuple[str, Fraction]] = {}  # unit -> (what it measures, size)
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
    "angle": "degree 1, arcminute 1/60, arcmin 1/60, arcsecond 1/3600, arcsec 1/3600",
    "celsius": "celsius 1",
    "fahrenheit": "fahrenheit 1",
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
        UNITS[_unit] = (_dimension, Fraction(_size))
_NO_UNIT = frozenset(  # words that change a number instead of naming what it counts
    "pi sqrt sin cos tan log ln exp and or not to plus minus times over squared cubed mod modulo choose factorial base "
    "root half third quarter halves thirds quarters infinity infty inf nan more less than either between divided "
    "multiplied by power point if but isn't negative hundred thousand million billion trillion dozen percent "
    # other numbers, and parts and multiples of this one
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety tens fourth fourths fifth fifths sixth "
    "sixths seventh sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths "
    "millionth millionths lakh lakhs crore crores gross permille promille basis doubled tripled halved twice below above "
    # doubts
    "maybe perhaps possibly probably alternatively versus vs rather instead except nor neither never wrong incorrect".split()
)
_NO_CHINESE_UNIT = re.compile(
    r"[一二三四五六七八九十零半又至到或和与及加减乘除负]|点[一二三四五六七八九零]|.*(?:或|分之|不是|以上|以下)"
)
_CAPITALS = frozenset("njwv")  # newton, joule, watt, volt
_UNIT_WORD = re.compile(r"[^\W\d_]+\.?(?:\^\{?-?\d\}?)?")


_LETTER_BEHIND = re.compile(r"\}\s*[A-Za-z](?:\s*\^.*)?$", re.ASCII)
_MARKED_LETTER = re.compile(r"\s*\\mathrm\s*\{([A-Za-z])\}")
_FRACTION = re.compile(
    rf"\\frac\s*\{{\s*([-+]?{_INTEGER}(?:\.\d+)?)\s*\}}\s*\{{\s*([-+]?{_INTEGER}(?:\.\d+)?)\s*\}}", re.ASCII
)


def _special(text: str) -> Quantity | None:
    r"""A repeating decimal, or an angle in minutes and seconds.

    >>> _special(r"0.\overline{6}").value, _special("30 degrees 15'"), _special("0.1666...").value
    (Fraction(2, 3), Quantity(value=Fraction(121, 4), unit='degree', decimals=None), Fraction(1, 6))
    """
    found = repeating_decimal(text)
    if found is not None:
        value, rest = found
        percent = _PERCENT.fullmatch(rest)
        unit = "" if percent else unit_name(rest)
        return None if unit is None else Quantity(value / 100 if percent else value, unit, None)
    angle = arc(text)
    return None if angle is None else Quantity(*angle, None)


def quantity(text: str) -> Quantity | None:
    r"""A canonical answer as an exact number with its unit; None if it is anything more than a literal.

    >>> quantity("$1,250.50")
    Quantity(value=Fraction(2501, 2), unit='$', decimals=2)
    """
    if len(text) > 400:
        return None
    while len(text) > 2 and text[0] == "(" and text[-1] == ")" and "(" not in text[1:] and ")" not in text[1:-1]:
        text = text[1:-1].strip()
    if "\\frac" in text:
        if _LETTER_BEHIND.search(text):
            return None  # half of m, as LaTeX reads spaces
        text = " ".join(
            _FRACTION.sub(lambda m: f" {m[1]}/{m[2]}" + " " * (not m.string[m.end() :][:1].isalpha()), text).split()
        )
    if "\\mathrm" in text:
        text = _MARKED_LETTER.sub(r" \1", text)
    if (several := _compound(text)) is not None:
        return several
    if MARKED.search(text) and (special := _special(text)) is not None:
        return special
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
    if currency and unit and UNITS.get(unit, ("",))[0] != UNITS[currency][0]:
        unit = f"{currency} {unit}"  # "$5 per hour"
    return Quantity(value, unit or currency, decimals)


_COMPOUND = re.compile(
    r"(\d+(?:\.\d+)?)\s*([A-Za-z]{1,12}|[\u4e00-\u9fff]{1,3})\.?\s*,?\s*(?:and\s+)?(\d+(?:\.\d+)?)\s*([A-Za-z]{1,12}|[\u4e00-\u9fff]{1,3})\.?",
    re.ASCII,
)


def _compound(text: str) -> Quantity | None:
    """A quantity in two units, the second the smaller: 2 hours 30 minutes is 5/2 hours.

    >>> _compound("2 hours and 30 minutes"), _compound("2 hours and 30 apples")
    (Quantity(value=Fraction(5, 2), unit='hour', decimals=None), None)
    """
    found = _COMPOUND.fullmatch(text)
    if found is None:
        return None
    names = [unit_name(f" {found[place]}") for place in (2, 4)]
    known = [known_unit(name) if name else None for name in names]
    if known[0] is None or known[1] is None or known[0][0] != known[1][0] or known[1][1] >= known[0][1]:
        return None
    return Quantity(Fraction(found[1]) + Fraction(found[3]) * known[1][1] / known[0][1], names[0] or "", None)


def _literal(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").replace(" ", "").rstrip("."))


@lru_cache(maxsize=8192)
def unit_name(text: str) -> str | None:
    """What stands behind a number, if it is a unit or a noun: "" for nothing, None for anything that is neither.

    >>> unit_name(" square meters"), unit_name(" apples"), unit_name("x"), unit_name(" or 6")
    ('meter^2', 'apple', None, None)
    """
    spaced, written = text[:1].isspace(), text
    text = text.strip().strip(".").lower()
    if not text:
        return ""
    if len(text) > 60:
        return None
    found = re.fullmatch(r"degrees?\s*(c|f)(?:elsius|ahrenheit)?", text)
    if found:
        return "celsius" if found.group(1) == "c" else "fahrenheit"
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
    if not text.isascii() and _NO_CHINESE_UNIT.match(text):
        return None
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
        if word in UNITS:
            if len(word) == 1 and word.isascii() and word.isalpha() and not (spaced or "per" in names):
                return None  # 5m may be five times m
            if word in _CAPITALS and word.upper() not in written:
                return None  # 2 n is two times n
            names.append(word)
            continue
        small = word in ("of", "a", "an", "in", "on") and len(words) > 1
        short = word.isascii() and len(re.sub(r"[.^{}\d-]", "", word)) < 3 and not small
        if short or not _UNIT_WORD.fullmatch(word):
            return None
        word = word.strip(".")
        if word.isascii() and word.endswith("s") and not word.endswith("ss"):
            word = word[:-1]
        names.append(word)
    if power and len(names) == 1 and UNITS.get(names[0], ("length",))[0] != "length":
        return None  # 2 h^2 is no time
    return " ".join(names) + power


def units_agree(a: Quantity, b: Quantity) -> bool:
    """Whether two quantities are equal, units considered: a unit on one side only is taken as understood."""
    left, right = a.value, b.value
    if a.unit and b.unit and a.unit != b.unit:
        known_a, known_b = known_unit(a.unit), known_unit(b.unit)
        if known_a is None and known_b is None:  # "3 red apples", "3 apples"
            words_a, words_b = a.unit.split(" "), b.unit.split(" ")
            return _same_number(a, b) and (words_a[0] == words_b[0] or words_a[-1] == words_b[-1])
        if known_a is None or known_b is None or known_a[0] != known_b[0]:
            return False
        return left * known_a[1] == right * known_b[1]
    return _same_number(a, b)


def known_unit(unit: str) -> tuple[str, Fraction] | None:
    """What a unit measures and its size in that dimension's own; None for a noun."""
    over, per, under = unit.partition(" per ")
    if per:
        above, below = known_unit(over), known_unit(under)
        return (f"{above[0]} per {below[0]}", above[1] / below[1]) if above and below else None
    base, _, power = unit.partition("^")
    found = UNITS.get(base) or UNITS.get(base.rstrip("s"))
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
            if never_ends(fraction.value.denominator) and abs(decimal.value - fraction.value) <= Fraction(
                1, 2 * 10**places
            ):
                return True
    return False


def never_ends(denominator: int) -> bool:
    """Whether a reduced fraction with this denominator is an endless decimal: it has another prime than 2 and 5.

    >>> never_ends(8), never_ends(12)
    (False, True)
    """
    denominator >>= (denominator & -denominator).bit_length() - 1
    while denominator % 5 == 0:
        denominator //= 5
    return denominator != 1


# What a unit word multiplies a number with, so that ``1 hour + 30 minutes = 90 minutes`` can be judged.
_MEASURES: dict[str, str] = {  # within a row, every factor is in the same base unit
    "seconds": "second 1 seconds 1 sec 1 minute 60 minutes 60 min 60 mins 60 hour 3600 hours 3600 hr 3600 hrs 3600 "
    "day 86400 days 86400 week 604800 weeks 604800 秒 1 分钟 60 小时 3600 天 86400 周 604800 星期 604800",
    "months": "month 1 months 1 year 12 years 12 decade 120 decades 120 个月 1 年 12",
    "millimetres": "mm 1 millimeter 1 millimeters 1 cm 10 centimeter 10 centimeters 10 meter 1000 meters 1000 "
    "metre 1000 metres 1000 km 1000000 kilometer 1000000 kilometers 1000000 毫米 1 厘米 10 分米 100 米 1000 千米 1000000",
    "inches": "inch 1 inches 1 foot 12 feet 12 ft 12 yard 36 yards 36 mile 63360 miles 63360",
    "grams": "gram 1 grams 1 kg 1000 kilogram 1000 kilograms 1000 克 1 千克 1000 公斤 1000 吨 1000000",
    "ounces": "ounce 1 ounces 1 oz 1 pound 16 pounds 16 lb 16 lbs 16 ton 32000 tons 32000",
    "millilitres": "ml 1 milliliter 1 milliliters 1 liter 1000 liters 1000 litre 1000 litres 1000 毫升 1 升 1000",
    "pints": "pint 1 pints 1 quart 2 quarts 2 gallon 8 gallons 8",
    "dollars": "dollar 1 dollars 1 cent 1/100 cents 1/100 ¢ 1/100 元 1 角 1/10 分 1/100",
    "pieces": "dozen 12 dozens 12 pair 2 pairs 2",
    "numbers": "hundred 100 thousand 1000 million 1000000 billion 1000000000 万 10000 亿 100000000",
}
FACTORS: dict[str, Fraction] = {
    word: Fraction(factor)
    for row in _MEASURES.values()
    for word, factor in zip(row.split()[::2], row.split()[1::2], strict=True)
}
CONVERSIONS = frozenset(
    map(
        Fraction, (2, 3, 4, 7, 8, 10, 12, 16, 24, 30, 36, 52, 60, 100, 365, 1000, 1440, 1760, 3600, 5280, 10000, 10**6)
    )
)
"""Ratios of two sides that a change of units may explain (365 days, 30 days a month, 1760 yards a mile among them)."""
