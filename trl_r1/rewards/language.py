"""Language consistency: what share of the words of a thought is in the target language?

Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.3.2, Eq. 7: ``Num(Words_target) / Num(Words)``, on the chain of thought.

What is a word is decided by script, from the code points alone, so the count is deterministic and fast:

    alphabets (Latin, Cyrillic, Arabic, Hangul, Devanagari, ...)   a run of two or more letters of the script
    Han                                                            1.6 characters (jieba's words measure 1.63)
    kana; Thai, Lao, Khmer, Myanmar                                2.5; 4 characters (our choice: no spaces to go by)

No word: mathematics, LaTeX, code, URLs, tags, hidden text, digits, names with an underscore, single letters
(identifiers), and function names such as ``sin`` and ``log``.

Departure: the paper does not say how words are told apart. Two languages of one script (English and French) are not:
every word of the script counts as the target's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from trl_r1.rewards.text import THINK, reply, shown, thought_bounds


HAN_PER_WORD = 1.6  # characters

# script -> (ranges of a regex character class, characters per word; None: a word is a run of two letters or more)
SCRIPTS: dict[str, tuple[str, float | None]] = {
    "latin": (
        "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0300-\u036f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a",
        None,
    ),
    "greek": ("\u0370-\u03ff\u1f00-\u1fff", None),
    "cyrillic": ("\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f", None),
    "armenian": ("\u0531-\u0587", None),
    "hebrew": ("\u0591-\u05f4", None),
    "arabic": (
        "\u0610-\u061a\u0620-\u065f\u066e-\u06d3\u06d5-\u06dc\u06df-\u06e8\u06ea-\u06ef\u06fa-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
        None,
    ),
    "devanagari": ("\u0900-\u0963\u0971-\u097f", None),
    "bengali": ("\u0980-\u09e3", None),
    "gurmukhi": ("\u0a00-\u0a65\u0a70-\u0a7f", None),
    "gujarati": ("\u0a80-\u0ae3", None),
    "tamil": ("\u0b80-\u0be5", None),
    "telugu": ("\u0c00-\u0c65", None),
    "kannada": ("\u0c80-\u0ce5", None),
    "malayalam": ("\u0d00-\u0d65", None),
    "sinhala": ("\u0d80-\u0ddf", None),
    "georgian": ("\u10a0-\u10ff\u1c90-\u1cbf", None),
    "ethiopic": ("\u1200-\u135f", None),
    "hangul": ("\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3", None),
    "han": ("\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af", HAN_PER_WORD),
    "kana": ("\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f", 2.5),
    "thai": ("\u0e01-\u0e3a\u0e40-\u0e4e", 4.0),
    "lao": ("\u0e81-\u0ece", 4.0),
    "khmer": ("\u1780-\u17d3", 4.0),
    "myanmar": ("\u1000-\u103f\u1050-\u109f", 4.0),
}

_BY_SCRIPT = {  # script(s) -> language codes (ISO 639-1)
    "latin": "en fr de es it pt nl pl cs sk sl hr hu ro sv da no nb nn fi et lv lt tr az vi id ms tl sw af ca eu gl cy "
    "ga is mt sq la eo so zu xh yo ig ha",
    "greek": "el",
    "cyrillic": "ru uk be bg mk kk ky mn tg",
    "armenian": "hy",
    "hebrew": "he yi",
    "arabic": "ar fa ur ps ug sd",
    "devanagari": "hi mr ne sa",
    "bengali": "bn as",
    "gurmukhi": "pa",
    "gujarati": "gu",
    "tamil": "ta",
    "telugu": "te",
    "kannada": "kn",
    "malayalam": "ml",
    "sinhala": "si",
    "georgian": "ka",
    "ethiopic": "am ti",
    "hangul": "ko",
    "han": "zh yue",
    "han kana": "ja",
    "thai": "th",
    "lao": "lo",
    "khmer": "km",
    "myanmar": "my",
    "latin cyrillic": "sr bs uz",
}
LANGUAGES: dict[str, frozenset[str]] = {
    code: frozenset(scripts.split()) for scripts, codes in _BY_SCRIPT.items() for code in codes.split()
}
_NAMES = {"english": "en", "chinese": "zh", "mandarin": "zh", "french": "fr", "german": "de", "spanish": "es"}
_NAMES |= {"italian": "it", "portuguese": "pt", "russian": "ru", "japanese": "ja", "korean": "ko", "arabic": "ar"}
_NAMES |= {"hindi": "hi", "中文": "zh", "英文": "en", "英语": "en", "cmn": "zh", "eng": "en", "zho": "zh"}

_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp lim max min mod gcd lcm sqrt det".split()
)


def language_code(language: str) -> str:
    """The code by which ``LANGUAGES`` knows a language: ``zh-Hans`` and ``Chinese`` are ``zh``.

    Raises:
        ValueError: the language is unknown.
    """
    name = str(language).strip().lower()
    name = _NAMES.get(name, name)
    code = re.split(r"[-_]", name, maxsplit=1)[0]
    if code in LANGUAGES:
        return code
    near = difflib.get_close_matches(name, [*LANGUAGES, *_NAMES], n=1)
    raise ValueError(
        f"No language is called {language!r}."
        + (f" Did you mean {near[0]!r}?" if near else "")
        + f" Known: {', '.join(sorted(LANGUAGES))}."
    )


def _runs(script: str) -> re.Pattern[str]:
    characters, per_word = SCRIPTS[script]
    return re.compile(f"[{characters}]+" if per_word else f"[{characters}]{{2,}}")


_RUNS = {script: _runs(script) for script in SCRIPTS}
_ORDER = list(SCRIPTS)
_SCRIPT_OF = np.zeros(0x110000, dtype=np.uint8)  # code point -> 1 + index in _ORDER, 0 for no script
for _number, (_characters, _) in enumerate(SCRIPTS.values(), start=1):
    for _low, _high in re.findall(r"(.)(?:-(.))?", _characters):
        _SCRIPT_OF[ord(_low) : ord(_high or _low) + 1] = _number
_HAN, _KANA = 1 + _ORDER.index("han"), 1 + _ORDER.index("kana")
_SENTENCE_ENDS = np.array([ord(mark) for mark in "。！？!?\n"], dtype=np.uint32)
_ASCII_WORDS = re.compile("[A-Za-z]{2,}")


# Left out, in this order. Each pattern is linear: no two parts of it can match the same character.
_URL = re.compile(r"(?:https?://|www\.)[!-~]+")
_TAG = re.compile(r"</?[A-Za-z|][^<>\n]{0,200}>")
_UNDERSCORED = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z0-9]*_[A-Za-z0-9_]*")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_DOLLARS = re.compile(r"\$(?![\s$])[^$\n]*(?<!\s)\$(?!\d)")  # pandoc's rule: "$5 and $10" is no formula
_ENVIRONMENTS = (("```", "```"), ("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("\\begin{", "\\end{"))


def _blank(match: re.Match[str]) -> str:
    return " " * (match.end() - match.start())


def _blank_between(text: str, opening: str, closing: str) -> str:
    parts: list[str] = []
    position = 0
    while (start := text.find(opening, position)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        end += len(closing)
        if closing.endswith("{"):  # \end{align}: the name is part of it
            end = 1 + max(text.find("}", end, end + 40), end - 1)
        parts += text[position:start], " " * (end - start)
        position = end
    return "".join(parts) + text[position:] if parts else text


def prose(text: str, allowed: Iterable[str] = ()) -> str:
    """The text with all that is no natural language replaced by spaces; offsets stay what they were.

    Args:
        allowed: terms that are at home in any language ("GPU", "Fibonacci"), left out whole and in any case.
    """
    text = shown(text)
    for opening, closing in _ENVIRONMENTS:
        if opening in text:
            text = _blank_between(text, opening, closing)
    if "`" in text:
        text = _INLINE_CODE.sub(_blank, text)
    if "$" in text:
        text = _DOLLARS.sub(_blank, text)
    if "://" in text or "www." in text:
        text = _URL.sub(_blank, text)
    if "<" in text:
        text = _TAG.sub(_blank, text)
    if "\\" in text:
        text = _COMMAND.sub(_blank, text)
    if "_" in text:
        text = _UNDERSCORED.sub(_blank, text)
    terms = tuple(allowed)
    if terms:
        text = _terms(terms).sub(_blank, text)
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
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    scripts = _SCRIPT_OF[points]  # one number per character
    letters = np.bincount(scripts, minlength=1 + len(_ORDER))
    japanese = _han_beside_kana(points, scripts) if letters[_HAN] and letters[_KANA] else 0
    words: dict[str, float] = {}
    for script, found in zip(_ORDER, letters[1:].tolist(), strict=True):
        if not found:
            continue
        per_word = SCRIPTS[script][1]
        if per_word is None:
            number = _count_runs(text, script, _RUNS[script])
        elif script == "han":
            number = (found - japanese) / per_word
        elif script == "kana":
            number = found / per_word + japanese / HAN_PER_WORD
        else:
            number = found / per_word
        if number > 0:
            words[script] = number
    return words


def _count_runs(text: str, script: str, runs: re.Pattern[str]) -> float:
    found = runs.findall(text)
    if script == "latin" and not _FUNCTIONS.isdisjoint(found):
        return float(len(found) - sum(word in _FUNCTIONS for word in found))
    return float(len(found))


def _han_beside_kana(points: np.ndarray, scripts: np.ndarray) -> int:
    """How many Han characters stand in sentences that have kana."""
    sentence = np.cumsum(np.isin(points, _SENTENCE_ENDS))  # number of the sentence each character is in
    kana = np.bincount(sentence, weights=scripts == _KANA)
    han = np.bincount(sentence, weights=scripts == _HAN)
    return int(han[kana > 0].sum())


def consistency(text: str, language: str, minimum_words: float = 1.0, allowed: Iterable[str] = ()) -> float | None:
    """``Num(Words_target) / Num(Words)`` of a thought, in [0, 1]; None below ``minimum_words``.

    Args:
        text: the thought alone (``trl_r1.rewards.text.thought``).
        language: target, a code such as "en", "zh", "zh-CN". Languages that share a script are not told apart: for
            "fr", an English word counts as French.
        minimum_words: words of any script that it takes to judge. The default, 1, lets two Han characters or one
            English word count, for very short chains; set 10 or more where thoughts are long.
        allowed: terms that count for no language.

    Raises:
        ValueError: the language is unknown.

    Source: DeepSeek-R1, arXiv:2501.12948, Eq. 7. Departures: see the module's first lines.

    >>> consistency("first add 3 and 4, 然后乘以二", "en")  # 3 words, 5 Han characters: 3 / (3 + 5 / 1.6)
    0.4897959183673469
    """
    scripts = LANGUAGES[language_code(language)]
    return _share(count_words(prose(text, allowed)), scripts, minimum_words)


def _share(words: dict[str, float], scripts: frozenset[str], minimum_words: float) -> float | None:
    if "kana" in scripts and words.get("kana", 0.0) == 0.0:
        scripts = scripts - {"han"}  # Han without any kana is Chinese, not Japanese
    total = sum(words.values())
    if total <= 0 or total < minimum_words:
        return None
    return sum(number for script, number in words.items() if script in scripts) / total


def prompt_language(prompt: Any) -> str | None:
    """The language of a prompt as far as its script tells it: the most frequent script's best-known language.

    Args:
        prompt: text or messages (the last user message counts). In a text with turns ("User: ... Assistant:", as in
            the R1-Zero template) the last user turn counts, so an English template does not hide a Chinese question.

    Returns:
        A code of ``LANGUAGES``; "en" for Latin script; None for a prompt without words.
    """
    if isinstance(prompt, str):
        text = prompt
        if "User:" in text:
            text = text.rpartition("User:")[2].partition("Assistant:")[0]
    else:
        users = [m for m in prompt or () if isinstance(m, dict) and m.get("role", "user") == "user"]
        text = reply([{**users[-1], "role": "assistant"}]) if users else ""
    words = count_words(prose(text))
    if not words:
        return None
    if words.get("kana"):
        words["kana"] += words.pop("han", 0.0)
    return _FIRST[max(words, key=lambda script: words[script])]


_FIRST = {
    scripts.split()[-1]: codes.split()[0] for scripts, codes in _BY_SCRIPT.items() if scripts != "latin cyrillic"
}


@dataclass(frozen=True)
class LanguageConsistency:
    """Share of the thought's words that are in the target language, in [0, 1]; None below ``minimum_words``.

    The target is, in this order: the row's ``language_column``, the option ``language``, the prompt's own language.
    A reply without a thought has no words to judge and scores None (as no reward, 0, in TRL's sum).

    Source: DeepSeek-R1, arXiv:2501.12948, Sec. 2.3.2. Departures: see the module; languages that share a script
    (English, French) are not told apart.
    """

    language: str | None = field(default=None, metadata={"help": "Target for rows that name none, such as 'en'."})
    language_column: str = field(default="language", metadata={"help": "Dataset column with the row's target."})
    minimum_words: float = field(default=1.0, metadata={"help": "Words it takes to judge a thought."})
    allowed: tuple[str, ...] = field(default=(), metadata={"help": "Terms that count for no language."})
    prefilled_think: bool = field(default=False, metadata={"help": "The template writes the opening think tag."})
    think: tuple[str, str] = field(default=THINK, metadata={"help": "Opening and closing tag of the thought."})
    name: str = field(default="language_consistency", metadata={"help": "Logged as rewards/<name>/mean."})

    def __post_init__(self) -> None:
        if self.language is not None:
            language_code(self.language)
        if self.minimum_words < 0:
            raise ValueError(
                f"minimum_words={self.minimum_words} is negative. Give a number of words, for instance 10."
            )
        if isinstance(self.allowed, str):
            raise ValueError(f"allowed={self.allowed!r} is one text. Give a list of terms.")
        object.__setattr__(self, "allowed", tuple(self.allowed))
        object.__setattr__(self, "think", tuple(self.think))

    @property
    def __name__(self) -> str:
        return self.name

    def score(self, completion: Any, language: str | None = None) -> float | None:
        """The score of one completion. ``language`` overrides the option.

        Raises:
            ValueError: no language is given, or it is unknown.
        """
        start, end, _ = thought_bounds(text := reply(completion), self.think, self.prefilled_think)
        return consistency(text[start:end], self._target(language), self.minimum_words, self.allowed)

    def spans(self, completion: Any, language: str | None = None) -> list[tuple[int, int, float]]:
        """``(start, end, score)`` for every run of words of one script in the thought, as characters of
        ``reply(completion)``. Target runs share the score by their words, others have 0.0; they sum to the score."""
        start, end, _ = thought_bounds(text := reply(completion), self.think, self.prefilled_think)
        clean = prose(text[start:end], self.allowed)
        words = count_words(clean)
        scripts = LANGUAGES[self._target(language)]
        score = _share(words, scripts, self.minimum_words)
        if score is None:
            return []
        if "kana" in scripts and not words.get("kana"):
            scripts = scripts - {"han"}
        found = sorted(
            (match.start(), match.end(), script)
            for script in words.keys() | ({"han"} if "kana" in words else set())
            for match in _RUNS[script].finditer(clean)
        )
        merged: list[list[Any]] = []  # [start, end, in the target, words]
        for first, last, script in found:
            if script == "latin" and clean[first:last] in _FUNCTIONS:
                continue
            target = script in scripts
            per_word = SCRIPTS[script][1]
            number = (last - first) / per_word if per_word else 1.0
            if merged and merged[-1][2] == target:
                merged[-1][1], merged[-1][3] = last, merged[-1][3] + number
            else:
                merged.append([first, last, target, number])
        in_target = sum(number for _, _, target, number in merged if target)
        return [
            (start + first, start + last, score * number / in_target if target else 0.0)
            for first, last, target, number in merged
        ]

    def __call__(
        self,
        completions: list[Any],
        prompts: Sequence[Any] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        named: Sequence[Any] = columns.get(self.language_column) or [None] * len(completions)
        targets: list[str | None] = []
        for row in range(len(completions)):
            target = named[row] or self.language
            if not target and prompts is None:
                raise ValueError(
                    f"{self.name} does not know the target language: the rows have no column "
                    f"{self.language_column!r}, the option language is not set, and no prompts were given."
                )
            targets.append(target or prompt_language(prompts[row]))  # type: ignore[index]
        scores = [
            None if target is None else self.score(completion, target)
            for completion, target in zip(completions, targets, strict=True)
        ]
        if log_extra is not None:
            log_extra(f"{self.name}_target", targets)
        if log_metric is not None and scores:
            log_metric(f"{self.name}/judged", sum(score is not None for score in scores) / len(scores))
        return scores

    def _target(self, language: str | None) -> str:
        chosen = language or self.language
        if not chosen:
            raise ValueError("No target language. Pass language=, for instance 'en', or set the option language.")
        return language_code(chosen)


language_consistency_reward = LanguageConsistency()
