r"""How answers are written: boxes found, one spelling for many, LaTeX for math-verify."""

from __future__ import annotations

import re
from functools import lru_cache

from trl_r1.answers.numerals import in_digits
from trl_r1.answers.ratios import ratio_sign


LONGEST_ANSWER = 1000  # characters; a longer answer is wrong, unless the gold is as long
FUNCTION_NAMES = frozenset(
    "pi sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp lim max min mod gcd lcm sqrt det inf "
    "infty infinity alpha beta gamma delta epsilon theta lambda sigma omega phi psi rho tau and or cup cap".split()
)
_NO_FUNCTION = rf"(?<![\\A-Za-z])(?!(?:{'|'.join(sorted(FUNCTION_NAMES))})(?![A-Za-z]))"
WORD_OR_NAME = re.compile(rf"{_NO_FUNCTION}[A-Za-z]{{2,}}|[\u4e00-\u9fff]")  # no function, no LaTeX command
NOUN = re.compile(rf"{_NO_FUNCTION}[A-Za-z]{{3,}}|[\u4e00-\u9fff]")
NUMERAL = r"(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d+)?|\.\d+"
_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{|\\.|[{}]", re.DOTALL)


def boxes(text: str) -> tuple[list[tuple[int, int, int, int]], int]:
    r"""All closed ``\boxed{...}`` as (start, end, content start, content end), in order of their ends, and the start
    of the last one never closed (-1: none). Braces may nest; one pass."""
    closed: list[tuple[int, int, int, int]] = []
    open_braces: list[tuple[int, int]] = []  # (start of the box, start of its content); (-1, -1) for a plain brace
    for token in _BOX_TOKEN.finditer(text):
        kind = token.group()
        if kind == "}":
            if open_braces:
                start, content = open_braces.pop()
                if start >= 0:
                    closed.append((start, token.end(), content, token.start()))
        elif kind == "{":
            open_braces.append((-1, -1))
        elif kind[-1] == "{" and len(kind) > 2:
            open_braces.append((token.start(), token.end()))
    return closed, max((start for start, _ in open_braces), default=-1)


_TRANSLATE: dict[int, str | None] = {ord(full): chr(ord(full) - 0xFEE0) for full in map(chr, range(0xFF01, 0xFF5F))}
_TRANSLATE |= {0x3000: " ", 0xA0: " ", 0x2009: " ", 0x202F: " ", 0x2212: "-", 0x2013: "-", 0x2010: "-", 0x2011: "-"}
_TRANSLATE |= {ord("、"): ",", ord("。"): ".", ord("×"): r"\times ", ord("÷"): r"\div ", ord("·"): r"\cdot "}
_TRANSLATE |= {ord("π"): r"\pi ", ord("∞"): r"\infty ", ord("≤"): r"\le ", ord("≥"): r"\ge ", ord("≠"): r"\ne "}
_TRANSLATE |= {
    ord("°"): " degrees ",
    ord("℃"): " degrees C",
    ord("√"): r"\sqrt ",
    ord("∪"): r"\cup ",
    ord("∩"): r"\cap ",
}
_TRANSLATE |= {ord("±"): r"\pm ", ord("∓"): r"\mp ", ord("≈"): r"\approx ", ord("⋅"): r"\cdot ", ord("∙"): r"\cdot "}
_TRANSLATE |= {
    ord(sign): rf"\frac{{{over}}}{{{under}}}"
    for sign, over, under in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞", "112131234151357", "233445555668888", strict=True)
}
_TRANSLATE |= {ord("∅"): r"\emptyset ", ord("ℝ"): r"\mathbb{R} ", ord("⁄"): "/", ord("∕"): "/", ord("∗"): "*"}
_TRANSLATE |= {ord("′"): "'", ord("″"): "''", ord("’"): "'", ord("…"): "...", ord("∨"): r"\lor ", ord("∧"): r"\land "}
_GREEK = "alpha beta gamma delta epsilon theta lambda mu sigma phi omega rho tau".split()
_TRANSLATE |= {ord(sign): rf"\{name} " for sign, name in zip("αβγδεθλμσφωρτ", _GREEK, strict=True)}
_TRANSLATE |= {ord("∈"): r"\in ", ord("\u200b"): None, ord("\u2060"): None, ord("\ufeff"): None}

_SPACING = re.compile(
    r"\\(?:left|right|displaystyle|quad|qquad|limits|big|Big|bigg|Bigg)(?![A-Za-z])|(?<!\\)\\[,;: >]|~"
)
_STYLED = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}"
)
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![a-z])")
_SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_RAISED = re.compile(f"[⁺⁻{_SUPERSCRIPT}]+")
_PLAIN_SCRIPT = str.maketrans(f"⁺⁻{_SUPERSCRIPT}", "+-0123456789")
_ROOT_SIGN = re.compile(r"√\s*(\d+(?:\.\d+)?)", re.ASCII)
_GROUPED = re.compile(
    r"(?<=\d)(?:,\s*\\!|\\!\s*,|\{,\}|\\,)\s*(?=\d{3}(?!\d))", re.ASCII
)  # thousands, as LaTeX spaces them
_IN_DOLLARS = re.compile(r"(?<!\\)\$(?![\s$])([^$]*[^\s$\\])\$(?!\d)")
_SHORT_FRACTION = re.compile(r"\\frac\s*(?:(\d)|\{\s*(\d+)\s*\})\s*(?:(\d)|\{\s*(\d+)\s*\})", re.ASCII)
_OVER = re.compile(r"\{\s*(\d+)\s*\\over(?![A-Za-z])\s*(\d+)\s*\}", re.ASCII)
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))


