r"""Letters of a multiple-choice question that a sentence of a reply chooses: "Option C is right", 故选D, "choose A and C".

Only capitals A to H count: "I" is a pronoun and "a" an article, and before a noun ("A hyperbola") so is "A". A letter that
is denied ("C is wrong", 不选C) or one of two ("B or C") is not chosen.
"""

from __future__ import annotations

import re


_WIDE = {ord("．"): "."} | {
    0xFF21 + step: chr(0x41 + step) for step in range(8)
}  # full stops and letters of full width
_MARKUP = re.compile(
    r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mathbb|operatorname)(?=\s*\{)|\\[()\[\]]|[$*`\"“”‘’{}]"
)
_ONE = r"[(（\[【]?[A-H][)）\]】]?"
_BETWEEN = r"(?:\s?(?:[,，、;；&/和与及]|以及)\s?(?:and\s)?|\sand\s)"  # white space is single: no two ways to read it
_LETTERS = rf"(?:{_ONE}(?:{_BETWEEN}{_ONE}){{0,7}}(?![A-Za-z0-9])|[A-H]{{2,8}}(?![A-Za-z0-9]))"
_AFTER = (  # what may stand behind a chosen letter: the end, a new clause, never a noun ("A hyperbola") or a relation
    r"(?=\s*(?:$|[.。!！;；:：\n，、]|[,)）]\s|,$|项|选项|因为|因|正确"
    r"|(?:because|since|as|for|by|due|which|where|while|so|is|are|here|only|and\s+not|not|rather|instead|would|must)\b))"
)
_IN_BRACKETS = re.compile(r"(?<=[(（\[【]) | (?=[)）\]】])")
_NO_CHOICE_BEFORE = re.compile(
    r"(?:angles?|triangles?|points?|vertex|vertices|segments?|lines?|sides?|sets?|events?|vitamin|class|team|grade|"
    r"∠|△|角|点|班|不|not|n't|never|reject\w*|eliminat\w*|exclud\w*|rul\w+ out|than)\s*(?:the\s+)?"
    r"(?:answer\s+|option\s+|choice\s+|选项?)?$",
    re.IGNORECASE,
)
_DENIED_BEHIND = re.compile(
    r"\s*(?:选?项)?\s*(?:(?:is|are|was|were|can|could|would|does|do|must)\s*(?:not\b|n't|n’t|never\b|clearly |also |both )*"
    r"(?:not\b|(?:in|un)correct|wrong|false|eliminated|excluded|impossible|out\b|ruled)|n't|(?:can|is|are)(?:not|n't)"
    r"|fails?\b|\(?(?:wrong|incorrect|false)|错|不正确|不对|不成立|不符|有误|排除)",
    re.IGNORECASE,
)
_OR_BEHIND = re.compile(rf"\s*(?:,\s*)?(?:or|或者?|还是|/)\s*(?:option\s+|choice\s+)?{_ONE}(?![A-Za-z0-9])")
_SAYS = (
    r"(?:is|are|was|must\s+be|should\s+be|would\s+be|will\s+be|has\s+to\s+be|can\s+only\s+be|:|：|=)\s*"
    r"(?:therefore|thus|indeed|clearly|simply|only|just)?\s*:?\s*"
)
_CUES = [
    re.compile(pattern)
    for pattern in (
        rf"(?i:\b(?:answers?|options?|choices?|letters?|statements?|responses?|ones?|conclusions?|ans)\b\.?\s*{_SAYS}"
        rf"(?:the\s+)?(?:options?|choices?|letters?|answers?)?\s*)(?P<set>{_LETTERS}){_AFTER}",
        rf"(?i:\b(?:choos\w+|chose|select\w*|pick\w*|go(?:ing)?\s+with|opt(?:ing)?\s+for|mark)\s+(?:the\s+)?"
        rf"(?:correct\s+)?(?:answers?|options?|choices?|letters?)?\s*(?:is|are|:)?\s*)(?P<set>{_LETTERS}){_AFTER}",
        rf"(?i:\b(?:options?|choices?|answers?)\s+)(?P<set>{_LETTERS})(?=\s+(?i:is|are)\s+(?i:the\s+|both\s+|indeed\s+|"
        r"therefore\s+|thus\s+|clearly\s+)*(?i:correct|right|true|best|valid|answers?|only|one|ones)\b)",
        rf"(?i:\b(?:options?|choices?)\s*)(?P<set>{_LETTERS})(?=[\s.。!,;]*$|\s*[,;]?\s+(?:because|since|as)\b)",
        rf"(?:^|[\s,，。;；:：(])(?P<set>{_LETTERS})(?=\s+(?i:is|are)\s+(?i:the\s+|indeed\s+|therefore\s+|thus\s+|clearly\s+|both\s+)*"
        r"(?i:correct|right|best|true)(?i:\s+(?:answers?|options?|choices?|ones?|statements?))?\s*(?:$|[.,;!]|(?i:because|since|as)\b))",
        rf"(?:^|[\s,，。;；:：(])(?P<set>{_LETTERS})(?=\s+(?i:is|are)\s+(?i:the|our|my)\s+(?i:final\s+)?"
        r"(?i:answers?|choices?|options?)\b)",
        rf"^\s*(?i:so|thus|hence|therefore|consequently|finally|it'?s|it\s+is)\b[\s,:]*(?i:it'?s\s+|it\s+is\s+)?"
        rf"(?P<set>{_LETTERS})[\s.。!]*$",
        rf"(?i:[,;.，；]\s*(?:so|thus|hence|therefore|which\s+leaves|leaving|then)\b[\s,:]*(?:it'?s\s+|it\s+is\s+|only\s+|with\s+"
        rf"|(?:the\s+)?(?:answer|option|choice)\s+(?:is\s+)?)?)(?P<set>{_LETTERS})(?=[\s.。!]*$)",
        rf"(?i:\bonly\s+(?:options?\s+|choices?\s+)?)(?P<set>{_LETTERS})(?=\s+(?i:remains?|is\s+left|works|fits|holds)\b)",
        rf"(?:选择?|选出|答案|正确(?:的)?(?:答案|选项|结论|说法|命题)?|选项)(?:应该?)?(?:的)?(?:是|为|选|：|:)*\s*(?:选项)?[:：]?\s*"
        rf"(?P<set>{_LETTERS})(?=\s*(?:$|[。.,，、;；!！:：)）]|项|选项|因为|正确))",
        rf"(?:选?项)?\s*(?P<set>{_LETTERS})\s*(?:选?项)?(?=\s*(?:均|都|是|为)?\s*(?:正确|对的|符合|答案))",
    )
]


def chosen(sentence: str) -> tuple[str, bool]:
    """The letters that a sentence chooses ("C", "A, C"; "" for none), and whether it names letters but leaves the choice.

    >>> chosen("Option C is right."), chosen("故选BD。"), chosen("B or C is right"), chosen("I think so.")
    (('C', False), ('B, D', False), ('', True), ('', False))
    """
    if len(sentence) > 2000:
        return "", False
    text = _IN_BRACKETS.sub("", " ".join(_MARKUP.sub(" ", sentence.translate(_WIDE)).split()))
    found: list[tuple[int, str]] = []
    doubted = False
    for cue in _CUES:
        for match in cue.finditer(text):
            start, end = match.span("set")
            before = text[max(0, match.start() - 30) : match.start()]
            if _NO_CHOICE_BEFORE.search(before) or _NO_CHOICE_BEFORE.search(text[max(0, start - 30) : start]):
                continue
            if _DENIED_BEHIND.match(text, end):
                continue
            if _OR_BEHIND.match(text, end) or re.search(rf"{_ONE}\s*(?:,\s*)?(?:or|或者?|还是)\s*$", text[:start]):
                doubted = True
                continue
            letters = letters_of(match["set"])
            if letters:
                found.append((start, ", ".join(letters)))
    if not found:
        return "", doubted
    return max(found)[1], False


def letters_of(text: str) -> list[str]:
    """The letters of a choice as written ("A, C", "(A)(C)", "ACD"); [] unless they are different ones.

    >>> letters_of("A, C"), letters_of("(B)"), letters_of("ABA"), letters_of("a")
    (['A', 'C'], ['B'], [], [])
    """
    bare = re.sub(r"\band\b|[\s()（）\[\]【】,，、;；&/.和与及以]", "", _MARKUP.sub(" ", text))
    return list(bare) if re.fullmatch(r"[A-H]{1,8}", bare) and len(set(bare)) == len(bare) else []
