r"""Golds with a fraction before a factor, written by another hand: ``\frac{2}{3}\pi`` as ``\frac{2\pi}{3}``, and wrongly.

Works on the letters of the gold alone and shares nothing with the code that compares answers, so that it can be used to
examine it (``trl_r1.data.goldcheck``): a grader that reads the factor into the denominator refuses the first and pays the
second.
"""

from __future__ import annotations

import re


_FRACTION = re.compile(r"\\[dtc]?frac(?![A-Za-z])\s*")
_SIGNS = "+-=<>,;&|:"
_NO_FACTOR = re.compile(
    r"\\(?:text|mathrm|mbox|pm|mp|le|ge|leq|geq|ne|neq|in|cup|cap|to|end|quad|approx|infty|circ)(?![A-Za-z])|\\[%,]"
    r"|(?<![\\A-Za-z])(?!(?:ln|log|sin|cos|tan)(?![A-Za-z]))[A-Za-z]{2,}|[%$°\n'!]|\(\s*-\s*1\s*\)"
)
_UNIT = re.compile(r"\s(?:[mgshlNJWVL]|[ckm]m|[mk]g|ml|kN)(?:\^\{?[23]\}?)?\s*$")


def moved_factor(gold: str) -> tuple[str, str] | None:
    r"""The gold with the factor behind its first fraction put into the numerator (equal), and into the denominator (wrong).

    None where there is no such fraction.

    >>> moved_factor(r"\frac{2}{3}\pi")
    ('\\frac{2\\pi}{3}', '\\frac{2}{3\\pi}')
    >>> moved_factor(r"y=\frac{x}{4}+1")
    ('y=\\frac{1}{4}x+1', 'y=\\frac{1}{4x}+1')
    """
    text = gold.strip()
    if len(text) > 300 or "\\begin" in text:
        return None
    for opening in ("$", "\\(", "\\["):
        if text.startswith(opening):
            return _inside(text, opening)
    for found in _FRACTION.finditer(text):
        if _depth(text[: found.start()]) or re.search(r"[\d^_}\])]\s*$", text[: found.start()]):
            continue
        top, after = _group(text, found.end())
        bottom, end = _group(text, after)
        if not top or not re.fullmatch(r"\d+", bottom):
            continue
        stop = _end_of_term(text, end)
        pair = _moved(top, bottom, text[end:stop])
        if pair is not None:
            return tuple(f"{text[: found.start()]}{form}{text[stop:]}" for form in pair)  # type: ignore[return-value]
    return None


def _moved(top: str, bottom: str, behind: str) -> tuple[str, str] | None:
    factor = re.sub(r"^(?:\\cdot|\\times|\*)\s*", "", behind.strip()).strip()
    if not factor:
        if re.fullmatch(r"[a-zA-Z](?:\^\{?\d\}?)?|\\pi|\\sqrt\s*\{\d+\}", top):
            return rf"\frac{{1}}{{{bottom}}}{top}", rf"\frac{{1}}{{{bottom}{top}}}"
        return None
    if not re.fullmatch(r"\d+", top) or not re.match(r"\\?[A-Za-z]|\(", factor):
        return None
    if _NO_FACTOR.search(factor) or _UNIT.search(behind):
        return None
    return rf"\frac{{{top}{factor}}}{{{bottom}}}", rf"\frac{{{top}}}{{{bottom}{factor}}}"


def _inside(text: str, opening: str) -> tuple[str, str] | None:
    closing = {"$": "$", "\\(": "\\)", "\\[": "\\]"}[opening]
    inner = text[len(opening) : -len(closing)]
    if not text.endswith(closing) or opening in inner or closing in inner:
        return None
    return moved_factor(inner)


def _depth(text: str) -> int:
    return sum((c in "{([") - (c in "})]") for c in text)


def _group(text: str, start: int) -> tuple[str, int]:
    """The argument of a fraction that starts there, and where it ends."""
    while start < len(text) and text[start] == " ":
        start += 1
    if start >= len(text) or text[start] != "{":
        digit = text[start : start + 1]
        return (digit, start + 1) if digit.isdigit() else ("", start)
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start + 1 : index].strip(), index + 1
    return "", start


def _end_of_term(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        if depth == 0 and (
            text[index] in _SIGNS or text.startswith(("\\text", "\\le", "\\ge", "\\quad", "\\pm"), index)
        ):
            if not text.startswith("\\left", index):
                return index
        depth += (text[index] in "{([") - (text[index] in "})]")
        if depth < 0:
            return index
    return len(text)
