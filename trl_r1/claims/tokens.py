"""Numbers and operations found in free text, as tokens. Nothing is evaluated here.

The text is read once, left to right, in linear time. A token is a plain tuple with names. What expressions the tokens
form, `trl_r1.claims.pieces` says.
"""

from __future__ import annotations

import re
from typing import NamedTuple


MOST_DIGITS = 300  # of one number


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
  | (?P<degree> ° | º | \^[ ]?\{?[ ]?\\circ(?![A-Za-z])[ ]?\}? )
  | (?P<label> \\(?:text|mathrm|mbox|textrm|operatorname)[ ]?\{[^{}\n0-9=<>]{0,60}\} )
  | (?P<percent> % | \\% | (?:percent|per[ ]cent)(?![A-Za-z]) )
  | (?P<command> \\[A-Za-z]+ | \\[^A-Za-z0-9\n] )
  | (?P<variable> (?<![A-Za-z])[A-Za-z](?:_\{[A-Za-z0-9]{1,12}\}|_[A-Za-z0-9]{1,12}|[0-9]{1,3})(?![A-Za-z0-9_]) )
  | (?P<phrase> (?:divided|multiplied)\ by(?![A-Za-z]) )
  | (?P<superscript> [⁰¹²³⁴⁵⁶⁷⁸⁹]+ )
  | (?P<vulgar> [½⅓⅔¼¾⅕⅛] )
  | (?P<word> [^\W\d_]+ (?: ['’-][^\W\d_]+ | _[^\W_]+ )* )
  | (?P<relation> <=>|<->|<=|>=|!=|==|:=|=>|->|~=|[=<>≤≥≠≈≃≅~⩽⩾≦≧] )
  | (?P<power> \*\*|\^ )
  | (?P<sign> [-+*/÷×·⋅∙✕✖∕⁄−!√–] )
  | (?P<bracket> [()\[\]{}] )
  | (?P<blank> [^\S\n]+ | [$€£¥￥₹`&\u200b] )
  | (?P<other> . | \n )
    """,
    re.VERBOSE | re.DOTALL,
)
_WIDE = str.maketrans(
    "０１２３４５６７８９＋－＝（）＜＞％／＊．｛｝", "0123456789+-=()<>%/*.{}"
)  # one character for one
_ANY_WIDE = re.compile(f"[{''.join(map(chr, _WIDE))}]")
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
    **dict.fromkeys((r"\quad", r"\qquad", r"\to", r"\rightarrow", r"\Rightarrow"), ("separator", ";")),
    **dict.fromkeys((r"\implies", r"\therefore", r"\because", r"\iff", r"\Longrightarrow"), ("separator", ";")),
    "\\\\": ("separator", "\n"),
    **dict.fromkeys((r"\begin", r"\end", r"\newline", r"\item"), ("separator", ";")),
    **dict.fromkeys((r"\pm", r"\mp", r"\pmod", r"\bmod", r"\mod", r"\equiv"), ("opaque", "")),
}
_SILENT = {r"\left", r"\right", r"\displaystyle", r"\boxed", r"\big", r"\Big", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr"}
_SILENT |= {
    r"\textbf",
    r"\mathbf",
    r"\bf",
    r"\(",
    r"\)",
    r"\[",
    r"\]",
    r"\,",
    r"\;",
    r"\:",
    r"\!",
    r"\ ",
    r"\$",
    r"\&",
}
_VULGAR = dict(zip("½⅓⅔¼¾⅕⅛", ("1/2", "1/3", "2/3", "1/4", "3/4", "1/5", "1/8"), strict=True))
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_OPAQUE_WORDS = frozenset("mod modulo choose log ln sin cos tan gcd lcm max min floor ceil round abs exp".split())
VALUE_ENDS = frozenset({"number", "close", "postfix", "symbol"})


_RELATES = re.compile(r"[=<>≤≥≠≈≃≅~⩽⩾≦≧]|\\(?:approx|simeq|doteq|le|ge|lt|gt|ne)|(?i:equals)|等于")
_ENDS = (
    re.compile(  # a character that separates wherever it is read; what is left out has a meaning beside some others
        r"(?<!\\)(?:[^\w\s<>=≤≥≠≈≃≅~⩽⩾≦≧+*/÷×·⋅∙✕✖∕⁄−!√–^%°º\\()\[\]{}$€£¥￥₹`&\u200b.…,:_'’⁰¹²³⁴⁵⁶⁷⁸⁹½⅓⅔¼¾⅕⅛∓±≡∑∏∫-]"
        r"|(?<!\.)\.(?![.0-9])|,(?![0-9}])|:(?![0-9=]))"
    )
)
_LAST_END = re.compile(rf".*{_ENDS.pattern}", re.DOTALL)
_OPEN_LABEL = re.compile(r"\\(?:text|mathrm|mbox|textrm|operatorname) ?\{[^{}\n0-9=<>]{0,60}\Z")
_LONGEST_LABEL = 80  # characters


def tokens(text: str) -> list[Token]:
    """The tokens of a text that stand beside a relation: all that is between two relations, or up to what surely ends
    an expression there, such as a comma before a space. Separators stand for what is left out.

    Characters that only decorate (spaces, dollar signs, LaTeX spacing) give no token.
    """
    text = _narrow(text)
    parsed: list[Token] = []
    lines = text.split("\n")
    relates = [False, *(_RELATES.search(line) is not None for line in lines), False]
    position = begun = 0
    reading = False
    for number, line in enumerate(lines):  # a line that neither holds a relation nor stands beside one is not read
        if any(relates[number : number + 3]) != reading:
            if reading:
                _read_clauses(text, begun, position, parsed)
            elif parsed and parsed[-1].text != ";":
                parsed.append(Token("separator", ";", position, position))
            begun, reading = position, not reading
        position += len(line) + (number + 1 < len(lines))
    if reading:
        _read_clauses(text, begun, position, parsed)
    return parsed


def _read_clauses(text: str, position: int, stop: int, line: list[Token]) -> None:
    """Appends the tokens of ``text[position:stop]`` that share a clause with a relation."""
    for relation in _RELATES.finditer(text, position, stop):
        if relation.start() < position:
            continue
        before = _LAST_END.match(text, position, relation.start() + 1)
        if before is not None and not _OPEN_LABEL.search(text, max(0, before.end() - _LONGEST_LABEL), before.end()):
            position = before.end()
            line.append(Token("separator", text[position - 1], position - 1, position))
        end = relation.end()
        while position != end:  # a tag or a label may hold what ends a clause elsewhere, and reach beyond
            after = _ENDS.search(text, max(position, end), stop)
            end = stop if after is None else after.end()
            position = _read(text, position, end, line)


def _narrow(text: str) -> str:
    return text if text.isascii() else _ANY_WIDE.sub(lambda match: match.group().translate(_WIDE), text)


def every_token(text: str) -> list[Token]:
    """The tokens of a short text, whether or not it holds a relation."""
    line: list[Token] = []
    text = _narrow(text)
    _read(text, 0, len(text), line)
    return line


def _read(text: str, position: int, stop: int, line: list[Token]) -> int:
    """Appends the tokens of ``text[position:stop]``; returns where the last one ends, which may be behind ``stop``."""
    while position < stop:
        match = _SCAN.match(text, position)
        assert match is not None  # "other" matches anything
        group, raw, start, end = match.lastgroup, match.group(), match.start(), match.end()
        if group == "other" and raw not in ",:_'∓±≡∑∏∫\n":
            line.append(Token("separator", raw, start, end))
            position = end
            continue
        last = line[-1] if line else None
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
            counted = after_value or (
                last is not None and last.kind == "word" and line[-2:-1] and line[-2].kind in VALUE_ENDS
            )
            kind, normal = _word(raw, text, start, end, last, bool(after_value), bool(counted))
        elif group in ("degree", "label"):
            kind, normal = "word", raw.partition("{")[2].strip("} ").lower() if group == "label" else "°"
        elif group == "percent":
            kind, normal = ("postfix", "%") if after_value else ("word" if raw[0] in "pP" else "opaque", "percent")
        elif group == "command":
            kind, normal = _COMMANDS.get(raw, ("symbol", raw))
        elif group == "superscript":
            line.append(Token("operator", "^", start, start))
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
            line.pop()  # the line goes on
        broken = last is not None and (last.kind == "relation" or text[last.start : last.end] == "\\\\")
        if not (raw == "\n" and broken):
            line.append(Token(kind, normal, start, end))
        position = end
    return position


def _word(
    raw: str, text: str, start: int, end: int, last: Token | None, after_value: bool, counted: bool
) -> tuple[str, str]:
    lower = raw.lower()
    touching = last is not None and last.end == start
    if lower in _WORD_OPERATORS and counted:
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
    if (
        raw in "-+"
        and text[end : end + 1] == " "
        and not text[text.rfind("\n", 0, start) + 1 : start][-40:].strip(" ")
    ):
        return "separator", "-"  # a bullet
    if raw == "-" and spaced and re.match(r"\s[^\W\d_]{2}", text[end : end + 3]):
        return "separator", "-"  # a dash before words
    return "operator", _OPERATORS[raw]
