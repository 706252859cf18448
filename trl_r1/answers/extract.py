"""Extraction: which part of a reply, or of a gold cell, is the final answer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from trl_r1.answers.notation import LONGEST_ANSWER, NUMERAL, WORD_OR_NAME, boxes, canonical
from trl_r1.answers.quantities import quantity
from trl_r1.text.completions import ANSWER, THINK, after_thought, shown


SOURCES: dict[str, str] = {
    "boxed": r"the last \boxed{...}",
    "answer": "the last <answer>...</answer>; a missing closing tag (a stop string) is forgiven",
    "hashes": "what follows the last ####, as in GSM8K",
    "sentence": "the last sentence: what follows 'answer is', or its last formula or number",
}

_JOIN = re.compile(r"[\s$.]*(?:,|;|、|\\text\{\s*and\s*\}|and|和|及)[\s$,;]*(?:and)?[\s$]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\s\"”)]+|[。！？\n]+")
_IS = r"\s*(?:(?:is|are|equals|=)\b\s*(?:therefore|thus|indeed|simply|just)?\s*[:：=]?|[:：=])\s*"
_CUE = re.compile(
    rf"\banswers?(?:\s+here)?{_IS}|^\s*A:\s*|(?:答案|答)\s*(?:[:：]|是|为|等于)\s*[:：]?\s*", re.IGNORECASE
)
_WEAK_CUE = re.compile(rf"\b(?:result|solution|total){_IS}|(?:结果|总共|一共)(?:是|为|有)\s*|等于\s*", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(
    rf"(?<![\w.])[-+]?[$€£¥]?[-+]?(?:{NUMERAL})(?:\s*/\s*\d+)?"
    r"(?:\s*(?:%|\\%|percent\b|hundred\b|thousand\b|million\b|billion\b|trillion\b|dozen\b|万|亿))?",
    re.IGNORECASE | re.ASCII,
)
_FORMULA = re.compile(r"\$(?![\s$])([^$\n]*)(?<!\s)\$(?!\d)|\\\(([^\n]{0,300}?)\\\)|\\\[([^\n]{0,300}?)\\\]")
_WORD = re.compile(r"[^\W\d_]{2,}")
_SENTENCES_BACK = 5
_TAIL = 2000  # characters of the end in which a last sentence is looked for


def extract(
    text: str,
    sources: Sequence[str] = tuple(SOURCES),
    prefilled_think: bool = False,
    think: tuple[str, str] = THINK,
) -> str | None:
    r"""The final answer that a reply declares after its thought; None if it declares none.

    Of a box and an ``<answer>`` the later one counts, and a box inside an ``<answer>`` is that answer. A box that is
    never closed was cut off: no answer. Without box and tag, ``####`` and then the last sentence are read.
    Hidden text (HTML comments, white LaTeX, see ``shown``) declares nothing.
    Boxes joined by a comma or "and" are one answer (``\boxed{2}`` and ``\boxed{3}`` is "2, 3").

    Args:
        text: a reply (``trl_r1.text.completions.reply``).
        sources: which of ``SOURCES`` to look at.
        prefilled_think: the template opened the thought, so a text without ``</think>`` is unfinished: no answer.

    >>> extract(r"<think>\boxed{3}?</think> No, \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> extract("He has 72 - 2 = 70 apples.")
    '70'
    """
    unknown = [source for source in sources if source not in SOURCES]
    if unknown:
        raise ValueError(f"No source of answers is called {unknown[0]!r}. Choose from: {', '.join(SOURCES)}.")
    region = shown(after_thought(text, think, prefilled_think))

    block = region.rfind(ANSWER[0]) if "answer" in sources else -1
    if "boxed" in sources and "box" in region:
        closed, cut_off = boxes(region)
        if closed and closed[-1][0] >= block and closed[-1][1] > cut_off:
            return _joined_boxes(region, closed) or None
        if cut_off > block:
            return None
    if block >= 0:
        inside = region[block + len(ANSWER[0]) :].partition(ANSWER[1])[0].strip()
        if not inside:
            return None
        cue = _after_cue(inside, _CUE) if len(inside) <= LONGEST_ANSWER else None
        if cue:
            return cue
        return inside if len(inside) <= 60 and not _is_prose(inside) else _from_prose(inside) or inside
    if "hashes" in sources and "####" in region:
        found = _after_hashes(region)
        if found:
            return found
    return _from_prose(region) if "sentence" in sources else None


def _joined_boxes(text: str, closed: list[tuple[int, int, int, int]]) -> str:
    last = closed[-1]
    contents = [text[last[2] : last[3]].strip()]
    for box in reversed(closed[:-1]):
        if box[0] > last[0]:
            continue  # inside the later one
        if last[0] - box[1] > 30 or not _JOIN.fullmatch(text, box[1], last[0]):
            break
        contents.append(text[box[2] : box[3]].strip())
        last = box
    return ", ".join(reversed(contents))


def _after_hashes(text: str) -> str | None:
    start = text.rfind("####") + 4
    line, _, below = text[start:].lstrip(" \t").partition("\n")
    line = line.strip()
    if line and (not below.strip() or quantity(canonical(line[:LONGEST_ANSWER])) is not None):
        return line
    return None  # a heading


def _from_prose(text: str) -> str | None:
    sentences = [part for part in _SENTENCE_END.split(text.strip()[-_TAIL:]) if part.strip()]
    if not sentences:
        return None
    for sentence in reversed(sentences[-_SENTENCES_BACK:]):
        found = None if sentence.rstrip().endswith("?") else _after_cue(sentence, _CUE)
        if found:
            return found
    found = _after_cue(sentences[-1], _WEAK_CUE)
    if found:
        return found
    last = _trim(sentences[-1])
    whole = last if last and len(last) <= 80 else None
    formulas = list(_FORMULA.finditer(last))
    if formulas and (found := next(filter(None, formulas[-1].groups()), "")):
        return whole if _doubted(last, formulas) else found.strip()
    numbers = list(_PLAIN_NUMBER.finditer(last))
    if (
        numbers
        and ("=" in last or WORD_OR_NAME.search(last))
        and "\\" not in last
        and quantity(canonical(last)) is None
    ):
        if _doubted(last, numbers):
            return whole
        listed = _listed(last, numbers)
        return ", ".join(listed) if len(listed) > 2 else numbers[-1].group().strip()
    return whole


_OR = re.compile(r"[\s$,]*(?:\bor\b|或者?|还是)\s*(?:[A-Za-z]\s*=\s*)?[\s$]*")
_DENIED = re.compile(r"(?:\bnot|n't|不是|并非|\bbetween\s[^\n]{1,30}\sand)[\s$]*$", re.IGNORECASE)


def _doubted(text: str, found: list[re.Match[str]]) -> bool:
    """Whether the last of the answers found is one of two ("5 or 7", "between 5 and 7"), or denied ("not 7")."""
    last = found[-1].start()
    if len(found) > 1 and _OR.fullmatch(text, found[-2].end(), last):
        return True
    return _DENIED.search(text, max(0, last - 40), last) is not None


def _listed(text: str, numbers: list[re.Match[str]]) -> list[str]:
    """The numbers at the end that only commas part: 1, 2, 3."""
    row = [numbers[-1]]
    for number in reversed(numbers[:-1]):
        if text[number.end() : row[0].start()].strip() not in (",", "、"):
            break
        row.insert(0, number)
    return [number.group().strip() for number in row]


def _after_cue(sentence: str, cue: re.Pattern[str]) -> str | None:
    cues = list(cue.finditer(sentence))
    if not cues:
        return None
    found = _trim(sentence[cues[-1].end() :])
    formula = _FORMULA.match(found)
    if formula and not re.match(r"\s*(?:or|,|/)", found[formula.end() :]):
        return next(filter(None, formula.groups()), "").strip() or None
    if len(found) <= 40 and not _is_prose(found):
        return found or None
    number = _PLAIN_NUMBER.match(found)
    if number and not re.match(r"\s*(?:or\b|and\b|to\b|[,/;±+*^!]|-\s*\d|或)", found[number.end() :]):
        return number.group().strip()
    return found if len(found) <= 80 else None


def _trim(text: str) -> str:
    return text.strip().strip("*_").strip().rstrip(".,;:!?。").strip().strip("*_").strip()


def _is_prose(text: str) -> bool:
    return len(_WORD.findall(text)) >= 4 or len(re.findall(r"[\u4e00-\u9fff]", text)) >= 5


_LISTED = re.compile(r"\[\s*(['\"])([^'\"]*)\1\s*\]")  # ['5'], as a list of one text looks when it was made a text


def gold_answer(gold: Any) -> str | None:
    r"""The answer in a gold cell: a number, an answer, or a worked solution that ends in one; None if it is empty.

    Worked solutions are read like replies: ``#### 72``, ``\boxed{72}``, ``<answer>72</answer>``, or, with several
    lines, the last sentence. A list of one answer is that answer; of several, nobody says whether all of them are
    asked for or any, so it is none, as is a table of names and values.

    >>> gold_answer("48 / 2 = 24\n#### 1,072"), gold_answer(True), gold_answer("x^2")
    ('1,072', 'True', 'x^2')
    """
    if hasattr(gold, "tolist"):  # numpy, torch
        gold = gold.tolist()
    if isinstance(gold, (list, tuple)) and len(gold) == 1:
        return gold_answer(gold[0])
    if gold is None or isinstance(gold, (list, tuple, dict, set, bytes)):
        return None
    if isinstance(gold, float) and not math.isfinite(gold):
        return None
    text = str(gold).strip()
    listed = _LISTED.fullmatch(text)
    text = listed[2].strip() if listed else text
    if not text:
        return None
    if "####" in text:
        return text.rpartition("####")[2].strip() or None
    if "boxed" in text or "box{" in text:
        closed, _ = boxes(text)
        if closed:
            return _joined_boxes(text, closed) or None
    if ANSWER[0] in text:
        return text.rpartition(ANSWER[0])[2].partition(ANSWER[1])[0].strip() or None
    if ("\n" in text and not text.startswith(("$", "\\[", "\\begin"))) or len(text) > LONGEST_ANSWER:
        return _from_prose(text)
    return text
