"""Numbers and operations found in free text: tokens, and the longest expressions they form. Nothing is evaluated here.

The text is read once, left to right, in linear time. What stands beside an expression decides whether it is closed:
``5 apples + 3 apples`` is one, ``x + 3``, ``total - 3`` and ``f(3)`` are not. A token is a plain tuple with names.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, NamedTuple


MOST_DIGITS = 300  # of one number
MOST_TOKENS = 120  # of one expression
MOST_NESTING = 24


class Unreadable(ValueError):
    """Not an expression this module can read; whoever asked abstains."""


class Token(NamedTuple):
    """``kind``: number, operator, postfix, open, close, function, relation, word, symbol, separator or opaque."""

    kind: str
    text: str  # in a normal form: "*" for every multiplication sign, "<=" for every "at most"
    start: int
    end: int


_SCAN = re.compile(
    r"""
    (?P<tag> <<|>> | </?[A-Za-z|][^<>\n=]{0,60}> )
  | (?P<dots> \.{2,} | …+ | \\(?:cdots|ldots|dots)(?![A-Za-z]) )
  | (?P<number> [0-9]{1,3}(?:(?:,|\{,\}|\\,)[0-9]{3})+(?![0-9])(?:\.[0-9]+)? | [0-9]+(?:\.[0-9]+)? | \.[0-9]+ )
  | (?P<degree> ° | º | \^\s?\{?\s?\\circ(?![A-Za-z])\s?\}? )
  | (?P<label> \\(?:text|mathrm|mbox|textrm|operatorname)\s?\{[^{}\n0-9=<>]{0,60}\} )
  | (?P<percent> % | \\% | (?:percent|per\scent)(?![A-Za-z]) )
  | (?P<command> \\[A-Za-z]+ | \\[^A-Za-z0-9\n] )
  | (?P<variable> (?<![A-Za-z])[A-Za-z](?:_\{[A-Za-z0-9]{1,12}\}|_[A-Za-z0-9]{1,12}|[0-9]{1,3})(?![A-Za-z0-9_]) )
  | (?P<phrase> (?:divided|multiplied)\ by(?![A-Za-z]) )
  | (?P<word> [^\W\d_]+ (?: ['’-][^\W\d_]+ | _[^\W_]+ )* )
  | (?P<superscript> [⁰¹²³⁴⁵⁶⁷⁸⁹]+ )
  | (?P<vulgar> [½⅓⅔¼¾⅕⅛] )
  | (?P<relation> <=>|<->|<=|>=|!=|==|:=|=>|->|~=|[=<>≤≥≠≈≃≅~⩽⩾≦≧] )
  | (?P<power> \*\*|\^ )
  | (?P<sign> [-+*/÷×·⋅∙✕✖∕⁄−!√–] )
  | (?P<bracket> [()\[\]{}] )
  | (?P<blank> [^\S\n]+ | [$€£¥￥₹`&\u200b] )
  | (?P<other> . | \n )
    """,
    re.VERBOSE | re.DOTALL,
)
_WIDE = str.maketrans("０１２３４５６７８９＋－＝（）＜＞％／＊．｛｝", "0123456789+-=()<>%/*.{}")  # one character for one
_OPERATORS = {**dict.fromkeys("*×·⋅∙✕✖", "*"), **dict.fromkeys("/÷∕⁄", "/"), **dict.fromkeys("-−–", "-"), "+": "+"}
_WORD_OPERATORS = {
    **{"times": "*", "multiplied by": "*", "divided by": "/", "plus": "+", "minus": "-"},
    **{"乘以": "*", "乘": "*", "除以": "/", "加": "+", "加上": "+", "减": "-", "减去": "-"},
}
_WORD_RELATIONS = {"equals": "=", "等于": "=", "约等于": "~"}
_RELATIONS = {
    **{"=": "=", "==": "=", "<": "<", ">": ">", "<=": "<=", "≤": "<=", "⩽": "<=", "≦": "<=", ">=": ">=", "≥": ">="},
    **{"⩾": ">=", "≧": ">=", "!=": "!=", "≠": "!=", "≈": "~", "≃": "~", "≅": "~", "~": "~", "~=": "~"},
    **{r"\approx": "~", r"\simeq": "~", r"\doteq": "~", r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", r"\ge": ">="},
    **{r"\geq": ">=", r"\geqslant": ">=", r"\lt": "<", r"\gt": ">", r"\ne": "!=", r"\neq": "!="},
}
_COMMANDS = {
    **dict.fromkeys((r"\times", r"\cdot", r"\ast"), ("operator", "*")),
    **dict.fromkeys((r"\div",), ("operator", "/")),
    **dict.fromkeys((r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"), ("function", "frac")),
    r"\sqrt": ("function", "sqrt"),
    **{command: ("relation", relation) for command, relation in _RELATIONS.items() if command[0] == "\\"},
    **dict.fromkeys((r"\quad", r"\qquad", "\\\\", r"\to", r"\rightarrow", r"\Rightarrow"), ("separator", ";")),
    **dict.fromkeys((r"\implies", r"\therefore", r"\because", r"\iff", r"\Longrightarrow"), ("separator", ";")),
    **dict.fromkeys((r"\begin", r"\end", r"\newline", r"\item"), ("separator", ";")),
    **dict.fromkeys((r"\pm", r"\mp", r"\pmod", r"\bmod", r"\mod", r"\equiv"), ("opaque", "")),
}
_SILENT = {r"\left", r"\right", r"\displaystyle", r"\boxed", r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr"}
_SILENT |= {r"\textbf", r"\mathbf", r"\bf", r"\(", r"\)", r"\[", r"\]", r"\,", r"\;", r"\:", r"\!", r"\ ", r"\$", r"\&"}
_VULGAR = dict(zip("½⅓⅔¼¾⅕⅛", ("1/2", "1/3", "2/3", "1/4", "3/4", "1/5", "1/8"), strict=True))
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_OPAQUE_WORDS = frozenset("mod modulo choose log ln sin cos tan gcd lcm max min floor ceil round abs exp".split())
VALUE_ENDS = frozenset({"number", "close", "postfix", "symbol"})


def tokens(text: str) -> list[Token]:
    """The tokens of a text; characters that only decorate (spaces, dollar signs, LaTeX spacing) give none."""
    text = text.translate(_WIDE)
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _SCAN.match(text, position)
        assert match is not None  # "other" matches anything
        group, raw, start, end = match.lastgroup, match.group(), match.start(), match.end()
        last = found[-1] if found else None
        after_value = last is not None and last.kind in VALUE_ENDS
        touching = last is not None and last.end == start
        kind, normal = "separator", ";"
        if group == "blank" or (group == "command" and raw in _SILENT):
            position = end
            continue
        if group == "number":
            kind, normal = "number", raw.replace("{,}", "").replace("\\,", "").replace(",", "")
            if len(normal) > MOST_DIGITS:
                kind = "opaque"
        elif group == "vulgar":
            kind, normal = "number", _VULGAR[raw]
        elif group == "variable" and raw[0] in "xX" and raw[1].isdigit() and after_value and touching:
            kind, normal, end = "operator", "*", start + 1  # 2x3
        elif group == "variable":
            kind, normal = "symbol", raw.replace("{", "").replace("}", "")
        elif group in ("word", "phrase"):
            kind, normal = _word(raw, text, start, end, last, after_value)
        elif group in ("degree", "label"):
            kind, normal = "word", raw.partition("{")[2].strip("} ").lower() if group == "label" else "°"
        elif group == "percent":
            kind, normal = ("postfix", "%") if after_value else ("opaque", "")
        elif group == "command":
            kind, normal = _COMMANDS.get(raw, ("symbol", raw))
        elif group == "superscript":
            found.append(Token("operator", "^", start, start))
            kind, normal = "number", raw.translate(_DIGITS)
        elif group == "power":
            if raw == "**" and not (after_value and touching and re.match(r"[\w(]", text[end : end + 1])):
                position = end  # bold
                continue
            kind, normal = "operator", "^"
        elif group == "relation":
            kind, normal = ("relation", _RELATIONS[raw]) if raw in _RELATIONS else ("separator", ";")
            if raw == "!=" and touching and after_value:
                kind = "opaque"  # 3!=6 or 3 != 6
        elif group == "sign":
            kind, normal = _sign(raw, text, start, end, after_value, touching)
            if not kind:
                position = end
                continue
        elif group == "bracket":
            kind, normal = ("open" if raw in "([{" else "close"), raw
        elif group == "dots":
            continues = re.match(r"\s?[0-9+*/×-]", text[end : end + 2])
            decimal = touching and last is not None and last.kind == "number" and "." in last.text
            kind = "opaque" if continues or decimal or raw[0] == "\\" else "separator"
        elif group == "other":
            digits_around = touching and after_value and text[end : end + 1].isdigit()
            if raw in ",:_'" and digits_around or raw in "∓±≡∑∏∫" or (raw == "_" and touching):
                kind = "opaque"
            normal = raw
        if kind == "relation" and last is not None and last.text == "\n":
            found.pop()  # the line goes on
        if not (raw == "\n" and last is not None and last.kind == "relation"):
            found.append(Token(kind, normal, start, end))
        position = end
    return found


def _word(raw: str, text: str, start: int, end: int, last: Token | None, after_value: bool) -> tuple[str, str]:
    lower = raw.lower()
    touching = last is not None and last.end == start
    if lower in _WORD_OPERATORS and last is not None and last.kind in VALUE_ENDS | {"word"}:
        return "operator", _WORD_OPERATORS[lower]
    if lower in _WORD_RELATIONS:
        return "relation", _WORD_RELATIONS[lower]
    if lower == "sqrt":
        return "function", "sqrt"
    if lower in _OPAQUE_WORDS:
        return "opaque", ""
    if lower in ("of", "的") and last is not None and last.text == "%":
        return "operator", "*"
    if len(raw) == 1 and (raw.isascii() or "α" <= raw <= "ω"):
        follows = text[end : end + 8].lstrip(" $\\(")[:1]
        if raw in "xX" and last is not None and last.kind in (*VALUE_ENDS, "word") and re.match("[0-9.]", follows):
            return "operator", "*"
        if raw in "xX" and after_value and not touching and follows and text[end : end + 1] == " ":
            return ("operator", "*") if follows == "(" else ("symbol", raw)
        prose = raw in "aAI" and not touching and re.match(r"\s[A-Za-z0-9]", text[end : end + 2])
        return ("word", lower) if prose else ("symbol", raw)
    if touching and last is not None and last.kind == "number" and lower in ("st", "nd", "rd", "th", "d"):
        return "opaque", ""
    return ("symbol", raw) if "_" in raw else ("word", lower)


def _sign(raw: str, text: str, start: int, end: int, after_value: bool, touching: bool) -> tuple[str, str]:
    spaced = text[start - 1 : start] in ("", " ", "\n") and text[end : end + 1] in (" ", "")
    if raw == "√":
        return "function", "sqrt"
    if raw == "!":
        return ("postfix", "!") if after_value and touching else ("separator", "!")
    if raw == "–" and not spaced:
        return "opaque", ""  # a range
    if raw == "*" and not re.match(r"\s?\\?[$\w(√.{\[\\-]", text[end : end + 3]):
        return "", ""  # emphasis
    if raw in "*·" and not after_value:
        before = text[max(0, start - 20) : start].rstrip(" ")
        return ("operator", "*") if before[-1:].isalnum() and spaced else ("", "")
    if raw == "-" and spaced and re.match(r"\s[^\W\d_]{2}", text[end : end + 3]):
        return "separator", "-"  # a dash before words
    return "operator", _OPERATORS[raw]


class Piece(NamedTuple):
    """Tokens ``first`` to ``last`` (exclusive) that may be one expression; ``closed``: nothing beside it belongs."""

    first: int
    last: int
    closed: bool


def pieces(line: list[Token], first: int, last: int) -> list[Piece]:
    """The candidate expressions among the tokens between two relations, in order."""
    found: list[Piece] = []
    begun: int | None = None
    value = spoiled = stuck = False  # value: an operand has just ended. stuck: what came before runs on
    opened: list[int] = []

    def end(at: int, closed: bool = True) -> None:
        nonlocal begun, value
        if begun is not None:
            start = opened[-1] + 1 if opened else begun
            trailing = not opened or at == last
            found.append(Piece(start, at, closed and value and not spoiled and trailing))
        begun, value = None, False
        opened.clear()

    for index in range(first, last):
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
        elif kind in ("number", "symbol", "function", "open"):
            after_word = before is not None and before.kind == "word"
            applied = kind == "open" and touching and before is not None and before.kind in ("word", "symbol")
            if value and after_word and not applied and kind != "symbol":
                end(index)
                spoiled = False
            elif value and kind == "number" and not _mixed(line, index, last):
                end(index, closed=False)
                spoiled = True
            if begun is None:
                begun = index
                spoiled = spoiled or stuck or (applied and before is not None)
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
                if token.text not in "+-" or stuck:
                    spoiled = True
                if begun is None:
                    begun = index
            value, stuck = False, False
    end(last)
    return found


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


# ---------------------------------------------------------------- trees

Tree = tuple[Any, ...]  # ("number", Fraction, decimals or None) | ("symbol", name) | (operation, Tree[, Tree or text])
_BINDING = {"+": 10, "-": 10, "*": 20, "/": 20}
_PREFIX, _IMPLICIT, _POWER = 25, 30, 40


def parse(line: list[Token], piece: Piece) -> Tree:
    """The tree of a piece, by precedence climbing.

    Raises:
        Unreadable: more than ``MOST_TOKENS`` tokens, deeper than ``MOST_NESTING``, or no expression.
    """
    if piece.last - piece.first > MOST_TOKENS:
        raise Unreadable("too long")
    parser = _Parser(line, piece)
    tree = parser.expression(0, 0)
    if parser.at != piece.last:
        raise Unreadable("no expression")
    return tree


class _Parser:
    def __init__(self, line: list[Token], piece: Piece) -> None:
        self.line, self.at, self.last = line, piece.first, piece.last

    def peek(self) -> Token | None:
        return self.line[self.at] if self.at < self.last else None

    def take(self, kind: str = "", text: str = "") -> Token:
        token = self.peek()
        if token is None or (kind and token.kind != kind) or (text and token.text != text):
            raise Unreadable("no expression")
        self.at += 1
        return token

    def expression(self, binding: int, depth: int) -> Tree:
        if depth > MOST_NESTING:
            raise Unreadable("too deep")
        left = self.units(self.operand(depth), depth)
        while (token := self.peek()) is not None:
            if token.kind == "operator":
                power = token.text == "^"
                strength = _POWER if power else _BINDING[token.text]
                if strength < binding or (strength == binding and not power):
                    break
                self.take()
                following = self.peek()
                if token.text == "/" and following is not None and following.kind == "word":
                    left = ("unit", left, self.take().text, -1)
                    continue
                right = self.expression(strength, depth + 1)
                left = self.units((token.text, left, right), depth) if power else (token.text, left, right)
            elif token.kind in ("open", "function", "symbol"):
                if binding >= _IMPLICIT:
                    break
                if left[0] == "/" or (binding == _BINDING["/"] and self._after_division):
                    raise Unreadable("6/2(3) has two readings")
                left = ("*", left, self.expression(_IMPLICIT, depth + 1))
            else:
                break
        return left

    @property
    def _after_division(self) -> bool:
        position = self.at - 1
        while position >= 0 and self.line[position].kind in ("number", "postfix", "symbol"):
            position -= 1
        return position >= 0 and self.line[position].text == "/"

    def operand(self, depth: int) -> Tree:
        token = self.take()
        if token.kind == "operator" and token.text in "+-":
            inner = self.expression(_PREFIX, depth + 1)
            return ("negative", inner) if token.text == "-" else inner
        if token.kind == "number":
            following = self.peek()
            if following is not None and following.kind == "number":  # a mixed number
                part: Tree = _number(self.take())
                if (slash := self.peek()) is not None and slash.text == "/" and part[2] is None:
                    self.take()
                    part = ("/", part, _number(self.take("number")))
                return ("+", _number(token), part)
            return _number(token)
        if token.kind == "symbol":
            return ("symbol", token.text)
        if token.kind == "open":
            return self.closed(token, depth)
        if token.kind == "function" and token.text == "frac":
            over, under = self.argument(depth), self.argument(depth)
            return ("+", ("number", Fraction(0), None), ("/", over, under))  # a sum: no second reading, as in (1/2)(3)
        if token.kind == "function":
            index: Tree | None = None
            if (bracket := self.peek()) is not None and bracket.text == "[":
                index = self.closed(self.take(), depth)
            inside = self.argument(depth)
            return ("sqrt", inside) if index is None else ("root", inside, index)
        raise Unreadable("no operand")

    def argument(self, depth: int) -> Tree:
        token = self.take()
        if token.kind == "open":
            return self.closed(token, depth)
        if token.kind == "number":
            return _number(token)
        if token.kind == "symbol":
            return ("symbol", token.text)
        raise Unreadable("no argument")

    def closed(self, bracket: Token, depth: int) -> Tree:
        inside = self.expression(0, depth + 1)
        self.take("close", {"(": ")", "[": "]", "{": "}"}[bracket.text])
        return ("group", inside)

    def units(self, tree: Tree, depth: int) -> Tree:
        while (token := self.peek()) is not None and token.kind in ("postfix", "word"):
            self.take()
            if token.kind == "word":
                tree = ("unit", tree, token.text, 1)
            else:
                tree = ("percent" if token.text == "%" else "factorial", tree)
        return tree


def _number(token: Token) -> Tree:
    decimals = len(token.text.partition(".")[2]) if "." in token.text else None
    return ("number", Fraction(token.text), decimals)
