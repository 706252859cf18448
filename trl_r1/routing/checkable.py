r"""Checkable: is there a final answer that paths can be voted on?

    asks_for_answer     a prompt asks for one: a computation, a choice, a number, a format such as \boxed{}
    declares_answer     a text declares one itself: a box, a short <answer>, a last line ####, "the answer is 4"

A poem, a letter or an explanation has none. Its last sentence would be one only by accident, and a vote on it costs all
paths and decides nothing, so such a request is answered by one pass (`trl_r1.routing.router`).

Both are rules, in time linear in the text, and lean to "no": who knows that a question has an answer asks with
``route="complex"``, and a calibrated router is not asked.
"""

from __future__ import annotations

import re

from trl_r1.answers.extract import extract
from trl_r1.answers.prose import after_cue, is_prose
from trl_r1.routing.complexity import LONGEST, text_of
from trl_r1.text.records import Prompt


SHORT = 60  # characters of an answer that can be compared with others

_FORMAT = re.compile(  # the request says how the answer is to be given
    r"\\boxed|####|\bfinal (?:answer|result|number)\b"
    r"|\b(?:answer|reply|respond|output)\s+(?:should|must|has to|needs to)\s+be\b"
    r"|\b(?:answer|reply|respond|output)\s+(?:only\s+|just\s+)?(?:with|as|in)\s+(?:(?:only|just)\s+)?(?:an?\s+|the\s+|one\s+)?"
    r"(?:single\s+)?(?:number|integer|letter|digit|fraction|decimal|word|yes|true|option)\b"
    r"|\b(?:yes or no|true or false|yes/no|true/false)\b|最终答案|是非题|选择题",
    re.IGNORECASE,
)
_CHOICES = re.compile(r"^[ \t]*[(\[]?([A-D])[)\].:]\s+\S", re.MULTILINE)
_WRITES = re.compile(  # the request asks for a text
    r"(?:^|[.!?:,;\n]|\b(?:please|you|to|then|and|me)\b)[ \t]*(?:write|rewrite|explain|describe|translate|summari[sz]e|"
    r"compose|draft|plan|suggest|recommend|discuss|paraphrase|brainstorm|code|give me|tell me (?:a|about))\b"
    r"|\b(?:python|javascript|typescript|c\+\+|sql|html|css|bash|regex)\b|写一|解释|翻译|描述|总结|介绍",
    re.IGNORECASE,
)
_COMPUTES = re.compile(
    r"\b(?:compute|calculate|evaluate|solve|simplify|factori[sz]e|integrate|differentiate|determine|find|convert|round|"
    r"berechne|calcule[rz]?|calcula|calcola)\b|计算|求|解方程|化简",
    re.IGNORECASE,
)
_COUNTS = re.compile(
    r"\bhow (?:many|much|old|far|long|fast|tall|often)\b|\bwhat(?:'s| is| are) the (?:\w+ )?(?:sum|product|difference|"
    r"quotient|remainder|value|probability|area|perimeter|volume|average|mean|median|total|number|gcd|lcm)\b"
    r"|\bcombien\b|\bcu[aá]nt[oa]s?\b|\bwie ?viele?\b|\bquant[ieao]\b|多少|几(?:个|种|次|天|年|人)",
    re.IGNORECASE,
)
_OPERATION = re.compile(
    r"\d\)?\s*(?:[+*×÷^]|\s-\s|\s/\s)\s*\(?-?\d|\\(?:frac|sqrt|int|sum|times|cdot)\b|\d\s*=\s*(?:\?\s*)?$",
    re.MULTILINE,
)
_NUMBER = re.compile(r"\d")


def asked(prompt: Prompt) -> str:
    """What is asked now: a text, or the last user turn of a conversation; its first 20,000 characters."""
    if isinstance(prompt, str):
        return prompt[:LONGEST]
    last = [message for message in prompt if message.get("role", "user") == "user"][-1:]
    return text_of(last)[:LONGEST]


def asks_for_answer(prompt: Prompt) -> bool:
    r"""Whether a prompt asks for a final answer that can be checked.

    >>> asks_for_answer("Compute 3 * 4."), asks_for_answer("Write a two-line poem about 3 cats.")
    (True, False)
    >>> asks_for_answer("Is 91 prime? Answer yes or no."), asks_for_answer("What is the capital of Germany?")
    (True, False)
    """
    text = asked(prompt)
    if _FORMAT.search(text):
        return True
    if len(set(_CHOICES.findall(text))) >= 3:
        return True
    if _WRITES.search(text):
        return False
    numbers = len(_NUMBER.findall(text))
    if numbers and (_OPERATION.search(text) or _COMPUTES.search(text)):
        return True
    return numbers >= 2 and _COUNTS.search(text) is not None


def declares_answer(text: str) -> bool:
    r"""Whether a text declares a short final answer of its own, rather than merely ending.

    >>> declares_answer(r"So it is \boxed{4}."), declares_answer("The sea sings, and 3 gulls listen.")
    (True, False)
    >>> declares_answer("3 and 4 are 7.\nThe answer is 7."), declares_answer("### 1. Pack\n#### Day 1\nGo.")
    (True, False)
    """
    marked = extract(text, sources=("boxed", "answer"))
    if marked is not None:
        return _is_short(marked)
    last = text.strip().rpartition("\n")[2]
    if last.startswith("####"):
        return _NUMBER.search(last) is not None and _is_short(last[4:])
    cue = after_cue(last[-400:])
    return cue is not None and _is_short(cue)


def _is_short(answer: str) -> bool:
    return 0 < len(answer.strip()) <= SHORT and not is_prose(answer)
