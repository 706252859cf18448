"""Claims in free text: what is asserted between two expressions, where, and whether it is right.

No claim, and neither right nor wrong: anything with a variable or a word in an operand's place, questions, suppositions,
what is called wrong at once, labels (``Option 1 = 5``, ``4 bedrooms = 121 * 4``), division by zero, numbers beyond
``surds.MOST_BITS``, and what units or silent rounding may explain (``6 * 10 = 1 hour``, ``100/6 = 16``). Trivial, and
not counted: ``5 = 5``, ``3 + 2 = 2 + 3``, ``4 * 1 = 4``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from trl_r1.answers.quantities import FACTORS
from trl_r1.claims.arithmetic import evaluate, kinds, leaves_of, literal, plain, verdict
from trl_r1.claims.pieces import Piece, pieces
from trl_r1.claims.surds import sign
from trl_r1.claims.tokens import Token, tokens
from trl_r1.claims.trees import Tree, Unreadable, parse
from trl_r1.text.completions import without_hidden


MOST_CLAIMS = 2000  # of one text; the rest is not judged


@dataclass(frozen=True)
class Claim:
    """One claim: ``text[start:end]``. ``right`` is None where it was not judged, ``why`` says why, or what it is.

    ``key`` is equal for repeats: the same relation of the same values from the same numbers in any order.
    """

    start: int
    end: int
    right: bool | None
    why: str = ""
    key: Any = None


class Link(NamedTuple):
    """``left relation right`` in a text; a side that is no closed or open expression is None."""

    relation: str
    left: Tree | None
    right: Tree | None
    start: int
    end: int
    label: bool  # a word stands right before the left side
    chained: bool  # the left side is also the right side of the link before


def links(line: list[Token]) -> Iterator[Link]:
    """Every relation of a text with what stands around it, in order."""
    at = [index for index, token in enumerate(line) if token.kind == "relation"]
    before: tuple[Tree | None, Piece | None] = (None, None)
    ends = [*at, len(line)]
    for number, index in enumerate(at):
        if number == 0:
            before = _side(line, 0, index, last=True)
        after = _side(line, index + 1, ends[number + 1], last=False)
        chained = number > 0 and before[1] is not None and before[1].first == at[number - 1] + 1
        first, second = before[1], after[1]
        start = line[first.first].start if first else line[index].start
        end = line[second.last - 1].end if second else line[index].end
        label = first is not None and first.first > 0 and line[first.first - 1].kind in ("word", "symbol")
        yield Link(line[index].text, before[0], after[0], start, end, label, chained)
        whole = second is not None and second.last == ends[number + 1]
        before = after if whole else _side(line, index + 1, ends[number + 1], last=True)


def _side(line: list[Token], first: int, stop: int, last: bool) -> tuple[Tree | None, Piece | None]:
    """The expression that ends (``last``) or begins right at a relation, and where it stands."""
    if last:  # a separator ends whatever stands before it
        first = next((at + 1 for at in range(stop - 1, first - 1, -1) if line[at].kind == "separator"), first)
    side_pieces = pieces(line, first, stop, None if last else 1)
    if not side_pieces:
        return None, None
    piece = side_pieces[-1] if last else side_pieces[0]
    if not piece.closed or (piece.last != stop if last else piece.first != first):
        return None, None
    if last and piece.first > 0 and _scaled(line, piece.first - 1):
        return None, None
    if last and all(token.kind == "word" for token in line[max(piece.first, piece.last - 4) : piece.last]):
        return None, None  # 100/75 gives the total amount = ...
    while not last and piece.last < stop and line[piece.last - 1].kind == "word":
        if line[piece.last - 1].text in _CONTINUES:
            return None, None
        if line[piece.last - 1].text in FACTORS:
            break
        piece = piece._replace(last=piece.last - 1)  # prose after the number
    try:
        return parse(line, piece), piece
    except Unreadable:
        return None, None


_CONTINUES = frozenset("remainder rem r half halves quarter quarters third thirds squared cubed".split())
_SCALES = frozenset(
    "half third quarter fourth fifth sixth eighth tenth percent root square cube logarithm multiple reciprocal power".split()
) | {"twice", "double", "triple", "thrice", "than", "一半"}


def _scaled(line: list[Token], at: int) -> bool:
    """Whether the words up to ``at`` compute on what follows them: half of 10 + 4."""
    words: list[str] = []
    while at >= 0 and line[at].kind == "word" and len(words) < 3:
        words.append(line[at].text)
        at -= 1
    return bool(words) and (
        words[0] in _SCALES or (words[0] in ("of", "的", "the") and bool(_SCALES & set(words[1:])))
    )


_SUPPOSED = re.compile(
    r"(?:\b(?:if|suppose|supposing|assume|assuming|whether|not|isn't|would|instead of|rather than|wrongly)\b"
    r"|如果|假设|假如|若|是否|不是|并非)[^.\n。!?;；？！]{0,24}$",
    re.IGNORECASE,
)
_REFUTED = re.compile(
    r"[\s)$*\\]{0,4}(?:[?？✗✘❌]|吗"
    r"|[,，]?\s?(?:(?:but|which|that|this|so)\s)?(?:(?:that|this)(?:'s| is)|is|was|seems|can't)\s(?:\w{1,12}\s)?"
    r"(?:wrong|incorrect|false|not|be right|impossible|a contradiction)"
    r"|[,，(]?\s?(?:wrong|incorrect|impossible|a contradiction|contradiction|矛盾|不对|错|不成立|不可能))",
    re.IGNORECASE,
)
_INTRODUCES = frozenset("so then thus hence therefore and but is get gives have that because since".split())
_INTRODUCES |= {"所以", "因此", "则", "有", "得"}


_FENCE = re.compile(r"```[^`]*(?:`{1,2}[^`]+)*```")


def stated(text: str) -> str:
    """The text with what it does not say to a reader replaced by spaces: code between ``` fences, and hidden text
    (``text.completions.without_hidden``); offsets stay what they were."""
    text = without_hidden(text)
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text) if "```" in text else text