def undelimited(text: str) -> str:
    r"""Without the tags around it (dollars, ``\(``, a box), and without the punctuation and spacing at its end.

    >>> undelimited(r"$\boxed{\left(1, \dfrac12\right)}$.")
    '\\left(1, \\dfrac12\\right)'
    """
    text = text.strip()
    before = None
    while before != text:
        before = text
        text = _without_end(text)
        for opening, closing in _DELIMITERS:
            inner = text[len(opening) : -len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
                if closing not in inner and not inner.endswith("\\"):
                    text = inner.strip()
        if text.startswith(("\\boxed", "\\fbox")):
            closed, _ = boxes(text)
            if closed and closed[-1][:2] == (0, len(text)):
                text = text[closed[-1][2] : closed[-1][3]]
    return text


def in_latex_signs(text: str) -> str:
    r"""A text with the commands of LaTeX for the signs of Unicode: ``≤`` is ``\le``. Nothing else changes."""
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: f"^{{{m.group().translate(_PLAIN_SCRIPT)}}}", _ROOT_SIGN.sub(r"\\sqrt{\1}", text))
    return text.translate(_TRANSLATE)


@lru_cache(maxsize=16384)
def canonical(text: str) -> str:
    r"""One spelling for many: delimiters, spacing commands, styles and Unicode look-alikes go. The value stays.

    >>> canonical(r"$\left(\dfrac12,\, \text{3 cm}\right)$.")
    '(\\frac{1}{2}, 3 cm )'
    """
    text = undelimited(in_latex_signs(text))
    if "$" in text:
        text = _IN_DOLLARS.sub(r"\1", text)
    text = text.replace("\\(", " ").replace("\\)", " ") if "\\(" in text and "\\\\(" not in text else text
    text = (
        _GROUPED.sub("", text)
        .replace("{,}", ",")
        .replace("\\!", "")
        .replace("\\$", "$")
        .replace("\\%", "%")
        .replace("\\#", "#")
    )
    text = _SET_BRACE.sub(lambda m: _SET_BRACES.get(m.group(), m.group()), text)
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\cfrac", "\\frac")
    text = _DEGREES.sub(" degrees ", _SPACING.sub(" ", text))
    text = _STYLED.sub(_unstyled, text)
    if "\\not" in text:
        text = re.sub(r"\\not\s*=", r"\\ne ", text)
    if "\\over" in text:
        text = _OVER.sub(r"\\frac{\1}{\2}", text)
    if "\\frac" in text:
        text = _SHORT_FRACTION.sub(lambda m: rf"\frac{{{m[1] or m[2]}}}{{{m[3] or m[4]}}}", text)
    text = " ".join(text.split())
    if text[:1] == "{" and text[-1:] == "}" and _BUILDER.match(text):
        text = f"⦃{text[1:-1]}⦄"
    while len(text) > 2 and text[0] == "{" and text[-1] == "}" and "{" not in text[1:] and "}" not in text[1:-1]:
        text = text[1:-1].strip()
    return text


_BUILDER = re.compile(r"\{\s*[A-Za-z]\s*(?:\||\\mid(?![A-Za-z]))")  # {x | x > 2}
_SET_BRACE = re.compile(r"\\\\|\\[{}]|\\[lr]brace(?![A-Za-z])")  # a line break before a brace is none
_SET_BRACES = {"\\{": "⦃", "\\}": "⦄", "\\lbrace": "⦃", "\\rbrace": "⦄"}
_UNIT_LETTERS = frozenset("mgshlLNJWVn")


def _unstyled(found: re.Match[str]) -> str:
    """What a style holds; one letter of a unit behind a number stays marked: 5\\text{ m} is no product."""
    inside = found[1].strip()
    before = found.string[max(0, found.start() - 8) : found.start()]
    if inside in _UNIT_LETTERS and (found[1][:1].isspace() or re.search(r"(?:[\d})]|\\pi)\s*$", before)):
        return rf" \mathrm{{{inside}}} "
    return f" {found[1]} "


