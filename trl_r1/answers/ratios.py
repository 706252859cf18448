"""Numbers with a colon (3:4, 12:30, "3 to 4") and in a base (1101_2): ratios, times of day, digits.

What may be a time of day, hours and then two digits of minutes, is one: 3:45 is not 1:15.
"""

from __future__ import annotations

import re


BASED = re.compile(r"([0-9A-Za-z]+)\s*_\s*\{?\s*(?:base\s+)?(\d{1,2}|two|eight|ten|sixteen)\s*\}?", re.ASCII)
COLON = re.compile(r"(\d+(?:\s*:\s*\d+)+)\s*(a\.?m|p\.?m)?\.?", re.IGNORECASE | re.ASCII)
_TO = re.compile(r"\d+(?:\.\d+)?(?:\s+to\s+\d+(?:\.\d+)?)+", re.ASCII)


def ratio_sign(text: str) -> str:
    r"""A ratio in words ("3 to 4") with its sign, which is ``\ratio`` where a colon would make it a time of day.

    >>> ratio_sign("3 to 4"), ratio_sign("3 to 45"), ratio_sign("3 to 4 days")
    ('3:4', '3 \\ratio 45', '3 to 4 days')
    """
    if not _TO.fullmatch(text):
        return text
    colon = re.sub(r"\s+to\s+", ":", text)
    return colon if not is_clock(colon) else re.sub(r"\s+to\s+", r" \\ratio ", text)


def same_digits(a: re.Match[str], b: re.Match[str]) -> bool:
    names = {"two": "2", "eight": "8", "ten": "10", "sixteen": "16"}
    bases = [names.get(m.group(2), m.group(2)) for m in (a, b)]
    return bases[0] == bases[1] and a.group(1).lstrip("0").upper() == b.group(1).lstrip("0").upper()


def same_clock(a: re.Match[str], b: re.Match[str]) -> bool:
    numbers = [[int(n) for n in m.group(1).replace(" ", "").split(":") if len(n) < 20] for m in (a, b)]
    halves = [(m.group(2) or "").lower().replace(".", "") for m in (a, b)]
    return (
        numbers[0] == numbers[1]
        and is_clock(a.group()) == is_clock(b.group())
        and (halves[0] == halves[1] or "" in halves)
    )


def is_clock(text: str) -> bool:
    """Whether a colon may part hours and minutes: 12:30, but not 3:4."""
    return re.fullmatch(r"(?:[01]?\d|2[0-4])(?:\s*:\s*[0-5]\d)+\D*", text, re.ASCII) is not None


def terms_of(text: str) -> list[int] | None:
    """The terms of a ratio of whole numbers; None for a time of day and for anything else."""
    found = COLON.fullmatch(text)
    if found is None or found.group(2) or is_clock(text) or len(text) > 200:
        return None
    return [int(term) for term in found.group(1).split(":")]


def same_ratio(a: re.Match[str], b: re.Match[str]) -> bool:
    """3:4 is 6:8, unless both could be times."""
    if a.group(2) or b.group(2) or (is_clock(a.group()) and is_clock(b.group())) or len(a.group() + b.group()) > 200:
        return False
    first, second = ([int(term) for term in match.group(1).split(":")] for match in (a, b))
    if len(first) != len(second) or not any(first) or not any(second):
        return False
    return all(first[i] * second[j] == first[j] * second[i] for i in range(len(first)) for j in range(i))
