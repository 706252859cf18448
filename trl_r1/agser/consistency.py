"""How alike two answers are: texts in, Rouge-L in [0, 1] out; in every script, and quickly for long answers.

`rouge-score` splits at everything but ASCII letters and digits: two equal Chinese answers get 0, two different ones
that share a year get 1. Its scorer takes another tokenizer, so `Words` is one; and its dynamic programme of n x m Python
steps takes a second for two answers of 1,000 words, so the longest common subsequence is found in machine words here.
The number is the same (tests/agser/test_consistency.py).

Source  Rouge-L: Lin 2004, the F-measure with beta 1, as in `rouge-score`. Bit-parallel LCS: Hyyrö 2004.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Callable, Hashable, Sequence


Consistency = Callable[[str, str], float]

# Scripts written without spaces between words, where one character is one token: Thai, Lao, Tibetan, Myanmar, Khmer,
# Tai, Kana, Bopomofo, Han with its extensions. Hangul is written with spaces.
UNSPACED = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007"
    "\u3021-\u3029\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uaa60-\uaadf\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U00020000-\U000323af"
)


# a number with its sign, one with decimals, and any other run of ASCII letters and digits
_ASCII = re.compile(r"-(?<![\w.)\]].)\d+(?:\.\d+)?(?!\w)|(?<![\w.])\d+\.\d+(?!\w|\.\w)|[a-z0-9]+")


@functools.cache
def _pattern() -> re.Pattern[str]:
    """A number, a character of an unspaced script with its marks, or a run of letters, digits and marks."""
    marks = "".join(
        re.escape(chr(c)) for c in range(0x300, min(sys.maxunicode, 0x20000)) if unicodedata.category(chr(c))[0] == "M"
    )
    marks += "\u200c\u200d"  # the joiners of Persian and Indic words
    letter = f"[^\\W_{UNSPACED}]"
    return re.compile(
        r"[-\u2212](?<![\w.)\]].)\d+(?:\.\d+)?(?!\w)|(?<![\w.])\d+\.\d+(?!\w|\.\w)"
        rf"|{letter}+(?:[{marks}]+{letter}*)*|\w(?<=[{UNSPACED}])[{marks}]*"
    )


@functools.lru_cache(maxsize=4096)
def _words(text: str) -> tuple[str, ...]:
    return tuple(words(text))


def words(text: str) -> list[str]:
    """The tokens of a text: compatible forms and cases alike, punctuation dropped, numbers with sign and decimals.

    >>> words("Lu Xun wrote it in 1923."), words("作者是鲁迅"), words("x = -2.5")
    (['lu', 'xun', 'wrote', 'it', 'in', '1923'], ['作', '者', '是', '鲁', '迅'], ['x', '-2.5'])
    """
    if text.isascii():
        return _ASCII.findall(text.lower())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return [word.replace("\u2212", "-") for word in _pattern().findall(folded)]


class Words:
    """`words` as a tokenizer for ``rouge_score.rouge_scorer.RougeScorer(["rougeL"], tokenizer=Words())``."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def lcs_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, exactly.

    One bit per item of the shorter in a Python integer, one addition per item of the longer: a sixty-fourth of the steps
    of the usual table.
    """
    if len(first) > len(second):
        first, second = second, first
    places: dict[Hashable, int] = {}
    for index, item in enumerate(first):
        places[item] = places.get(item, 0) | (1 << index)
    full = (1 << len(first)) - 1
    row = full  # a 0 bit: the subsequence grew at this item
    for item in second:
        here = row & places.get(item, 0)
        if here:
            row = ((row + here) | (row - here)) & full
    return len(first) - row.bit_count()


def rouge_l_of(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Rouge-L F of two token lists in [0, 1]; 0.0 when either is empty."""
    if not first or not second:
        return 0.0
    common = lcs_length(first, second)
    if not common:
        return 0.0
    precision, recall = common / len(second), common / len(first)
    return 2 * precision * recall / (precision + recall)


def rouge_l(first: str, second: str) -> float:
    """Rouge-L F of two texts over `words`. Where neither has a word ("?!", "∅", "") they are alike if they are equal.

    >>> rouge_l("作者是鲁迅，1923年", "作者是鲁迅，1923年"), round(rouge_l("the cat sat", "the cat"), 3)
    (1.0, 0.8)
    """
    one, other = _words(first), _words(second)  # a group compares many answers with the same two
    if not one and not other:
        return float(bool(first.strip()) and first.strip() == second.strip())
    return rouge_l_of(one, other)


def library_rouge_l(first: str, second: str) -> float:
    """`rouge-score` as it comes, ASCII tokenizer and all; for comparing with what others measured."""
    return float(_library().score(first, second)["rougeL"].fmeasure)


@functools.cache
def _library():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


CONSISTENCIES: dict[str, Consistency] = {"unicode": rouge_l, "rouge_score": library_rouge_l}


def find_consistency(chosen: str | Consistency, tokenizer=None) -> Consistency:
    """The function behind a name: ``unicode``, ``rouge_score``, ``tokens`` (the model's own token ids), or a callable.

    Raises:
        ValueError: unknown name, or ``tokens`` without a tokenizer.
    """
    if not isinstance(chosen, str):
        return chosen
    if chosen == "tokens":
        if tokenizer is None:
            raise ValueError('consistency="tokens" compares token ids and needs the tokenizer; give one.')

        def of_ids(first: str, second: str) -> float:
            one, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (first, second))
            return rouge_l_of(one, other)

        return of_ids
    if chosen not in CONSISTENCIES:
        raise ValueError(f"consistency={chosen!r} is unknown. Choose one of: {', '.join(CONSISTENCIES)}, tokens.")
    return CONSISTENCIES[chosen]
