"""Facts: whether a reply in words states the gold words, as "The capital of France is Paris." states Paris.

states      a sentence "S is GOLD" or "GOLD is S", for every gold in words
mentions    the gold stands in it as whole words, neither denied nor one of several: for golds of the declared type fact
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from trl_r1.text.scripts import SCRIPTS


def _ranges(places: Iterable[int]) -> str:
    """Code points as the inside of a character class, neighbours as one range."""
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][1] == place - 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in runs)


_DOUBT = re.compile(
    r"\b(?:not|never|neither|nor|or|either|maybe|perhaps|possibly|might|if|but|except|rather|instead|unlike|none|no|"
    r"nobody|nothing|hardly|wrong|incorrect|false|versus|vs)\b|n't\b|不|没|非|或|还是|也许|可能",
    re.IGNORECASE,
)
_COPULA = r"(?:is|are|was|were|would be|must be|has to be)"
_LEAD = r"(?:called|named|known as|indeed|therefore|simply|just|clearly|probably)"
_ARTICLE = r"(?:(?:the|a|an)\s+)?"
_KIND = r"(?:the|an?|its|their|our|his|her)"
_MOST_WORDS = 30

_UNSPACED = "".join(ranges for ranges, per_word in SCRIPTS.values() if per_word) + "\u0f00-\u0fff"
_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_MARKS = _ranges(c for c in range(0x300, 0xFFFF) if unicodedata.category(chr(c)) in ("Mn", "Mc"))
_LETTER = rf"[^\W_{_UNSPACED}]"  # of a script that is written with spaces, or a digit
_ALONE = rf"(?<!{_LETTER})(?<![{_MARKS}](?<![{_UNSPACED}]))"  # no such letter before
_OVER = rf"(?!{_LETTER})(?![{_MARKS}])"  # none behind, and the last character is whole
_WORD = re.compile(rf"[-−]?\d+(?:[.,]\d+)*(?:[^\W_]|[{_MARKS}])*|[^\W_](?:[^\W_]|[{_MARKS}])*[+#]*")
_BETWEEN = r"[\W_]{1,3}"
_GLUED = "وفبكلבלמהושכ"  # Arabic and Hebrew: and, so, in, as, to, the, from
_PARTICLES = (  # of Korean, longer ones first
    "이었습니다|였습니다|입니다|이에요|예요|이었다|였다|이다|다|이라고|라고|에서|에게|에|으로|로|까지|부터|은|는|이|가|을|를|의|와|과|도|만"
)
_BARE = re.compile("[A-Za-z\u0250-\u02af\u0370-\u03ff\u0400-\u04ff\u05d0-\u05ea\u0620-\u064a\u0671-\u06d3]")
_SIGNS = {"\u066b": ".", "\u066c": ",", "\u066a": "%", "\u2019": "'"}
_RAISED = re.compile("(?<=\\d)(?=[\u2070\u00b9\u00b2\u00b3\u2074-\u2079])")
_NUMBER = re.compile(
    rf"{_ALONE}(?<![\^])(?:(?P<sign>(?<![\w)\].])[-−+]|\b(?:minus|negative) )?"
    r"(?<![\d])(?P<run>\d{1,3}(?:[ ]\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,:'^]\d+|(?<!\d\d\d\d)/\d{1,3}(?!\d))*))"
    rf"{_OVER}(?P<percent> ?%)?"
)


def folded(text: str) -> str:
    """A text in small letters, one space between words, digits of every script as 0 to 9.

    Accents of Latin, Greek and Cyrillic go, and so do the vowel points of Arabic and Hebrew; marks that make another
    letter (Thai, Devanagari, kana) stay.

    >>> folded("  Bogotá, it  is ٤٢٫٥!"), folded("ボ") == folded("ホ")
    ('bogota, it is 42.5!', False)
    """
    raised = _RAISED.sub("^", text)  # NFKC would make 1042 of 10⁴²
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", raised).casefold())
    kept: list[str] = []
    base = ""
    for c in decomposed:
        if unicodedata.category(c) == "Mn":
            if _BARE.match(base) and not (base == "и" and c == "\u0306"):  # й is a letter of its own
                continue
        else:
            base = c
        kept.append(_SIGNS.get(c) or (str(unicodedata.decimal(c)) if c.isdecimal() else c))
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def found_in(text: str, fact: str) -> list[re.Match[str]]:
    """Where a fact stands in a text as whole words, in every script; a number by its value.

    Han, Thai and their like are written without spaces and found anywhere between whole characters; Korean may have its
    particle behind it, Arabic and Hebrew one letter before it. 42 is neither in 42.5, -42, 1,042 and 3:42 nor in 142.

    >>> [bool(found_in(*pair)) for pair in (("In 1,042.", "1042"), ("42.5", "42"), ("在1923年", "1923"), ("서울은", "서울"))]
    [True, False, True, True]
    """
    said, wanted = folded(text), folded(fact).strip(" .!?。！？")
    number = _NUMBER.fullmatch(wanted)
    if number:
        values = _values(number)
        return [found for found in _NUMBER.finditer(said) if len(values) == 1 and values <= _values(found)]
    words = _WORD.findall(wanted)
    if not words:
        return []
    first, last = words[0][0], words[-1][-1]
    before, after = re.compile(_before(first, len(words[0]))), re.compile(_after(last))  # few, and slow to compile
    return [
        found
        for found in re.finditer(_BETWEEN.join(map(re.escape, words)), said)
        if before.match(said, found.start()) and after.match(said, found.end())
    ]


def _before(first: str, length: int) -> str:
    """What may not stand before a fact that begins with a character; of ``length`` characters is its first word."""
    if first in "-−" or first.isdigit():
        return rf"{_ALONE}(?<!\d[.,:])(?<![-−^])"
    if re.match(f"[{_KATAKANA}]", first):
        return rf"(?<![{_KATAKANA}])"
    if re.match(f"[{_UNSPACED}]", first):
        return ""
    if length > 3 and re.match("[\u05d0-\u06ff]", first):
        return rf"(?:{_ALONE}|(?<=[{_GLUED}])(?<!{_LETTER}[{_GLUED}]))"
    return _ALONE


def _after(last: str) -> str:
    """What may not stand behind a fact that ends with a character."""
    if last.isdigit():
        return rf"{_OVER}(?![.,:]?\d)(?! ?%)"
    if re.match(f"[{_KATAKANA}]", last):
        return rf"(?![{_KATAKANA}{_MARKS}])"
    if re.match(f"[{_UNSPACED}]", last):
        return rf"(?![{_MARKS}])"
    if "가" <= last <= "힣":
        return rf"(?=(?:{_PARTICLES})?{_OVER})"
    return _OVER + ("" if last in "+#" else "(?![+#])")


def _values(match: re.Match[str]) -> frozenset[str]:
    """What a run of digits says: one number, or the parts of a date or a list; () where it is something else.

    >>> [sorted(_values(_NUMBER.fullmatch(run))) for run in ("1,042", "-42.50", "10,5", "12.05.1923", "3:42")]
    [['1042'], ['-42.5'], ['10.5'], ['05', '12', '1923'], []]
    """
    run = match["run"].replace("'", ",")
    sign, percent = "-" if match["sign"] and match["sign"] != "+" else "", "%" if match["percent"] else ""
    if re.fullmatch(r"\d{1,2}([./])\d{1,2}\1\d{4}", run):
        return frozenset(re.findall(r"\d+", run))
    if re.search("[:/^]", run):
        return frozenset()
    if re.fullmatch(r"\d{1,3}(?:([ ,])\d{3})(?:\1\d{3})*(?:\.\d+)?", run) or re.fullmatch(
        r"\d{1,3}(?:\.\d{3}){2,}", run
    ):
        run = re.sub(r"[ ,]", "", run) if run.count(".") < 2 else run.replace(".", "")
    elif run.count(",") > 1:
        return frozenset(run.split(","))
    whole, point, decimals = run.replace(",", ".").partition(".")
    decimals = decimals.rstrip("0") if "." not in decimals else decimals
    return frozenset({sign + whole + (point + decimals if decimals else "") + percent})


def states(text: str, gold: str) -> bool:
    """Whether a text is one plain statement that something is the gold, or that the gold is something.

    >>> states("The capital of France is Paris.", "Paris"), states("It is not Paris.", "Paris")
    (True, False)
    """
    if len(text) > 300 or len(gold) > 100:
        return False
    said, wanted = folded(text).strip(" .!。！*_\"'"), folded(gold).strip(" .!。！")
    wanted = re.sub(r"^(?:the|an|a)\s+", "", wanted)
    if not wanted or wanted not in said:
        return False
    start = said.find(wanted)
    if _DOUBT.search(said[:start]) or _DOUBT.search(said[start + len(wanted) :]):
        return False
    body = re.escape(wanted)
    tail = r"(?:\s*,?\s+(?:the|which|who|in|at|on|by|since|because|as|for)\s[^,;.:]{1,60})?"
    if re.fullmatch(rf"[^,;:.!?]{{1,100}}?\s{_COPULA}\s+(?:{_LEAD}\s+)?{_ARTICLE}{body}{tail}", said):
        return True
    if re.fullmatch(
        rf"{_ARTICLE}{body}\s*(?:,\s*(?:the|which|an?)\s|\s{_COPULA}\s+{_KIND}\s)[^,;:.]{{1,100}}",
        said,
    ):
        return True
    chinese = r"[^，。；、,;.]"
    return (
        re.fullmatch(rf"{chinese}{{1,30}}(?:就?是|为|叫做?|位于){body}[市省国县区人]?", said) is not None
        or re.fullmatch(rf"{body}[市省国县区]?(?:就?是|为){chinese}{{1,30}}", said) is not None
    )


def mentions(text: str, gold: str) -> bool:
    """Whether a short text names the gold, does not deny it, and does not name it as one of several.

    >>> mentions("It was Camus, in 1942.", "Camus"), mentions("Paris, London, Rome", "Rome"), mentions("Not Rome.", "Rome")
    (True, False, False)
    """
    found = found_in(text, gold)
    if not found or len(text.split()) > _MOST_WORDS or len(text) > 400:
        return False
    said = folded(text)
    for match in found:
        begin = max(said.rfind(mark, 0, match.start()) for mark in (". ", "。", "!", "?", "\n"))
        end = min(
            (p for mark in (". ", "。", "!", "?") if (p := said.find(mark, match.end())) >= 0), default=len(said)
        )
        sentence = said[begin + 1 : match.start()] + " " + said[match.end() : end]
        if _DOUBT.search(sentence) or len(re.findall(r",|、|\band\b|\bor\b|和", sentence)) > 1:
            return False
    return True
