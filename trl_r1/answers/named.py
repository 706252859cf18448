r"""Names of values: in ``x = 5``, ``|AB| = 12``, ``f(2) = 12``, ``m+n = 293`` the value is what counts.

An *answer* may name its value by any expression in unknowns (``p+q = 41`` answers 41): it says what the asker asked for. A
*gold* is answered by its bare value only where its left side is a name (``x=5``, ``f(x)=2x``, ``\angle ABC = 12^\circ``,
``A \cap B = (1, 2]``); ``x+y=8`` is an equation, and 8 does not answer it. Of several names each has its own value:
``a=2, b=3`` is answered by ``2, 3``, not by ``3, 2``.
"""

from __future__ import annotations

import re


_INNER = r"(?:[^()=<>]|\([^()=<>]*\)){1,40}"
_INDEX = r"(?:\s*_\s*(?:\w|\{[^{}=<>]{1,30}\}))?"
_POINTS = r"\{?\s*[A-Z](?:_\d)?'*(?:[A-Z](?:_\d)?'*){0,4}\s*\}?"
_NAMES = re.compile(
    rf"(?:(?:m\s*)?(?:\\angle|∠|\\triangle|\\overline|\\overrightarrow|\\widehat|\\vec|\\odot|\\text)\s*{_POINTS}"
    rf"|[A-Za-z]{_INDEX}'*(?:\s*\^\s*\{{?\s*(?:-1|\([n\d]\))\s*\}}?)?(?:\s*\({_INNER}\))?"
    r"|\\(?:alpha|beta|gamma|delta|epsilon|theta|phi|varphi|lambda|mu|nu|rho|sigma|tau|omega|psi|eta|xi|zeta)"
    rf"{_INDEX}'*(?:\s*\({_INNER}\))?"
    rf"|\\(?:vec|hat|bar|overline|mathbf|mathbb|mathcal)\s*\{{?\s*[A-Za-z]\s*\}}?{_INDEX}(?:\s*[(\[]{_INNER}[)\]])?"
    r"|\\?Pr?\s*[(\[][^()\[\]]{1,40}[)\]]"
    rf"|\|\s*(?:\\(?:vec|overline|overrightarrow)\s*)?\{{?\s*[A-Za-z]{{1,3}}{_INDEX}\s*\}}?\s*\|"
    rf"|\[\s*[A-Z]{{3,6}}\s*\]|{_POINTS}|\(\s*[A-Za-z]{_INDEX}(?:\s*,\s*[A-Za-z]{_INDEX}){{1,5}}\s*\)"
    rf"|\\(?:sin|cos|tan|cot|sec|csc)\s*(?:\\angle\s*)?(?:{_POINTS}|\\(?:alpha|beta|gamma|theta|phi)|\({_INNER}\))"
    r"|\\frac\s*\{\s*d[^{}]{0,6}\}\s*\{\s*d[^{}]{1,6}\}|d[a-z]/d[a-z]"
    r"|[A-Z]\s*(?:\\cup|\\cap|\\setminus|\\triangle)\s*[A-Z]"
    rf"|\\overrightarrow\s*\{{[A-Z]{{2}}\}}\s*\\cdot\s*\\overrightarrow\s*\{{[A-Z]{{2}}\}})"
)
_UNKNOWN = re.compile(
    r"(?<![\\A-Za-z])(?![ei](?![A-Za-z]))[A-Za-z]|\\(?:angle|triangle|alpha|beta|gamma|theta|phi|lambda|vec)(?![A-Za-z])"
)
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|isn't|if)\b|不|\\n(?:e|eq|ot)(?![A-Za-z])|[<>≠]|\\[lg]eq?(?![A-Za-z])"
)
_PROBABILITY = re.compile(
    r"(?<![A-Za-z])\\?Pr?\s*[(\[][^()\[\]]{1,40}[)\]]"
)  # P(X > 2): what stands inside denies nothing
_CONSTANT_TERM = re.compile(r"[-+]\s*\d+(?:\.\d+|/\d+)?\s*(?=[-+]|$)|^\s*-?\d+(?:\.\d+|/\d+)?\s*(?=[-+])")
_IN_WORDS = re.compile(  # 8 plus 8
    r"\d[^\d]{0,30}?(?:[\s{][A-Za-z]{3,}(?![A-Za-z])|[\u4e00-\u9fff])[^\d]{0,30}\d"
)
_BOUND = re.compile(
    r"\\(?:sum|prod|bigcup|bigcap)\s*(?:\\limits)?\s*_\s*\{\s*([a-zA-Z])\s*=|(?<![A-Za-z])d\s*([a-z])(?![A-Za-z])"
)
_COMMAND = re.compile(r"\\(?!alpha|beta|gamma|theta|phi|lambda|angle|triangle|vec)[A-Za-z]+")
_ZERO = re.compile(r"0+(?:\.0+)?")


def is_name(left: str) -> bool:
    r"""Whether the left side of an equality is a name, so that its right side says it all.

    >>> is_name("f(2)"), is_name("|AB|"), is_name(r"\angle ABC"), is_name("x+y"), is_name("2x")
    (True, True, True, False, False)
    """
    return len(left) <= 80 and _NAMES.fullmatch(left.strip()) is not None and not _denied(left)


def _denied(left: str) -> bool:
    return _DENIED.search(_PROBABILITY.sub("P", left)) is not None


