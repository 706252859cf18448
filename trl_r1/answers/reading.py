r"""One mathematical expression as a tree: ``\frac{3}{5}\pi`` in, a product of 3/5 and pi out. Nothing is evaluated here.

What has two readings, or one that is not known here, is ``Unread``: ``x/2y`` is read, ``1/xy`` is not, ``f(2x)`` is not.
A number over a number before a symbol is a factor (``1/2x`` is x/2). ``e`` and ``i`` are the constants.
"""

from __future__ import annotations

import re
from fractions import Fraction

from trl_r1.answers.numerals import repeating
from trl_r1.answers.tree import Tree, Unread, number


DEEPEST = 60
_NUMBER = re.compile(
    r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)?(?:\.(?P<places>\d*)(?:\\(?:overline|bar|dot)\s*\{?\s*(?P<over>\d+)\s*\}?"
    r"|\((?P<round>\d+)\))?)?",
    re.ASCII,
)
_DOTTED = re.compile(r"(\d*\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?", re.ASCII)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_WORD = re.compile(r"[A-Za-z]+")
_SUBSCRIPT = re.compile(r"\s*_\s*(?:\{\s*((?:\\[A-Za-z]+|[\w ,+-]){1,20})\s*\}|(\w)|\\([A-Za-z]+))")
_BLANK = re.compile(
    r"(?:\s|\\[,;:!> ]|~|\\(?:left|right|displaystyle|quad|qquad|limits|[bB]ig{1,2}[lrm]?)(?![A-Za-z]))*"
)
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp arcsinh arccosh arctanh".split()
)
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "sinh": "arcsinh", "cosh": "arccosh", "tanh": "arctanh"}
_GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon "
    "phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar".split()
)
_PLAIN = re.compile(
    r"sqrt|cbrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|lg|exp|pi(?![A-Za-z])"
)
_NO_PRODUCT = frozenset(
    "or and to of cm mm km kg mg ml min deg rad mod gcd lcm max lim det dx dy dt is no if in".split()
)
_UNKNOWN_FUNCTIONS = frozenset("fghFGHP")
_FENCES = {"lfloor": ("\\rfloor", "floor"), "lceil": ("\\rceil", "ceil"), "lvert": ("\\rvert", "abs")}
_MIXED = re.compile(r"\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}|\s+(\d+)\s*/\s*(\d+)", re.ASCII)
_CLOSES = {"(": ")", "[": "]", "{": "}"}


def read(text: str) -> Tree:
    r"""The tree of a whole expression.

    Raises:
        Unread: anything else.

    >>> read(r"\frac{2}{3}x")
    ('mul', ('div', ('num', Fraction(2, 1)), ('num', Fraction(3, 1))), ('sym', 'x'))
    """
    reader = _Reader(text.replace("**", "^"))
    try:
        tree = reader.sum()
        if reader.take("\\over"):
            tree = ("div", tree, reader.sum())
    except RecursionError:
        raise Unread("too deep") from None
    if reader.peek():
        raise Unread(f"what is {reader.text[reader.at :][:20]!r}?")
    return tree


