"""Numbers that are not written in plain digits: repeating decimals, angles in minutes and seconds, English words."""

from __future__ import annotations

import re
from fractions import Fraction


_REPEATING = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<plain>\d{0,40}\.\d{0,40}?)"
    r"(?:\\dot\s*\{?(?P<first>\d)\}?(?P<inner>\d{0,40})\\dot\s*\{?(?P<last>\d)\}?"
    r"|\\(?:overline|bar|dot)\s*(?:\{\s*(?P<over>\d{1,40})\s*\}|(?P<one>\d))|\((?P<round>\d{1,40})\)"
    r"|(?P<seen>(?P<block>\d)(?P=block){2,40}|(?P<long>\d{2,12}?)(?P=long){1,20})\s*(?:\.\.\.|\\[lc]?dots))"
    r"(?P<rest>[^\d.].*)?",
    re.ASCII | re.DOTALL,
)
_PRIME = re.compile(r"\^\s*(?:\{\s*)?((?:\\prime\s*){1,2})\}?")
MARKED = re.compile(r"['\"”(]|\\(?:overline|bar|dot|prime|[lc]?dots)|\.\.\.|\d\s*degrees?\s*\d")
_ARC_NUMBER = r"\d{1,9}(?:\.\d{1,20})?"
_ARC = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:(?P<d>{_ARC_NUMBER})\s*(?:degrees?|deg)(?![A-Za-z])\s*)?"
    rf"(?:(?P<m>{_ARC_NUMBER})\s*(?:'(?!')|(?:arc ?)?min(?:ute)?s?(?![A-Za-z]))\s*)?"
    rf"(?:(?P<s>{_ARC_NUMBER})\s*(?:''|\"|”|(?:arc ?)?sec(?:ond)?s?(?![A-Za-z])))?",
    re.ASCII,
)


def repeating(plain: str, over: str) -> Fraction:
    """A decimal whose last digits repeat for ever.

    >>> repeating("0.1", "6"), repeating("0.", "09")
    (Fraction(1, 6), Fraction(1, 11))
    """
    whole, _, places = plain.replace(",", "").partition(".")
    shift = 10 ** len(places)
    return Fraction(int((whole or "0") + places), shift) + Fraction(int(over), shift * (10 ** len(over) - 1))


def repeating_decimal(text: str) -> tuple[Fraction, str] | None:
    r"""A repeating decimal's value and what stands behind it: ``0.\overline{6}``, ``0.1(6)``, ``0.\dot{1}2\dot{3}``,
    and ``0.333...`` with three digits or more that repeat.

    >>> repeating_decimal(r"0.1\overline{6} cm"), repeating_decimal("0.1212..."), repeating_decimal("1.41...")
    ((Fraction(1, 6), ' cm'), (Fraction(4, 33), ''), None)
    """
    found = _REPEATING.fullmatch(text)
    if found is None:
        return None
    over = found["over"] or found["one"] or found["round"] or found["block"] or found["long"]
    if found["first"]:
        over = found["first"] + found["inner"] + found["last"]
    value = repeating(found["plain"], over)
    return (-value if found["sign"] == "-" else value), found["rest"] or ""


def arc(text: str) -> tuple[Fraction, str] | None:
    """An angle with minutes or seconds, and the unit it is in; None for anything else, plain degrees too.

    >>> arc("45'"), arc("30 degrees 15'"), arc("45 degrees")
    ((Fraction(45, 1), 'arcminute'), (Fraction(121, 4), 'degree'), None)
    """
    found = _ARC.fullmatch(_PRIME.sub(lambda m: "'" * m[1].count("prime"), text))
    if found is None or not (found["m"] or found["s"]):
        return None
    parts = [(found[name], size, unit) for name, size, unit in _ARC_PARTS if found[name]]
    if len(parts) == 1:
        value, unit = Fraction(parts[0][0]), parts[0][2]
    else:
        value, unit = sum((Fraction(digits) / size for digits, size, _ in parts), Fraction(0)), "degree"
    return (-value if found["sign"] == "-" else value), unit


_ARC_PARTS = (("d", 1, "degree"), ("m", 60, "arcminute"), ("s", 3600, "arcsecond"))

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
)
_ONES += "eighteen nineteen"
_TENS = {
    word: 10 * tens for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
_NUMBER_WORDS = {word: value for value, word in enumerate(_ONES.split())} | _TENS


def number_in_words(text: str) -> int | None:
    """A whole number below a million in English words; None for any other text.

    >>> number_in_words("Twenty-one"), number_in_words("three hundred and five"), number_in_words("one or two")
    (21, 305, None)
    """
    words = re.sub(r"[-\s]+", " ", text.strip().lower()).split(" ")
    if len(words) > 12 or words[0] not in _NUMBER_WORDS:
        return None
    total = group = 0
    before = ""
    for index, word in enumerate(words):
        if word == "and":
            if before not in ("hundred", "thousand") or index == len(words) - 1:
                return None
        elif word in _NUMBER_WORDS:
            value = _NUMBER_WORDS[word]
            if before in _NUMBER_WORDS and not (before in _TENS and 0 < value < 10):
                return None
            group += value
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word == "thousand" and group and not total:
            total, group = group * 1000, 0
        else:
            return None
        before = word
    return total + group


_PARTS = {
    "half": 2,
    "halve": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "seventh": 7,
    "eighth": 8,
}
_PARTS |= {"ninth": 9, "tenth": 10, "twelfth": 12, "hundredth": 100, "thousandth": 1000}
_PART = re.compile(
    rf"(?:(?P<whole>[a-z -]+?)\s+and\s+)?(?:(?P<top>[a-z][a-z -]*?)[\s-]+)?(?P<part>{'|'.join(_PARTS)})(?P<s>s)?"
)


def fraction_in_words(text: str) -> Fraction | None:
    """A fraction in English words; None for any other text, an ordinal ("third") too.

    >>> fraction_in_words("two thirds"), fraction_in_words("half"), fraction_in_words("third")
    (Fraction(2, 3), Fraction(1, 2), None)
    """
    text = text.strip()
    if text.lower() in ("half", "一半"):
        return Fraction(1, 2)
    found = _PART.fullmatch(text.lower()) if len(text) <= 60 else None
    if found is None or not found["top"]:
        return None
    top = 1 if found["top"] in ("a", "one") else number_in_words(found["top"])
    whole = number_in_words(found["whole"]) if found["whole"] else 0
    if not top or whole is None or (top > 1) != bool(found["s"]):
        return None
    return whole + Fraction(top, _PARTS[found["part"]])


def in_digits(text: str) -> str:
    """A number in words in digits, any other text as it is.

    >>> in_digits("twenty-one"), in_digits("three quarters"), in_digits("x")
    ('21', '3/4', 'x')
    """
    negative = re.match(r"(?:minus|negative)\s+(?=[a-z])", text, re.IGNORECASE)
    bare = text[negative.end() :] if negative else text
    whole = number_in_words(bare)
    value = fraction_in_words(bare) if whole is None else whole
    return text if value is None else f"-{value}" if negative and value else str(value)