def names_value(left: str, right: str) -> bool:
    """Whether an answer ``left = right`` says what the value on its right is of, rather than set up an equation.

    A sum of numbers in words ("8 plus 8") is no name, though it has letters.

    >>> names_value("m+n", "293"), names_value("2x+6y-1", "0"), names_value("2+3", "6"), names_value("8 plus 8", "27")
    (True, False, False, False)
    """
    if len(left) > 200 or _denied(left) or _IN_WORDS.search(left):
        return False
    if _ZERO.fullmatch(right.strip()) and _CONSTANT_TERM.search(left):
        return False
    if is_name(left):
        return True
    names = {found.group() for found in _UNKNOWN.finditer(_COMMAND.sub(" ", left) if "\\" in left else left)}
    bound = {name for found in _BOUND.finditer(left) for name in (found[1], found[2], "d" if found[2] else None)}
    return bool(names - bound) if bound else _UNKNOWN.search(left) is not None


def has_unknown(text: str) -> bool:
    """Whether letters stand for unknowns in it; e and i alone do not."""
    return _UNKNOWN.search(text) is not None


def same_name(a: str, b: str) -> bool:
    r"""Whether two names mean the same: ``|AB|`` is AB is ``\overline{BA}``, and words ("Area") do not say.

    >>> same_name("|AB|", r"\overline{BA}"), same_name("f(2)", "f(3)"), same_name("x", "the answer")
    (True, False, True)
    """
    first, second = (
        re.sub(r"\\(?:overline|text|widehat)(?![A-Za-z])|[|{}\s]|^m(?=\\angle)", "", name) for name in (a, b)
    )
    if first == second:
        return True
    if any(
        re.search(r"(?<![\\A-Za-z])[A-Za-z]*[a-z]{2}|[\u4e00-\u9fff]", re.sub(r"\\[A-Za-z]+", " ", x)) for x in (a, b)
    ):
        return True  # words
    one, other = first.replace("\\angle", ""), second.replace("\\angle", "")
    both_points = re.fullmatch(r"[A-Z]{2,3}", one) and re.fullmatch(r"[A-Z]{2,3}", other)
    return bool(both_points) and one in (other, other[::-1])


_RELATION = re.compile(r"[=<>≤≥≠]|\\(?:le|ge|leq|geq|lt|gt|ne|neq|in|approx|equiv|sim|cong|parallel|perp)(?![A-Za-z])")


def relates(text: str) -> bool:
    """Whether a text relates two sides to each other."""
    return _RELATION.search(text) is not None


_INEQUALITY = re.compile(r"!=|[<>≤≥≠]|\\(?:le|ge|leq|geq|lt|gt|ne|neq|leqslant|geqslant)(?![A-Za-z])")
_ANY_RELATION = re.compile(
    r"!=|<=|>=|[=<>≤≥≠]|\\(?:le|ge|leq|geq|lt|gt|ne|neq|leqslant|geqslant|approx|in)(?![A-Za-z])"
)
_AND_OR = re.compile(
    r",|;|\b(?:or|and)\b|\\(?:text|mathrm)\s*\{\s*(?:or|and)\s*\}|\\(?:lor|land|vee|wedge|cup)(?![A-Za-z])|[或且和]"
)
_BUILDER_HEAD = re.compile(r"^⦃[^|:]{1,40}(?:\||:|\\mid(?![A-Za-z])|\\vert(?![A-Za-z]))")


def compares(text: str) -> bool:
    """Whether a text holds an inequality."""
    return _INEQUALITY.search(text) is not None


def _balanced(text: str) -> bool:
    return all(text.count(opening) == text.count(closing) for opening, closing in ("()", "[]"))


def is_unsolved(text: str) -> bool:
    r"""Whether a canonical text relates one unknown to numbers without saying where it is: ``2x+3=7``, ``|x|<1``.

    >>> is_unsolved("2x+3=7"), is_unsolved("x=2"), is_unsolved("1<x<2"), is_unsolved("x-2>0"), is_unsolved("x+y=8")
    (True, False, False, True, False)
    """
    if len(text) > 400:
        return False
    found = False
    for piece in _AND_OR.split(_BUILDER_HEAD.sub("", text).rstrip("⦄")):
        sides = [side.strip() for side in _ANY_RELATION.split(piece)]
        names = {match.group() for side in sides for match in _UNKNOWN.finditer(side)}
        if len(sides) > 1 and len(names) == 1 and all(map(_balanced, sides)):
            if any(is_name(side) for side in sides):
                return False
            found = True
    return found


_PRIMED = re.compile(r"([A-Za-z])\s*(?:\^\s*\{?\s*((?:\\prime\s*)+)\}?|('+))")
_DERIVATIVE = re.compile(r"\\frac\s*\{\s*(d[^{}]{0,12})\}\s*\{\s*(d[^{}]{1,12})\}")


def same_marks(a: str, b: str) -> bool:
    r"""Whether two texts have the same derivatives in them: math-verify takes ``f'(x)`` for ``f(x)``.

    >>> same_marks("f'(x)", "f(x)"), same_marks("f'(x)", r"f^{\prime}(x)"), same_marks(r"\frac{dy}{dx}", r"\frac{dx}{dy}")
    (False, True, False)
    """
    found = []
    for text in (a, b):
        primes = sorted((m[1], (m[2] or "").count("prime") + len(m[3] or "")) for m in _PRIMED.finditer(text))
        found.append((primes, sorted(m[1].strip() + "/" + m[2].strip() for m in _DERIVATIVE.finditer(text))))
    return found[0] == found[1]