def asserted(text: str, start: int, end: int) -> bool:
    """Whether a claim is stated, not asked, supposed, or called wrong right after it."""
    return not _SUPPOSED.search(text[max(0, start - 40) : start]) and not _REFUTED.match(text[end : end + 40])


def arithmetic_claims(text: str, line: list[Token] | None = None) -> list[Claim]:
    """Every closed arithmetic claim of a text, in order; at most ``MOST_CLAIMS``.

    Args:
        line: ``tokens(text)``, if the caller has them.

    >>> [(c.right, "12 * 4 = 46, so 46 + 2 = 48"[c.start : c.end]) for c in arithmetic_claims("12 * 4 = 46, so 46 + 2 = 48")]
    [(False, '12 * 4 = 46'), (True, '46 + 2 = 48')]
    """
    claims: list[Claim] = []
    source: Tree | None = None  # a computed member of the present chain of equalities
    line = tokens(text) if line is None else line
    for link in links(line):
        left, right = link.left, link.right
        if not link.chained:
            source = None
        if left is not None and not plain(left):
            source = left
        if left is None or right is None or _has_symbol(left) or _has_symbol(right):
            continue
        if link.relation in "=~" and plain(left) and plain(right) and source is not None:
            measured = (kinds(left) | kinds(right)) & FACTORS.keys()
            if measured and verdict(link.relation, left, right)[0] is not False:
                continue  # 25 * 4 = 100 cents = $1
            left = source
        if link.relation not in "=~":
            source = None
        claim = _judged(text, line, link, left, right)
        if claim is not None:
            claims.append(claim)
        if len(claims) >= MOST_CLAIMS:
            break
    return claims


def _judged(text: str, line: list[Token], link: Link, left: Tree, right: Tree) -> Claim | None:
    if not asserted(text, link.start, link.end):
        return Claim(link.start, link.end, None, "not asserted")
    right_or_not, why = verdict(link.relation, left, right)
    if right_or_not is None:
        return Claim(link.start, link.end, None, why)
    leaves = leaves_of(left), leaves_of(right)
    bare = plain(left) and plain(right)
    if link.relation == "=" and _is_label(link, left, right):
        return Claim(link.start, link.end, None, "label")
    if bare and link.relation == "=":
        if right_or_not:
            return Claim(link.start, link.end, None, "trivial")
        before = text[max(0, link.start - 16) : link.start].split()
        if link.label and before and before[-1].lower().strip("(,$") not in _INTRODUCES:
            return Claim(link.start, link.end, None, "label")
    if right_or_not and link.relation in ("=", "<=", ">=", "~") and leaves[0] == leaves[1]:
        return Claim(link.start, link.end, None, "trivial")
    mirrored = {">": "<", ">=": "<="}
    sides = [(str(evaluate(left)), *leaves[0]), (str(evaluate(right)), *leaves[1])]
    if link.relation in ("=", "!=", "~"):
        sides.sort()
    elif link.relation in mirrored:
        sides.reverse()
    key = ("arithmetic", mirrored.get(link.relation, link.relation), *sides)
    return Claim(link.start, link.end, right_or_not, "", key)


def _is_label(link: Link, left: Tree, right: Tree) -> bool:
    """4 bedrooms = 121 * 4; 20% = 50; 1/4 = 15: the left side names what the right side counts."""
    if link.chained:
        return False
    if literal(left) is not None and any(word != "percent" for word in kinds(left)):
        return True
    part = left[1] if left[0] == "group" else left
    share = part[0] == "percent" or (part[0] == "/" and bool(literal(part[1]) and literal(part[2])))
    return share and plain(right) and sign(evaluate(left) - 1) < 0 and sign(evaluate(right) - 1) > 0


def _has_symbol(tree: Tree) -> bool:
    if tree[0] in ("number", "symbol"):
        return tree[0] == "symbol"
    return _has_symbol(tree[1]) or (isinstance(tree[2] if len(tree) > 2 else None, tuple) and _has_symbol(tree[2]))