def _without_end(text: str) -> str:
    """Without the punctuation and spacing at its end."""
    while text:
        if text[-1].isspace():
            text = text.rstrip()
        elif text[-1] == "\\" and text[-2:-1] != "\\":
            text = text[:-1]  # of a spacing at the end
        elif text[-1] in ".,;:!" and text[-2:-1] == "\\" and text[-3:-2] != "\\" and text[-1] != ".":
            text = text[:-2]  # spacing: \, \; \! \:
        elif text[-1] in ".,;" and text[-2:-1] != "\\" and not (text.endswith("...") and text[-4:-3].isdigit()):
            text = text[:-1]
        else:
            break
    return text


_SPACE = re.compile(r"(?<!\d) +| +(?!\d)")


def squeezed(text: str) -> str:
    """Without its spaces, but for those between two digits: one and a half is not eleven halves.

    >>> squeezed("x + 1"), squeezed("1 1/2")
    ('x+1', '1 1/2')
    """
    return _SPACE.sub("", text)


_ONE_BRACED = re.compile(r"(\^|_|\\[A-Za-z]+)\s*\{\s*(\w)\s*\}")
_CASES = re.compile(
    r"(?:⦃\s*)?\\begin\s*\{(?:cases|aligned|array)\}(?:\{[lcr]*\})?((?:(?!\\begin|&).)*)\\end\s*\{(?:cases|aligned|array)\}\.?",
    re.DOTALL,
)
_CURVE = re.compile(r"(?:[A-Za-z]|\\(?:ell|Gamma|odot\s*[A-Z]))(?:_\w)?\s*:\s*(?=[^:=]*=[^:=]*$)")


def unbraced(text: str) -> str:
    r"""Without braces around one sign: ``\pmod{5}`` is ``\pmod 5``."""
    return squeezed(_ONE_BRACED.sub(r"\1 \2", text))


def unlabelled(text: str) -> str:
    r"""The equations of a system with commas, and one of a curve without its name: ``l: y=2x`` is ``y=2x``."""
    cases = _CASES.fullmatch(text) if "\\begin" in text else None
    if cases and "=" in cases[1]:
        text = ", ".join(line for line in (row.strip(" ,;.") for row in cases[1].split("\\\\")) if line)
    return _CURVE.sub("", text, count=1) if _CURVE.match(text) else text


def _rounded(text: str) -> str:
    """A vector in angle brackets, in round ones."""
    found = _ANGLED.fullmatch(text) if "\\rangle" in text else None
    return f"({found[1]})" if found else text


_ANGLED = re.compile(r"\\langle(?![A-Za-z])((?:(?!\\[lr]angle).)*)\\rangle", re.DOTALL)


def in_signs(text: str) -> str:
    """Words for numbers, ratios and the empty set, in signs; angle brackets round."""
    text = ratio_sign(in_digits(_rounded(text)))
    return r"\emptyset" if _NO_SOLUTION.fullmatch(text) else text


_NO_SOLUTION = re.compile(
    r"(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)(?: exists?)?|无(?:实数?)?[解根]", re.IGNORECASE
)


_FUNCTION = re.compile(
    r"(?<![\\A-Za-z])(sqrt|arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|pi|infty)(?![A-Za-z])"
)
_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:infinity|inf|oo)(?![A-Za-z])")


def latex(text: str) -> str:
    r"""A canonical answer in plain text as LaTeX for math-verify: functions and operators get their commands."""
    text = text.replace("⦃", "\\{").replace("⦄", "\\}").replace("$", "").replace("%", "\\%").replace("\n", " ")
    text = text.replace("**", "^").replace("*", " \\cdot ").replace("<=", "\\le ").replace(">=", "\\ge ")
    text = text.replace("!=", "\\ne ")
    text = _FUNCTION.sub(r"\\\1 ", _INFINITY.sub(r"\\infty ", text))
    return _braced(re.sub(r"\\sqrt\s+(\w)", r"\\sqrt{\1}", text))


def _braced(text: str) -> str:
    r"""A root of something in round brackets, in braces: ``\sqrt (x+1)`` is the root of one bracket to LaTeX."""
    for found in reversed(list(re.finditer(r"\\sqrt\s*\(", text))):
        depth = 0
        for index in range(found.end() - 1, len(text)):
            depth += (text[index] == "(") - (text[index] == ")")
            if depth == 0:
                text = f"{text[: found.start()]}\\sqrt{{{text[found.end() : index]}}}{text[index + 1 :]}"
                break
        else:
            break
    return text
