"""Facts: whether a reply in words states the gold words, as "The capital of France is Paris." states Paris.

states      a sentence "S is GOLD" or "GOLD is S", for every gold in words
mentions    the gold stands in it as whole words, neither denied nor one of several: for golds of the declared type fact
"""

from __future__ import annotations

import re
import unicodedata


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


def folded(text: str) -> str:
    """A text in small letters without accents, one space between words, numbers whole.

    >>> folded("  Bogotá, it  is 42.50!")
    'bogota, it is 42.50!'
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in decomposed if unicodedata.category(c) != "Mn").replace("’", "'").split())


def found_in(text: str, fact: str) -> list[re.Match[str]]:
    """Where a fact stands in a text as whole words: 42 neither in 42.5 nor in 142; Chinese anywhere.

    >>> bool(found_in("It was Camus, in 1942.", "camus")), bool(found_in("42.5", "42"))
    (True, False)
    """
    wanted = " ".join(re.findall(r"[^\W_]+(?:[.,]\d+)*|[-+]?\d+(?:[.,]\d+)*", folded(fact)))
    if not wanted:
        return []
    between = r"[\s\W_]{1,3}"
    body = between.join(re.escape(word) for word in wanted.split())
    left = "" if ord(wanted[0]) > 0x2E7F else r"(?<![^\W_])(?<!\d[.,])" + (r"(?<![-−])" if wanted[0].isdigit() else "")
    right = "" if ord(wanted[-1]) > 0x2E7F else r"(?![^\W_])(?![.,]\d)" + ("(?!%)" if wanted[-1].isdigit() else "")
    if wanted[0].isdigit():
        left += r"(?<!\d)"
    if wanted[-1].isdigit():
        right += r"(?!\d)"
    return list(re.finditer(left + body + right, folded(text)))


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
