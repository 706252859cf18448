"""Words of a thought: everything that is no natural language is blanked out, the rest is counted per script.

What is a word is decided by script, from the code points alone, so the count is deterministic and fast:

    alphabets (Latin, Cyrillic, Arabic, Hangul, Devanagari, ...)   a run of two or more letters of the script
    Han                                                            1.6 characters (jieba's words measure 1.63)
    kana; Thai, Lao, Khmer, Myanmar                                2.5; 4 characters (our choice: no spaces to go by)

No word: mathematics, LaTeX, code, URLs, tags, hidden text, digits, names with an underscore, single letters
(identifiers), and function names such as ``sin`` and ``log``. What formulas, code and hidden text say in sentences is kept
aside (``parted``): a thought can be hidden there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from trl_r1.text.completions import without_hidden
from trl_r1.text.scripts import HAN_PER_WORD, SCRIPTS


FUNCTION_NAMES = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp lim max min mod gcd lcm sqrt det".split()
)


def _runs(script: str) -> re.Pattern[str]:
    characters, per_word = SCRIPTS[script]
    return re.compile(f"[{characters}]+" if per_word else f"[{characters}]{{2,}}")


RUNS = {script: _runs(script) for script in SCRIPTS}
_ORDER = list(SCRIPTS)
_SCRIPT_OF = np.zeros(0x110000, dtype=np.uint8)  # code point -> 1 + index in _ORDER, 0 for no script
for _number, (_characters, _) in enumerate(SCRIPTS.values(), start=1):
    for _low, _high in re.findall(r"(.)(?:-(.))?", _characters):
        _SCRIPT_OF[ord(_low) : ord(_high or _low) + 1] = _number
_HAN, _KANA = 1 + _ORDER.index("han"), 1 + _ORDER.index("kana")
_SENTENCE_ENDS = np.array([ord(mark) for mark in "。！？!?\n"], dtype=np.uint32)
_ASCII_WORDS = re.compile("[A-Za-z]{2,}")


SENTENCE = 5  # words
_OTHER = "".join(characters for script, (characters, _) in SCRIPTS.items() if script not in ("latin", "greek"))
_NOT_OTHER = re.compile(f"[^{_OTHER}]")
LINE_OF_CODE = 8  # words in a row that no code has; "from collections import Counter as Bag" has six
_ROW = r"(?<![A-Za-z\\])[A-Za-z]{2,}(?: [A-Za-z]{2,}){%d,}"
_ROW_IN_FORMULA, _ROW_IN_CODE = re.compile(_ROW % (SENTENCE - 1)), re.compile(_ROW % (LINE_OF_CODE - 1))


# Left out, in this order. Each pattern is linear: no two parts of it can match the same character.
_URL = re.compile(r"(?:https?://|www\.)[!-~]+")
_TAG = re.compile(r"</?[A-Za-z|][^<>\n]{0,200}>")
_UNDERSCORED = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z0-9]*_[A-Za-z0-9_]*")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_DOLLARS = re.compile(r"\$(?![\s$])[^$\n]*(?<!\s)\$(?!\d)")  # pandoc's rule: "$5 and $10" is no formula
_ENVIRONMENTS = (("```", "```"), ("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("\\begin{", "\\end{"))


class _Aside:
    """What formulas and code say in words, as ``parted`` returns it."""

    def __init__(self) -> None:
        self.others: list[str] = []  # in scripts that formulas and code are not written in
        self.rows: list[str] = []  # of Latin words

    def look(self, region: str, formula: bool) -> None:
        if not region.isascii() and not (letters := _NOT_OTHER.sub(" ", region)).isspace():
            self.others.append(letters)
        row, least = (_ROW_IN_FORMULA, SENTENCE) if formula else (_ROW_IN_CODE, LINE_OF_CODE)
        if region.count(" ") >= least - 1:
            self.rows += row.findall(region)

    def code(self, match: re.Match[str]) -> str:
        self.look(match.group(), formula=False)
        return _blank(match)

    def formula(self, match: re.Match[str]) -> str:
        self.look(match.group(), formula=True)
        return _blank(match)

    def text(self) -> str:
        others = " ".join(self.others)
        enough = bool(others) and sum(count_words(others).values()) >= SENTENCE
        return " ".join([others, *self.rows] if enough else self.rows)


def _blank(match: re.Match[str]) -> str:
    return " " * (match.end() - match.start())


def _blank_between(text: str, opening: str, closing: str, aside: _Aside) -> str:
    parts: list[str] = []
    position = 0
    while (start := text.find(opening, position)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        end += len(closing)
        if closing.endswith("{"):  # \end{align}: the name is part of it
            end = 1 + max(text.find("}", end, end + 40), end - 1)
        aside.look(text[start:end], formula=opening != "```")
        parts += text[position:start], " " * (end - start)
        position = end
    return "".join(parts) + text[position:] if parts else text


def prose(text: str, allowed: Iterable[str] = ()) -> str:
    """The text with all that is no natural language replaced by spaces; offsets stay what they were.

    Args:
        allowed: terms that are at home in any language ("GPU", "Fibonacci"), left out whole and in any case.
    """
    return parted(text, allowed)[0]


def parted(text: str, allowed: Iterable[str] = ()) -> tuple[str, str]:
    """``prose``, and what is said aside: the words of hidden text, and the sentences of formulas and code.

    Formulas and code are written in Latin and Greek: what they hold in other scripts is a sentence from ``SENTENCE``
    words on, all of them taken together. So is a row of as many Latin words in a formula, of ``LINE_OF_CODE`` in code.
    """
    aside, visible_text = _Aside(), without_hidden(text)
    clean = _cleaned(visible_text, aside)
    aside_text = aside.text()
    if visible_text != text:
        inner = _Aside()
        aside_text = " ".join((aside_text, _cleaned(_hidden(text, visible_text), inner), inner.text()))
    terms = tuple(allowed)
    if terms:
        clean, aside_text = _terms(terms).sub(_blank, clean), _terms(terms).sub(_blank, aside_text)
    return clean, aside_text


def _hidden(text: str, visible_text: str) -> str:
    """What ``seen = without_hidden(text)`` replaced, with all the rest replaced by spaces."""
    before, after = _code_points(text), _code_points(visible_text)
    hidden = np.where(before == after, np.uint32(ord(" ")), before)
    return hidden.tobytes().decode("utf-32-le", "surrogatepass")


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _cleaned(text: str, aside: _Aside) -> str:
    for opening, closing in _ENVIRONMENTS:
        if opening in text:
            text = _blank_between(text, opening, closing, aside)
    if "`" in text:
        text = _INLINE_CODE.sub(aside.code, text)
    if "$" in text:
        text = _DOLLARS.sub(aside.formula, text)
    if "://" in text or "www." in text:
        text = _URL.sub(_blank, text)
    if "<" in text:
        text = _TAG.sub(_blank, text)
    if "\\" in text:
        text = _COMMAND.sub(_blank, text)
    if "_" in text:
        text = _UNDERSCORED.sub(_blank, text)
    return text


@lru_cache(maxsize=64)
def _terms(terms: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = "|".join(re.escape(term) for term in sorted(terms, key=len, reverse=True))
    letter = "".join(characters for characters, per_word in SCRIPTS.values() if per_word is None)
    return re.compile(rf"(?<![{letter}])(?:{longest_first})(?![{letter}])", re.IGNORECASE)


def count_words(text: str) -> dict[str, float]:
    """Words per script in a text that ``prose`` has cleaned; scripts without a word are absent.

    Han in a sentence with kana is counted as ``kana``: it is Japanese.

    >>> count_words("we compute 我们计算")
    {'latin': 2.0, 'han': 2.5}
    """
    if text.isascii():
        number = _count_runs(text, "latin", _ASCII_WORDS)
        return {"latin": number} if number else {}
    points = _code_points(text)
    scripts = _SCRIPT_OF[points]  # one number per character
    letters = np.bincount(scripts, minlength=1 + len(_ORDER))
    japanese = _han_beside_kana(points, scripts) if letters[_HAN] and letters[_KANA] else 0
    words: dict[str, float] = {}
    for script, count in zip(_ORDER, letters[1:].tolist(), strict=True):
        if not count:
            continue
        per_word = SCRIPTS[script][1]
        if per_word is None:
            number = _count_runs(text, script, RUNS[script])
        elif script == "han":
            number = (count - japanese) / per_word
        elif script == "kana":
            number = count / per_word + japanese / HAN_PER_WORD
        else:
            number = count / per_word
        if number > 0:
            words[script] = number
    return words


def _count_runs(text: str, script: str, runs: re.Pattern[str]) -> float:
    runs_found = runs.findall(text)
    if script == "latin" and not FUNCTION_NAMES.isdisjoint(runs_found):
        return float(len(runs_found) - sum(word in FUNCTION_NAMES for word in runs_found))
    return float(len(runs_found))


def _han_beside_kana(points: np.ndarray, scripts: np.ndarray) -> int:
    """How many Han characters stand in sentences that have kana."""
    sentence = np.cumsum(np.isin(points, _SENTENCE_ENDS))  # number of the sentence each character is in
    kana = np.bincount(sentence, weights=scripts == _KANA)
    han = np.bincount(sentence, weights=scripts == _HAN)
    return int(han[kana > 0].sum())
