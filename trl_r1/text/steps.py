"""What can be counted in a thought: its steps, and the words that mark reflection. Pure functions of text, linear in it."""

from __future__ import annotations

import re

from trl_r1.text.completions import reasoning_or_all, reply


# DeepSeek-R1, arXiv:2501.12948v2, C.2, in its order
REFLECTION_WORDS = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")

_REFLECTION = re.compile(rf"\b(?:{'|'.join(REFLECTION_WORDS)})\b", re.IGNORECASE)
_END = re.compile(r"[.!?]+(?=\s|$)|[。！？\n]+")
_SAYS = re.compile(r"\w")
_CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's annotations; the text says the same beside them
_EQUALS = re.compile(r"(?<![<>=!:≤≥≠])[=＝](?![=>])")


def reasoning(completion: object) -> str:
    """The reasoning of a completion; the whole reply where it has no think tags.

    >>> reasoning("<think>3 and 4</think> 7"), reasoning("3 and 4 is 7")
    ('3 and 4', '3 and 4 is 7')
    """
    return reasoning_or_all(reply(completion))


def without_marks(text: str) -> str:
    """A text without GSM8K's calculator marks: ``48/2 = <<48/2=24>>24`` as ``48/2 = 24``."""
    return _CALCULATOR.sub("", text)


def reasoning_steps(text: str) -> int:
    """How many steps a thought has: its sentences or lines, or its equalities, whichever there are more of.

    A sentence or line counts when it has a letter or digit. An equality is a lone equals sign: ``2+3=5=10/2`` has two.
    Calculator marks are no part of a thought.

    >>> reasoning_steps(" ①2 add ②9=11 add ③4=15"), reasoning_steps("Half of 48 is 24. Both are 72, 2.5 a day.")
    (2, 2)
    >>> reasoning_steps("1+1=<<1+1=2>>2")
    1
    """
    text = without_marks(text)
    sentences = sum(1 for part in _END.split(text) if _SAYS.search(part))
    return max(sentences, len(_EQUALS.findall(text)))


def reflection_words(text: str) -> dict[str, int]:
    """How often each of the paper's ten words of reflection stands in a text, as a whole word in any case.

    Source: DeepSeek-R1, arXiv:2501.12948v2, C.2. Departure: the paper does not say whether forms such as "checked" count;
    here they do not. The words are English, so a thought in another language has none.

    >>> reflection_words("Wait, wait. Butter is checked; check it.")["wait"]
    2
    """
    counts = dict.fromkeys(REFLECTION_WORDS, 0)
    for match in _REFLECTION.findall(text):
        counts[match.lower()] += 1
    return counts
