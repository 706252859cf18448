"""The longest expressions that tokens form between two relations. Nothing is evaluated here.

What stands beside an expression decides whether it is closed: ``5 apples + 3 apples`` is one, ``x + 3``, ``total - 3``
and ``f(3)`` are not.
"""

from __future__ import annotations

from typing import NamedTuple

from trl_r1.claims.tokens import Token


_BREAKS = frozenset("because since so then and which that where as is are but or therefore thus hence with".split())


class Piece(NamedTuple):
    """Tokens ``first`` to ``last`` (exclusive) that may be one expression; ``closed``: nothing beside it belongs."""

    first: int
    last: int
    closed: bool


def pieces(line: list[Token], first: int, last: int, most: int | None = None) -> list[Piece]:
    """The candidate expressions among the tokens between two relations, in order; only the first ``most``, if given."""
    parts: list[Piece] = []
    begun: int | None = None
    value = spoiled = stuck = False  # value: an operand has just ended. stuck: what came before runs on
    opened: list[int] = []

    def end(at: int, closed: bool = True) -> None:
        nonlocal begun, value
        if begun is not None:
            start = opened[-1] + 1 if opened else begun
            trailing = not opened or at == last
            parts.append(Piece(start, at, closed and value and not spoiled and trailing))
        begun, value = None, False
        opened.clear()

    for index in range(first, last):
        if len(parts) == most:
            return parts
        token = line[index]
        before = line[index - 1] if index > first else None
        touching = before is not None and before.end == token.start
        kind = token.kind
        if kind == "separator":
            end(index)
            spoiled = stuck = False
        elif kind == "opaque":
            end(index, closed=False)
            spoiled = True
        elif kind == "word":
            per = before is not None and before.text == "/" and value is False and begun is not None
            if per:
                value = True  # 60 minutes / hour
            elif not value and begun is not None:
                end(index, closed=False)
                spoiled = True  # 5 + tax
            elif begun is None:
                stuck = False
            elif token.text in _BREAKS:
                end(index)
        elif kind in ("number", "symbol", "function", "open"):
            after_word = before is not None and before.kind == "word"
            applied = kind == "open" and touching and before is not None and before.kind in ("word", "symbol")
            listed = before is not None and before.kind == "close" and not touching and kind == "number"
            remark = kind == "open" and _remark(line, index, last, touching)
            if value and (after_word or listed or remark) and not applied and kind != "symbol":
                end(index)
                spoiled = False
            elif value and kind == "number" and not _mixed(line, index, last):
                end(index, closed=False)
                spoiled = True
            if begun is None:
                begun = index
                spoiled = spoiled or (stuck and touching) or applied
            elif applied:
                spoiled = True
            stuck = False
            if kind == "open":
                opened.append(index)
            value = kind in ("number", "symbol")
        elif kind == "close":
            if not opened:
                end(index)
                stuck = True
            else:
                spoiled = spoiled or not value
                opened.pop()
                value = True
        elif kind == "postfix":
            spoiled = spoiled or not value
        elif kind == "operator":
            if not value:
                spoiled = spoiled or stuck or not _is_sign(line, index, last, begun is None and index > first)
                if begun is None:
                    begun = index
            value, stuck = False, False
    end(last)
    return parts


def _is_sign(line: list[Token], index: int, last: int, begins: bool) -> bool:
    """Whether the operator at ``index``, which has no operand before it, may be the sign of one.

    ``begins``: no expression is at hand, but a token stands before it. After a word a sign stands apart from it and
    touches its number.
    """
    token = line[index]
    if token.text not in "+-":
        return False
    if not begins or line[index - 1].kind != "word":
        return True
    touches_next = index + 1 < last and line[index + 1].start == token.end
    return touches_next and line[index - 1].end != token.start


def _remark(line: list[Token], index: int, last: int, touching: bool) -> bool:
    """Whether the bracket at ``index`` holds a remark, as in 12（个） and 7 (b), and no factor."""
    if index + 2 >= last or line[index + 2].kind != "close":
        return False
    return line[index + 1].kind == "word" or (line[index + 1].kind == "symbol" and not touching)


def _mixed(line: list[Token], index: int, last: int) -> bool:
    """Whether 1 1/2 (or 1½) is written here, the second number at ``index``."""
    whole, part = line[index - 1], line[index]
    if whole.kind != "number" or not whole.text.isdigit():
        return False
    if "/" in part.text:
        return True
    if index + 2 >= last or line[index + 1].text != "/" or line[index + 1].end != line[index + 2].start:
        return False
    over = line[index + 2].text
    return part.text.isdigit() and over.isdigit() and int(part.text) < int(over) and part.start - whole.end == 1
