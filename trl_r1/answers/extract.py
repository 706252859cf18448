"""Extraction: which part of a reply, or of a gold cell, is the final answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any

from trl_r1.answers.letters import chosen
from trl_r1.answers.notation import LONGEST_ANSWER, boxes, canonical
from trl_r1.answers.prose import after_cue, from_prose, is_cut, is_prose
from trl_r1.answers.quantities import quantity
from trl_r1.text.completions import ANSWER, THINK, after_reasoning, says, without_hidden


SOURCES: dict[str, str] = {
    "boxed": r"the last \boxed{...}",
    "answer": "the last <answer>...</answer>; a missing closing tag (a stop string) is forgiven",
    "hashes": "what follows the last ####, as in GSM8K",
    "sentence": "the last sentence: what follows 'answer is', or its last formula or number",
}

_JOINER = r"(?:,|;|&|、|，|；|\b(?:and|or|as well as|along with|together with)\b|和|及|以及|与|或者?)"
_NAMED = r"(?:[A-Za-z](?:_(?:\w|\{\w+\}))?'?(?:\([A-Za-z]\))?\s*(?:=|\bis\b|\\in(?![A-Za-z])))"
_JOIN = re.compile(  # what stands between two boxes of one statement: $x = \boxed{2}$ cm and $y = \boxed{3}$
    rf"[\s$.]*(?:\\[)\]])?[\s$]*(?:[a-z]{{1,12}}\.?\s*)?{_JOINER}[\s$,;]*(?:{_JOINER}|also\b|either\b|else\b|另|还有)?[\s$]*"
    rf"(?:\\[(\[])?\s*{_NAMED}?[\s$]*(?:\\[(\[])?\s*",
)
_NO_ANSWER_YET = re.compile(
    r"\b(?:no|not|wait|so|rather|equivalently|hence|thus|therefore|then|but|actually|correct\w*)\b", re.I
)


def checked_sources(sources: str | Sequence[str]) -> tuple[str, ...]:
    """The option ``sources`` of a reward, one name or several, as a tuple.

    Raises:
        ValueError: none, or an unknown one.
    """
    names = (sources,) if isinstance(sources, str) else tuple(sources)
    if not names or set(names) - set(SOURCES):
        raise ValueError(f"sources={sources!r}: choose from {', '.join(SOURCES)}.")
    return names


def extract(
    text: str,
    sources: Sequence[str] = tuple(SOURCES),
    prefilled_think: bool = False,
    think: tuple[str, str] = THINK,
    truncated: bool = False,
    kind: str = "",
) -> str | None:
    r"""The final answer that a reply declares after its thought; None if it declares none.

    Of a box and an ``<answer>`` the later one counts, and a box inside an ``<answer>`` is that answer. A box that is
    never closed was cut off: no answer. Without box and tag, ``####`` and then the last sentence are read
    (``trl_r1.answers.prose``). Hidden text (HTML comments, white LaTeX, see ``without_hidden``) declares nothing.
    Boxes that one statement joins by a comma, "and" or "or" are one answer (``\boxed{2}`` or ``\boxed{3}`` is "2, 3"); a
    later box replaces them otherwise.

    Args:
        text: a reply (``trl_r1.text.completions.reply``).
        sources: which of ``SOURCES`` to look at.
        prefilled_think: the template opened the thought, so a text without ``</think>`` is unfinished: no answer.
        truncated: the token limit cut the reply: only a closed box or answer tag is an answer (``#### 4`` may be 42).
        kind: the declared type of the gold (``trl_r1.answers.types``); to a ``fact`` a short reply without box, tag and cue
            is the answer as a whole.

    >>> extract(r"<think>\boxed{3}?</think> No, \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> extract("He has 72 - 2 = 70 apples.")
    '70'
    """
    unknown = [source for source in sources if source not in SOURCES]
    if unknown:
        raise ValueError(f"No source of answers is called {unknown[0]!r}. Choose from: {', '.join(SOURCES)}.")
    region = without_hidden(after_reasoning(text, think, prefilled_think))

    block = region.rfind(ANSWER[0]) if "answer" in sources else -1
    if "boxed" in sources and "box" in region:
        closed, cut_off = boxes(region)
        if closed and closed[-1][0] >= block and closed[-1][1] > cut_off:
            return _said_in(_joined_boxes(region, closed)) or None
        if cut_off > block:
            return None
    if block >= 0:
        inside, closing, _ = region[block + len(ANSWER[0]) :].partition(ANSWER[1])
        inside = inside.strip()
        if not inside or (truncated and not closing):
            return None
        cue = after_cue(inside) if len(inside) <= LONGEST_ANSWER else None
        if cue:
            return cue
        return inside if len(inside) <= 60 and not is_prose(inside) else from_prose(inside) or inside
    if truncated:
        return None
    if "hashes" in sources and "####" in region:
        found = _after_hashes(region)
        if found or region.rstrip().endswith("####"):
            return found
    if "sentence" not in sources:
        return None
    if kind == "fact" and says(region) and len(region.strip()) <= LONGEST_FACT:
        announced = after_cue(region) if not is_cut(region) else None
        return announced or (None if is_cut(region) else " ".join(region.split()))
    return from_prose(region)


LONGEST_FACT = 400  # characters of a reply that may state a fact as a whole


def read_with(
    extract: Callable[..., str | None], text: str, truncated: bool = False, kind: str = "", prompt: Any = None
) -> str | None:
    """``extract`` of a text with what is known of it, as far as that function asks for it: somebody's own may not.

    >>> read_with(str.strip, " 4 ", truncated=True)
    '4'
    """
    known = {name: value for name, value in (("truncated", truncated), ("kind", kind), ("prompt", prompt)) if value}
    if not known:
        return extract(text)
    try:
        taken = signature(extract).parameters
    except (TypeError, ValueError):
        return extract(text)
    anything = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values())
    return extract(text, **{name: value for name, value in known.items() if anything or name in taken})


def _joined_boxes(text: str, closed: list[tuple[int, int, int, int]]) -> str:
    last = closed[-1]
    contents, spread = [text[last[2] : last[3]].strip()], False
    for box in reversed(closed[:-1]):
        if box[0] > last[0]:
            continue  # inside the later one
        between = _STYLE.sub(r" \1 ", text[box[1] : last[0]]) if last[0] - box[1] <= 60 else ""
        if not between or _NO_ANSWER_YET.search(between) or not _JOIN.fullmatch(between):
            break
        content = text[box[2] : box[3]].strip()
        if re.search(r"\bor\b|或", between) and _same_number(content, contents[0]):
            contents[0] = content  # 1/2 or 0.5: one answer, written twice
        else:
            contents.insert(0, content)
            spread = True
        last = box
    return ", ".join(contents) if spread else contents[0]


def _said_in(box: str) -> str:
    """What a box that holds a sentence says: ``\\boxed{\\text{The answer is } 5}`` is 5."""
    labelled = _LABEL.match(" ".join(_STYLE.sub(r" \1 ", box).split())) if len(box) <= 200 else None
    if labelled:
        return labelled[1]
    if len(box) > 200 or not re.search(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}|[\u4e00-\u9fff]{2}", box):
        return box
    letters, _ = chosen(box)
    return letters or after_cue(" ".join(_STYLE.sub(r" \1 ", box).split())) or box


_LABEL = re.compile(r"(?:(?:final\s+)?answer|ans\.?|答案?)\s*[:：]\s*(\S.*)$", re.IGNORECASE)
_STYLE = re.compile(r"\\(?:text|textrm|mbox|mathrm)\s*\{([^{}]*)\}|\\(?:quad|qquad|,|;|:|!|\s)")


def _same_number(a: str, b: str) -> bool:
    if len(a) > LONGEST_ANSWER or len(b) > LONGEST_ANSWER:
        return False
    one, other = quantity(canonical(a)), quantity(canonical(b))
    return one is not None and other is not None and one.value == other.value and one.unit == other.unit


def _after_hashes(text: str) -> str | None:
    start = text.rfind("####") + 4
    line, _, below = text[start:].lstrip(" \t").partition("\n")
    line = line.strip()
    if line and (not below.strip() or quantity(canonical(line[:LONGEST_ANSWER])) is not None):
        return line
    return None  # a heading


_LISTED = re.compile(r"\[\s*(['\"])([^'\"]*)\1\s*\]")  # ['5'], as a list of one text looks when it was made a text


def gold_text(gold: Any) -> str:
    """A gold cell as text; a whole number of a column that mixes whole numbers and decimals as one.

    >>> gold_text(42.0), gold_text(4.5), gold_text("42.0")
    ('42', '4.5', '42.0')
    """
    return str(int(gold)) if isinstance(gold, float) and gold.is_integer() and abs(gold) < 2**53 else str(gold)


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
    text = gold_text(gold).strip()
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
        return from_prose(text, whole=True)
    return text
