"""Expression trees: the tokens of one piece, read by precedence climbing. Bounded in length and depth; no evaluation."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from trl_r1.claims.pieces import Piece
from trl_r1.claims.tokens import Token


MOST_TOKENS = 120  # of one expression
MOST_NESTING = 24


class Unreadable(ValueError):
    """Not an expression that can be read or has a value; whoever asked abstains."""


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
                mixed = token.text == "frac" and left[0] == "number" and left[2] is None
                left = ("mixed" if mixed else "*", left, self.expression(_IMPLICIT, depth + 1))
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
            digits = self.peek()
            if digits is not None and digits.kind == "number" and digits.text.isdigit() and len(digits.text) == 2:
                self.take()  # \frac12
                over, under = (("number", Fraction(digit), None) for digit in digits.text)
            else:
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