class _Reader:
    """Recursive descent over one text; ``at`` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.bars = 0  # open |
        self.angle = 0  # inside the argument of a function

    # ------------------------------------------------------------ characters

    def peek(self) -> str:
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.text[self.at : self.at + 1]

    def take(self, *wanted: str) -> str:
        """The first of ``wanted`` that stands here, taken; "" if none does. A command ends where its letters end."""
        self.peek()
        for token in wanted:
            if self.text.startswith(token, self.at):
                end = self.at + len(token)
                if token[0] == "\\" and token[-1].isalpha() and self.text[end : end + 1].isalpha():
                    continue
                self.at = end
                return token
        return ""

    def need(self, token: str) -> None:
        if not self.take(token):
            raise Unread(f"no {token!r}")

    # ------------------------------------------------------------ the grammar

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unread("too deep")
        tree = self.term()
        while sign := self.take("+", "-", "\\pm", "\\mp"):
            right = self.term()
            if sign == "-":
                right = ("neg", right)
            elif sign != "+":
                right = (sign[1:], right)
            tree = ("add", tree, right)
        self.depth -= 1
        return tree

    def term(self) -> Tree:
        tree = self.signed()
        while True:
            if self.take("*", "\\cdot", "\\times", "\\ast"):
                tree = ("mul", tree, self.signed())
            elif self.take("/", "\\div"):
                below = self.signed()
                if not _is_number(below) and self.starts_factor():
                    raise Unread("what is below the slash?")
                tree = ("div", tree, below)
            elif self.starts_factor():
                if self.peek().isdigit() or self.peek() == ".":
                    raise Unread("a number right behind a factor")
                tree = ("mul", tree, self.power())
            else:
                return tree

    def signed(self) -> Tree:
        sign = self.take("+", "-", "\\pm", "\\mp")
        if not sign:
            return self.power()
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unread("too deep")
        tree = self.signed()
        self.depth -= 1
        return tree if sign == "+" else ("neg", tree) if sign == "-" else (sign[1:], tree)

    def starts_factor(self) -> bool:
        head = self.peek()
        if head == "|":
            return not self.bars
        if head == "\\":
            found = _COMMAND.match(self.text, self.at)
            name = found[1] if found else ""
            return name in ("frac", "sqrt", "pi", "infty", "binom", "dbinom", "lfloor", "lceil", "lvert") or (
                name in FUNCTIONS or name in _GREEK
            )
        return bool(head) and (head.isascii() and head.isalnum() or head in "([{.")

    def power(self) -> Tree:
        tree = self.primary()
        while True:
            if self.take("!"):
                if self.text[self.at : self.at + 1] in ("!", "="):
                    raise Unread("a double factorial")
                tree = ("fact", tree)
            elif self.take("%"):
                tree = ("div", tree, number(100))
            elif self.take("^"):
                tree = ("pow", tree, self.exponent())
            elif self.angle and self.take("degrees"):
                tree = ("div", ("mul", tree, ("const", "pi")), number(180))
            else:
                return tree

    def exponent(self) -> Tree:
        """Behind ^: braces, brackets, a number with its sign, or one letter or command."""
        sign = self.take("-", "+")
        head = self.peek()
        if head.isascii() and head.isdigit():
            start = self.at
            while self.text[self.at : self.at + 1].isdecimal():
                self.at += 1
            tree = number(int(self.text[start : self.at]))
        else:
            tree = self.argument()
        return ("neg", tree) if sign == "-" else tree

    def argument(self) -> Tree:
        """Of a command: braces, one digit, one letter, or another command."""
        head = self.peek()
        if head.isdigit():
            self.at += 1
            return number(int(head))
        if head.isascii() and head.isalpha():
            self.at += 1
            return self.symbol(head)
        return self.primary()

    def group(self, closing: str) -> Tree:
        bars, self.bars = self.bars, 0  # those outside
        tree = self.sum()
        if self.take("\\over"):
            tree = ("div", tree, self.sum())
        self.need(closing)
        self.bars = bars
        return tree

    def primary(self) -> Tree:
        head = self.peek()
        if head.isdigit() or head == ".":
            return self.numeral()
        if head in _CLOSES and head:
            self.at += 1
            return self.group(_CLOSES[head])
        if head == "|":
            self.at += 1
            self.bars += 1
            tree = self.sum()
            self.need("|")
            self.bars -= 1
            return ("fn", "abs", tree)
        if head == "\\":
            return self.command()
        if head.isascii() and head.isalpha():
            return self.letters()
        raise Unread(f"{head!r}")

    def numeral(self) -> Tree:
        dotted = _DOTTED.match(self.text, self.at)
        if dotted:
            self.at = dotted.end()
            over = dotted[2] + (dotted[3] or "") + (dotted[4] or "")
            if dotted[3] and not dotted[4]:
                raise Unread("dots over some digits")
            return self.behind_numeral(number(repeating(dotted[1], over)))
        found = _NUMBER.match(self.text, self.at)
        if found is None or not found.group().strip("."):
            raise Unread("no number")
        self.at = found.end()
        over = found["over"] or found["round"]
        if over:
            plain = found.group().partition("\\")[0].partition("(")[0]
            return self.behind_numeral(number(repeating(plain, over)))
        tree = number(Fraction(found.group().replace(",", "").rstrip(".") or "0"))
        if found["places"]:
            tree = (*tree, len(found["places"]))
        if found["places"] is None:
            mixed = _MIXED.match(self.text, self.at)
            if mixed:
                top, below = int(mixed[1] or mixed[3]), int(mixed[2] or mixed[4])
                if below == 0 or top >= below:
                    raise Unread("a mixed number of what?")
                self.at = mixed.end()
                tree = number(tree[1] + Fraction(top, below))
        return self.behind_numeral(tree)

    def behind_numeral(self, tree: Tree) -> Tree:
        if self.text.startswith("_", self.at) or self.peek() == "_":
            raise Unread("a number in a base")
        if self.peek().isdigit():
            raise Unread("two numbers")
        return tree

    def symbol(self, name: str) -> Tree:
        subscript = _SUBSCRIPT.match(self.text, self.at)
        if subscript:
            self.at = subscript.end()
            inner = (subscript[1] or subscript[2] or subscript[3]).replace(" ", "")
            return ("sym", f"{name}_{inner}")
        if self.text[self.at : self.at + 1] in ("'", "′"):
            raise Unread("a prime")
        return ("const", name) if name in ("e", "i") else ("sym", name)

    def letters(self) -> Tree:
        word = _WORD.match(self.text, self.at)
        assert word is not None
        run = word.group()
        plain = _PLAIN.match(run)
        if plain and len(run) <= plain.end() + 1:
            self.at += plain.end()
            return self.named(plain.group())
        if len(run) > 3 or run.lower() in _NO_PRODUCT:
            raise Unread(f"the word {run!r}")
        self.at += 1
        if run[0] in _UNKNOWN_FUNCTIONS and self.text[self.at : self.at + 1] == "(":
            raise Unread("a function of its own")
        return self.symbol(run[0])

    def command(self) -> Tree:
        found = _COMMAND.match(self.text, self.at)
        if found is None:
            raise Unread("a command")
        self.at = found.end()
        name = found[1]
        if name == "frac":
            above = self.argument()
            return ("div", above, self.argument())
        if name in ("binom", "dbinom", "tbinom"):
            above = self.argument()
            return ("choose", above, self.argument())
        if name in _GREEK:
            return self.symbol("\\" + name)
        if name in _FENCES:
            closing, function = _FENCES[name]
            return ("fn", function, self.group(closing))
        if name == "infty":
            return ("const", "inf")
        if name in ("mathrm", "mathbf", "mathit", "text", "textrm", "mathnormal", "boldsymbol", "bm"):
            self.need("{")
            return self.group("}")
        return self.named(name)

    def named(self, name: str) -> Tree:
        if name == "pi":
            return ("const", "pi")
        if name in ("sqrt", "cbrt"):
            degree: Tree = number(3 if name == "cbrt" else 2)
            if self.take("["):
                degree = self.group("]")
            return ("root", self.argument(), degree)
        if name not in FUNCTIONS:
            raise Unread(f"the command {name!r}")
        base: Tree | None = None
        raised: Tree | None = None
        if self.take("_"):
            if name != "log":
                raise Unread("a subscript")
            base = self.script()
        if self.take("^"):
            raised = self.script()
        inner = self.of_function()
        if raised == ("neg", number(1)) or raised == ("num", Fraction(-1)):
            if name not in _INVERSE:
                raise Unread("the inverse of what?")
            return ("fn", _INVERSE[name], inner)
        if base is not None:
            tree: Tree = ("div", ("fn", "ln", inner), ("fn", "ln", base))
        elif name == "lg":
            tree = ("div", ("fn", "ln", inner), ("fn", "ln", number(10)))
        elif name == "exp":
            tree = ("pow", ("const", "e"), inner)
        elif name == "log":  # to which base? 10, e and 2 are all in use
            tree = ("div", ("fn", "ln", inner), ("fn", "ln", ("sym", "base of log")))
        else:
            tree = ("fn", name, inner)
        return tree if raised is None else ("pow", tree, raised)

    def script(self) -> Tree:
        sign = self.take("-")
        digits = self.peek().isdigit()
        tree = self.argument()
        if digits and self.text[self.at : self.at + 1].isdigit():
            raise Unread("which digits are the script?")
        return ("neg", tree) if sign else tree

    def of_function(self) -> Tree:
        """The argument of a function: brackets alone, or the factors up to the next sign or function."""
        self.angle += 1
        head = self.peek()
        if head in ("(", "{", "["):
            self.at += 1
            tree = self.group(_CLOSES[head])
            if self.peek() == "^":
                raise Unread("a power of the function, or of what it is of?")
        else:
            tree = self.signed() if self.peek() == "-" else self.power()
            closed = False  # behind a fraction or root another factor may be outside
            while self.starts_factor() and not self.at_function():
                if closed or self.peek() in "(|[":
                    raise Unread("where does the argument end?")
                closed = self.peek() == "\\" and self.text.startswith(("\\frac", "\\sqrt"), self.at)
                if self.peek().isdigit():
                    raise Unread("a number right behind a factor")
                tree = ("mul", tree, self.power())
            if self.peek() == "/":
                raise Unread("where does the argument end?")
        self.angle -= 1
        return tree

    def at_function(self) -> bool:
        found = _COMMAND.match(self.text, self.at)
        plain = _PLAIN.match(self.text, self.at)
        return bool(found and found[1] in FUNCTIONS) or bool(plain and plain.group() in FUNCTIONS)


def _is_number(tree: Tree) -> bool:
    return tree[0] == "num" or (tree[0] == "neg" and tree[1][0] == "num")
