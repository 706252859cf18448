r"""An answer's shape: a value, a list, a set, an interval, a relation, a matrix; what has none here is ``Unread``.

("value", tree)                        ("list", brackets, [shape, ...])     brackets "" or "⦃⦄": in any order
("reals", [(lo, closed, hi, closed)])  a set of real numbers; lo and hi are trees
("chain", [tree, ...], [sign, ...])    a relation with unknowns: a<b<c, x+y=8
("named", name, shape)                 x=5, (x,y)=(1,2)
("matrix", [[tree, ...], ...])         ("ratio", [tree, ...])
"""

from __future__ import annotations

import re
from itertools import product

from trl_r1.answers.inequalities import solved
from trl_r1.answers.reading import read
from trl_r1.answers.sets import INFINITY, Shape, by_commas, meet, union, without
from trl_r1.answers.tree import Tree, Unread, contains, symbols


_SIGNS = {"=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "\\le": "<=", "\\leq": "<=", "\\leqslant": "<="}
_SIGNS |= {"\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=", "\\lt": "<", "\\gt": ">", "\\ne": "!=", "\\neq": "!="}
_SIGNS |= {"!=": "!=", "=<": "<=", "=>": ">=", "\\not=": "!="}
_SIGN = re.compile(
    "|".join(re.escape(s) + ("(?![A-Za-z])" if s[-1].isalpha() else "") for s in sorted(_SIGNS, key=len, reverse=True))
)
_EMPTY = re.compile(r"\\(?:emptyset|varnothing)|⦃\s*⦄|∅|Ø|(?:the )?(?:empty|null) set", re.IGNORECASE)
_REALS = re.compile(
    r"\\(?:mathbb|mathbf|Bbb)\s*(?:\{\s*R\s*\}|R)|ℝ|\\(?:Reals|R)|all real numbers|all reals", re.IGNORECASE
)
_MEMBER = re.compile(r"\s*[A-Za-z](?:_\w)?\s*(?:\\in(?![A-Za-z])|∈)\s*")
_BUILDER = re.compile(
    r"⦃\s*([A-Za-z])\s*(?:(?:\\in(?![A-Za-z])|∈)\s*[^|:]{1,20}?)?\s*"
    r"(?:\||:|\\mid(?![A-Za-z])|\\vert(?![A-Za-z]))(.*)⦄",
    re.DOTALL,
)
_MATRIX = re.compile(
    r"(?P<factor>.*?)\\begin\s*\{(?P<kind>[pbB]?matrix|array|smallmatrix)\}\s*(?:\{[lcr|\s]*\})?(?P<rows>.*)\\end\s*\{(?P=kind)\}",
    re.DOTALL,
)
_WORD_OR = re.compile(r"\s+or\s+|\s*\\(?:lor|vee)(?![A-Za-z])\s*|\s*(?:或者?)\s*")
_WORD_AND = re.compile(r"\s+and\s+|\s*\\(?:land|wedge)(?![A-Za-z])\s*|\s*(?:和|以及|及|与|且)\s*|(?:,|;)\s*and\s+")
_CUP = re.compile(r"\\(?:cup|bigcup)(?![A-Za-z])|∪")
_MINUS = re.compile(r"\\(?:setminus|backslash)(?![A-Za-z])|\\\\")
_COLON = re.compile(r":|\\colon(?![A-Za-z])|\\ratio(?![A-Za-z])")
_OPENING, _CLOSING = "([{⦃", ")]}⦄"
MOST_ITEMS = 40


# ---------------------------------------------------------------- reading


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Cut at the separators outside all brackets."""
    pieces, depth, start, at = [], 0, 0, 0
    while at < len(text):
        character = text[at]
        depth += (character in _OPENING) - (character in _CLOSING)
        found = separator.match(text, at) if depth == 0 and character not in _CLOSING else None
        if found and found.end() > at:
            pieces.append(text[start:at])
            start = at = found.end()
            continue
        at += 1
    return [*pieces, text[start:]]


_COMMA = re.compile(r"[,;]")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")


def shape(text: str) -> Shape:
    """The shape of a canonical answer. Raises ``Unread``."""
    text = text.strip()
    if not text:
        raise Unread("nothing")
    if _EMPTY.fullmatch(text):
        return ("list", "⦃⦄", [])
    if _REALS.fullmatch(text):
        return ("reals", [(("neg", INFINITY), False, INFINITY, False)], "")
    member = _MEMBER.match(text)
    if member and not _COMMA.search(text[: member.end()]):
        inner = shape(text[member.end() :])
        if inner[0] == "reals" or (inner[0] == "list" and inner[1]):
            return inner
        raise Unread("a member of what?")
    builder = _BUILDER.fullmatch(text)
    if builder:
        inner = shape(builder[2])
        if inner[0] == "reals" or (inner[0] == "list" and inner[1] in ("", "⦃⦄")):
            return ("reals", inner[1], "") if inner[0] == "reals" else ("list", "⦃⦄", inner[2])
        raise Unread("a set of what?")
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        return _matrix(matrix)
    whole = _THOUSANDS.sub(lambda m: m.group().replace(",", ""), text) if _only_thousands(text) else text
    pieces = [piece.strip() for comma in split(whole, _COMMA) for piece in split(comma, _WORD_AND)]
    pieces = [re.sub(r"^(?:and|or)\s+", "", piece) for piece in pieces if piece]
    alternatives = [[p.strip() for p in split(piece, _WORD_OR)] for piece in pieces]
    if len(pieces) > 1 or len(alternatives[0]) > 1:
        flat = [piece for group in alternatives for piece in group if piece]
        if len(flat) > MOST_ITEMS:
            raise Unread("a long list")
        if len(alternatives) == len(flat):
            flat = _with_relation(flat)
        shapes = [shape(piece) for piece in flat]
        if any(kind[0] == "reals" for kind in shapes):
            if len(pieces) == 1:
                return union(shapes)
            if len(flat) > len(pieces):
                raise Unread("and, and or")
            return meet(shapes) if len(split(whole, _COMMA)) == 1 else by_commas(shapes)
        return ("list", "", [item for inner in shapes for item in _spread(inner)])
    united = split(whole, _CUP)
    if len(united) > 1:
        return union([shape(piece) for piece in united])
    reduced = split(whole, _MINUS)
    if len(reduced) == 2:
        return without(shape(reduced[0]), shape(reduced[1]))
    if _SIGN.search(whole):
        related = _relation(whole)
        if related is not None:
            return related
    bracketed = _bracketed(whole)
    if bracketed is not None:
        return bracketed
    parts = split(whole, _COLON)
    if len(parts) > 1:
        return ("ratio", [read(part) for part in parts])
    values = _values(read(whole))
    return ("value", values[0]) if len(values) == 1 else ("list", "", [("value", value) for value in values])


_UNEQUAL = re.compile(r"(.{1,20}?(?:!=|\\not\s*=|\\neq?(?![A-Za-z])))\s*\S.*")


def _with_relation(pieces: list[str]) -> list[str]:
    r"""``x \neq 1, 2`` is ``x \neq 1, x \neq 2``."""
    first = _UNEQUAL.fullmatch(pieces[0])
    if first is None:
        return pieces
    return [piece if _SIGN.search(piece) else f"{first[1]} {piece}" for piece in pieces]


def _only_thousands(text: str) -> bool:
    """Whether every comma of a text is one between thousands: 12,500\\pi, but not (1,234) nor 1,234, 5."""
    return "," in text and not re.search(r"[(\[⦃]", text) and _THOUSANDS.sub("", text).count(",") == 0


def _spread(inner: Shape) -> list[Shape]:
    """A list that a sign \\pm made, within a list."""
    return inner[2] if inner[0] == "list" and inner[1] == "" else [inner]


def _matrix(found: re.Match[str]) -> Shape:
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr", found["rows"]) if row.strip()]
    if "\\begin" in found["rows"] or len(rows) > MOST_ITEMS:
        raise Unread("a matrix of matrices")
    cells = [[read(cell) for cell in row.replace("\\hline", "").split("&")] for row in rows]
    if not cells or len({len(row) for row in cells}) > 1:
        raise Unread("a ragged matrix")
    factor = found["factor"].strip().rstrip("([").strip().removesuffix("\\cdot")
    if factor:
        by = read(f"{factor}1") if factor in ("-", "+") else read(factor)
        cells = [[("mul", by, cell) for cell in row] for row in cells]
    return ("matrix", cells)


def _bracketed(text: str) -> Shape | None:
    """Something in one pair of brackets with commas inside, or in braces; None for a grouped expression."""
    angled = re.fullmatch(r"\\langle(?![A-Za-z])(.*)\\rangle", text, re.DOTALL)
    if angled:
        text = f"({angled[1]})"
    if text[0] not in "([⦃" or text[-1] not in ")]⦄":
        return None
    depth = 0
    for index, character in enumerate(text):
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth == 0 and index < len(text) - 1:
            return None
    items = [piece.strip() for piece in split(text[1:-1], _COMMA)]
    brackets = text[0] + text[-1]
    if len(items) == 1 and brackets != "⦃⦄":
        if brackets == "()":
            return shape(items[0])
        return ("list", brackets, [shape(items[0])]) if brackets == "[]" else None
    if not all(items) or len(items) > MOST_ITEMS:
        raise Unread("an empty item")
    shapes = [shape(item) for item in items]
    if brackets == "⦃⦄":
        return ("list", brackets, [item for inner in shapes for item in _spread(inner)])
    if any(item[0] == "list" and item[1] == "" for item in shapes):  # (\pm 1, 0) is two points
        combined = list(product(*map(_spread, shapes)))
        if len(combined) > MOST_ITEMS:
            raise Unread("many points")
        return ("list", "", [("list", brackets, list(point)) for point in combined])
    return ("list", brackets, shapes)


def _values(tree: Tree) -> list[Tree]:
    r"""The one value of an expression, or those that its \pm stand for: with \mp in step, several \pm independently."""
    if not contains(tree, "pm", "mp"):
        return [tree]
    several = _count(tree, "pm")
    if several > 3:
        raise Unread("many signs")
    if contains(tree, "mp") or several == 1:
        return [_signed(tree, [sign] * 8, linked=True) for sign in (1, -1)]
    patterns = [[1 if index >> bit & 1 else -1 for bit in range(several)] for index in range(2**several)]
    return [_signed(tree, pattern, linked=False) for pattern in patterns]


def _count(tree: Tree, head: str) -> int:
    return (tree[0] == head) + sum(_count(part, head) for part in tree[1:] if isinstance(part, tuple))


def _signed(tree: Tree, signs: list[int], linked: bool) -> Tree:
    if tree[0] in ("pm", "mp"):
        sign = signs[0] if linked else signs.pop()
        inner = _signed(tree[1], signs, linked)
        return inner if (sign > 0) == (tree[0] == "pm") else ("neg", inner)
    return tuple(_signed(part, signs, linked) if isinstance(part, tuple) else part for part in tree)


# ---------------------------------------------------------------- relations and sets of reals


def _relation(text: str) -> Shape | None:
    signs = []
    sides = []
    depth, start, at = 0, 0, 0
    while at < len(text):
        character = text[at]
        found = _SIGN.match(text, at) if depth == 0 else None
        if found:
            signs.append(_SIGNS[found.group()])
            sides.append(text[start:at].strip())
            start = at = found.end()
            continue
        depth += (character in _OPENING) - (character in _CLOSING)
        at += 1
    sides.append(text[start:].strip())
    if not signs:
        return None
    if not all(sides):
        raise Unread("a side is missing")
    if signs == ["="]:
        name = _symbol(sides[0])
        if name is None and _symbol(sides[1]) is not None:
            sides.reverse()
            name = _symbol(sides[0])
        if name is not None or _is_tuple(sides[0]):
            right = shape(sides[1])
            if right[0] == "value" and name is not None and name not in symbols(right[1]):
                return ("named", name, right)
            if right[0] != "value":
                if name is None:
                    return ("named", sides[0].replace(" ", ""), right)
                if right[0] == "list" and right[1] == "":
                    return ("list", "", [("named", name, item) for item in right[2]])
                return ("named", name, right)
    trees = [read(side) for side in sides]
    names = set().union(*map(symbols, trees))
    if len(names) == 1 and "=" not in signs:
        reals = solved(trees, signs)
        if reals is not None:
            return reals
    if any(contains(tree, "pm", "mp") for tree in trees):
        raise Unread("signs in a relation")
    return ("chain", trees, signs)


def _is_tuple(text: str) -> bool:
    return re.fullmatch(r"\(\s*[A-Za-z](?:_\w)?(?:\s*,\s*[A-Za-z](?:_\w)?)+\s*\)", text) is not None


def _symbol(text: str) -> str | None:
    try:
        tree = read(text)
    except Unread:
        return None
    return tree[1] if tree[0] == "sym" else None
