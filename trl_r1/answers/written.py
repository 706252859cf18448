r"""What math-verify reads: an answer as its author wrote it. Tags around it go, a unit behind it goes; nothing is rewritten.

Our own paths compare canonical texts and parts of them (the right side of ``f(x) = ...``, one item of a list);
``as_written`` finds the place in the author's text that such a part came from. Only what is no LaTeX (no command in it)
is put into LaTeX, and signs of Unicode become their commands, since math-verify reads nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from trl_r1.answers.equality import parts, sides_of
from trl_r1.answers.notation import canonical, in_latex_signs, latex, squeezed, undelimited


_OPENS = re.compile(r"(?:\\left\s*)?(?:\\\{|\\lbrace(?![A-Za-z])|\\langle(?![A-Za-z])|[(\[])\s*")
_CLOSES = re.compile(r"\s*(?:\\right\s*)?(?:\\\}|\\rbrace|\\rangle|[)\]])$")
_UNIT = re.compile(
    r"(?:\\[,;:! ]|~|\s)*(?:\\(?:text|mathrm|mbox|textrm|textbf|rm)\s*\{[^{}]*\}"
    r"|(?:(?:sq|square|cu|cubic)\.?\s+)?[A-Za-z]{1,20}\.?)"
    r"(?:\s*\^\s*\{?[23]\}?)?$"
)
_MEMBER = re.compile(r"[A-Za-z]\s*\\in(?![A-Za-z])\s*")
_LONGEST = 2000  # characters of an answer whose parts are looked for
_MOST_PIECES = 100


def as_written(part: str, text: str) -> str:
    r"""The LaTeX that math-verify is asked about, for a canonical part of the answer ``text``.

    >>> print(as_written(r"\frac{1}{2}f(2x)", r"$y = \dfrac12 f\left(2x\right)$."), as_written("sqrt(f(2))", "sqrt(f(2))"))
    \dfrac12 f\left(2x\right) \sqrt{f(2)}
    """
    wanted = squeezed(part)
    if len(text) <= _LONGEST and "\\" in text:
        for piece in islice(_pieces(undelimited(in_latex_signs(text)), 3), _MOST_PIECES):
            held = squeezed(canonical(piece))
            if held == wanted:
                return piece.replace("\n", " ").replace("$", "")
            if held.startswith(wanted):
                bare = undelimited(_UNIT.sub("", piece, count=1))
                if squeezed(canonical(bare)) == wanted:
                    return bare.replace("\n", " ").replace("$", "")
    return latex(part)


def _pieces(text: str, depth: int) -> Iterator[str]:
    """A text, its sides, the items inside its brackets, and those of these."""
    yield text
    if not depth:
        return
    member = _MEMBER.match(text)
    if member:
        yield from _pieces(text[member.end() :], depth - 1)
    inner = text
    opening, closing = _OPENS.match(text), _CLOSES.search(text)
    if opening and closing and closing.start() > opening.end():
        inner = text[opening.end() : closing.start()]
    for piece in (*sides_of(text), *parts(inner)[1]):
        piece = undelimited(piece)
        if piece and piece != text:
            yield from _pieces(piece, depth - 1)
